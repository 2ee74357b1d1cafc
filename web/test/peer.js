// Stand-ins for the tests: a clock that only moves when told, and sockets that only do what they are told.

export class FakeClock {
  #now = 1_000_000;
  #timers = new Map();
  #next = 1;

  now = () => this.#now;

  setTimeout = (action, ms) => {
    const timer = this.#next++;
    this.#timers.set(timer, { at: this.#now + ms, action });
    return timer;
  };

  clearTimeout = (timer) => this.#timers.delete(timer);

  /** Moves on, running what falls due in order. */
  advance(ms) {
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      const [timer, { at, action }] = due;
      this.#timers.delete(timer);
      this.#now = at;
      action();
    }
    this.#now = end;
  }
}

export class FakeSocket {
  readyState = 0;
  sent = [];

  constructor(url, protocol) {
    Object.assign(this, { url, protocol });
  }

  send(data) {
    this.sent.push(JSON.parse(data));
  }

  close() {
    this.readyState = 3;
  }

  // What the other side does:

  accept() {
    this.readyState = 1;
    this.onopen();
  }

  say(...frames) {
    for (const frame of frames) this.onmessage?.({ data: JSON.stringify(frame) });
  }

  drop(code, reason = "") {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }

  of(type) {
    return this.sent.filter((frame) => frame.type === type);
  }
}

/** The `io` of a {@link Connection}, with the sockets it opened in `io.sockets`; those over HTTP have the url "lines". */
export function fakeIo({ random = () => 0.5 } = {}) {
  const sockets = [];
  const io = {
    url: "ws://test/ws",
    sockets,
    clock: new FakeClock(),
    random,
    online: true,
    seen: true,
    served: false,
    throwing: false,
    wall: () => io.clock.now(),
    isOnline: () => io.online,
    isSeen: () => io.seen,
    isServed: async () => io.served,
    createLines: () => {
      sockets.push(new FakeSocket("lines"));
      return sockets.at(-1);
    },
    createSocket: (url, protocol) => {
      if (io.throwing) throw new Error("The operation is insecure.");
      sockets.push(new FakeSocket(url, protocol));
      return sockets.at(-1);
    },
    get socket() {
      return sockets.at(-1);
    },
  };
  return io;
}

/** `localStorage` as far as it is used. */
export function fakeStore() {
  const map = new Map();
  return {
    getItem: (key) => map.get(key) ?? null,
    setItem: (key, value) => map.set(key, String(value)),
    removeItem: (key) => map.delete(key),
    key: (at) => [...map.keys()][at] ?? null,
    get length() {
      return map.size;
    },
  };
}

export function welcome(more = {}) {
  return { type: "welcome", v: 1, session: "s1", resume: "t1", resumed: false, seq: 0, limits: {}, ...more };
}
