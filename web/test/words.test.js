// Strings, language, characters.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { chooseLanguage, languageAfter, LANGUAGES, localeTag, regionOf } from "../js/locale.js";
import { Texts } from "../js/strings.js";
import { strings, textsIn } from "./strings.js";
import { countChars, dropChars, takeChars } from "../js/text.js";

const read = (path) => readFileSync(new URL(`../${path}`, import.meta.url), "utf8");

/** The forms of a text: one, or one for each sort of number. */
const formsOf = (words) => (typeof words === "string" ? [words] : Object.values(words));
const placesIn = (text) => [...new Set(text.match(/\{\d\}/g) ?? [])].sort();

test("there is one file of words for each language, and no language lacks a word", () => {
  const files = readdirSync(new URL("../words/", import.meta.url)).map((file) => file.replace(".json", ""));
  assert.deepEqual(files.sort(), [...LANGUAGES].sort());
  for (const language of LANGUAGES) {
    assert.deepEqual(Object.keys(strings[language]), Object.keys(strings.es), language);
    for (const [name, words] of Object.entries(strings[language])) checkWords(language, name, words);
  }
});

/** A sentence says something, is about as many things as in the other languages, and has a form for every number. */
function checkWords(language, name, words) {
  const said = formsOf(words);
  const of = `${language}: ${name}`;
  assert.ok(said.length > 0 && said.every((text) => text.trim() === text && text !== ""), of);
  assert.deepEqual(placesIn(said.join()), placesIn(formsOf(strings.es[name]).join()), of);
  if (typeof words === "string") return;
  const categories = new Intl.PluralRules(language).resolvedOptions().pluralCategories;
  const exact = Object.keys(words).filter((key) => /^=\d+$/.test(key));
  const known = Object.keys(words).every((key) => exact.includes(key) || categories.includes(key));
  assert.ok(known && "other" in words && ("one" in words || exact.length > 0), of);
}

test("a sentence says what it is about, in the form of its number", () => {
  const texts = textsIn("es");
  assert.equal(texts.t("sms_word", "HOLA $& {0}", "135"), "Mensaje HOLA $& {0} al 135");
  assert.deepEqual([1, 2, 0].map((n) => texts.t("queued", n)), ["Hay 1 persona antes que vos.", "Hay 2 personas antes que vos.", "Hay 0 personas antes que vos."]);
  assert.deepEqual([0, 1, 3].map((s) => texts.t("status_offline", s)), ["Sin conexión", "Sin conexión · 1\u00a0s", "Sin conexión · 3\u00a0s"]);
  assert.equal(texts.t("no such sentence"), "no such sentence");
});

test("another language is spoken once its words are there", async () => {
  const loads = [];
  const load = async (language) => {
    loads.push(language);
    if (loads.length === 1) throw new Error("no network");
    return strings[language];
  };
  const texts = new Texts("es", strings.es, load);
  await assert.rejects(texts.speak("en"));
  assert.deepEqual([texts.language, texts.t("close")], ["es", strings.es.close]);
  for (const language of ["en", "es", "en"]) {
    await texts.speak(language);
    assert.deepEqual([texts.language, texts.t("close")], [language, strings[language].close]);
  }
  assert.deepEqual(loads, ["en", "en"]);
});

test("a third language needs a file of words and nothing else", () => {
  const polish = { ...strings.en, close: "Zamknij", queued: { one: "{0} osoba", few: "{0} osoby", many: "{0} osób", other: "{0} osoby" } };
  const texts = new Texts("pl", polish);
  assert.deepEqual([texts.t("close"), ...[1, 3, 5].map((n) => texts.t("queued", n))], ["Zamknij", "1 osoba", "3 osoby", "5 osób"]);
  const three = [...LANGUAGES, "pl"];
  assert.deepEqual(three.map((language) => languageAfter(language, three)), [...three.slice(1), three[0]]);
});

test("every sentence is used, and every sentence used exists", () => {
  const html = read("index.html");
  const code = readdirSync(new URL("../js/", import.meta.url)).filter((file) => file !== "strings.js").map((file) => read(`js/${file}`)).join("\n");
  for (const [, name] of html.matchAll(/data-(?:t|label|aria-label|placeholder)="(\w+)"/g)) assert.ok(name in strings.es, name);
  const families = /^(status|refused|state|mark|error|support|section|breath|who|chip|session|code|page|exit|steps|plan_step|exercise|how_now|mood|rephrase|no_help)_/;
  for (const name of Object.keys(strings.es)) {
    assert.ok(families.test(name) || html.includes(`"${name}"`) || code.includes(`"${name}"`), `${name} is never said`);
  }
});

test("no handler of a click may cancel it by what it returns", () => {
  const files = readdirSync(new URL("../js/", import.meta.url)).filter((file) => file.endsWith(".js"));
  for (const file of files) assert.doesNotMatch(read(`js/${file}`), /\.on[a-z]+ = [^{;]*(&&|\|\|)[^{;]*;/, file);
});

test("language and country from what the browser says", () => {
  assert.deepEqual([chooseLanguage("en", "es"), chooseLanguage(null, "en"), chooseLanguage("xx", "es")], ["en", "en", "es"]);
  assert.deepEqual([regionOf(["es-419", "es-MX"]), regionOf(["es"]), regionOf(["zh-Hant-TW"])], ["MX", null, "TW"]);
  assert.deepEqual([localeTag("es", "AR"), localeTag("en", null)], ["es-AR", "en"]);
});

test("characters are code points", () => {
  assert.equal(countChars("a🌿é"), 3);
  assert.deepEqual([dropChars("a🌿é", 2), dropChars("ab", 0), dropChars("ab", 9)], ["é", "ab", ""]);
  assert.deepEqual([takeChars("a🌿é", 2), takeChars("ab", 0), takeChars("ab", 9)], ["a🌿", "", "ab"]);
});
