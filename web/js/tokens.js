// The keys to conversations: the current one, and earlier ones with the time and manner of their end. Nothing but the
// server's own word that a session is erased takes a token away: one that a server does not know today may be known
// again tomorrow, when the right database is back.
//
// How an earlier one ended: "unknown" (the server did not know it: tried again) or "left" (the person went on with
// another one: offered, never tried unasked). Elsewhere only the tokens are kept: recalled ones are taken for unknown until
// the server knows the current one.

/** What stands before a code in the address. */
export const CODE_IN_ADDRESS = "codigo";

/** Earlier tokens that are kept, as by the native client; the one that ended first makes room. */
const MAX_PREVIOUS = 32;
const SHAPE = /^[A-Za-z0-9_-]{1,128}$/;

export class Tokens {
  #storage;
  #wall;
  #changed;

  /** @param wall() ms since 1970; `changed(kept)` runs after each change with {@link Tokens.kept} */
  constructor(storage, wall, changed = () => {}) {
    this.#storage = storage;
    this.#wall = wall;
    this.#changed = changed;
  }

  /** Read every time: another tab may have begun another session since. */
  get current() {
    return this.#storage.get("resume");
  }

  /** `[{token, end, at}]`, the one that ended last first. */
  get previous() {
    const list = this.#storage.getJson("resume.previous");
    return Array.isArray(list) ? list.filter((entry) => typeof entry?.token === "string") : [];
  }

