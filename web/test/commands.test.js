// Lines that are commands, and are never sent.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { commandOf, languageNamed } from "../js/commands.js";
import { HelpLines } from "../js/help-lines.js";

const lines = new HelpLines(JSON.parse(readFileSync(new URL("../help-lines.json", import.meta.url), "utf8")));

test("commands of the plain face, in both languages, any case and accents", () => {
  for (const [line, name, rest = ""] of [
    ["/crisis", "help"],
    [" /CRISIS ahora ", "help", "ahora"],
    ["/crisis.", "help"],
    ["/Crísis!", "help"],
    ["/emergencia", "help"],
    ["/EMERGENCY", "help"],
    ["/urgencia", "help"],
    ["/ayuda", "help"],
    ["/Help", "help"],
    ["/plan", "plan"],
    ["/pais AR", "country", "AR"],
    ["/PAÍS\tcosta rica", "country", "costa rica"],
    ["/pai\u0301s", "country"],
    ["/country", "country"],
    ["/ia", "ai"],
    ["/AI", "ai"],
    ["/acerca", "about"],
    ["/about", "about"],
    ["/protección", "protection"],
    ["/proteccion", "protection"],
    ["/Protection", "protection"],
    ["/sesión", "code"],
    ["/reanudar abc", "code", "abc"],
    ["/borrar", "erase"],
    ["/idioma en", "language", "en"],
  ]) assert.deepEqual(commandOf(line), { name, rest }, line);
});

test("anything else is a message", () => {
  for (const line of ["hola", "/", "/ crisis", "/planes", "/bailar", "1/2", "crisis", "tengo una /crisis", "", "/pais/AR", "/__proto__"]) {
    assert.equal(commandOf(line), null, line);
  }
});

test("a language by its name", () => {
  assert.deepEqual(["ES", "inglés", "English", "español", "fr", ""].map(languageNamed), ["es", "en", "en", "es", null, null]);
});

test("a country by its code, or its name in either language", () => {
  for (const [text, code] of [
    ["ar", "AR"],
    [" México ", "MX"],
    ["mexico", "MX"],
    ["the united states", "US"],
    ["Estados Unidos", "US"],
    ["los estados unidos", "US"],
    ["Spain", "ES"],
    ["españa", "ES"],
    ["Atlantis", null],
    ["", null],
  ]) assert.equal(lines.codeOf(text), code, text);
  assert.equal(new HelpLines().codeOf("AR"), null, "not loaded");
});
