// One machine per message, from being written to its answer, and the only thing that sends messages. No socket, no
// clock, no DOM. The transitions are those of the native client (crates/client/src/conversation.rs):
//
//   waiting ──▶ sending ──▶ accepted ──▶ answering ──▶ done (forgotten here)
//      ▲           │            │            │
//      └── cut ────┴──▶ refused(retryAt) ◀───┘     retryAt null: only the person sends it again
//
// Every message goes out as soon as there is a connection, however many answers are open: a server that has no room
// says so (`user_busy`), and the message is sent again after `retry_after_ms`. Refused messages go again in the order
// they were written, none before an earlier one. A new message does not wait for them; it is stored first then, and
// the page shows the order in which the server stores.

import { retryMs } from "./backoff.js";

/** On the wire without `accepted` for longer than this, a message is sent again; its id makes that harmless. */
export const SENDING_MS = 20_000;
/** Longer than the server's own queue, tries and time-outs together: after this an answer is not coming. */
export const SILENCE_MS = 180_000;
/** Times a message is sent without any word about it before it is left to the person. */
const MAX_SENDS = 3;
/** Times an answer that was refused is asked for again by itself: each may cost a call to the model. */
const MAX_ASKS = 6;

/** Refusals that end by themselves. */
const PASSING = new Set(["rate_limited", "user_busy", "overloaded", "unavailable"]);
/** Errors about a line whose id the server could not read. */
const UNREADABLE = new Set(["bad_frame", "line_too_long", "invalid_utf8"]);

export class Turns {
  /** id → turn, in the order of writing. */
  #turns = new Map();
  #online = false;
  /** Ids of the messages on this connection that the server has not named yet, in the order they were sent. */
  #unnamed = [];
  #random;
  #questionOf;
  #changed;

  /**
   * @param questionOf(id) as of {@link Conversation.questionOf}: answers are heard of to messages written elsewhere too
   * @param changed(turn) runs after every transition, with `state` "done" at the end
   */
  constructor({ random, questionOf = () => undefined, changed = () => {} }) {
    this.#random = random;
    this.#questionOf = questionOf;
    this.#changed = changed;
  }

  /** Messages the server has not confirmed. */
  get unconfirmed() {
    return [...this.#turns.values()].filter((turn) => !turn.stored);
  }

  /** Ids of stored messages whose answer is awaited. */
  get open() {
    return [...this.#turns.values()].filter((turn) => turn.stored).map((turn) => turn.id);
  }

  /** Whether the server is giving an answer on this connection. */
  get live() {
    return [...this.#turns.values()].some((turn) => turn.heard);
  }

  get(id) {
    return this.#turns.get(id);
  }

  // ---- what the person wants ----------------------------------------------------------------

  /** A message was written. `refused` as of {@link Turns.unconfirmed}, where an earlier page left off. */
  write(id, text, now, refused = null) {
    const turn = this.#add(id, { text, stored: false }, now);
    if (refused) Object.assign(turn, { state: "refused", ...refused });
    this.#changed(turn);
  }

  /** The person sends a refused message again, or asks again for an answer: now, or with the next connection. */
  ask(id, text, now) {
    const known = this.#turns.get(id);
    if (known && known.state !== "refused") return;
    const turn = known ?? this.#add(id, { text, stored: true }, now);
    Object.assign(turn, { tries: 0, sends: 0 });
    this.#to(turn, "waiting", now);
  }

  /** The message, or its answer, is not wanted any more. */
  drop(id) {
    const turn = this.#turns.get(id);
    if (turn) this.#end(turn);
  }

  /** Another session begins. What was not accepted belongs to no session yet and may stay. */
  reset({ keepUnsent = true } = {}) {
    for (const turn of [...this.#turns.values()]) {
      if (turn.stored || !keepUnsent) this.#end(turn);
    }
  }

  // ---- what the connection tells ------------------------------------------------------------

  welcomed(now) {
    this.#online = true;
    for (const turn of this.#turns.values()) {
      // Time without a connection does not count as silence of the server.
      if (turn.stored) Object.assign(turn, { heard: false, since: now });
    }
  }

  /**
   * A replay is over. Not a word about an answer that is awaited: a server that was killed has forgotten it, and its
   * id asks again. Returns events as {@link Turns.observe} does.
   */
  replayed(now) {
    const silent = ({ heard, state }) => !heard && (state === "accepted" || state === "answering");
    return [...this.#turns.values()].filter(silent).flatMap((turn) => {
      if (turn.text === null) return this.#fail(turn, "timeout", now);
      this.#to(turn, "waiting", now);
      return [];
    });
  }

  cut(now) {
    this.#online = false;
    this.#unnamed = [];
    for (const turn of this.#turns.values()) {
      turn.heard = false;
      if (turn.state !== "sending") continue;
      // The cut is why there was no answer: only silence on a connection that lives counts.
      turn.sends = 0;
      this.#to(turn, "waiting", now);
    }
  }

  /** A message that cannot be sent: only the person may try again. */
  refuse(id, code, now) {
    return this.#fail(this.#turns.get(id), code, now)[0];
  }

  /** Takes what is to be sent now, oldest first. */
  take(now) {
    if (!this.#online) return [];
    const due = [...this.#turns.values()].filter((turn) => turn.state === "waiting" || isDue(turn, now));
    for (const turn of due) {
      turn.sends += 1;
      this.#unnamed.push(turn.id);
      this.#to(turn, "sending", now);
    }
    return due.map(({ id, text }) => ({ id, text }));
  }

  /** Follows a frame of the server. Returns what became of a message: `{kind: "refused" | "failed", turn, code}`. */
  observe(frame, now) {
    const turn = this.#turns.get(frame.id);
    if (["accepted", "forgotten", "error"].includes(frame.type)) this.#named(frame.id);
    switch (frame.type) {
      case "accepted": return this.#accepted(turn ?? this.#heardOf(frame.id, now), now);
      case "queued":
      case "delta": return this.#heard(turn ?? this.#heardOf(frame.id, now), now);
      case "done": return this.#done(turn);
      case "turn": return frame.role === "user" ? this.#stored(turn, now) : frame.role === "assistant" ? this.#done(turn) : [];
      case "error": return this.#error(frame, turn, now);
      default: return [];
    }
  }

  /** Ends waits that have a limit. Returns events as {@link Turns.observe} does. */
  tick(now) {
    if (!this.#online) return [];
    return [...this.#turns.values()].filter((turn) => limitOf(turn) <= now).flatMap((turn) => {
      if (turn.state !== "sending") return this.#fail(turn, "timeout", now);
      if (turn.sends >= MAX_SENDS) return this.#fail(turn, "timeout", now);
      this.#to(turn, "waiting", now);
      return [];
    });
  }

  /** When {@link Turns.take} or {@link Turns.tick} has something to do next; Infinity if nothing is planned. */
  get nextAt() {
    if (!this.#online) return Infinity;
    const times = [...this.#turns.values()].map((turn) => (turn.state === "refused" ? turn.retryAt ?? Infinity : limitOf(turn)));
    return Math.min(Infinity, ...times);
  }

  // ---- transitions --------------------------------------------------------------------------

  #accepted(turn, now) {
    if (!turn) return [];
    turn.stored = true;
    turn.heard = true;
    // Where another core is generating the answer, its pieces may come first.
    if (turn.state !== "answering") this.#to(turn, "accepted", now);
    return [];
  }

  #heard(turn, now) {
    if (!turn) return [];
    turn.stored = true;
    turn.heard = true;
    turn.since = now;
    if (turn.state !== "answering") this.#to(turn, "answering", now);
    return [];
  }

  /** Its `accepted` was lost, or it went out from elsewhere: the replay tells that it is stored. */
  #stored(turn, now) {
    if (!turn || turn.stored) return [];
    turn.stored = true;
    // One that is on the wire gets its `accepted` all the same.
    if (turn.state !== "sending") this.#to(turn, "accepted", now);
    else this.#changed(turn);
    return [];
  }

  #done(turn) {
    if (turn) this.#end(turn);
    return [];
  }

  #error({ id, code, retry_after_ms: asked }, turn, now) {
    if (id === undefined) return UNREADABLE.has(code) ? this.#unreadable(code, now) : [];
    // `shutting_down` is followed by a cut, `not_found` answers a `stop` that came too late.
    if (!turn || code === "shutting_down") return [];
    if (code === "not_found" && turn.stored) return [];
    const lasting = turn.text === null || (turn.stored && turn.tries >= MAX_ASKS);
    return PASSING.has(code) && !lasting ? this.#refuse(turn, code, asked, now) : this.#fail(turn, code, now);
  }

  #named(id) {
    const place = this.#unnamed.indexOf(id);
    if (place >= 0) this.#unnamed.splice(place, 1);
  }

  /** The server cannot say which line it could not read; it reads in order, so it is the oldest it has not named. */
  #unreadable(code, now) {
    while (this.#unnamed.length > 0) {
      const turn = this.#turns.get(this.#unnamed.shift());
      if (turn && !turn.stored && turn.state === "sending") return this.#fail(turn, code, now);
      // Sent twice, and the first one has failed already.
      if (turn?.state === "refused") return [];
    }
    return [];
  }

