// The conversation as a state model. Pure: frames and the time come in, changes go out; no DOM, no socket.
//
// What an entry is made of is in entry.js.

import { fieldsOf, newEntry, RANK } from "./entry.js";
import { countChars, dropChars, takeChars } from "./text.js";

export class Conversation {
  #entries = [];
  #byKey = new Map();
  #bySeq = new Map();
  /** Numbers of what was erased, and of the erasures. */
  #gone = new Set();
  /** Up to here nothing is missing that the server still has. */
  #settled = 0;
  #arrivals = 0;
  #listener;

  /** `listener({kind, entry, next?, suffix?})`, kind: `placed` `updated` `grown` `removed` `cleared`. */
  constructor(listener = () => {}) {
    this.#listener = listener;
  }

  /** In the order of the page. Not to be changed. */
  get entries() {
    return this.#entries;
  }

  /** Lowest `seq` held, 0 if none. */
  get firstSeq() {
    return this.#bySeq.size === 0 ? 0 : Math.min(...this.#bySeq.keys());
  }

  /** The highest `seq` below which nothing is missing: what `hello` may claim to hold. */
  get lastSeq() {
    let seq = Math.max(this.firstSeq, this.#settled);
    while (this.#bySeq.has(seq + 1) || this.#gone.has(seq + 1)) seq += 1;
    return seq;
  }

  /** Lowest `seq` held beyond `seq`, null if none. */
  firstAfter(seq) {
    const beyond = [...this.#bySeq.keys()].filter((held) => held > seq);
    return beyond.length === 0 ? null : Math.min(...beyond);
  }

  get(role, id) {
    return this.#byKey.get(`${role}:${id}`);
  }

  /** A message the person just wrote here. */
  write(id, text, now) {
    return this.#create("user", id, { text, at: now, state: "waiting" });
  }

  /** Shows words of the server that belong to no message, at the end of what there is. */
  note(text, lang, now) {
    const after = Math.max(0, ...this.#bySeq.keys());
    return this.#create("note", undefined, { text, lang, after, at: now });
  }

  /** Moves an own message along before the server has spoken about it. */
  mark(id, state, error = null) {
    const entry = this.get("user", id);
    if (!entry || entry.seq !== null) return;
    Object.assign(entry, { state, error });
    this.#emit("updated", entry);
  }

  /** Takes a message that was never accepted out again. */
  remove(id) {
    this.#withdraw(this.get("user", id));
  }

  /** Takes out what is not stored. Nothing happened by that. */
  #withdraw(entry) {
    if (entry?.seq === null) this.#takeOut(entry);
    return [];
  }

  #takeOut(entry) {
    this.#entries.splice(this.#entries.lastIndexOf(entry), 1);
    this.#byKey.delete(entry.key);
    this.#bySeq.delete(entry.seq);
    this.#emit("removed", entry);
  }

  /** Message `id` is erased with all that belongs to it. That took number `seq`; the numbers of what is gone are never used again. */
  forget(id, seq) {
    const gone = this.#entries.filter((entry) => entry.id === id && entry.role !== "note");
    for (const entry of gone) {
      this.#takeOut(entry);
      this.#gone.add(entry.seq);
    }
    this.#gone.add(seq);
  }

  /** The text of message `id` if it may still get an answer, null where the text is not held; undefined if it has one. */
  questionOf(id) {
    const answered = (this.get("assistant", id)?.seq ?? null) !== null;
    return answered ? undefined : this.get("user", id)?.text ?? null;
  }

  /**
   * Below each stored message of which no answer is known: an entry that says so and can be asked for one. Returns the
   * one of the newest entry, if there was none before. A server answers in order: what was stored behind a message that
   * is being answered may still have its turn.
   */
  offerAnswers() {
    const awaited = this.#entries.filter(({ role, streaming }) => role === "assistant" && streaming);
    const first = Math.min(Infinity, ...awaited.map(({ id }) => this.get("user", id)?.seq ?? Infinity));
    const lacks = ({ role, id, seq, merged }) => role === "user" && seq !== null && seq < first && !merged && !this.get("assistant", id);
    const unanswered = this.#entries.filter(lacks);
    const newest = this.#entries.filter(({ role }) => role !== "note").at(-1)?.id;
    const closed = { streaming: false, again: false, ahead: null, finish: "error", source: null, error: "unanswered" };
    return unanswered.map(({ id }) => this.#create("assistant", id, { ...closed })).find(({ id }) => id === newest) ?? null;
  }

  /** An answer that is not stored is waited for; `again`: after it was refused, it is asked for again. */
  reopen(id, now, again = false) {
    const entry = this.#answer(id, now);
    if (entry.seq !== null || (entry.streaming && entry.again === again)) return;
    this.#revive(entry, now);
    entry.again = again;
    this.#emit("updated", entry);
  }

  /** An answer that is not stored is not waited for any more. */
  giveUp(id, now, finish, error) {
    const entry = this.#answer(id, now);
    if (entry.seq === null) this.#finish(entry, { finish, error });
    return entry;
  }

  #revive(entry, now) {
    Object.assign(entry, { streaming: true, again: false, ahead: null, finish: null, error: null, at: entry.at ?? now });
  }

  /** Another session begins. What was not accepted belongs to no session yet and may stay. */
  reset({ keepUnsent = true } = {}) {
    const kept = keepUnsent ? this.#entries.filter((entry) => entry.role === "user" && entry.seq === null) : [];
    this.#entries = [];
    this.#byKey.clear();
    this.#bySeq.clear();
    this.#gone.clear();
    this.#settled = 0;
    this.#listener({ kind: "cleared" });
    for (const entry of kept) {
      this.#byKey.set(entry.key, entry);
      this.#place(entry);
    }
  }

  /** Everything up to `seq` has come; a number that has not is of an entry whose time was over. */
  settle(seq) {
    this.#settled = Math.max(this.#settled, seq);
  }

  /**
   * Takes one server frame. Returns what happened that the rest of the page may care about:
   * `{kind: "added" | "finished" | "incomplete", entry}`. What an error means for a message is decided in turns.js.
   */
  apply(frame, now) {
    switch (frame.type) {
      case "accepted": return this.#accepted(frame, now);
      case "queued": return this.#queued(frame, now);
      case "support": return this.#stored("support", frame, now);
      case "delta": return this.#delta(frame, now);
      case "done": return this.#done(frame, now);
      case "turn": return this.#stored(frame.role, frame, now);
      default: return [];
    }
  }

  #accepted({ id, seq }, now) {
    const entry = this.get("user", id);
    if (!entry) return [];
    Object.assign(entry, { state: "sent", error: null });
    this.#number(entry, seq);
    this.#placeWithOthers(entry);
    this.reopen(id, now);
    return [];
  }

  #queued({ id, ahead }, now) {
    const entry = this.#answer(id, now);
    if (entry.seq !== null) return [];
    this.#revive(entry, now);
    // A replay says 0 of an answer that is being given already and has no word yet, too.
    entry.ahead = ahead > 0 ? ahead : null;
    this.#emit("updated", entry);
    return [];
  }

