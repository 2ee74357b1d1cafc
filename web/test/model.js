// A small model of the server's rules: what a session stores and what its connections hear. After
// crates/client/src/conversation/model.rs, with the refusals that a page must live with. No time: the test decides
// when a server is busy, away or dead.

/** A server with one session and any number of connections, of which the tests look at one. */
export class Model {
  entries = [];
  /** The highest number that was ever used. */
  #last = 0;
  /** Ids of messages that wait for their answer; the first one's is being given once `running`. */
  waiting = [];
  running = null;
  /** What is on its way to the client; null without a connection. */
  wire = null;
  greeted = false;
  /** How many times the server has died: then answers are other ones. */
  lives = 0;
  /** The `forgotten` frames of messages that were erased. */
  erasures = [];
  /** Messages of one client that may be pending. */
  room = 2;
  /** Refuses everything for now. */
  away = null;

  /** `merges`: one answer is given to messages of which none has a word yet. */
  constructor(replayed, merges = false) {
    this.replayed = replayed;
    this.merges = merges;
  }

  get seq() {
    return this.#last;
  }

  entryOf(id, role) {
    return this.entries.find((entry) => entry.id === id && entry.role === role);
  }

  connect() {
    this.wire = [];
    this.greeted = false;
  }

  /** Takes a line of the client. */
  receive(frame) {
    if (this.wire === null) return;
    if (frame.type === "hello") this.#hello(frame);
    else if (frame.type === "message") this.#message(frame);
    else if (frame.type === "ping") this.tell({ type: "pong", id: frame.id });
    else if (frame.type === "request") this.#request(frame);
  }

  tell(frame) {
    if (this.greeted) this.wire?.push(frame);
  }

  #hello({ resume, since }) {
    this.greeted = true;
    const resumed = resume !== undefined;
    const held = Math.min(since ?? this.seq, this.seq);
    const after = Math.max(held, this.seq - this.replayed);
    const missed = held < after ? { missed: after - held } : {};
    this.tell({ type: "welcome", v: 1, session: "s1", resume: "t1", resumed, seq: this.seq, limits: {}, ...missed });
    const turns = this.entries.map((entry) => ({ type: "turn", ...entry }));
    for (const frame of [...turns, ...this.erasures].sort((a, b) => a.seq - b.seq)) if (frame.seq > after) this.tell(frame);
    if (this.running) this.tell({ type: "delta", id: this.running.id, offset: 0, text: this.running.draft });
    for (const id of this.waiting) this.tell({ type: "queued", id, ahead: 0 });
  }

  #message({ id, text }) {
    // A line the server cannot read has no id.
    if (text.startsWith("poison")) return this.tell({ type: "error", code: "bad_frame", message: "" });
    if (this.away !== null) return this.tell({ type: "error", id, code: this.away, message: "", retry_after_ms: 1_000 });
    const erased = this.erasures.find((erasure) => erasure.id === id);
    if (erased) return this.tell(erased);
    const known = this.entryOf(id, "user");
    const pending = this.waiting.includes(id) || this.running?.id === id;
    if (!known && this.waiting.length + (this.running ? 1 : 0) >= this.room) {
      return this.tell({ type: "error", id, code: "user_busy", message: "", retry_after_ms: 2_000 });
    }
    const question = known ?? this.#store(id, "user", text);
    this.tell({ type: "accepted", id, seq: question.seq });
    const answer = this.entryOf(id, "assistant");
    if (answer) this.#tellAnswer(answer);
    else if (question.finish === "merged") this.tell(merged(id));
    else if (!pending) this.#await(id);
    return undefined;
  }

  #await(id) {
    if (this.merges) {
      for (const earlier of this.waiting.splice(0)) {
        this.entryOf(earlier, "user").finish = "merged";
        this.tell(merged(earlier));
      }
    }
    this.waiting.push(id);
  }

  /** The last message goes, with all that belongs to it; an answer to it ends. The erasure has a number of its own. */
  #forget() {
    const last = this.entries.findLast(({ role }) => role === "user");
    if (last === undefined) return null;
    const gone = this.entries.filter(({ id }) => id === last.id);
    this.entries = this.entries.filter(({ id }) => id !== last.id);
    this.waiting = this.waiting.filter((id) => id !== last.id);
    if (this.running?.id === last.id) this.running = null;
    const erasure = { type: "forgotten", seq: (this.#last += 1), id: last.id, from_seq: last.seq };
    this.erasures.push(erasure);
    return { erasure, erased: gone.length };
  }

  /** Another device erases the last exchange. */
  forgetElsewhere() {
    const done = this.#forget();
    if (done !== null) this.tell(done.erasure);
  }

  #tellAnswer(answer) {
    this.tell({ type: "delta", id: answer.id, offset: 0, text: answer.text });
    this.tell(done(answer));
  }

  #request({ id, method, params }) {
    if (method === "forget_last") {
      const done = this.#forget();
      this.tell({ type: "response", id, result: { erased: done?.erased ?? 0, seq: this.seq, ...(done && { id: done.erasure.id }) } });
    }
    if (method !== "history") return;
    const before = this.entries.filter(({ seq }) => seq < (params.before_seq ?? Infinity));
    const entries = before.slice(-(params.limit ?? 50));
    this.tell({ type: "response", id, result: { entries, more: entries.length < before.length } });
  }

  #store(id, role, text) {
    const finish = role === "assistant" ? { finish: "stop", source: "llm" } : {};
    const entry = { seq: (this.#last += 1), id, role, text, at: "2026-01-02T03:04:05.000Z", ...finish };
    this.entries.push(entry);
    return entry;
  }

  /** Another device says something. */
  elsewhere(id) {
    this.tell({ type: "turn", ...this.#store(id, "user", `${id} de otro lado`) });
    this.#await(id);
  }

  /** Help for the message that is answered next. */
  support() {
    const [id] = this.waiting;
    if (this.running || id === undefined || this.entryOf(id, "support")) return;
    const { seq, text } = this.#store(id, "support", "ayuda");
    this.tell({ type: "support", id, seq, level: "high", text, resources: [] });
  }

  /** The next piece of an answer; begins one if none is being given. */
  piece(text) {
    if (this.running === null && this.waiting.length > 0) this.running = { id: this.waiting.shift(), draft: "" };
    if (this.running === null) return;
    const { id, draft } = this.running;
    this.running.draft += text;
    this.tell({ type: "delta", id, offset: [...draft].length, text });
  }

  /** The answer is complete. */
  finish() {
    if (!this.running?.draft) return;
    const { id, draft } = this.running;
    this.running = null;
    this.tell(done(this.#store(id, "assistant", draft)));
  }

  /** An accepted message loses its answer, before it or in the middle of it. */
  refuse(code) {
    const id = this.running?.id ?? this.waiting.shift();
    this.running = null;
    if (id !== undefined) this.tell({ type: "error", id, code, message: "", retry_after_ms: 1_000 });
  }

  /** The process ends and another one takes over: what was stored is there, no more. */
  die() {
    this.wire = null;
    this.waiting = [];
    this.running = null;
    this.lives += 1;
  }
}

function done(answer) {
  return { type: "done", id: answer.id, seq: answer.seq, finish: "stop", source: "llm", chars: [...answer.text].length };
}

/** The answer to the message behind it is one to this, too. */
function merged(id) {
  return { type: "done", id, finish: "merged", source: "llm", chars: 0 };
}