  #refuse(turn, code, asked, now) {
    // Room in one's own session comes with the end of an answer: no reason to ask ever more rarely.
    const wait = retryMs(asked, code === "user_busy" ? 0 : turn.tries, this.#random);
    turn.tries += 1;
    turn.sends = 0;
    this.#to(turn, "refused", now, { code, retryAt: now + wait });
    if (!turn.stored) this.#keepOrder();
    return [{ kind: "refused", turn, code }];
  }

  /** No refused message goes again before one that was written earlier. */
  #keepOrder() {
    let latest = 0;
    for (const turn of this.#turns.values()) {
      if (turn.stored || turn.state !== "refused" || turn.retryAt === null) continue;
      turn.retryAt = latest = Math.max(latest, turn.retryAt);
    }
  }

  #fail(turn, code, now) {
    if (turn.stored) this.#end(turn);
    else this.#to(turn, "refused", now, { code, retryAt: null });
    return [{ kind: "failed", turn, code }];
  }

  /** An answer is heard of whose message was not written here. */
  #heardOf(id, now) {
    const text = this.#questionOf(id);
    return text === undefined ? undefined : this.#add(id, { text, stored: true }, now);
  }

  #add(id, fields, now) {
    const turn = { id, state: "waiting", code: null, retryAt: null, tries: 0, sends: 0, heard: false, since: now, ...fields };
    this.#turns.set(id, turn);
    return turn;
  }

  #to(turn, state, now, { code = null, retryAt = null } = {}) {
    Object.assign(turn, { state, code, retryAt, since: now });
    if (state === "waiting" || state === "refused") turn.heard = false;
    this.#changed(turn);
  }

  #end(turn) {
    this.#turns.delete(turn.id);
    turn.state = "done";
    turn.heard = false;
    this.#changed(turn);
  }
}

function isDue(turn, now) {
  return turn.state === "refused" && turn.retryAt !== null && turn.retryAt <= now;
}

/** When the wait a turn is in has lasted too long. */
function limitOf(turn) {
  if (turn.state === "sending") return turn.since + SENDING_MS;
  return turn.state === "accepted" || turn.state === "answering" ? turn.since + SILENCE_MS : Infinity;
}
