// Looking for words in the entries of a conversation, and for its days. Pure.

import { fold } from "./commands.js";
import { strip } from "./markdown.js";

const MAX_FOUND = 100;
const AROUND = 60;

/** Where `words` stand, whatever their accents and case: `[{seq, role, at, before, found, after}]`, the newest first. */
export function find(entries, words) {
  const wanted = folded(words.trim());
  if (wanted.text === "") return [];
  const found = [];
  for (const { seq, role, at, text } of entries.toReversed()) {
    const shown = strip(text).replace(/\s+/g, " ");
    const { text: hay, places } = folded(shown);
    const start = hay.indexOf(wanted.text);
    if (start < 0) continue;
    const [from, to] = [places[start], places[start + wanted.text.length] ?? shown.length];
    found.push({ seq, role, at, before: tail(shown.slice(0, from)), found: shown.slice(from, to), after: head(shown.slice(to)) });
    if (found.length === MAX_FOUND) break;
  }
  return found;
}

/** The days on which something was said, the newest first: `[{at, seq}]` of the first entry of each. */
export function daysOf(entries) {
  const days = new Map();
  for (const { at, seq } of entries) {
    const day = new Date(at).toDateString();
    if (!days.has(day)) days.set(day, { at, seq });
  }
  return [...days.values()].reverse();
}

/** `text` as it is compared, and for each of its characters where it stands in `text`. */
function folded(text) {
  const places = [];
  let out = "";
  let at = 0;
  for (const char of text) {
    // A space is no less a character for being at an end.
    const bare = char === " " ? char : fold(char);
    out += bare;
    for (let count = 0; count < bare.length; count += 1) places.push(at);
    at += char.length;
  }
  return { text: out, places };
}

function tail(text) {
  return text.length > AROUND ? `…${text.slice(-AROUND)}` : text;
}

function head(text) {
  return text.length > AROUND ? `${text.slice(0, AROUND)}…` : text;
}
