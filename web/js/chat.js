// The session: one conversation, its messages on their way, and the connection that carries them. No DOM.

import { Connection } from "./connection.js";
import { Conversation } from "./conversation.js";
import { SAFETY_PLAN } from "./safety-plan.js";
import { newId, newToken } from "./text.js";
import { Turns } from "./turns.js";

const PAGE = 100;
const HISTORY_MAX = 200;
const EXPORT_TIMEOUT_MS = 20_000;
/** Why there was no answer to a request that was sent: it may have been done. */
export const MAY_BE_DONE = new Set(["interrupted", "timeout"]);
/** Close code of a message that the gateway does not take. */
const TOO_BIG = 1009;
/** A notice this soon after `welcome` belongs to it. */
const GREETING_MS = 5_000;
/** Errors that announce the end of the connection: the status line already tells that story. */
const CLOSING = new Set(["shutting_down", "slow_consumer", "too_many_connections"]);

export class Chat {
  #io;
  #tokens;
  #drafts;
  #on;
  #turns;
  #connection;
  /** Of the session that is shown. */
  #token = null;
  #session = null;
  /** What the `hello` of this socket said, and all that this socket has tried. */
  #asked = null;
  #tried = new Set();
  /** `{token, resolve, reject}` of a code that the person has entered. */
  #entered = null;
  /** The next session is begun because the person wants one. */
  #chosen = false;
  /** Whether the server is to store the next session that is begun, and stores the one that is shown. */
  #wantsKept = true;
  #kept = true;
  /** Why the session that was shown is not there any more, until the next `welcome`. */
  #gone = null;
  /** Another device has closed the one that is shown. */
  #revoked = false;
  /** Nothing of this session was on the page before: what is replayed is history, not news. */
  #fresh = true;
  /** Entries up to here are history. */
  #historyUntil = 0;
  /** The highest `seq` when the connection was welcomed. */
  #storedUntil = 0;
  /** Behind this `seq` more was said while we were away than is replayed; null if not. */
  #gapAfter = null;
  /** The safety plan as the server told it last, null if there is none. */
  #plan = null;
  /** Entries up to here were looked at for it. */
  #plannedUntil = 0;
  #started = false;
  #timer = null;
  #timerAt = Infinity;

