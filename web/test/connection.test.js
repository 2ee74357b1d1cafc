import assert from "node:assert/strict";
import { test } from "node:test";

import { BACKOFF_FIRST_MS, BACKOFF_MAX_MS, BACKOFF_UNSEEN_MS, backoffMs, retryMs, spreadMs } from "../js/backoff.js";
import { Connection } from "../js/connection.js";
import { fakeIo, welcome } from "./peer.js";

function connect(io = fakeIo()) {
  const seen = { states: [], frames: [], welcomes: 0, replayed: 0, cuts: 0, badResumes: 0, hellos: 0, busy: false };
  const connection = new Connection(io, {
    hello: () => ({ type: "hello", v: 1, n: ++seen.hellos }),
    state: (state) => seen.states.push(state),
    welcome: () => { seen.welcomes += 1; },
    replayed: () => { seen.replayed += 1; },
    frame: (frame) => seen.frames.push(frame),
    badResume: () => {
      seen.badResumes += 1;
      return seen.hellos < 3 ? { type: "hello", v: 1, n: ++seen.hellos } : null;
    },
    cut: () => { seen.cuts += 1; },
    busy: () => seen.busy,
  });
  connection.open();
  return { io, seen, connection };
}

function connected(io) {
  const made = connect(io);
  made.io.socket.accept();
  made.io.socket.say(welcome());
  return made;
}

const names = (seen) => seen.states.map(({ name }) => name);

test("backoff: full jitter under a ceiling that doubles, up to 4 s for a page that is seen and 15 s for a hidden one", () => {
  for (const [max, ceilings] of [
    [BACKOFF_MAX_MS, [500, 1_000, 2_000, 4_000, 4_000]],
    [BACKOFF_UNSEEN_MS, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]],
  ]) {
    for (const [attempt, ceiling] of ceilings.entries()) {
      assert.equal(backoffMs(attempt, () => 0, max), 0);
      assert.ok(backoffMs(attempt, () => 0.999_999, max) < ceiling, `attempt ${attempt}`);
      assert.ok(backoffMs(attempt, () => 0.999_999, max) >= ceiling - 1, `attempt ${attempt}`);
    }
  }
  assert.ok(backoffMs(100_000, Math.random) < BACKOFF_MAX_MS);
  assert.equal(spreadMs(2_000, () => 0), 2_000);
  assert.ok(spreadMs(2_000, () => 0.999) < 3_000);
  assert.ok(spreadMs(0, () => 0.999) < BACKOFF_FIRST_MS);
  // A message: never before the server said, more rarely each time, never more rarely than every 45 s by itself.
  assert.deepEqual([0, 1, 4, 50].map((tries) => retryMs(2_000, tries, () => 0)), [2_000, 2_000, 8_000, 30_000]);
  assert.deepEqual([retryMs(undefined, 0, () => 0), retryMs(90_000, 3, () => 0)], [500, 90_000]);
  assert.ok(retryMs(2_000, 50, () => 0.999) < 45_000);
});

test("hello first, with the subprotocol; frames only after welcome", () => {
  const { io, seen } = connect();
  assert.equal(io.socket.protocol, "psicoia.v1");
  assert.deepEqual(io.socket.sent, []);
  io.socket.accept();
  assert.deepEqual(io.socket.sent, [{ type: "hello", v: 1, n: 1 }]);
  io.socket.say({ type: "delta", id: "a" });
  io.socket.onmessage({ data: "Usuario-1 conectado." });
  assert.deepEqual(seen.frames, []);
  io.socket.say(welcome(), { type: "delta", id: "a" }, { type: "pong" });
  assert.deepEqual([seen.welcomes, seen.frames.length], [1, 1]);
  assert.deepEqual(names(seen), ["connecting", "connected"]);
});

test("waits longer after each failure, and says until when; nothing is said to be lost that never was", () => {
  for (const [made, name, waits] of [
    [connect, "connecting", [499, 999, 1_999, 3_999, 3_999]],
    [connected, "reconnecting", [499, 999, 1_999, 3_999, 3_999]],
  ]) {
    const { io, seen } = made(fakeIo({ random: () => 0.999_999 }));
    for (const wait of waits) {
      const opened = io.sockets.length;
      io.socket.drop();
      assert.deepEqual(seen.states.at(-1), { name, retryAt: io.clock.now() + wait });
      io.clock.advance(wait - 1);
      assert.equal(io.sockets.length, opened);
      io.clock.advance(1);
      assert.equal(io.sockets.length, opened + 1);
    }
  }
});

test("a hidden page retries more rarely", () => {
  const { io, seen } = connected(fakeIo({ random: () => 0.999_999 }));
  io.seen = false;
  for (let attempt = 0; attempt < 6; attempt += 1) {
    io.socket.drop();
    io.clock.advance(seen.states.at(-1).retryAt - io.clock.now());
  }
  io.socket.drop();
  assert.equal(seen.states.at(-1).retryAt - io.clock.now(), 14_999);
});

