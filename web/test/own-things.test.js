// What a person keeps in this browser alone, and what they take along: plan, person, mood, the conversation as a file.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { daysOf, find } from "../js/find.js";
import { Moods } from "../js/moods.js";
import { factsOf } from "../js/my-data.js";
import { OwnPlan, STEP_COUNT } from "../js/own-plan.js";
import { asJson, asText, forTherapist } from "../js/records.js";
import { EXERCISES, isSteps, stepsOf } from "../js/steps.js";
import { Storage } from "../js/storage.js";
import { strings, textsIn } from "./strings.js";
import { fakeStore } from "./peer.js";

const headings = (language) => Array.from({ length: STEP_COUNT }, (_, place) => strings[language][`plan_step_${place + 1}`]);

test("the steps of the plan are the companion's, by their headings", () => {
  for (const language of ["es", "en"]) {
    const data = readFileSync(new URL(`../../crates/safety/data/companion.${language}.toml`, import.meta.url), "utf8");
    const [, list] = /\[plan\][^]*?headings = \[([^\]]*)\]/.exec(data);
    assert.deepEqual([...list.matchAll(/"([^"]*)"/g)].map(([, heading]) => heading), headings(language));
  }
});

test("a plan is kept as it is written, and takes in that of the conversation without losing a word", () => {
  let changes = 0;
  const store = fakeStore();
  const plan = new OwnPlan(new Storage(store), () => { changes += 1; });
  assert.equal(plan.isEmpty, true);
  plan.write(0, "me encierro");
  plan.write(5, "lejos\nde todo");
  const told = { steps: [{ heading: headings("es")[0], text: "no duermo" }, { heading: headings("es")[2], text: "la plaza" }, { heading: "Otra cosa", text: "no" }] };
  assert.equal(plan.take(told, headings("es")), 2);
  assert.deepEqual(plan.steps, ["me encierro\nno duermo", "", "la plaza", "", "", "lejos\nde todo"]);
  assert.equal(plan.take(told, headings("es")), 0, "twice is once");
  const again = new OwnPlan(new Storage(store));
  assert.deepEqual(again.asTold({ title: "Mi plan", headings: headings("es"), footer: "Emergencias." }), {
    title: "Mi plan", footer: "Emergencias.",
    steps: [{ heading: headings("es")[0], text: "me encierro\nno duermo" }, { heading: headings("es")[2], text: "la plaza" }, { heading: headings("es")[5], text: "lejos\nde todo" }],
  });
  assert.equal(changes, 3);
  again.erase();
  assert.equal(plan.isEmpty, true);
});

test("the person to call has a number that can be called", () => {
  const plan = new OwnPlan(new Storage(fakeStore()));
  for (const phone of ["+54 11 5555-0000", "(011) 5275-1135", "135", "*4141"]) assert.equal(plan.setPerson(" Caro ", phone), true, phone);
  assert.deepEqual(plan.person, { name: "Caro", phone: "*4141" });
  for (const phone of ["javascript:1", "caro@example.org", "1".repeat(40), "+"]) assert.equal(plan.setPerson("Caro", phone), false, phone);
  assert.deepEqual(plan.person, { name: "Caro", phone: "*4141" }, "as it was");
  assert.equal(plan.setPerson("", ""), true);
  assert.equal(plan.person, null);
});

test("what is in the storage and is no plan, person or note is none", () => {
  const store = fakeStore();
  const storage = new Storage(store);
  for (const junk of ["{", "null", "7", '"x"', "[1,{}]", '{"name":1,"phone":"1"}', '{"name":"x","phone":"tel:1"}']) {
    for (const name of ["plan", "person", "moods"]) storage.set(name, junk);
    const plan = new OwnPlan(storage);
    assert.deepEqual([plan.isEmpty, plan.person, new Moods(storage, () => 1).notes], [true, null, []], junk);
  }
});

test("notes of a mood stand in their order, the oldest of very many go, and nothing is counted", () => {
  let now = 0;
  const moods = new Moods(new Storage(fakeStore()), () => (now += 1));
  moods.note("low");
  moods.note("good");
  assert.deepEqual(moods.notes, [{ mood: "good", at: 2 }, { mood: "low", at: 1 }]);
  for (let count = 0; count < 200; count += 1) moods.note("so_so");
  assert.equal(moods.notes.length, 120);
  moods.erase();
  assert.deepEqual(moods.notes, []);
});

