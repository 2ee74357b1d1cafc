// The session as a whole, over fake sockets: resend, resume, two tabs, starting over.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Chat } from "../js/chat.js";
import { Storage } from "../js/storage.js";
import { fakeIo, welcome } from "./peer.js";

/** `localStorage` as far as it is used. */
function fakeStore() {
  const map = new Map();
  return {
    getItem: (key) => map.get(key) ?? null,
    setItem: (key, value) => map.set(key, value),
    removeItem: (key) => map.delete(key),
  };
}

function open({ store = fakeStore(), io = fakeIo() } = {}) {
  const seen = { problems: [], events: [], restored: 0, gone: 0, older: false };
  const storage = new Storage(store);
  const chat = new Chat(io, storage, {
    locale: () => "es-AR",
    change() {}, state() {}, limits() {}, accepted() {},
    problem: (frame) => seen.problems.push(frame.code),
    happened: ({ kind, entry }) => seen.events.push(`${kind}:${entry.role}:${entry.text}`),
    restored: () => { seen.restored += 1; },
    older: (more) => { seen.older = more; },
    gone: () => { seen.gone += 1; },
  });
  chat.start();
  return { chat, io, seen, storage };
}

function greet(io, more) {
  io.socket.accept();
  io.socket.say(welcome(more));
}

function accepted(io, id, seq) {
  io.socket.say({ type: "accepted", id, seq });
}

function done(io, id, seq, text) {
  io.socket.say({ type: "delta", id, offset: 0, text });
  io.socket.say({ type: "done", id, seq, finish: "stop", source: "llm", chars: text.length });
}

function turn(seq, role, id, text) {
  return { type: "turn", seq, role, id, text, at: "2026-01-02T03:04:05Z" };
}

const states = (chat) => chat.conversation.entries.filter(({ role }) => role === "user").map(({ text, state }) => `${text}:${state}`);

test("what was not accepted before a cut is sent again with the same id, in order", () => {
  const { chat, io } = open();
  greet(io);
  chat.send("uno");
  chat.send("dos");
  const [one, two] = io.socket.of("message").map(({ id }) => id);
  accepted(io, one, 1);
  io.socket.drop();
  chat.send("tres");
  assert.deepEqual(states(chat), ["uno:sent", "dos:waiting", "tres:waiting"]);

  io.clock.advance(15_000);
  greet(io, { resumed: true, seq: 1 });
  const hello = io.socket.of("hello")[0];
  assert.deepEqual([hello.resume, hello.since, hello.locale, hello.client], ["t1", 1, "es-AR", "web"]);
  const again = io.socket.of("message");
  assert.deepEqual(again.map(({ text }) => text), ["dos", "tres"]);
  assert.equal(again[0].id, two);
});

test("no more turns are open at once than the server takes", () => {
  const { chat, io } = open();
  greet(io);
  for (const text of ["uno", "dos", "tres"]) chat.send(text);
  assert.equal(io.socket.of("message").length, 2);
  assert.deepEqual(states(chat), ["uno:sending", "dos:sending", "tres:waiting"]);
  const { id } = io.socket.of("message")[0];
  accepted(io, id, 1);
  done(io, id, 2, "A");
  assert.equal(io.socket.of("message").length, 3);
});

test("an answer that was finished while away comes once", () => {
  const { chat, io, seen } = open();
  greet(io);
  chat.send("hola");
  const { id } = io.socket.of("message")[0];
  accepted(io, id, 1);
  io.socket.say({ type: "delta", id, offset: 0, text: "bu" });
  io.socket.drop();
  io.clock.advance(15_000);
  greet(io, { resumed: true, seq: 2 });
  io.socket.say(turn(2, "assistant", id, "buenas"));
  assert.deepEqual(chat.conversation.entries.map(({ text }) => text), ["hola", "buenas"]);
  assert.deepEqual(seen.events, ["finished:assistant:buenas"]);
});

test("a refused message keeps its text: sent again under its id, or taken back", () => {
  const { chat, io, seen } = open();
  greet(io);
  chat.send("hola");
  const { id } = io.socket.of("message")[0];
  io.socket.say({ type: "error", id, code: "rate_limited", retry_after_ms: 1_000 });
  assert.deepEqual([states(chat), seen.problems, chat.hasUnsent], [["hola:failed"], ["rate_limited"], false]);
  const entry = chat.conversation.get("user", id);
  chat.retry(entry);
  assert.deepEqual(io.socket.of("message").map((frame) => frame.id), [id, id]);
  io.socket.say({ type: "error", id, code: "rate_limited" });
  assert.equal(chat.takeBack(entry), "hola");
  assert.equal(chat.conversation.entries.length, 0);
});

