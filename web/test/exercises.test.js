// What the page makes of exercises: the rhythm of a breath, and the safety plan as a text.

import assert from "node:assert/strict";
import { test } from "node:test";

import { breathAt, LASTS_S, rhythmOf } from "../js/breathing.js";
import { planText } from "../js/safety-plan.js";

test("a breath: the parts follow each other, and it ends after whole breaths", () => {
  const long = rhythmOf("breath_long");
  const at = (elapsed, rhythm = long) => breathAt(rhythm, elapsed);
  assert.deepEqual([at(0), at(3.9), at(4), at(11.9), at(12)].map(({ part, left }) => `${part} ${left}`), ["in 4", "in 1", "out 8", "out 1", "in 4"]);
  const box = rhythmOf("breath_box");
  assert.deepEqual([0, 4, 8, 12, 16].map((elapsed) => at(elapsed, box).part), ["in", "hold", "out", "rest", "in"]);
  assert.deepEqual([at(LASTS_S - 0.1).part, at(LASTS_S)], ["out", null]);
  assert.equal(at(LASTS_S + 100, box), null);
  // The breath out is never the shorter one.
  for (const rhythm of [long, box]) {
    const seconds = Object.fromEntries(rhythm.map(({ part, seconds: s }) => [part, s]));
    assert.ok(seconds.out >= seconds.in);
  }
  for (const other of ["grounding", "safety_plan", "constructor", undefined]) assert.equal(rhythmOf(other), null);
});

test("the plan: its steps as the server tells them, then whom to call", () => {
  const plan = {
    title: "Mi plan de seguridad", footer: "Si el peligro aumenta: emergencias.",
    steps: [{ heading: "Señales", text: "no duermo" }, { heading: "Personas y lugares", text: "la plaza; lo de Caro" }],
  };
  const words = { made: "hoy", lines: "A quién llamar", about: "Solo acá." };
  const text = planText(plan, [{ name: "Línea", contact: "135", hours: "24 h" }, { name: "Emergencias", contact: "911", hours: "" }], words);
  assert.equal(text, [
    "Mi plan de seguridad", "hoy", "", "1. Señales", "   no duermo", "", "2. Personas y lugares", "   la plaza; lo de Caro", "",
    "Si el peligro aumenta: emergencias.", "", "A quién llamar", "- Línea: 135 (24 h)", "- Emergencias: 911", "", "Solo acá.", "",
  ].join("\r\n"));
});