  /** Those of conversations in which something was said and that are stored, the current one first. */
  get kept() {
    return this.all.filter((token) => !this.#isUnused(token) && !this.isUnkept(token));
  }

  get all() {
    return [this.current, ...this.previous.map(({ token }) => token)].filter((token) => token !== null);
  }

  /**
   * The token to try, apart from those in `tried`; null if there is none left. Of a session in which nothing was said
   * nothing is lost, so lost ones are tried before it.
   */
  next(tried) {
    const lost = this.previous.filter(({ end }) => end === "unknown").map(({ token }) => token);
    const order = this.#isUnused(this.current) ? [...lost, this.current] : [this.current, ...lost];
    return order.find((token) => token !== null && !tried.has(token)) ?? null;
  }

  /** Whether the session of `token` is stored nowhere: it ends with its server, or soon after its last connection. */
  isUnkept(token) {
    return token !== null && this.#storage.get("resume.unkept") === token;
  }

  /**
   * The session of `token` is the current one now. `unused`: nothing was said in it, and it was not begun by choice. `kept`: the server
   * stores it.
   */
  adopt(token, unused, kept = true) {
    const before = this.all.join();
    if (this.current !== null && this.current !== token) this.#retire(this.current, "left");
    this.#setPrevious(this.previous.filter((entry) => entry.token !== token));
    this.#storage.set("resume", token);
    this.#mark("resume.unkept", kept ? null : token);
    if (unused) this.#storage.set("resume.unused", token);
    else if (unused === false) this.said(token);
    if (this.all.join() !== before) this.#changed(this.kept);
  }

  /** The person goes on with a new session, and keeps this one among the earlier ones. */
  leave() {
    if (this.current === null) return;
    this.#retire(this.current, "left");
    // Earlier ones are offered from then on, not tried.
    this.#setPrevious(this.previous.map((entry) => ({ ...entry, end: "left" })));
    this.#storage.remove("resume");
    this.#changed(this.kept);
  }

  /** This browser forgets all sessions; the server keeps them. */
  forget() {
    for (const name of ["resume", "resume.previous", "resume.unused", "resume.unkept"]) this.#storage.remove(name);
    this.#changed([]);
  }

  /** The session of `token` has the token `fresh` now, and no other. */
  renewed(token, fresh) {
    for (const name of ["resume.unused", "resume.unkept"]) if (this.#storage.get(name) === token) this.#storage.set(name, fresh);
    const others = this.previous.filter((entry) => entry.token !== fresh);
    this.#setPrevious(others.map((entry) => (entry.token === token ? { ...entry, token: fresh } : entry)));
    if (this.current === token) this.#storage.set("resume", fresh);
    this.#changed(this.kept);
  }

  /** Something was said in the session of `token`. */
  said(token) {
    if (!this.#isUnused(token)) return;
    this.#storage.remove("resume.unused");
    this.#changed(this.kept);
  }

  /** The server does not know `token` (now). */
  refused(token) {
    // Another tab may have put another one in its place.
    if (token === null || this.current !== token) return;
    this.#storage.remove("resume");
    this.#retire(token, "unknown");
    this.#changed(this.kept);
  }

  /**
   * The server has erased the session of `token`. Who erases the current one wants a new one: the earlier ones are
   * offered from then on, not tried.
   */
  erased(token) {
    if (token === null || !this.all.includes(token)) return;
    const others = this.previous.filter((entry) => entry.token !== token);
    const isCurrent = this.current === token;
    if (isCurrent) this.#storage.remove("resume");
    this.#setPrevious(isCurrent ? others.map((entry) => ({ ...entry, end: "left" })) : others);
    this.#changed(this.kept);
  }

  /** Takes over what was kept elsewhere, where this browser has forgotten everything. */
  recall(tokens) {
    const [current, ...others] = tokens.filter(isToken);
    if (current === undefined || this.all.length > 0) return;
    this.#storage.set("resume", current);
    this.#setPrevious(others.map((token) => ({ ...this.#unknown(token), recalled: true })));
  }

  /** The server knows the current one, so the others that were recalled with it had been left for it. */
  known() {
    const list = this.previous;
    if (!list.some(({ recalled }) => recalled)) return;
    this.#setPrevious(list.map(({ recalled, ...entry }) => (recalled ? { ...entry, end: "left" } : entry)));
  }

  /** Takes over what was heard of only after a session was begun: among the earlier ones, to be tried. */
  found(tokens) {
    const held = this.all;
    const missing = tokens.filter((token) => isToken(token) && !held.includes(token));
    if (missing.length === 0) return;
    this.#setPrevious([...missing.map((token) => this.#unknown(token)), ...this.previous].slice(0, MAX_PREVIOUS));
    this.#changed(this.kept);
  }

  #unknown(token) {
    return { token, end: "unknown", at: this.#wall() };
  }

  #isUnused(token) {
    return token !== null && this.#storage.get("resume.unused") === token;
  }

  #mark(name, token) {
    if (token === null) this.#storage.remove(name);
    else this.#storage.set(name, token);
  }

  #retire(token, end) {
    // In there nothing was ever said, or nothing of it is stored.
    if (this.#isUnused(token) || this.isUnkept(token)) return;
    const others = this.previous.filter((entry) => entry.token !== token);
    this.#setPrevious([{ token, end, at: this.#wall() }, ...others].slice(0, MAX_PREVIOUS));
  }

  #setPrevious(list) {
    if (list.length === 0) this.#storage.remove("resume.previous");
    else this.#storage.setJson("resume.previous", list);
  }
}

function isToken(text) {
  return typeof text === "string" && SHAPE.test(text);
}

/** What the code comes with in a terminal: the command of a conversation, or the call of the native client. */
const COMMAND = /^(?:.*\s)?\/(?:reanudar|resume)\s+/is;
const CALL = /^(?:\$\s+)?(?:export\s+)?PSICOIA_RESUME=(["']?)([^\s"']+)\1(?:\s.*)?$/s;

/** A code for another device, as somebody may type it. */
const CODE = /^[a-z0-9]{4}(?:[\s-]+[a-z0-9]{4}){2}$/i;

/** The token or code in what a person pasted, with or without what it comes with in a terminal; null if there is none. */
export function tokenIn(text) {
  const bare = text.trim().replace(COMMAND, "").replace(CALL, "$2");
  const joined = CODE.test(bare) ? bare.replace(/\s+/g, "-") : bare;
  return isToken(joined) ? joined : null;
}
