// Strings, language, characters.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { chooseLanguage, localeTag, regionOf } from "../js/locale.js";
import { strings } from "../js/strings.js";
import { countChars, dropChars, takeChars } from "../js/text.js";

const read = (path) => readFileSync(new URL(`../${path}`, import.meta.url), "utf8");

test("both languages say the same things", () => {
  assert.deepEqual(Object.keys(strings.en), Object.keys(strings.es));
  for (const name of Object.keys(strings.es)) assert.equal(typeof strings.en[name], typeof strings.es[name], name);
});

test("every sentence is used, and every sentence used exists", () => {
  const html = read("index.html");
  const code = readdirSync(new URL("../js/", import.meta.url)).filter((file) => file !== "strings.js").map((file) => read(`js/${file}`)).join("\n");
  for (const [, name] of html.matchAll(/data-(?:t|label|aria-label|placeholder)="(\w+)"/g)) assert.ok(name in strings.es, name);
  const families = /^(status|refused|state|mark|error|support|section|breath|who|chip|session|code)_/;
  for (const name of Object.keys(strings.es)) {
    assert.ok(families.test(name) || html.includes(`"${name}"`) || code.includes(`"${name}"`), `${name} is never said`);
  }
});

test("no handler of a click may cancel it by what it returns", () => {
  const files = readdirSync(new URL("../js/", import.meta.url)).filter((file) => file.endsWith(".js"));
  for (const file of files) assert.doesNotMatch(read(`js/${file}`), /\.on[a-z]+ = [^{;]*(&&|\|\|)[^{;]*;/, file);
});

test("language and country from what the browser says", () => {
  assert.equal(chooseLanguage("en", ["es-AR"]), "en");
  assert.equal(chooseLanguage(null, ["pt-BR", "en-GB", "es"]), "en");
  assert.equal(chooseLanguage("xx", ["pt-BR"]), "es");
  assert.deepEqual([regionOf(["es-419", "es-MX"]), regionOf(["es"]), regionOf(["zh-Hant-TW"])], ["MX", null, "TW"]);
  assert.deepEqual([localeTag("es", "AR"), localeTag("en", null)], ["es-AR", "en"]);
});

test("characters are code points", () => {
  assert.equal(countChars("a🌿é"), 3);
  assert.deepEqual([dropChars("a🌿é", 2), dropChars("ab", 0), dropChars("ab", 9)], ["é", "ab", ""]);
  assert.deepEqual([takeChars("a🌿é", 2), takeChars("ab", 0), takeChars("ab", 9)], ["a🌿", "", "ab"]);
});
