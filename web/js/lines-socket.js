// A conversation over plain HTTP, for networks that let no WebSocket through: one response that stays open brings what the server
// says, and what the page says goes in requests of its own (proto-line/SPEC.md, "POST /lines"). To its user it is a WebSocket, but
// that it opens before it has reached anything. No DOM.

/** The id of the ping whose pong marks the end of a replay: here it goes in one request with `hello`, and so in its order. */
export const REPLAYED = "replayed";

const PATH = "lines";
const LINES_TYPE = "application/x-ndjson";
/** The longest request has its answer by then. */
const LIMIT_MS = 35_000;
/** Frames for the one who sent something: all else comes with the response that stays open. */
const FOR_SENDER = new Set(["accepted", "error", "response", "pong", "support"]);

export class LinesSocket {
  onopen = null;
  onmessage = null;
  onclose = null;
  readyState = 0;
  #fetch;
  #clock;
  /** What each request begins with: the session of the response that stays open. */
  #hello = null;
  #listening = null;
  #exchanges = new Set();
  /** Messages go one behind the other, so that they are stored in their order. */
  #messages = [];
  #posting = false;

  /** @param clock `setTimeout` and `clearTimeout` */
  constructor(fetch, clock) {
    this.#fetch = fetch;
    this.#clock = clock;
    queueMicrotask(() => {
      if (this.readyState !== 0) return;
      this.readyState = 1;
      this.onopen?.();
    });
  }

  send(line) {
    const frame = JSON.parse(line);
    if (frame.type === "hello") this.#listen(frame);
    else if (frame.type === "message") this.#queue(frame);
    else if (frame.id !== REPLAYED) this.#post([frame]);
  }

  close() {
    this.readyState = 3;
    for (const exchange of this.#exchanges) exchange.abort();
  }

  #end(code, reason = "") {
    if (this.readyState === 3) return;
    this.close();
    this.onclose?.({ code, reason });
  }

  /** Opens the response that stays open; another `hello` on it is another one. */
  async #listen(hello) {
    this.#listening?.abort();
    const exchange = this.#begin();
    this.#listening = exchange;
    this.#hello = hello;
    const frames = hello.resume === undefined ? [hello] : [hello, { type: "ping", id: REPLAYED }];
    let closed = {};
    await this.#exchange(frames, exchange, { prefer: "wait" }, (frame, line) => {
      if (frame?.type === "welcome") this.#hello = { ...hello, resume: frame.resume, since: undefined };
      if (frame?.type === "closed") closed = frame;
      else this.onmessage?.({ data: line });
    });
    if (this.#listening === exchange) this.#end(closed.code, closed.reason);
  }

  async #queue(message) {
    this.#messages.push(message);
    if (this.#posting) return;
    this.#posting = true;
    // What is sent at the same moment goes together.
    await null;
    while (this.#messages.length > 0 && this.readyState === 1) await this.#post(this.#messages.splice(0));
    this.#posting = false;
  }

  /** Sends frames, and hears out what the server says to each; the connection is lost where it does not. */
  async #post(frames) {
    const exchange = this.#begin();
    const timer = this.#clock.setTimeout(() => exchange.abort(), LIMIT_MS);
    const awaited = new Set(frames.map(answerTo).filter((name) => name !== null));
    const isDone = await this.#exchange([this.#hello, ...frames], exchange, {}, (frame) => {
      if (!FOR_SENDER.has(frame?.type)) return;
      this.onmessage?.({ data: JSON.stringify(frame) });
      if (frame.type === "support") return;
      awaited.delete(frame.id ?? frame.type);
      // The answer itself comes to all of the session.
      if (awaited.size === 0) exchange.abort();
    });
    this.#clock.clearTimeout(timer);
    if (awaited.size > 0 || (!isDone && frames.every((frame) => answerTo(frame) === null))) this.#end();
  }

  #begin() {
    const exchange = new AbortController();
    this.#exchanges.add(exchange);
    return exchange;
  }

  /** Hands each line of the response to `take(frame, line)`, until its end or that of `exchange`. Whether it was answered at all. */
  async #exchange(frames, exchange, headers, take) {
    const { signal } = exchange;
    try {
      const body = frames.map((frame) => `${JSON.stringify(frame)}\n`).join("");
      const wanted = { "content-type": LINES_TYPE, accept: LINES_TYPE, ...headers };
      const response = await this.#fetch(PATH, { method: "POST", cache: "no-store", headers: wanted, body, signal });
      if (!response.ok) throw new Error(response.statusText);
      for await (const line of linesOf(response.body)) {
        if (signal.aborted) break;
        take(parse(line), line);
      }
      return true;
    } catch {
      return false;
    } finally {
      exchange.abort();
      this.#exchanges.delete(exchange);
    }
  }
}

/** The id, else the type, of the frame that answers this one; null where there is none. */
function answerTo({ type, id }) {
  if (type === "stop") return null;
  return id ?? (type === "ping" ? "pong" : null);
}

async function* linesOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    yield* lines;
  }
}

function parse(line) {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}