test("a constructor that throws is a connection that was lost", () => {
  const io = fakeIo({ random: () => 0.999_999 });
  io.throwing = true;
  const { seen } = connect(io);
  for (const wait of [499, 999, 1_999]) {
    assert.deepEqual(seen.states.at(-1), { name: "connecting", retryAt: io.clock.now() + wait });
    io.clock.advance(wait);
  }
  io.throwing = false;
  io.clock.advance(4_000);
  io.socket.accept();
  io.socket.say(welcome());
  assert.equal(seen.states.at(-1).name, "connected");
  io.throwing = true;
  io.socket.drop();
  io.clock.advance(60_000);
  io.throwing = false;
  io.clock.advance(4_000);
  io.socket.accept();
  io.socket.say(welcome());
  assert.equal(seen.states.at(-1).name, "connected");
});

test("a server that is there and takes no connection of this page: said so, and not knocked at for ever", async () => {
  const { io, seen } = connect();
  io.served = true;
  // Three WebSockets, and then HTTP.
  for (let attempt = 0; attempt < 4; attempt += 1) {
    assert.equal("blocked" in seen.states.at(-1), false);
    io.socket.drop();
    if (attempt < 3) io.clock.advance(4_000);
  }
  await null;
  await null;
  assert.deepEqual(io.sockets.map(({ url }) => url), ["ws://test/ws", "ws://test/ws", "ws://test/ws", "lines"]);
  assert.deepEqual(seen.states.at(-1), { name: "connecting", retryAt: io.clock.now() + 60_000, blocked: true });
  io.clock.advance(60_000);
  io.socket.accept();
  io.socket.say(welcome());
  assert.deepEqual(seen.states.at(-1), { name: "connected", retryAt: null });

  const down = connect();
  for (let attempt = 0; attempt < 9; attempt += 1) {
    down.io.socket.drop();
    await null;
    await null;
    down.io.clock.advance(4_000);
  }
  assert.ok(down.seen.states.every((state) => !("blocked" in state)), "a server that is not there is only not there");
});

test("a socket that opened was accepted: a server that cannot welcome yet is not said to refuse this page", async () => {
  const settled = async () => { for (let turn = 0; turn < 4; turn += 1) await null; };
  for (const refuse of [
    (socket) => socket.say({ type: "error", code: "unavailable", retry_after_ms: 1_000 }),
    (socket) => socket.drop(1013),
  ]) {
    const { io, seen } = connect();
    io.served = true;
    for (let attempt = 0; attempt < 9; attempt += 1) {
      io.socket.accept();
      refuse(io.socket);
      await settled();
      assert.equal("blocked" in seen.states.at(-1), false, `attempt ${attempt}`);
      const wait = seen.states.at(-1).retryAt - io.clock.now();
      assert.ok(wait <= 5_000, `attempt ${attempt}: ${wait}`);
      io.clock.advance(wait);
    }
  }
});

test("a socket that opens after all, while the server is asked or once it was blocked, ends the doubt", async () => {
  const { io, seen } = connect();
  let answer;
  io.isServed = () => new Promise((resolve) => { answer = resolve; });
  for (let attempt = 0; attempt < 4; attempt += 1) {
    io.socket.drop();
    io.clock.advance(4_000);
  }
  io.socket.accept();
  answer(true);
  await null;
  await null;
  io.socket.drop();
  assert.equal("blocked" in seen.states.at(-1), false, "asked before it opened");

  const blocked = connect();
  blocked.io.served = true;
  for (let attempt = 0; attempt < 4; attempt += 1) {
    blocked.io.socket.drop();
    if (attempt < 3) blocked.io.clock.advance(4_000);
  }
  await null;
  await null;
  assert.equal(blocked.seen.states.at(-1).blocked, true);
  blocked.io.clock.advance(60_000);
  blocked.io.socket.accept();
  blocked.io.socket.drop();
  const { retryAt, ...state } = blocked.seen.states.at(-1);
  assert.deepEqual([state, retryAt - blocked.io.clock.now() <= 4_000], [{ name: "connecting" }, true]);
});

test("back on the page, or by the button: at once, unless the server asked for a wait", () => {
  const { io, seen, connection } = connect();
  io.socket.accept();
  io.socket.say({ type: "error", code: "unavailable", retry_after_ms: 60_000 });
  const opened = io.sockets.length;
  io.clock.advance(59_000);
  connection.wake();
  assert.equal(io.sockets.length, opened);
  assert.ok(seen.states.at(-1).retryAt >= io.clock.now() + 1_000);
  io.clock.advance(seen.states.at(-1).retryAt - io.clock.now());
  assert.equal(io.sockets.length, opened + 1);
});