  #delta({ id, offset, text, exercise }, now) {
    const entry = this.#answer(id, now);
    if (exercise) entry.exercise = exercise;
    // Stored text is the last word; an answer that was given up may come back to life.
    if (entry.seq !== null) return [];
    const revived = !entry.streaming || entry.again || entry.ahead !== null;
    this.#revive(entry, now);
    if (revived) this.#emit("updated", entry);
    // A piece beyond what is held would leave a hole: `done` then counts wrong and asks for a repair.
    if (offset > entry.chars) return [];
    const held = dropChars(entry.text, offset, entry.chars);
    if (text.startsWith(held)) this.#grow(entry, text.slice(held.length));
    else if (!held.startsWith(text)) this.#rewrite(entry, offset, text);
    return [];
  }

  #grow(entry, suffix) {
    if (suffix === "") return;
    entry.text += suffix;
    entry.chars += countChars(suffix);
    this.#listener({ kind: "grown", entry, suffix });
  }

  /** What is held from `offset` on is not what is told: a server that was restarted in mid-answer writes another one. */
  #rewrite(entry, offset, text) {
    entry.text = takeChars(entry.text, offset) + text;
    entry.chars = offset + countChars(text);
    this.#emit("updated", entry);
  }

  #done({ id, seq, finish, source, chars, exercise }, now) {
    if (finish === "merged") return this.#merged(id);
    const entry = this.#answer(id, now);
    const known = !entry.streaming && entry.finish === finish && entry.seq === (seq ?? null);
    if (seq !== undefined) this.#number(entry, seq);
    this.#finish(entry, { finish, source: source ?? null, error: null, ...(exercise && { exercise }) });
    this.#place(entry);
    const whole = chars === undefined || seq === undefined || chars === entry.chars;
    const happened = whole ? [] : [{ kind: "incomplete", entry }];
    return known ? happened : [...happened, { kind: "finished", entry }];
  }

  /** One answer is given to this message and the one behind it: it has none of its own. */
  #merged(id) {
    const question = this.get("user", id);
    if (question) question.merged = true;
    return this.#withdraw(this.get("assistant", id));
  }

  /** A stored entry, by replay, by another connection, or live help lines. */
  #stored(role, frame, now) {
    if (!(role in RANK)) return [];
    // The same entry may have been seen before it was stored: it has this role and id and no `seq` yet.
    const early = frame.id === undefined ? undefined : this.get(role, frame.id);
    // Help lines may come without a `seq`: then they are not stored, or not yet.
    const seq = frame.seq ?? null;
    // Of one message there is one card, which the next one takes the place of.
    const same = role === "support" || early?.seq === null || seq === null;
    const held = this.#bySeq.get(seq) ?? (same ? early : undefined);
    const fields = fieldsOf(role, frame, now);
    if (!held) {
      const entry = this.#create(role, frame.id, { ...fields, seq });
      return [{ kind: "added", entry }];
    }
    const finished = role === "assistant" && held.seq === null;
    Object.assign(held, fields, { at: held.at ?? fields.at, streaming: false, again: false, error: null });
    this.#number(held, seq);
    this.#placeWithOthers(held);
    return finished ? [{ kind: "finished", entry: held }] : [];
  }

  /** The answer to message `id`, begun if need be. */
  #answer(id, now) {
    const begun = { at: now, streaming: true, again: false, ahead: null, finish: null, source: null };
    return this.get("assistant", id) ?? this.#create("assistant", id, begun);
  }

  #finish(entry, fields) {
    Object.assign(entry, { streaming: false, again: false, ahead: null }, fields);
    this.#emit("updated", entry);
  }

  #create(role, id, fields) {
    const taken = id === undefined || this.get(role, id);
    const arrival = this.#arrivals++;
    const key = taken ? `seq:${fields.seq ?? `none:${arrival}`}` : `${role}:${id}`;
    const entry = newEntry(key, role, id, { ...fields, arrival });
    if (entry.seq !== null) this.#bySeq.set(entry.seq, entry);
    this.#byKey.set(key, entry);
    this.#place(entry);
    return entry;
  }

  #number(entry, seq) {
    if (seq === null || this.#bySeq.get(seq) === entry) return;
    entry.seq = seq;
    this.#bySeq.set(seq, entry);
  }

  /** Where a message goes, its help and its answer go with it: they may have come before its number was known. */
  #placeWithOthers(entry) {
    this.#place(entry);
    if (entry.role !== "user") return;
    for (const other of ["support", "assistant"].map((role) => this.get(role, entry.id))) if (other) this.#place(other);
  }

  /** Puts an entry where it belongs; says so only if that changed anything. */
  #place(entry) {
    const from = this.#entries.lastIndexOf(entry);
    if (from >= 0) this.#entries.splice(from, 1);
    let index = this.#entries.length;
    while (index > 0 && this.#order(this.#entries[index - 1], entry) > 0) index -= 1;
    this.#entries.splice(index, 0, entry);
    const kind = index === from ? "updated" : "placed";
    this.#listener({ kind, entry, next: this.#entries[index + 1] });
  }

  /**
   * By `seq`, except that an answer stands right below its question even where a second question was stored
   * in between: the same order live and after a reload.
   */
  #order(a, b) {
    const [left, right] = [this.#anchor(a), this.#anchor(b)];
    if (left !== right) return left < right ? -1 : 1;
    return (a.id === b.id ? RANK[a.role] - RANK[b.role] : 0) || a.arrival - b.arrival;
  }

  #anchor(entry) {
    // Behind the entry that was the last one when it came, and before the next.
    if (entry.role === "note") return entry.after + 0.5;
    const question = this.get("user", entry.id);
    // Help for a message that is not stored, or not yet, stays beside it at the end.
    if (entry.role === "support" && question) return question.seq ?? Infinity;
    return question?.seq ?? entry.seq ?? Infinity;
  }

  #emit(kind, entry) {
    this.#listener({ kind, entry });
  }
}
