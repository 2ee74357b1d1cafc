// Help lines: the file, the choice among them, and the links made of them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { waysOf, webLink } from "../js/contact.js";
import { HelpLines, isEmergency, resourcesOf, sections } from "../js/help-lines.js";
import { Place, zoneOf } from "../js/place.js";
import { Storage } from "../js/storage.js";
import { strings } from "./strings.js";
import { fakeStore } from "./peer.js";

const file = JSON.parse(readFileSync(new URL("../help-lines.json", import.meta.url), "utf8"));
const lines = new HelpLines(file);
const names = (resources) => resources.map(({ name }) => name);
const kinds = (resources) => resources.map(({ kind, url }) => (url?.includes("findahelpline") ? "directory" : kind));

test("every line of every country can be reached, and has its words in both languages", () => {
  assert.ok(file.countries.length > 200);
  for (const language of ["es", "en"]) {
    for (const { code, name } of lines.countries(language)) {
      assert.match(code, /^[A-Z]{2}$/);
      assert.ok(name.length > 1, code);
      const resources = lines.of(code, language);
      assert.ok(resources.some(({ kind }) => kind === "emergency") && kinds(resources).at(-1) === "directory", code);
      for (const resource of resources) {
        const { name: title, contact, hours, area } = resource;
        for (const text of [title, contact, hours]) assert.equal(typeof text, "string", JSON.stringify(resource));
        assert.ok(area === undefined || typeof area === "string");
        const ways = waysOf(resource);
        // Where no number is certain there is advice, beside what there is.
        assert.ok(ways[0].how !== "words" || resource.kind === "emergency", JSON.stringify(resource));
        assert.ok(`section_${sections([resource])[0].section}` in strings[language]);
      }
    }
  }
});

test("what stands first is what the need calls for", () => {
  const first = (need, code = "AR") => lines.select(code, "es", need);
  assert.equal(first({ level: "high", kind: "suicide" })[0].contact, "0800-999-0091");
  assert.equal(first({ level: "imminent", kind: "suicide" })[0].kind, "emergency");
  assert.equal(first({ level: "concern", kind: "abuse" })[0].kind, "violence");
  assert.equal(first({ level: "concern", kind: "medical" })[0].kind, "emergency");
  // A line that nobody could confirm is never the first.
  const unsure = first({ level: "high", kind: "suicide" }, "SV");
  assert.equal(unsure[0].kind, "emergency", JSON.stringify(unsure));
  assert.equal(kinds(first({}, "AR")).at(-1), "directory");
  assert.deepEqual(kinds(lines.select(null, "es", { level: "high" })), ["directory"]);
  assert.deepEqual(kinds(new HelpLines().of("AR", "es")), ["directory"]);
  for (const [need, want] of [
    [{ level: "high", kind: "suicide" }, false], [{ level: "imminent" }, true], [{ level: "concern", kind: "medical" }, true],
    [{ level: "concern", kind: "substance" }, false], [{ level: "high", kind: "substance" }, true], [undefined, false],
  ]) assert.equal(isEmergency(need), want, JSON.stringify(need));
});

test("the sections of the dialog begin with the need", () => {
  const of = (need) => sections(lines.of("AR", "es"), need).map(({ section }) => section);
  assert.deepEqual(of({}), ["suicide", "emergency", "youth", "violence", "directory"]);
  assert.deepEqual(of({ level: "imminent" }).slice(0, 2), ["emergency", "suicide"]);
  assert.equal(of({ level: "concern", kind: "sexual_violence" })[0], "violence");
  // A kind that a later version of the data has.
  assert.deepEqual(sections([{ kind: "legal" }]).map(({ section }) => section), ["legal"]);
});

test("a card shows what came with it, but for a country that the person is not in", () => {
  const came = [{ name: "024", contact: "024", dial: "024", kind: "suicide", country: "ES" }];
  const card = { level: "high", kind: "suicide", subject: "self", resources: came };
  const shown = (chosen, known = chosen) => names(resourcesOf(card, lines, { chosen, known, language: "es" }));
  assert.deepEqual(shown(null, "AR"), ["024"]);
  assert.deepEqual(shown("ES"), ["024"]);
  assert.equal(shown("AR")[0], "Línea nacional de salud mental");
  // The list is not there yet.
  assert.deepEqual(names(resourcesOf(card, new HelpLines(), { chosen: "AR", known: "AR", language: "es" })), ["024"]);
  // A card that was stored without a list.
  assert.ok(resourcesOf({ level: "high" }, lines, { chosen: null, known: "AR", language: "es" }).length > 2);
});