test("a session that is gone from under an open connection is asked for again", () => {
  const { io, seen } = connected();
  io.socket.say({ type: "error", code: "hello_required" });
  assert.deepEqual([seen.cuts, seen.states.at(-1).name], [1, "reconnecting"]);
});

test("only a connection that lasted resets the backoff", () => {
  const { io, seen } = connected(fakeIo({ random: () => 0.999_999 }));
  const waitAfter = (lived) => {
    io.socket.accept();
    io.socket.say(welcome());
    io.clock.advance(lived);
    io.socket.drop();
    const wait = seen.states.at(-1).retryAt - io.clock.now();
    io.clock.advance(wait);
    return wait;
  };
  assert.deepEqual([waitAfter(10), waitAfter(10), waitAfter(5_000), waitAfter(10)], [499, 999, 499, 999]);
});

test("a server that does not welcome, and one that stops answering, are left", () => {
  const { io, seen } = connect();
  io.socket.accept();
  io.clock.advance(10_000);
  assert.equal(seen.states.at(-1).name, "connecting");
  assert.notEqual(seen.states.at(-1).retryAt, null);

  io.clock.advance(15_000);
  io.socket.accept();
  io.socket.say(welcome());
  io.clock.advance(30_000);
  assert.equal(io.socket.of("ping").length, 1);
  io.socket.say({ type: "pong" });
  io.clock.advance(29_999);
  assert.equal(seen.states.at(-1).name, "connected");
  io.clock.advance(60_000);
  assert.equal(seen.cuts, 1);
});

test("draining: goes to another server after the time it was told, not before", () => {
  const { io, seen } = connected();
  const opened = io.sockets.length;
  io.socket.say({ type: "notice", code: "draining", reconnect_in_ms: 2_000 });
  io.clock.advance(1_999);
  assert.equal(io.sockets.length, opened);
  io.clock.advance(1_001);
  assert.deepEqual([io.sockets.length, seen.cuts], [opened + 1, 1]);

  io.socket.accept();
  io.socket.say(welcome(), { type: "notice", code: "draining", reconnect_in_ms: 2_000 });
  io.socket.drop(); // 1001 before the time is up: the wait still counts.
  assert.ok(seen.states.at(-1).retryAt - io.clock.now() >= 2_000);
});

test("online and visible: at once when cut off, a question when connected", () => {
  const { io, seen, connection } = connected();
  io.online = false;
  connection.sleep();
  assert.equal(seen.states.at(-1).name, "offline");
  const opened = io.sockets.length;
  connection.wake();
  assert.equal(io.sockets.length, opened + 1);
  connection.wake();
  assert.equal(io.sockets.length, opened + 1, "an attempt under way is left alone");

  io.socket.accept();
  io.socket.say(welcome());
  connection.wake();
  assert.equal(io.socket.of("ping").length, 1);
});

test("bad_resume: as many hellos on the same socket as there are tokens, each with its time, and no loop", () => {
  const { io, seen } = connect();
  io.socket.accept();
  for (const hellos of [2, 3]) {
    io.clock.advance(9_000);
    io.socket.say({ type: "error", code: "bad_resume" });
    assert.deepEqual([io.socket.of("hello").length, io.sockets.length], [hellos, 1]);
  }
  io.socket.say({ type: "error", code: "bad_resume" });
  assert.deepEqual([io.socket.of("hello").length, seen.badResumes, seen.states.at(-1).name], [3, 3, "connecting"]);
  assert.notEqual(seen.states.at(-1).retryAt, null);
});

test("an error before welcome is a failed attempt; retry_after_ms is honoured, and not by everyone at once", () => {
  for (const [random, wait] of [[0, 9_000], [0.5, 11_250]]) {
    const { io, seen } = connect(fakeIo({ random: () => random }));
    io.socket.accept();
    io.socket.say({ type: "error", code: "unavailable", retry_after_ms: 9_000 });
    assert.equal(seen.states.at(-1).retryAt, io.clock.now() + wait);
  }
});

test("the end of a replay is known: a pong comes behind it, and a new session has none", () => {
  const { io, seen } = connected();
  assert.deepEqual([seen.replayed, io.socket.of("ping")], [1, []]);
  io.socket.drop();
  io.clock.advance(15_000);
  io.socket.accept();
  io.socket.say(welcome({ resumed: true, seq: 1 }), { type: "turn", seq: 1 }, { type: "pong" });
  assert.equal(seen.replayed, 1);
  io.socket.say({ type: "pong", id: io.socket.of("ping")[0].id });
  assert.deepEqual([seen.replayed, seen.frames.length], [2, 1]);
});

