// One conversation over as many sockets as it takes: hello, heartbeat, reconnect, requests. No DOM. Where no WebSocket
// opens, the same goes over HTTP (lines-socket.js), until one opens again.
// Everything from outside (sockets, time, chance) is handed in, so that the tests decide about it.

import { BACKOFF_MAX_MS, BACKOFF_UNSEEN_MS, backoffMs, spreadMs } from "./backoff.js";
import { REPLAYED } from "./lines-socket.js";
import { newId } from "./text.js";

export const SUBPROTOCOL = "psicoia.v1";
const WELCOME_TIMEOUT_MS = 10_000;
const HEARTBEAT_MS = 30_000;
const PONG_TIMEOUT_MS = 8_000;
/** A connection that lived this long was a good one: the next failure starts counting from zero. */
const STABLE_MS = 5_000;
const REQUEST_TIMEOUT_MS = 5_000;
/** After so many WebSockets in a row that did not open, HTTP is tried, and then each of both in turn. */
const MISSES = 3;
/** While it goes over HTTP, a WebSocket is tried soon (it may have been the server that was away), and then this often. */
const RETURN_FIRST_MS = 5_000;
const RETURN_MS = 60_000;
/** A page that may not connect at all knocks this rarely. */
const BLOCKED_MS = 60_000;
const FINAL = new Set(["version_unsupported", "unauthorized"]);

/**
 * A request that got no result. `code` is a wire code, `disconnected` if it was never sent, or `interrupted` if the
 * connection broke before the answer: then it may or may not have been done.
 */
export class RequestError extends Error {
  constructor(code, message = code) {
    super(message);
    this.code = code;
  }
}

export class Connection {
  #io;
  #on;
  #socket = null;
  #ready = false;
  #everReady = false;
  /** Attempts in a row that reached nothing. */
  #misses = 0;
  /** This attempt goes over HTTP. */
  #overLines = false;
  /** This attempt has reached the server, whatever it says to `hello`. */
  #reached = false;
  /** A WebSocket that is tried beside the connection over HTTP. */
  #candidate = null;
  #stopped = false;
  #blocked = false;
  #attempt = 0;
  #readyAt = 0;
  #heardAt = 0;
  /** Not before this time, because the server said so. */
  #notBefore = 0;
  #timers = new Map();
  #requests = new Map();

  /**
   * @param io {url, createSocket(url, protocol) (may throw), createLines() → {@link LinesSocket}, clock: {now (never set back), setTimeout, clearTimeout},
   *   random, isOnline(), isSeen(), isServed() → promise of whether the server answers HTTP}
   * @param on {hello() → first frame of a socket, state({name, retryAt, why?, blocked?}), welcome(frame), replayed(),
   *   frame(frame), notice(frame, sinceWelcomeMs) (but of a drain), badResume() → the next hello or null, cut(code, reason), busy() → whether an answer is being written}
   */
  constructor(io, on) {
    this.#io = io;
    this.#on = on;
  }

  get ready() {
    return this.#ready;
  }

  /** Connects now, whatever was planned. */
  open() {
    this.#hangUp();
    this.#stopped = false;
    this.#notBefore = 0;
    this.#tell({ name: this.#everReady ? "reconnecting" : "connecting", retryAt: null });
    this.#overLines = this.#misses >= MISSES && (this.#misses - MISSES) % 2 === 0;
    this.#reached = false;
    const socket = this.#overLines ? this.#io.createLines() : this.#createSocket();
    if (socket === null) {
      this.#lost();
      return;
    }
    this.#follow(socket);
    socket.onopen = () => {
      // That HTTP reaches anything shows with the first line.
      if (!this.#overLines) this.#reach();
      this.#write(this.#on.hello());
    };
  }

  /** Null for a socket the browser refuses to open (Safari 15, by its reading of the page's policy): it counts as a lost connection. */
  #createSocket() {
    try {
      return this.#io.createSocket(this.#io.url, SUBPROTOCOL);
    } catch {
      return null;
    }
  }