test("each way to reach a line becomes a link that works", () => {
  const hrefs = (resource) => waysOf(resource).map(({ how, href, text }) => [how, href ?? text]);
  for (const [resource, want] of [
    [{ contact: "0800-999-0091", dial: "08009990091" }, [["call", "tel:08009990091"]]],
    [{ contact: "(011) 5275-1135", dial: "+541152751135" }, [["call", "tel:+541152751135"]]],
    [{ contact: "113, opción 5", dial: "113" }, [["call", "tel:113"]]],
    // No phone takes it from a link.
    [{ contact: "*4141" }, [["copy", "*4141"]]],
    [{ contact: "988", dial: "988", sms: { to: "988", body: "AYUDA" } }, [["call", "tel:988"], ["sms", "sms:988?body=AYUDA"]]],
    [{ contact: "mensaje SHOUT al 85258", sms: { to: "85258", body: "SHOUT" } }, [["sms", "sms:85258?body=SHOUT"]]],
    [{ contact: "1737", dial: "1737", sms: { to: "1737" } }, [["call", "tel:1737"], ["sms", "sms:1737"]]],
    [{ contact: "106", dial: "106", whatsapp: "+573007548933" }, [["call", "tel:106"], ["whatsapp", "https://wa.me/573007548933"]]],
    [{ contact: "findahelpline.com", url: "https://findahelpline.com" }, [["site", "https://findahelpline.com/"]]],
    [{ contact: "x", url: "javascript:alert(1)" }, [["words", "x"]]],
    [{ contact: "el número de emergencias de tu zona (en muchos países, 112 o 911)" }, [["words", "el número de emergencias de tu zona (en muchos países, 112 o 911)"]]],
    // As servers sent it before `dial`.
    [{ contact: "135" }, [["call", "tel:135"]]],
    [{ contact: "988 (press 2)" }, [["call", "tel:988"]]],
    [{ contact: "1", sms: { to: "1;2?x", body: "a&b c" } }, [["sms", "sms:12?body=a%26b%20c"]]],
    [{}, [["words", ""]]],
  ]) assert.deepEqual(hrefs(resource), want, JSON.stringify(resource));
  assert.equal(webLink("https://findahelpline.com"), "https://findahelpline.com/");
  for (const url of ["javascript:alert(1)", "http://x.example", "x", ""]) assert.equal(webLink(url), null, url);
});

test("the country is chosen, or guessed by the time zone, never by the language", () => {
  const storage = new Storage(fakeStore());
  const place = new Place(storage, "America/Argentina/Buenos_Aires", () => lines);
  assert.deepEqual([place.chosen, place.guess, place.known], [null, "AR", "AR"]);
  assert.deepEqual(place.hello, { time_zone: "America/Argentina/Buenos_Aires" });
  place.choose("CL");
  assert.deepEqual([place.chosen, place.known], ["CL", "CL"]);
  assert.deepEqual(place.hello, { country: "CL", time_zone: "America/Argentina/Buenos_Aires" });
  storage.set("country", "<b>");
  assert.equal(place.chosen, null);
  for (const zone of ["UTC", "Etc/Nowhere", "constructor", null]) assert.equal(new Place(new Storage(fakeStore()), zone, () => lines).guess, null);
  assert.deepEqual(new Place(new Storage(fakeStore()), null, () => lines).hello, {});
  const intl = (timeZone) => ({ DateTimeFormat: () => ({ resolvedOptions: () => ({ timeZone }) }) });
  assert.equal(zoneOf(intl("Europe/Madrid")), "Europe/Madrid");
  for (const broken of [{}, intl(undefined), intl("x".repeat(65))]) assert.equal(zoneOf(broken), null);
});
