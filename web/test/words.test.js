// Strings, help lines and the links made of them.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { phoneLink, webLink } from "../js/contact.js";
import { arrange } from "../js/help.js";
import { chooseLanguage, localeTag, regionOf } from "../js/locale.js";
import { strings } from "../js/strings.js";
import { countChars, dropChars, takeChars } from "../js/text.js";

const read = (path) => readFileSync(new URL(`../${path}`, import.meta.url), "utf8");
const countries = JSON.parse(read("help-lines.json"));

test("both languages say the same things", () => {
  assert.deepEqual(Object.keys(strings.en), Object.keys(strings.es));
  for (const name of Object.keys(strings.es)) assert.equal(typeof strings.en[name], typeof strings.es[name], name);
});

test("every sentence is used, and every sentence used exists", () => {
  const html = read("index.html");
  const code = readdirSync(new URL("../js/", import.meta.url)).filter((file) => file !== "strings.js").map((file) => read(`js/${file}`)).join("\n");
  for (const [, name] of html.matchAll(/data-(?:t|label|aria-label|placeholder)="(\w+)"/g)) assert.ok(name in strings.es, name);
  const families = /^(status|refused|state|mark|error|kind|who|chip|session|code)_/;
  for (const name of Object.keys(strings.es)) {
    assert.ok(families.test(name) || html.includes(`"${name}"`) || code.includes(`"${name}"`), `${name} is never said`);
  }
});

test("no handler of a click may cancel it by what it returns", () => {
  const files = readdirSync(new URL("../js/", import.meta.url)).filter((file) => file.endsWith(".js"));
  for (const file of files) assert.doesNotMatch(read(`js/${file}`), /\.on[a-z]+ = [^{;]*(&&|\|\|)[^{;]*;/, file);
});

test("help lines: complete rows, each with where it comes from", () => {
  assert.ok(countries.length >= 14);
  const lines = countries.flatMap((entry) => entry.lines.map((line) => ({ ...line, country: entry.country })));
  for (const { country, country_name: name } of countries) {
    assert.match(country, /^([A-Z]{2}|INT)$/);
    assert.ok(name.es && name.en, country);
  }
  for (const line of lines) {
    assert.ok(["crisis", "emergency"].includes(line.kind), JSON.stringify(line));
    assert.ok(line.verified_at === null || /^\d{4}(-\d{2}(-\d{2})?)?$/.test(line.verified_at), JSON.stringify(line));
    assert.ok(line.contact === null || phoneLink(line.contact) || webLink(line.url), JSON.stringify(line));
  }
  assert.deepEqual(lines.filter((line) => line.recheck).map((line) => line.country), ["UY", "UY"]);
});

test("the person's country first, then everyone's, then the rest by name", () => {
  const { own, international, others } = arrange(countries, "AR", "es");
  assert.deepEqual([own.country, international.country, others.length], ["AR", "INT", countries.length - 2]);
  assert.deepEqual(others.slice(0, 2).map((entry) => entry.country), ["CL", "CO"]);
  assert.equal(arrange(countries, null, "en").own, null);
  assert.equal(arrange(countries, "FR", "en").own, null);
});

test("contacts become links where there is a number or an address", () => {
  for (const [contact, href, rest] of [
    ["0800-999-0091", "tel:08009990091", ""],
    ["(011) 5275-1135", "tel:01152751135", ""],
    ["*4141", "tel:*4141", ""],
    ["135", "tel:135", ""],
    ["113 opción 5", "tel:113", "opción 5"],
    ["988 (press 2)", "tel:988", "(press 2)"],
    ["+54 11 5275 1135", "tel:+541152751135", ""],
  ]) {
    const link = phoneLink(contact);
    assert.deepEqual([link.href, link.rest], [href, rest], contact);
  }
  for (const contact of ["findahelpline.com", "text 85258", ""]) assert.equal(phoneLink(contact), null, contact);
  assert.equal(webLink("https://findahelpline.com"), "https://findahelpline.com/");
  for (const url of ["javascript:alert(1)", "http://x.example", "x", ""]) assert.equal(webLink(url), null, url);
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
