// One entry of the conversation: what it holds and how wire fields become it. Pure.
//
//   all        key, role, id, seq (null until stored), text, chars, at (ms since 1970 or null), error (a code), arrival
//   user       state: "waiting" | "sending" | "sent" | "failed"; merged (answered together with the next one)
//   assistant  streaming, again (it was refused and is asked for again), ahead, finish, source, exercise?
//   support    level, subject, kind, resources
//   note       lang, after (the `seq` it stands behind): a reminder of the server's, never stored

import { countChars } from "./text.js";

/** Order inside one turn: the question, then help lines, then the answer. Notes belong to no turn. */
export const RANK = { user: 0, support: 1, assistant: 2 };

export function newEntry(key, role, id, fields) {
  return { key, role, id, seq: null, text: "", chars: 0, at: null, error: null, ...fields };
}

/** What a stored entry on the wire says about the entry on the page. */
export function fieldsOf(role, frame, now) {
  return { text: frame.text, chars: countChars(frame.text), at: timeOf(frame.at, now), ...detailsOf(role, frame) };
}

function detailsOf(role, frame) {
  if (role === "user") return { state: "sent", ...(frame.finish === "merged" && { merged: true }) };
  if (role === "assistant") {
    const exercise = frame.exercise ? { exercise: frame.exercise } : {};
    return { streaming: false, ahead: null, finish: frame.finish ?? "stop", source: frame.source ?? null, ...exercise };
  }
  // A card that comes without its list keeps the one it has.
  const { level, subject, kind, resources } = frame;
  return resources ? { level, subject: subject ?? "self", kind: kind ?? null, resources } : {};
}

/** Milliseconds since 1970 of a wire time (ISO 8601 or a number); `now` for what happens now. */
function timeOf(at, now) {
  if (at === undefined) return now;
  const time = new Date(at).getTime();
  return Number.isNaN(time) ? null : time;
}