const entries = [
  { type: "turn", seq: 1, role: "user", id: "a", text: "No dormí, estoy tensa", at: "2026-01-02T03:04:05Z" },
  { type: "turn", seq: 2, role: "assistant", id: "a", text: "Qué **tensión**.", at: "2026-01-02T03:04:09Z", finish: "stop", source: "llm" },
  { type: "turn", seq: 4, role: "user", id: "b", text: "Hoy mejor", at: "2026-01-03T10:00:00Z" },
];
const words = {
  title: "Conversación", about: "Guardada hoy.", who: (role) => ({ user: "Vos", assistant: "PsicoIA" })[role],
  when: (date) => date.toISOString().slice(11, 16), day: (date) => date.toISOString().slice(0, 10),
};

test("the conversation as text, as JSON and for a therapist", () => {
  const talk = ["— 2026-01-02 —", "", "Vos (03:04)", "No dormí, estoy tensa", "", "PsicoIA (03:04)", "Qué **tensión**.", "", "— 2026-01-03 —", "", "Vos (10:00)", "Hoy mejor", ""];
  assert.deepEqual(asText(entries, words).split("\r\n"), ["Conversación", "", "Guardada hoy.", "", ...talk]);
  const json = JSON.parse(asJson(entries, { exported_at: "2026-01-04T00:00:00Z" }));
  assert.deepEqual([json.format, json.exported_at, json.entries[1]], ["psicoia.conversation.1", "2026-01-04T00:00:00Z", (({ type, ...entry }) => entry)(entries[1])]);
  const titles = { ...words, planTitle: "Mi plan", moodTitle: "Cómo estoy", talkTitle: "Lo que hablamos" };
  const full = forTherapist(entries, { plan: [{ heading: "Señales", text: "no duermo" }], moods: [{ when: "hoy", words: "Mal" }] }, titles);
  assert.deepEqual(full.split("\r\n").slice(0, 12), ["Conversación", "", "Guardada hoy.", "", "Mi plan", "", "Señales:", "no duermo", "", "Cómo estoy", "", "hoy: Mal"]);
  assert.ok(full.endsWith(["", "Lo que hablamos", "", ...talk].join("\r\n")));
  assert.ok(!forTherapist(entries, { plan: [], moods: [] }, titles).includes("Mi plan"));
});

test("words are found whatever their accents, and days by their first entry", () => {
  const seqs = (text) => find(entries, text).map(({ seq }) => seq);
  assert.deepEqual([seqs("TENS"), seqs("dormi"), seqs("  "), seqs("nada"), seqs("**")], [[2, 1], [1], [], [], []]);
  assert.deepEqual(find(entries, "tension")[0], { seq: 2, role: "assistant", at: entries[1].at, before: "Qué ", found: "tensión", after: "." });
  const long = find([{ seq: 1, role: "user", at: "2026-01-02", text: `${"a ".repeat(100)}🌿 aquí ${"b ".repeat(100)}` }], "🌿 Aqui")[0];
  assert.deepEqual([long.found, long.before.length, long.after.length], ["🌿 aquí", 61, 61]);
  assert.deepEqual(daysOf(entries).map(({ seq }) => seq), [4, 1]);
});

test("each exercise of the menu has its words in every language", () => {
  for (const language of Object.keys(strings)) {
    for (const exercise of EXERCISES) {
      const names = [`exercise_${exercise}`, ...(isSteps(exercise) ? stepsOf(exercise) : [])];
      for (const name of names) assert.ok(name in strings[language], name);
    }
  }
  assert.equal(stepsOf("grounding").length, 5);
  assert.deepEqual(["breath_long", "reach_out", "constructor"].map(isSteps), [false, false, false]);
});

test("what is kept is told as the server has it", () => {
  const texts = textsIn("es");
  const about = { operator: "Ejemplo", contact: "a@example.org", retention_days: 30, unreached_days: 365, kept: true, models: [{ name: "m", host: "h" }], guard: { name: "g", host: "i" } };
  const all = factsOf(about, true, texts);
  for (const part of ["Ejemplo, a@example.org", "30 días", "365 días", "m (h)", "g (i)", "En este navegador"]) assert.ok(all.some((words) => words.includes(part)), part);
  const forever = factsOf({ retention_days: 0, unreached_days: 0, kept: true, models: [] }, true, texts);
  assert.ok(forever.some((words) => words.includes("hasta que la borres")) && forever.length === 4);
  for (const kept of [factsOf({ ...about, kept: false }, true, texts), factsOf(about, false, texts)]) {
    assert.ok(kept.some((words) => words.includes("no se guarda")) && !kept.some((words) => words.includes("30 días")));
  }
  assert.equal(factsOf(null, true, texts).length, 1);
});