test("draining: an answer that is being written is waited for, the server closes behind it", () => {
  const { io, seen } = connected();
  seen.busy = true;
  io.socket.say({ type: "notice", code: "draining", reconnect_in_ms: 1_000 });
  io.clock.advance(10_000);
  assert.deepEqual([io.sockets.length, seen.cuts], [1, 0]);
  io.socket.drop(1001);
  io.clock.advance(seen.states.at(-1).retryAt - io.clock.now());
  assert.deepEqual([io.sockets.length, seen.cuts], [2, 1]);
});

test("an old client is told so and stops knocking", () => {
  const { io, seen, connection } = connect();
  io.socket.accept();
  io.socket.say({ type: "error", code: "version_unsupported" });
  assert.deepEqual(seen.states.at(-1), { name: "offline", retryAt: null, why: "version_unsupported" });
  connection.wake();
  io.clock.advance(60_000);
  assert.equal(io.sockets.length, 1);
});

test("requests end: with a result, an error, a deadline or the connection", async () => {
  const { io, connection } = connected();
  const answer = connection.request("session");
  const refused = connection.request("nothing");
  const [first, second] = io.socket.of("request");
  io.socket.say({ type: "response", id: first.id, result: { seq: 3 } }, { type: "error", id: second.id, code: "unknown_method" });
  assert.deepEqual(await answer, { seq: 3 });
  await assert.rejects(refused, { code: "unknown_method" });

  const late = connection.request("session", {}, 1_000);
  io.clock.advance(3_000);
  await assert.rejects(late, { code: "timeout" });

  const lost = connection.request("session");
  io.socket.drop();
  await assert.rejects(lost, { code: "interrupted" });
  await assert.rejects(connection.request("session"), { code: "disconnected" });
});

/** Three WebSockets that do not open, and HTTP that does. */
function overHttp() {
  const made = connect();
  for (let attempt = 0; attempt < 3; attempt += 1) {
    made.io.socket.drop();
    made.io.clock.advance(4_000);
  }
  made.io.socket.accept();
  made.io.socket.say(welcome({ resumed: true }));
  return made;
}
/** Lets a minute pass in which the server is heard. */
function minute(io, lines) {
  for (let part = 0; part < 3; part += 1) {
    io.clock.advance(20_000);
    lines.say({ type: "pong" });
  }
}
const urls = (io) => io.sockets.map(({ url }) => url.replace("://test", ""));

test("three WebSockets that do not open: HTTP, and nothing is said about that", () => {
  const { io, seen, connection } = overHttp();
  assert.deepEqual(urls(io), ["ws/ws", "ws/ws", "ws/ws", "lines"]);
  assert.deepEqual(seen.states.at(-1), { name: "connected", retryAt: null });
  assert.equal(connection.send({ type: "message", id: "a" }), true);
  assert.equal(io.socket.of("message").length, 1);
  // What worked is tried first, and each of both in turn where it does not.
  io.socket.drop();
  for (let attempt = 0; attempt < 3; attempt += 1) {
    io.clock.advance(4_000);
    io.socket.drop();
  }
  assert.deepEqual(urls(io).slice(4), ["lines", "ws/ws", "lines"]);
});

test("the person is back, perhaps on another network: a WebSocket is tried first", () => {
  const { io, connection } = overHttp();
  io.socket.drop();
  connection.wake();
  assert.deepEqual(urls(io).slice(4), ["ws/ws"]);
  io.socket.drop();
  io.clock.advance(4_000);
  assert.equal(urls(io).at(-1), "lines");
});

test("back to a WebSocket once one opens, between two answers, and nothing is said about that", () => {
  const { io, seen } = overHttp();
  const lines = io.socket;
  const said = seen.states.length;
  io.clock.advance(5_000);
  io.socket.drop();
  assert.equal(lines.readyState, 1, "it goes on");
  minute(io, lines);
  seen.busy = true;
  io.socket.accept();
  assert.deepEqual([io.socket.readyState, io.socket.sent, lines.readyState], [3, [], 1]);
  seen.busy = false;
  minute(io, lines);
  io.socket.accept();
  assert.deepEqual([lines.readyState, io.socket.of("hello").length, seen.cuts], [3, 1, 1]);
  io.socket.say(welcome({ resumed: true }));
  assert.deepEqual(seen.states.slice(said), [{ name: "connected", retryAt: null }]);
  assert.deepEqual([urls(io).slice(4), seen.welcomes], [["ws/ws", "ws/ws", "ws/ws"], 2]);
  io.clock.advance(10_000);
  assert.equal(io.sockets.length, 7, "no other one is tried");
});

test("a WebSocket that is tried beside HTTP ends with it, and one that never opens is let go", () => {
  const { io } = overHttp();
  io.clock.advance(5_000);
  io.clock.advance(10_000);
  assert.equal(io.socket.readyState, 3);
  minute(io, io.sockets[3]);
  const tried = io.socket;
  io.sockets[3].drop();
  assert.equal(tried.readyState, 3);
});
