import assert from "node:assert/strict";
import { test } from "node:test";

import { BACKOFF_FIRST_MS, BACKOFF_MAX_MS, backoffMs, spreadMs } from "../js/backoff.js";
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
    badResume: () => { seen.badResumes += 1; },
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

test("backoff: full jitter under a ceiling that doubles up to 15 s", () => {
  const ceilings = [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000];
  for (const [attempt, ceiling] of ceilings.entries()) {
    assert.equal(backoffMs(attempt, () => 0), 0);
    assert.ok(backoffMs(attempt, () => 0.999_999) < ceiling, `attempt ${attempt}`);
    assert.ok(backoffMs(attempt, () => 0.999_999) >= ceiling - 1, `attempt ${attempt}`);
  }
  assert.ok(backoffMs(100_000, Math.random) < BACKOFF_MAX_MS);
  assert.equal(spreadMs(2_000, () => 0), 2_000);
  assert.ok(spreadMs(2_000, () => 0.999) < 3_000);
  assert.ok(spreadMs(0, () => 0.999) < BACKOFF_FIRST_MS);
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

test("waits longer after each failure, and says until when", () => {
  const { io, seen } = connect(fakeIo({ random: () => 0.999_999 }));
  for (const wait of [499, 999, 1_999, 3_999, 7_999, 14_999, 14_999]) {
    const opened = io.sockets.length;
    io.socket.drop();
    assert.deepEqual(seen.states.at(-1), { name: "reconnecting", retryAt: io.clock.now() + wait });
    io.clock.advance(wait - 1);
    assert.equal(io.sockets.length, opened);
    io.clock.advance(1);
    assert.equal(io.sockets.length, opened + 1);
  }
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
  assert.equal(seen.states.at(-1).name, "reconnecting");

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

test("bad_resume: one more hello on the same socket, and no loop", () => {
  const { io, seen } = connect();
  io.socket.accept();
  io.socket.say({ type: "error", code: "bad_resume" });
  assert.deepEqual([seen.badResumes, io.socket.of("hello").length, io.sockets.length], [1, 2, 1]);
  io.socket.say({ type: "error", code: "bad_resume" });
  assert.deepEqual([seen.badResumes, seen.states.at(-1).name], [1, "reconnecting"]);
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
