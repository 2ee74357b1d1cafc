// The copy of the tokens in a cookie of the gateway, for browsers that empty what scripts have stored (Safari, after
// seven days without a visit). The cookie goes to its own path only and opens nothing by itself: what it holds is read
// here and said in `hello`, like a token of the page's own storage. Where there is no such path, all goes on without.

const PATH = "resume-token";
/** As many as the gateway takes. */
const MAX_TOKENS = 4;
const LIMIT_MS = 3_000;

export class ResumeCookie {
  #fetch;
  #clock;
  /** Requests go one after another, so that the last word is the last one. */
  #turn = Promise.resolve();
  #kept = null;

  constructor(fetch, clock) {
    this.#fetch = fetch;
    this.#clock = clock;
  }

  /** The tokens in the cookie, the current one first. Never fails, and never takes long: the page waits for it. */
  async recall() {
    const response = await this.#ask("GET");
    const text = response === null ? "" : await response.text().catch(() => "");
    return text === "" ? [] : text.split(".");
  }

  /** Replaces what the cookie holds; none: removes it. Begins its time again, once for each page. */
  keep(tokens) {
    const value = tokens.slice(0, MAX_TOKENS).join(".");
    if (value === this.#kept) return;
    this.#kept = value;
    this.#turn = this.#turn.then(() => (value === "" ? this.#ask("DELETE") : this.#ask("PUT", { "x-resume": value })));
  }

  async #ask(method, headers = {}) {
    const giveUp = new AbortController();
    const timer = this.#clock.setTimeout(() => giveUp.abort(), LIMIT_MS);
    try {
      const response = await this.#fetch(PATH, { method, headers, cache: "no-store", signal: giveUp.signal });
      return response.ok ? response : null;
    } catch {
      return null;
    } finally {
      this.#clock.clearTimeout(timer);
    }
  }
}