test("a server that shuts down loses no message", () => {
  const { chat, io, seen } = open();
  greet(io);
  chat.send("hola");
  const { id } = io.socket.of("message")[0];
  io.socket.say({ type: "error", id, code: "shutting_down" });
  io.socket.drop();
  io.clock.advance(15_000);
  greet(io, { resumed: true });
  assert.deepEqual([io.socket.of("message")[0].id, seen.problems], [id, []]);
});

test("a page that opens replays its session as history, not as news", () => {
  const store = fakeStore();
  store.setItem("psicoia.resume", "t1");
  const { chat, io, seen } = open({ store });
  greet(io, { resumed: true, seq: 502, missed: 2 });
  assert.deepEqual([io.socket.of("hello")[0].resume, io.socket.of("hello")[0].since], ["t1", 0]);
  assert.deepEqual([seen.older, seen.restored], [true, 0]);
  for (let seq = 3; seq <= 502; seq += 1) io.socket.say(turn(seq, "user", `m${seq}`, "x"));
  assert.deepEqual([chat.conversation.entries.length, seen.restored, seen.events], [500, 1, []]);
  io.socket.say(turn(503, "user", "other", "de otra pestaña"));
  assert.deepEqual(seen.events, ["added:user:de otra pestaña"]);
});

test("a token the server does not know is forgotten", () => {
  const store = fakeStore();
  store.setItem("psicoia.resume", "old");
  const { io, seen, storage } = open({ store });
  io.socket.accept();
  io.socket.say({ type: "error", code: "bad_resume" });
  assert.deepEqual([storage.get("resume"), seen.gone], [null, 1]);
  assert.equal("resume" in io.socket.of("hello")[1], false);
  io.socket.say(welcome({ resume: "new" }));
  assert.equal(storage.get("resume"), "new");
});

test("more was said while away than is replayed: the gap is fetched", async () => {
  const { chat, io } = open();
  greet(io);
  io.socket.say(turn(1, "user", "m1", "1"));
  io.socket.drop();
  io.clock.advance(15_000);
  greet(io, { resumed: true, seq: 4, missed: 2 });
  io.socket.say(turn(4, "user", "m4", "4"));
  const { id, params } = io.socket.of("request")[0];
  assert.deepEqual(params, { before_seq: 4, limit: 2 });
  io.socket.say({ type: "response", id, result: { entries: [turn(2, "user", "m2", "2"), turn(3, "user", "m3", "3")], more: true } });
  await Promise.resolve();
  assert.deepEqual([chat.conversation.entries.map(({ text }) => text), chat.conversation.lastSeq], [["1", "2", "3", "4"], 4]);
});

test("starting over erases on the server, and the other tab follows into the new session", async () => {
  const store = fakeStore();
  const one = open({ store });
  greet(one.io, { session: "s1", resume: "t1" });
  const two = open({ store });
  greet(two.io, { session: "s1", resume: "t1", resumed: true });
  two.io.socket.say(turn(1, "user", "a", "vieja"));

  const erased = one.chat.startOver();
  const { id, params } = one.io.socket.of("request")[0];
  assert.deepEqual(params, { confirm: "s1" });
  one.io.socket.say({ type: "response", id, result: { erased: 1 } });
  await erased;
  greet(one.io, { session: "s2", resume: "t2" });
  assert.equal("resume" in one.io.socket.of("hello")[0], false);

  two.chat.tokenChanged();
  two.io.socket.accept();
  assert.deepEqual([two.io.socket.of("hello")[0].resume, two.io.socket.of("hello")[0].since], ["t2", 0]);
  assert.equal(two.chat.conversation.entries.length, 0);
});

test("a session that could not be erased stays", async () => {
  const { chat, io, storage } = open();
  greet(io);
  io.socket.say(turn(1, "user", "a", "x"));
  const erased = chat.startOver();
  io.socket.drop();
  await assert.rejects(erased, { code: "disconnected" });
  assert.deepEqual([chat.conversation.entries.length, storage.get("resume")], [1, "t1"]);
});

test("without storage the page works, and reconnects to its session", () => {
  const refusing = { getItem() { throw new Error("no"); }, setItem() { throw new Error("no"); }, removeItem() { throw new Error("no"); } };
  for (const store of [null, refusing]) {
    const { io } = open({ store });
    greet(io);
    io.socket.drop();
    io.clock.advance(15_000);
    io.socket.accept();
    assert.equal(io.socket.of("hello")[0].resume, "t1");
  }
});
