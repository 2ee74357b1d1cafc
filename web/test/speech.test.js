// Reading aloud: in pieces, with a voice of the device, to be stopped.

import assert from "node:assert/strict";
import { test } from "node:test";

import { sentences, Speech } from "../js/speech.js";

function device(voices) {
  const spoken = [];
  let cancelled = 0;
  const synth = { getVoices: () => voices, speak: (part) => spoken.push(part), cancel: () => { cancelled += 1; } };
  return { speech: new Speech(synth, (text) => ({ text })), spoken, cancels: () => cancelled };
}

const voices = [
  { lang: "en-US", localService: true }, { lang: "es-ES", localService: false }, { lang: "es-AR", localService: true }, { lang: "es-MX", localService: true, default: true },
];

test("a text is read in sentences, and a long one in parts between words", () => {
  assert.deepEqual(sentences("Hola. ¿Cómo estás?\n- bien…"), ["Hola.", "¿Cómo estás?", "- bien…"]);
  assert.deepEqual(sentences("... \n --"), []);
  const parts = sentences("palabra ".repeat(100));
  assert.ok(parts.length > 3 && parts.every((part) => part.length <= 200 && !part.startsWith(" ")));
  assert.equal(parts.join(" "), "palabra ".repeat(100).trim());
});

test("only a voice of the device reads", () => {
  const { speech, spoken } = device(voices);
  assert.deepEqual([speech.speaks("es"), speech.speaks("en"), speech.speaks("fr"), device([voices[1]]).speech.speaks("es")], [true, true, false, false]);
  speech.say("Hola.", "es");
  assert.deepEqual([spoken[0].voice.lang, spoken[0].lang], ["es-MX", "es-MX"]);
  let done = 0;
  new Speech(undefined).say("Hola.", "es", () => { done += 1; });
  assert.equal(done, 1, "nothing to wait for");
});

test("it ends once: at the end of the text, by a fault, when stopped, or when another text is read", () => {
  const { speech, spoken, cancels } = device(voices);
  const ends = [];
  speech.say("Uno. Dos.", "es", () => ends.push("a"));
  assert.equal(spoken[0].onend, undefined);
  spoken[1].onend();
  assert.deepEqual([ends, speech.isSpeaking], [["a"], false]);
  speech.say("Uno.", "es", () => ends.push("b"));
  speech.say("Dos.", "es", () => ends.push("c"));
  assert.deepEqual([ends, speech.isSpeaking], [["a", "b"], true]);
  // The end of what was cancelled comes late, as a fault in some browsers.
  spoken[2].onend();
  spoken[2].onerror();
  assert.equal(speech.isSpeaking, true);
  speech.stop();
  speech.stop();
  assert.deepEqual(ends, ["a", "b", "c"]);
  speech.say("Tres.", "es", () => ends.push("d"));
  spoken[4].onerror();
  assert.deepEqual(ends, ["a", "b", "c", "d"]);
  assert.ok(cancels() >= 3);
});