  /**
   * @param io what {@link Connection} needs, `wall()`: ms since 1970, and `leaveLines(frames)`: sends them while the page goes
   * @param on {locale(), place() (fields of `hello`), change(change), turned() ({@link Chat.isAnswering} may be another), state(state), limits(limits), accepted(),
   *   problem({code, message?, retryMs?, repeated?}) (`retryMs`: it is sent again by itself after that),
   *   happened({kind, entry}) (as of {@link Conversation.apply}, and "unanswered", "failed", "noted"), restored(), older(more), switched(),
   *   introduced(text, lang) (the server says what it is), planned() ({@link Chat.hasPlan} may be another), kept(isKept, asAsked) (whether
   *   the server stores the conversation),
   *   gone(why) ("unknown", "erased", "revoked" (another device has closed it), "ended" (it was not stored) or "moved": another tab goes on with another one), back() (an earlier conversation is there again)}
   */
  constructor(io, tokens, drafts, on) {
    this.#io = io;
    this.#tokens = tokens;
    this.#drafts = drafts;
    this.#on = on;
    this.conversation = new Conversation(on.change);
    this.#turns = new Turns({
      random: io.random,
      questionOf: (id) => this.conversation.questionOf(id),
      changed: (turn) => this.#turnChanged(turn),
    });
    this.#connection = new Connection(io, {
      hello: () => {
        this.#tried.clear();
        return this.#hello();
      },
      state: (state) => this.#state(state),
      welcome: (frame) => this.#welcome(frame),
      replayed: () => this.#replayed(),
      frame: (frame) => this.#frame(frame),
      notice: (frame, sinceWelcomeMs) => this.#notice(frame, sinceWelcomeMs),
      badResume: () => this.#badResume(),
      cut: (code, reason) => this.#cut(code, reason),
      busy: () => this.#turns.live,
    });
  }

  /** True if closing the page now would lose something the person sent. */
  get hasUnsent() {
    return this.#turns.unconfirmed.length > 0;
  }

  /** Whether an answer is awaited or being written. */
  get isAnswering() {
    return this.#turns.open.length > 0;
  }

  get isConnected() {
    return this.#connection.ready;
  }

  get remembersSession() {
    return this.#tokens.current !== null;
  }

  /** Whether the server stores the conversation that is shown. */
  get isKept() {
    return this.#kept;
  }

  /** The code to go on with this conversation elsewhere; null before there is one. */
  get code() {
    return this.#token;
  }

  /** Takes up what an earlier page of this tab could not send, and connects. */
  start() {
    this.#started = true;
    const now = this.#now();
    for (const { id, text, at, code, waitMs } of this.#drafts.unsent) {
      this.conversation.write(id, text, at ?? null);
      const refused = code === null ? null : { code, retryAt: waitMs === null ? null : now + waitMs };
      this.#turns.write(id, text, now, refused);
    }
    this.#connection.open();
  }

  wake() {
    if (this.#started) this.#connection.wake();
  }

  sleep() {
    this.#connection.sleep();
  }

  send(text) {
    const id = newId();
    this.conversation.write(id, text, this.#io.wall());
    this.#turns.write(id, text, this.#now());
    this.#pump();
  }

  /** Sends a refused message again: the same id, so that it can never count twice. */
  retry(entry) {
    this.#turns.ask(entry.id, entry.text, this.#now());
    this.#pump();
  }

  /** Takes a message that was not accepted out of the conversation and returns its text. */
  takeBack(entry) {
    this.#turns.drop(entry.id);
    this.conversation.remove(entry.id);
    return entry.text;
  }

  /**
   * Takes what would be sent by itself, as soon as that is possible, out of the conversation and returns it as one text. `all`: also
   * what is on its way and what failed.
   */
  takeBackUnsent({ all = false } = {}) {
    const goesOut = ({ state, retryAt }) => state === "waiting" || (state === "refused" && retryAt !== null);
    const back = this.#turns.unconfirmed.filter((turn) => all || goesOut(turn));
    return back.map(({ id }) => this.takeBack(this.conversation.get("user", id))).join("\n");
  }

  /** The last message of the person's that the server has; undefined if there is none. */
  get lastMessage() {
    return this.conversation.entries.findLast(({ role, seq }) => role === "user" && seq !== null);
  }

  /** Erases the last message with its answer and its help lines. Rejects, and changes nothing, if it cannot. */
  async forgetLast() {
    const session = this.#session;
    const { id, seq } = await this.#connection.request("forget_last");
    if (id !== undefined && session === this.#session) this.#forget({ id, seq });
  }

  /** What the server remembers of the conversation's beginning: `{text?, first_seq, last_seq}`. */
  summary() {
    return this.#connection.request("summary");
  }

  forgetSummary() {
    return this.#connection.request("forget_summary");
  }

  /** Who runs the service, what it keeps and who reads along. */
  about() {
    return this.#connection.request("about");
  }

  /** A code that opens this conversation once, on another device: `{code, expires_in_ms}`. */
  link() {
    return this.#connection.request("link");
  }

  /**
   * Closes this conversation on every other device: only this browser has the new token. It is stored before it is sent: if the answer
   * is lost, one of the two is good.
   */
  async closeElsewhere() {
    const token = this.#token;
    const fresh = newToken();
    this.#tokens.found([fresh]);
    try {
      const { resume } = await this.#connection.request("rotate_resume", { resume: fresh });
      // A server may have made its own.
      if (resume !== fresh) this.#tokens.erased(fresh);
      this.#tokens.renewed(token, resume);
      if (this.#token === token) this.#token = resume;
    } catch (error) {
      if (!MAY_BE_DONE.has(error.code)) this.#tokens.erased(fresh);
      throw error;
    }
  }

  /** Every entry of the conversation, oldest first, as the wire has them. */
  async everything() {
    const all = [];
    let after = 0;
    for (let more = true; more;) {
      const page = await this.#connection.request("export", { after_seq: after }, EXPORT_TIMEOUT_MS);
      all.push(...page.entries);
      more = page.more && page.next > after;
      after = page.next;
    }
    return all;
  }

  /** Begins another conversation and keeps this one among the earlier ones. `keep` false: the server stores nothing of the new one. */
  begin({ keep = true } = {}) {
    this.#tokens.leave();
    this.#beginAnew(keep);
  }

  /** Forgets every conversation here, and erases none. */
  leave() {
    this.#tokens.forget();
    this.#beginAnew(true);
  }

  #beginAnew(keep) {
    this.#endEntering("disconnected");
    this.#wantsKept = keep;
    this.#chosen = true;
    this.#clear({ keepUnsent: false });
    this.#connection.restart();
  }

  /**
   * Asks again for an answer that never came, or came and could not be kept: the message is stored, and its id asks for
   * what it has not got. Without a connection the next one asks.
   */
  askAgain(entry) {
    const question = this.conversation.get("user", entry.id);
    if (!question) return;
    this.#turns.ask(question.id, question.text, this.#now());
    this.#pump();
  }

  /** Ends the answers in progress; false if there is one and no connection to ask over. */
  stop() {
    for (const id of this.#turns.open) {
      // One that is to be asked for again is nowhere in progress.
      if (!["waiting", "refused"].includes(this.#turns.get(id).state)) {
        this.#connection.send({ type: "stop", id });
        continue;
      }
      this.#turns.drop(id);
      this.conversation.giveUp(id, this.#io.wall(), "stopped", null);
    }
    return this.#connection.ready || !this.isAnswering;
  }

  /**
   * Goes on with the conversation of this code; the present one is kept among the earlier ones. Resolves once it is
   * shown; rejects, and everything stays as it was, with the code "unknown" or "disconnected".
   */
  goOnWith(token) {
    this.#endEntering("disconnected");
    return new Promise((resolve, reject) => {
      this.#entered = { token, resolve, reject };
      this.#connection.restart();
    });
  }

  /** Tells the server which language to answer in; the next `hello` does if there is no connection now. */
  async setLocale() {
    try {
      await this.#connection.request("set_locale", { locale: this.#on.locale() });
    } catch {
      // The page is already in that language, and `hello` repeats the wish.
    }
  }

  /** Tells the server which country's help lines to show; a card that is there comes again with them. As with the language. */
  async setCountry(country) {
    try {
      await this.#connection.request("set_country", { country });
    } catch {
      // `hello` repeats it, and the page has the lines of every country.
    }
  }

  /** Whether there is a safety plan to be saved. */
  get hasPlan() {
    return this.#plan !== null;
  }

  /** The safety plan that was made in this conversation, null if there is none. Without an answer, the one that was told last. */
  async safetyPlan() {
    await this.#lookForPlan();
    return this.#plan;
  }

  /** Whether what was replayed may hold a plan that is not known: the server reads the whole conversation to find out. */
  get #mayHavePlan() {
    const { entries, firstSeq } = this.conversation;
    const unread = ({ role, source, seq }) => role === "assistant" && source === "companion" && seq > this.#plannedUntil;
    return entries.some(unread) || (this.#plannedUntil === 0 && firstSeq > 1);
  }

  /** Asks the server for the plan. */
  async #lookForPlan() {
    const session = this.#session;
    const until = this.conversation.lastSeq;
    try {
      const { plan } = await this.#connection.request("safety_plan");
      // Another session may have been begun meanwhile.
      if (session === this.#session) this.#planIs(plan ?? null, until);
    } catch {
      // What was told last stays: it may be needed where there is no connection.
    }
  }

  #planIs(plan, until) {
    this.#plan = plan;
    this.#plannedUntil = until;
    this.#on.planned();
  }

  /** Loads a page of older entries; `around(apply)` may keep the view in place while they are added. */
  async loadOlder(around) {
    const { firstSeq } = this.conversation;
    const page = firstSeq === 0 ? { limit: PAGE } : { before_seq: firstSeq, limit: PAGE };
    const { entries, more } = await this.#connection.request("history", page);
    around(() => {
      this.#applyEntries(entries);
      this.conversation.offerAnswers();
    });
    this.#on.older(more);
  }

  /** Loads older entries until the one with this `seq` is there, if the server still has it. */
  async loadUntil(seq, around) {
    for (let before = Infinity; this.conversation.firstSeq > seq && this.conversation.firstSeq < before;) {
      before = this.conversation.firstSeq;
      await this.loadOlder(around);
    }
  }

  /** Erases the session on the server and begins another. Rejects, and changes nothing, if it cannot. */
  async startOver() {
    const token = this.#token;
    await this.#connection.request("erase", { confirm: this.#session });
    this.#tokens.erased(token);
    this.#beginAnew(true);
  }

  /**
   * Asks the server to erase the session while the page goes: nobody waits for the answer. Both ways at once, as the socket ends
   * with the page and the other one may be closed to it.
   */
  eraseAndLeave() {
    if (this.#session === null || this.#token === null) return;
    const request = { type: "request", id: newId(), method: "erase", params: { confirm: this.#session } };
    this.#connection.send(request);
    this.#io.leaveLines([{ type: "hello", v: 1, resume: this.#token }, request]);
  }

  /** Another tab changed the token. A new session there is the session here too. */
  tokenChanged() {
    if (!this.#started) return;
    const token = this.#tokens.current;
    // Erased: the server closes this connection, and the next hello finds what to do.
    if (token === null || token === this.#token) return;
    if (this.#token !== null) this.#gone ??= this.#whyLeft();
    this.#connection.restart();
  }

  /** What another tab did with the conversation that is shown here. */
  #whyLeft() {
    const held = this.#tokens.previous.find(({ token }) => token === this.#token);
    if (held) return held.end === "unknown" ? "unknown" : "moved";
    // One in which nothing was said is not kept among the earlier ones.
    return this.conversation.lastSeq === 0 ? "moved" : "erased";
  }

  #now() {
    return this.#io.clock.now();
  }

  /** Sends what is due, and comes back when there is something to do. */
  #pump() {
    const now = this.#now();
    for (const event of this.#turns.tick(now)) this.#refused(event);
    if (this.#connection.ready) {
      for (const { id, text } of this.#turns.take(now)) this.#connection.send({ type: "message", id, text });
    }
    const { nextAt } = this.#turns;
    if (nextAt === this.#timerAt) return;
    this.#io.clock.clearTimeout(this.#timer);
    this.#timerAt = nextAt;
    if (nextAt === Infinity) return;
    this.#timer = this.#io.clock.setTimeout(() => {
      this.#timerAt = Infinity;
      this.#pump();
    }, Math.max(0, nextAt - now));
  }

  /** Shows where a message is, and keeps it for a reload until the server has it. */
  #turnChanged(turn) {
    if (!turn.stored) {
      const failed = turn.state === "refused" && turn.retryAt === null;
      const state = { waiting: "waiting", sending: "sending", refused: failed ? "failed" : "waiting" }[turn.state];
      if (state) this.conversation.mark(turn.id, state, turn.code);
    } else if (turn.state !== "done" && this.conversation.questionOf(turn.id) !== undefined) {
      // Where its `accepted` was lost, its answer tells as much.
      this.conversation.mark(turn.id, "sent");
      this.conversation.reopen(turn.id, this.#io.wall(), turn.state === "refused");
    }
    const now = this.#now();
    this.#drafts.unsent = this.#turns.unconfirmed.map(({ id, text, code, retryAt }) => (
      { id, text, at: this.conversation.get("user", id)?.at ?? null, code, waitMs: retryAt === null ? null : retryAt - now }
    ));
    this.#on.turned();
  }

  /** What the server did not take, or did not answer. */
  #refused({ kind, turn, code, message }) {
    if (kind === "failed" && turn.stored) {
      const entry = this.conversation.giveUp(turn.id, this.#io.wall(), code === "stopped" ? "stopped" : "error", code);
      this.#on.happened({ kind: "failed", entry });
    }
    if (code === "stopped" || (code === "timeout" && turn.stored)) return;
    const retryMs = kind === "refused" ? turn.retryAt - this.#now() : undefined;
    this.#on.problem({ code, message, retryMs, repeated: turn.tries > 1 });
  }

  /** Called for each `hello` of a socket; the next one to try is another one each time. */
  #hello() {
    const entered = this.#entered !== null && !this.#tried.has(this.#entered.token) ? this.#entered.token : null;
    // A browser may empty its storage under an open page: what is shown here is not lost by that.
    const shown = this.#tried.has(this.#token) ? null : this.#token;
    this.#asked = entered ?? this.#held() ?? shown;
    const hello = { type: "hello", v: 1, locale: this.#on.locale(), client: "web", ...this.#on.place() };
    if (this.#asked === null) return this.#wantsKept ? hello : { ...hello, keep: false };
    this.#tried.add(this.#asked);
    return { ...hello, resume: this.#asked, since: this.#asked === this.#token ? this.conversation.lastSeq : 0 };
  }

  /** The token to try of those this browser keeps. A session that is begun by choice takes no earlier one. */
  #held() {
    const { current } = this.#tokens;
    if (!this.#chosen) return this.#tokens.next(this.#tried);
    return this.#tried.has(current) ? null : current;
  }

  /** The `hello` to send next, or null if one without a token was refused as well. */
  #badResume() {
    const asked = this.#asked;
    if (asked === null) return null;
    if (asked === this.#token || asked === this.#tokens.current) this.#gone ??= this.#whyUnknown(asked);
    // What was written to be stored nowhere must not go into a conversation that is.
    if (this.#gone === "ended") [this.#wantsKept, this.#chosen] = [false, true];
    if (asked === this.#entered?.token) this.#endEntering("unknown");
    this.#tokens.refused(asked);
    return this.#hello();
  }

  #whyUnknown(asked) {
    if (this.#tokens.isUnkept(asked)) return "ended";
    if (this.#revoked) return "revoked";
    // Of what is shown here and not held any more, another tab knows that it is erased.
    return this.#tokens.all.includes(asked) ? "unknown" : "erased";
  }

  #welcome(frame) {
    const stored = this.#tokens.current;
    if (!frame.resumed && stored !== null && !this.#tried.has(stored)) {
      // Another tab began a session at the same moment. Theirs it is: ours is empty, and one is enough.
      this.#connection.restart();
      return;
    }
    const entered = this.#entered !== null && this.#asked === this.#entered.token;
    const chosen = entered ? stored !== null && stored !== frame.resume : this.#gone === "moved";
    if (frame.resumed && this.#asked === stored) this.#tokens.known();
    const earlier = frame.resumed && !entered && this.#asked !== stored;
    const closed = this.#token;
    const other = this.#session !== null && (frame.session !== this.#session || !frame.resumed);
    if (!other && this.#gone === "moved") this.#gone = null;
    if (other) this.#clear();
    this.#take(frame);
    if (chosen) this.#leaveUnsent();
    if (other && !entered) this.#gone ??= "unknown";
    if (this.#gone === "revoked" && !earlier) this.#tokens.erased(closed);
    this.#revoked = false;
    if (earlier) this.#on.back();
    else if (this.#gone !== null) this.#on.gone(this.#gone);
    this.#gone = null;
    if (entered) this.#endEntering(null);
    this.#pump();
  }

  #take(frame) {
    const held = this.conversation.lastSeq;
    // A session that is resumed with nothing in it is as unused as it was.
    const resumed = frame.seq > 0 ? false : undefined;
    const kept = frame.kept !== false;
    this.#tokens.adopt(frame.resume, frame.resumed ? resumed : !this.#chosen, kept);
    this.#on.kept(kept, frame.resumed || kept === this.#wantsKept);
    [this.#chosen, this.#wantsKept, this.#kept] = [false, true, kept];
    this.#token = frame.resume;
    this.#session = frame.session;
    this.#historyUntil = this.#fresh ? frame.seq : 0;
    this.#storedUntil = frame.seq;
    this.#turns.welcomed(this.#now());
    this.#on.limits(frame.limits);
    if (frame.missed > 0 && held === 0) this.#on.older(true);
    this.#gapAfter = frame.missed > 0 && held > 0 ? held : null;
  }

  /** Everything that was stored when we were welcomed is here, and what is being written has been spoken of. */
  #replayed() {
    this.#fresh = false;
    for (const event of this.#turns.replayed(this.#now())) this.#refused(event);
    if (this.#gapAfter === null) {
      this.conversation.settle(this.#storedUntil);
      this.#offerAnswers();
    } else {
      this.#fillGap(this.#gapAfter, this.#storedUntil);
    }
    this.#on.restored();
    if (this.#mayHavePlan) this.#lookForPlan();
    this.#pump();
  }

  #offerAnswers() {
    const entry = this.conversation.offerAnswers();
    if (entry !== null) this.#on.happened({ kind: "unanswered", entry });
  }

  /** A message is erased, here or on another device. */
  #forget({ id, seq }) {
    this.#turns.drop(id);
    this.conversation.forget(id, seq);
    if (this.hasPlan) this.#lookForPlan();
    this.#on.turned();
  }

  #frame(frame) {
    if (frame.type === "forgotten") this.#forget(frame);
    // First the entry, where its place becomes known, then what the machine makes of it.
    const events = this.conversation.apply(frame, this.#io.wall());
    const refused = this.#turns.observe(frame, this.#now());
    for (const event of refused) this.#refused({ ...event, message: frame.message });
    if (frame.type === "error" && frame.id === undefined && refused.length === 0) this.#problem(frame);
    if (frame.type === "accepted") this.#accepted();
    // Said in another browser, in a session that was begun here.
    else if (frame.type === "turn") this.#tokens.said(this.#token);
    for (const event of events) this.#event(event);
    // The answer to a question of the plan has come: there is one now, or another one.
    if (frame.type === "done" && frame.exercise === SAFETY_PLAN) this.#lookForPlan();
    this.#pump();
  }

  /** What the server says about itself: once in the conversation's head, later as a reminder in its course. */
  #notice({ code, text }, sinceWelcomeMs) {
    if (code !== "ai" || typeof text !== "string" || text === "") return;
    const lang = this.#on.locale().slice(0, 2);
    if (sinceWelcomeMs < GREETING_MS) this.#on.introduced(text, lang);
    else this.#on.happened({ kind: "noted", entry: this.conversation.note(text, lang, this.#io.wall()) });
  }

  #accepted() {
    this.#tokens.said(this.#token);
    this.#on.accepted();
  }

  #event(event) {
    if (event.kind === "incomplete") this.#repair(event.entry);
    else if (event.entry.seq === null || event.entry.seq > this.#historyUntil) this.#on.happened(event);
  }

  #problem({ code, message, retry_after_ms: retryMs }) {
    if (!CLOSING.has(code)) this.#on.problem({ code, message, retryMs });
  }

  #state(state) {
    // A code that was entered is asked about once, not behind the person's back when the network returns.
    if (state.retryAt !== null || state.why) this.#endEntering("disconnected");
    this.#on.state(state);
  }

  /** Empties the page for another session. */
  #clear(options) {
    this.#token = null;
    this.#session = null;
    this.#planIs(null, 0);
    this.#fresh = true;
    this.#on.older(false);
    this.#turns.reset(options);
    this.conversation.reset(options);
    this.#on.switched();
  }

  /**
   * What is not confirmed was written for the conversation the person has left, and may be stored there: only the
   * person knows whether it belongs here too.
   */
  #leaveUnsent() {
    for (const { id } of this.#turns.unconfirmed) this.#turns.refuse(id, "moved", this.#now());
  }

  #endEntering(code) {
    const entered = this.#entered;
    this.#entered = null;
    if (code === null) entered?.resolve();
    else entered?.reject(Object.assign(new Error(code), { code }));
  }

  #cut(code, reason) {
    if (reason === "erased") {
      this.#tokens.erased(this.#token);
      this.#token = null;
      this.#gone = "erased";
    }
    if (reason === "revoked") this.#revoked = true;
    const sending = this.#turns.unconfirmed.filter(({ state }) => state === "sending");
    this.#turns.cut(this.#now());
    // Messages that broke the connection would break the next one as well.
    if (code === TOO_BIG) {
      for (const turn of sending) this.#refused(this.#turns.refuse(turn.id, "text_too_long", this.#now()));
    }
    this.#pump();
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
      await this.#dropErased(held);
      this.conversation.settle(until);
      this.#offerAnswers();
    } catch {
      // The next hello claims only what is held without gaps, so this is made up for then.
    }
  }

  /** What was erased meanwhile may have been said only in the part that was not replayed: what is held up to `seq` and not stored any more goes. */
  async #dropErased(seq) {
    const { entries, more } = await this.#connection.request("history", { before_seq: seq + 1, limit: HISTORY_MAX });
    const first = more ? entries[0]?.seq ?? Infinity : 0;
    const stored = new Set(entries.map((entry) => entry.seq));
    const isGone = (entry) => entry.seq !== null && entry.seq >= first && entry.seq <= seq && !stored.has(entry.seq);
    for (const entry of this.conversation.entries.filter(isGone)) this.#forget({ id: entry.id, seq: entry.seq });
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
    for (const entry of entries) {
      const frame = { ...entry, type: "turn" };
      this.conversation.apply(frame, this.#io.wall());
      this.#turns.observe(frame, this.#now());
    }
  }
}