  #follow(socket) {
    this.#socket = socket;
    this.#after("welcome", WELCOME_TIMEOUT_MS, () => this.#lost());
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#lost(event.code, event.reason);
  }

  #reach() {
    this.#reached = true;
    this.#blocked = false;
    // Where it is lost, what worked is tried first.
    this.#misses = this.#overLines ? MISSES : 0;
  }

  /** Leaves this socket for another at once, for example to begin another session. */
  restart() {
    this.#attempt = 0;
    this.open();
  }

  /**
   * The network or the person is back: do not wait for the timer, unless the server asked for that wait, and do not
   * trust an old socket.
   */
  wake() {
    if (this.#stopped) return;
    // It may be another network.
    this.#misses = Math.min(this.#misses, MISSES - 1);
    if (this.#ready) {
      this.#probe();
      if (this.#overLines) this.#tryReturn();
    }
    else if (this.#socket === null && this.#io.clock.now() >= this.#notBefore) this.open();
  }

  /** The browser says the network is gone: its sockets are dead, they just do not know yet. */
  sleep() {
    if (this.#socket !== null) this.#lost();
  }

  /** Sends a frame; false if there is nobody to send it to. */
  send(frame) {
    return this.#ready && this.#write(frame);
  }

  /** Resolves with the result, rejects with a {@link RequestError}; never stays open. */
  request(method, params = {}, timeoutMs = REQUEST_TIMEOUT_MS) {
    const id = newId();
    return new Promise((resolve, reject) => {
      if (!this.send({ type: "request", id, method, params, timeout_ms: timeoutMs })) {
        reject(new RequestError("disconnected"));
        return;
      }
      this.#requests.set(id, { resolve, reject });
      // The server answers its own deadline; this one is for the server that does not.
      this.#after(id, timeoutMs + 2_000, () => this.#settle(id, "reject", new RequestError("timeout")));
    });
  }

  #receive(data) {
    this.#heardAt = this.#io.clock.now();
    if (!this.#reached) this.#reach();
    const frame = parse(data);
    if (frame === null) return;
    if (frame.type === "welcome") this.#welcome(frame);
    else if (frame.type === "error" && this.#handleError(frame)) return;
    else if (!this.#ready) return;
    else if (frame.type === "response") this.#settle(frame.id, "resolve", frame.result);
    else if (frame.type === "notice") this.#notice(frame);
    else if (frame.type !== "pong") this.#on.frame(frame);
    else if (frame.id === REPLAYED) this.#on.replayed();
  }

  #welcome(frame) {
    this.#cancel("welcome");
    this.#ready = true;
    this.#everReady = true;
    this.#readyAt = this.#io.clock.now();
    this.#after("heartbeat", HEARTBEAT_MS, () => this.#heartbeat());
    if (this.#overLines) this.#after("return", RETURN_FIRST_MS, () => this.#tryReturn());
    this.#tell({ name: "connected", retryAt: null });
    this.#on.welcome(frame);
    // Not if the page chose to leave this socket for another session.
    if (!this.#ready) return;
    if (frame.resumed) this.#write({ type: "ping", id: REPLAYED });
    else this.#on.replayed();
  }

  /** True if the error was about the connection or a request; a message's error is the page's business. */
  #handleError(frame) {
    if (FINAL.has(frame.code)) {
      this.#refused(frame.code);
      return true;
    }
    if (this.#requests.has(frame.id)) {
      this.#settle(frame.id, "reject", new RequestError(frame.code, frame.message));
      return true;
    }
    const wait = frame.id === undefined ? frame.retry_after_ms : undefined;
    if (wait > 0) this.#notBefore = this.#io.clock.now() + spreadMs(wait, this.#io.random);
    // On an open connection it means that the session is gone from under it.
    if (this.#ready && frame.code !== "hello_required") return false;
    if (frame.code === "bad_resume") this.#helloAgain();
    else this.#lost();
    return true;
  }

  /** With another token, or with none; a server that refuses even that must not be hammered. */
  #helloAgain() {
    const hello = this.#on.badResume();
    if (hello === null) {
      this.#lost();
      return;
    }
    this.#after("welcome", WELCOME_TIMEOUT_MS, () => this.#lost());
    this.#write(hello);
  }

  #notice(frame) {
    // Others than this one are words for the person, or unknown.
    if (frame.code !== "draining") {
      this.#on.notice(frame, this.#io.clock.now() - this.#readyAt);
      return;
    }
    const delay = spreadMs(frame.reconnect_in_ms ?? 0, this.#io.random);
    this.#notBefore = this.#io.clock.now() + delay;
    this.#after("drain", delay, () => {
      // The server finishes what it is writing, and closes once that is done.
      if (!this.#on.busy()) this.open();
    });
  }

  #heartbeat() {
    if (this.#io.clock.now() - this.#heardAt >= HEARTBEAT_MS) this.#probe();
    this.#after("heartbeat", HEARTBEAT_MS, () => this.#heartbeat());
  }

  /** Asks for a sign of life; a half-open socket would otherwise look fine for many minutes. */
  #probe() {
    const asked = this.#io.clock.now();
    this.#write({ type: "ping" });
    this.#after("pong", PONG_TIMEOUT_MS, () => {
      if (this.#heardAt < asked) this.#lost();
    });
  }

  /** Does a WebSocket open by now? It is taken between two answers, and nothing is said about that. */
  #tryReturn() {
    if (this.#candidate !== null) return;
    const socket = this.#createSocket();
    if (socket === null) {
      this.#stay();
      return;
    }
    this.#candidate = socket;
    this.#after("candidate", WELCOME_TIMEOUT_MS, () => this.#stay());
    socket.onclose = () => this.#stay();
    socket.onopen = () => {
      if (this.#on.busy()) this.#stay();
      else this.#return();
    };
  }

  /** Goes on over HTTP. */
  #stay() {
    this.#dropCandidate();
    this.#after("return", RETURN_MS, () => this.#tryReturn());
  }

  #return() {
    const socket = this.#candidate;
    this.#candidate = null;
    this.#hangUp();
    this.#overLines = false;
    this.#follow(socket);
    this.#reach();
    this.#write(this.#on.hello());
  }

  #dropCandidate() {
    const socket = this.#candidate;
    this.#candidate = null;
    this.#cancel("candidate");
    if (socket !== null) letGo(socket);
  }

  #refused(why) {
    this.#hangUp();
    this.#stopped = true;
    this.#tell({ name: "offline", retryAt: null, why });
  }

  #tell(state) {
    this.#on.state(this.#blocked ? { ...state, blocked: true } : state);
  }

  /** The socket is gone, or as good as gone: plan the next one. */
  #lost(code, reason) {
    const now = this.#io.clock.now();
    if (this.#ready && now - this.#readyAt >= STABLE_MS) this.#attempt = 0;
    this.#hangUp(code, reason);
    this.#attempt += 1;
    if (!this.#reached) {
      this.#misses += 1;
      if (this.#overLines && !this.#everReady) this.#doubt();
    }
    this.#plan(backoffMs(this.#attempt - 1, this.#io.random, this.#io.isSeen() ? BACKOFF_MAX_MS : BACKOFF_UNSEEN_MS));
  }

  #plan(wait) {
    const now = this.#io.clock.now();
    const delay = Math.max(this.#blocked ? BLOCKED_MS : wait, this.#notBefore - now);
    const name = this.#io.isOnline() ? (this.#everReady ? "reconnecting" : "connecting") : "offline";
    this.#tell({ name, retryAt: now + delay });
    // Also while "offline": the browser's word for it is a guess, a connection is proof.
    this.#after("retry", delay, () => this.open());
  }

  /**
   * Did neither way work because the server is not there, or because the network lets no conversation through? A browser does
   * not tell the difference; an answer to a plain request does.
   */
  async #doubt() {
    if (!(await this.#io.isServed()) || this.#reached) return;
    this.#blocked = true;
    if (this.#socket === null) this.#plan(BLOCKED_MS);
  }

  /** Lets go of the socket without hearing from it again; whatever waited for it is told. */
  #hangUp(code, reason) {
    const [socket, wasReady] = [this.#socket, this.#ready];
    this.#socket = null;
    this.#ready = false;
    for (const id of [...this.#requests.keys()]) this.#settle(id, "reject", new RequestError("interrupted"));
    for (const name of [...this.#timers.keys()]) this.#cancel(name);
    this.#dropCandidate();
    if (socket !== null) letGo(socket);
    if (wasReady) this.#on.cut(code, reason);
  }

  #settle(id, how, value) {
    this.#cancel(id);
    const request = this.#requests.get(id);
    this.#requests.delete(id);
    request?.[how](value);
  }

  #write(frame) {
    // Between "closing" and its event a socket takes frames and drops them: better not to pretend.
    if (this.#socket?.readyState !== 1) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #after(name, delayMs, action) {
    this.#cancel(name);
    this.#timers.set(name, this.#io.clock.setTimeout(() => {
      this.#timers.delete(name);
      action();
    }, delayMs));
  }

  #cancel(name) {
    this.#io.clock.clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }
}

/** Closes it without hearing from it again. */
function letGo(socket) {
  socket.onopen = socket.onmessage = socket.onclose = null;
  socket.close();
}

function parse(data) {
  try {
    const frame = JSON.parse(data);
    return frame !== null && typeof frame === "object" ? frame : null;
  } catch {
    return null;
  }
}
