// The copy of the tokens in a cookie of the gateway, for browsers that empty what scripts have stored (Safari, after
// seven days without a visit). The cookie goes to its own path only and opens nothing by itself: what it holds is read
// here and said in `hello`, like a token of the page's own storage. Where there is no such path, all goes on without.
//
// The cookie may hold the last copy. So nothing is written before it was read once since the storage was empty: the
// mark `resume.heard` stands beside the tokens, and is gone when they are.

import { LEFT, Storage } from "./storage.js";

const PATH = "resume-token";
/** As many as the gateway takes. */
const MAX_TOKENS = 4;
const LIMIT_MS = 3_000;

export class ResumeCookie {
  #fetch;
  #clock;
  #storage;
  #found;
  /** Requests go one after another, so that the last word is the last one. */
  #turn = Promise.resolve();
  #kept = null;
  /** The request that is under way. */
  #asking = null;
  #left = false;

  /** @param found(tokens) takes what a read brings that came only after {@link ResumeCookie.recall} had failed */
  constructor(fetch, clock, storage = new Storage(null), found = () => {}) {
    this.#fetch = fetch;
    this.#clock = clock;
    this.#storage = storage;
    this.#found = found;
  }

  /** Whether the cookie was read since the storage of this browser was empty. */
  get heard() {
    return this.#storage.get("resume.heard") !== null;
  }

  /**
   * The tokens in the cookie, the current one first; none, and {@link ResumeCookie.heard} stays as it is, if the gateway
   * did not say. Never fails, and never takes long: the page waits for it.
   */
  async recall() {
    // The person has left, and the cookie was not removed yet: nothing of it is taken up.
    if (this.#storage.get(LEFT) !== null && !(await this.#remove())) return [];
    const text = await this.#ask("GET", {}, (response) => response.text());
    if (text !== null) this.#storage.set("resume.heard", "1");
    return text ? text.split(".") : [];
  }

  /**
   * Replaces what the cookie holds; none: removes it. Begins its time again, once for each page. What could not be
   * written is written by the next call.
   */
  keep(tokens) {
    const value = tokens.slice(0, MAX_TOKENS).join(".");
    if (value === this.#kept || this.#left) return;
    this.#kept = value;
    this.#turn = this.#turn.then(() => this.#write(value));
  }

  /**
   * Removes the cookie as the page goes, for good. Scripts cannot do that without the gateway: until it has said so, the mark
   * that {@link Storage.end} leaves keeps later pages from taking up what the cookie holds.
   */
  forget() {
    // What is being written would come behind the removal.
    this.#asking?.abort();
    this.#left = true;
    return this.#remove();
  }

  async #remove() {
    const done = (await this.#ask("DELETE")) === true;
    if (done) this.#storage.remove(LEFT);
    return done;
  }

  async #write(value) {
    if (!this.heard) {
      this.#found(await this.recall());
      // With what was found there is more to keep, and another write on its way: this one would remove it in between.
      if (this.heard && value !== this.#kept) return;
    }
    const done = this.heard && (await this.#ask(...(value === "" ? ["DELETE"] : ["PUT", { "x-resume": value }])));
    if (!done && this.#kept === value) this.#kept = null;
  }

  /** What `read` makes of the answer; null if there was none in time, or one that is not good. */
  async #ask(method, headers = {}, read = () => true) {
    const giveUp = new AbortController();
    this.#asking = giveUp;
    const timer = this.#clock.setTimeout(() => giveUp.abort(), LIMIT_MS);
    try {
      const response = await this.#fetch(PATH, { method, headers, cache: "no-store", keepalive: method === "DELETE", signal: giveUp.signal });
      return response.ok ? await read(response) : null;
    } catch {
      return null;
    } finally {
      this.#clock.clearTimeout(timer);
    }
  }
}
