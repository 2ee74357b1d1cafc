// The session: one conversation, its messages on their way, and the connection that carries them. No DOM.

import { Connection } from "./connection.js";
import { Conversation } from "./conversation.js";
import { Outbox } from "./outbox.js";
import { newId } from "./text.js";

const PAGE = 100;
const HISTORY_MAX = 200;
/** Longer than the server's own queue, tries and time-outs together: after this an answer is not coming. */
const SILENCE_MS = 180_000;
/** Close code of a message that the gateway does not take. */
const TOO_BIG = 1009;
/** Errors that announce the end of the connection: the status line already tells that story. */
const CLOSING = new Set(["shutting_down", "slow_consumer", "too_many_connections"]);

export class Chat {
  #io;
  #storage;
  #on;
  #outbox = new Outbox();
  #connection;
  #token = null;
  #session = null;
  /** Nothing of this session was on the page before: what is replayed is history, not news. */
  #fresh = true;
  /** Entries up to here are history. */
  #historyUntil = 0;
  /** The highest `seq` when the connection was welcomed. */
  #storedUntil = 0;
  /** Behind this `seq` more was said while we were away than is replayed; null if not. */
  #gapAfter = null;

  /**
   * @param io what {@link Connection} needs
   * @param on {locale(), change(change), state(state), limits(limits), accepted(), problem(frame),
   *   happened({kind, entry}) (as of {@link Conversation.apply}, and "unanswered"), restored(), older(more), switched(), gone()}
   */
  constructor(io, storage, on) {
    this.#io = io;
    this.#storage = storage;
    this.#on = on;
    this.conversation = new Conversation(on.change);
    this.#connection = new Connection(io, {
      hello: () => this.#hello(),
      state: on.state,
      welcome: (frame) => this.#welcome(frame),
      replayed: () => this.#replayed(),
      frame: (frame) => this.#frame(frame),
      badResume: () => this.#badResume(),
      cut: (code) => this.#cut(code),
      busy: () => this.conversation.openAnswers.length > 0,
    });
  }

  /** True if leaving now would lose something the person wrote. */
  get hasUnsent() {
    return this.#outbox.unconfirmed > 0;
  }

  get remembersSession() {
    return this.#storage.get("resume") !== null;
  }

  start() {
    this.#connection.open();
  }

  wake() {
    this.#connection.wake();
  }

  sleep() {
    this.#connection.sleep();
  }

  send(text) {
    const id = newId();
    this.conversation.write(id, text, this.#io.clock.now());
    this.#queue(id, text);
  }

  /** Sends a refused message again: the same id, so that it can never count twice. */
  retry(entry) {
    this.conversation.mark(entry.id, "waiting");
    this.#queue(entry.id, entry.text);
  }

  /** Takes a message that was not accepted out of the conversation and returns its text. */
  takeBack(entry) {
    this.#outbox.drop(entry.id);
    this.conversation.remove(entry.id);
    return entry.text;
  }

  /**
   * Asks again for an answer that never came, or came and could not be kept: the message is stored, and its id asks for
   * what it has not got. Without a connection the next one asks.
   */
  askAgain(entry) {
    const question = this.conversation.get("user", entry.id);
    if (!question) return;
    this.conversation.reopen(entry.id, this.#io.clock.now());
    this.#connection.send({ type: "message", id: question.id, text: question.text });
  }

  /** Ends the answers in progress; false if there is no connection to ask over. */
  stop() {
    for (const id of this.conversation.openAnswers) this.#connection.send({ type: "stop", id });
    return this.#connection.ready;
  }

  /** Tells the server which language to answer in; the next `hello` does if there is no connection now. */
  async setLocale() {
    try {
      await this.#connection.request("set_locale", { locale: this.#on.locale() });
    } catch {
      // The page is already in that language, and `hello` repeats the wish.
    }
  }

  /** Loads a page of older entries; `around(apply)` may keep the view in place while they are added. */
  async loadOlder(around) {
    const { firstSeq } = this.conversation;
    const page = firstSeq === 0 ? { limit: PAGE } : { before_seq: firstSeq, limit: PAGE };
    const { entries, more } = await this.#connection.request("history", page);
    around(() => this.#applyEntries(entries));
    this.#on.older(more);
  }

  /** Erases the session on the server and begins another. Rejects, and changes nothing, if it cannot. */
  async startOver() {
    await this.#connection.request("erase", { confirm: this.#session });
    this.#forget();
    this.#outbox.clear();
    this.#switchTo(null, { keepUnsent: false });
    this.#connection.restart();
  }

  /** Another tab changed the token. A new session there is the session here too. */
  tokenChanged() {
    const token = this.#storage.get("resume");
    // Erased: the server closes this connection, and the next hello finds what to do.
    if (token !== null && token !== this.#token) this.#connection.restart();
  }

  /** To be called now and then. */
  tick() {
    if (!this.#connection.ready) return;
    for (const entry of this.conversation.expire(this.#io.clock.now(), SILENCE_MS)) {
      this.#outbox.drop(entry.id);
      this.#on.happened({ kind: "failed", entry });
    }
    this.#pump();
  }

  #queue(id, text) {
    this.#outbox.add(id, text);
    this.#pump();
  }

  #pump() {
    if (!this.#connection.ready) return;
    for (const { id, text } of this.#outbox.take()) {
      this.conversation.mark(id, "sending");
      this.#connection.send({ type: "message", id, text });
    }
  }

  #hello() {
    // Read every time: another tab may have begun another session since.
    const stored = this.#storage.get("resume");
    if (stored !== this.#token) {
      const left = this.conversation.firstSeq > 0;
      this.#switchTo(stored);
      if (left) this.#on.gone();
    }
    const hello = { type: "hello", v: 1, locale: this.#on.locale(), client: "web" };
    return this.#token === null ? hello : { ...hello, resume: this.#token, since: this.conversation.lastSeq };
  }

  #welcome(frame) {
    const stored = this.#storage.get("resume");
    if (!frame.resumed && stored !== null && stored !== this.#token) {
      // Another tab began a session at the same moment. Theirs it is: ours is empty, and one is enough.
      this.#connection.restart();
      return;
    }
    const held = this.conversation.lastSeq;
    if (!frame.resumed && held > 0) this.conversation.reset();
    this.#token = frame.resume;
    this.#session = frame.session;
    this.#storage.set("resume", frame.resume);
    this.#historyUntil = this.#fresh ? frame.seq : 0;
    this.#storedUntil = frame.seq;
    this.conversation.refresh(this.#io.clock.now());
    this.#on.limits(frame.limits);
    if (frame.missed > 0 && held === 0) this.#on.older(true);
    this.#gapAfter = frame.missed > 0 && held > 0 ? held : null;
    this.#pump();
  }

  /** Everything that was stored when we were welcomed is here, and what is being written has been spoken of. */
  #replayed() {
    this.#fresh = false;
    if (this.#gapAfter === null) this.conversation.settle(this.#storedUntil);
    else this.#fillGap(this.#gapAfter, this.#storedUntil);
    // Not a word about an answer we wait for: a server that was killed has forgotten it. The id asks again.
    for (const { id, text } of this.conversation.unheard) this.#connection.send({ type: "message", id, text });
    this.#on.restored();
    const entry = this.conversation.offerAnswer();
    if (entry !== null) this.#on.happened({ kind: "unanswered", entry });
  }

  #frame(frame) {
    this.#outbox.observe(frame);
    const events = this.conversation.apply(frame, this.#io.clock.now());
    if (frame.type === "accepted") this.#on.accepted();
    if (frame.type === "error") this.#problem(frame, events);
    for (const event of events) this.#event(event);
    this.#pump();
  }

  #event(event) {
    if (event.kind === "incomplete") this.#repair(event.entry);
    else if (event.entry.seq === null || event.entry.seq > this.#historyUntil) this.#on.happened(event);
  }

  #problem(frame, events) {
    const concerns = frame.id === undefined || events.some((event) => event.kind === "failed");
    if (concerns && !CLOSING.has(frame.code) && frame.code !== "stopped") this.#on.problem(frame);
  }

  #badResume() {
    this.#forget();
    this.#switchTo(this.#storage.get("resume"));
    this.#on.gone();
  }

  /** Forgets the session's token, but not one that another tab has put in its place. */
  #forget() {
    if (this.#storage.get("resume") === this.#token) this.#storage.remove("resume");
  }

  #switchTo(token, options) {
    this.#token = token;
    this.#session = null;
    this.#fresh = true;
    this.#on.older(false);
    this.conversation.reset(options);
    this.#on.switched();
  }

  #cut(code) {
    for (const id of this.#outbox.cut()) {
      this.conversation.mark(id, "waiting");
      if (code === TOO_BIG) this.#refuse(id);
    }
  }

  /** A message that broke the connection would break the next one as well. */
  #refuse(id) {
    this.#outbox.drop(id);
    this.conversation.mark(id, "failed", "text_too_long");
    this.#on.problem({ type: "error", id, code: "text_too_long" });
  }

  /** Fetches what lies between what was held and what was replayed, newest first. */
  async #fillGap(held, until) {
    let before = this.conversation.firstAfter(held) ?? until + 1;
    try {
      while (before > held + 1) {
        const limit = Math.min(HISTORY_MAX, before - held - 1);
        const { entries } = await this.#connection.request("history", { before_seq: before, limit });
        // Entries whose time was over leave their numbers behind.
        const between = entries.filter(({ seq }) => seq > held);
        this.#applyEntries(between);
        before = between[0]?.seq ?? 0;
      }
      this.conversation.settle(until);
    } catch {
      // The next hello claims only what is held without gaps, so this is made up for then.
    }
  }

  /** The pieces of an answer did not add up: the stored text is the one that counts. */
  async #repair(entry) {
    try {
      const { entries } = await this.#connection.request("history", { before_seq: entry.seq + 1, limit: 1 });
      this.#applyEntries(entries);
    } catch {
      // The text stays as it arrived.
    }
  }

  #applyEntries(entries) {
    const now = this.#io.clock.now();
    for (const entry of entries) this.conversation.apply({ ...entry, type: "turn" }, now);
  }
}
