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
  const seen = { problems: [], events: [], restored: 0, switched: 0, gone: 0, older: false };
  const storage = new Storage(store);
  const chat = new Chat(io, storage, {
    locale: () => "es-AR",
    change() {}, state() {}, limits() {}, accepted() {},
    problem: (frame) => seen.problems.push(frame.code),
    happened: ({ kind, entry }) => seen.events.push(`${kind}:${entry.role}:${entry.text}`),
    restored: () => { seen.restored += 1; },
    older: (more) => { seen.older = more; },
    switched: () => { seen.switched += 1; },
    gone: () => { seen.gone += 1; },
  });
  chat.start();
  return { chat, io, seen, storage };
}

function greet(io, more) {
  io.socket.accept();
  io.socket.say(welcome(more));
}

/** Comes back with these entries replayed. */
function resume(io, more, ...entries) {
  io.clock.advance(15_000);
  greet(io, { resumed: true, ...more });
  io.socket.say(...entries, { type: "pong", id: "replayed" });
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
  for (let seq = 3; seq <= 502; seq += 1) io.socket.say(turn(seq, seq % 2 ? "user" : "assistant", `m${seq}`, "x"));
  assert.deepEqual([chat.conversation.entries.length, seen.restored, seen.events], [500, 0, []]);
  io.socket.say({ type: "pong", id: "replayed" });
  assert.equal(seen.restored, 1);
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
  resume(io, { seq: 4, missed: 2 }, turn(4, "assistant", "m4", "4"));
  const { id, params } = io.socket.of("request")[0];
  assert.deepEqual(params, { before_seq: 4, limit: 2 });
  io.socket.say({ type: "response", id, result: { entries: [turn(2, "user", "m2", "2"), turn(3, "user", "m3", "3")], more: true } });
  await Promise.resolve();
  assert.deepEqual([chat.conversation.entries.map(({ text }) => text), chat.conversation.lastSeq], [["1", "2", "3", "4"], 4]);
});

test("a gap of which only some is kept any more is filled with that, and not asked about again", async () => {
  const { chat, io } = open();
  greet(io);
  io.socket.say(turn(1, "user", "m1", "1"));
  io.socket.drop();
  resume(io, { seq: 9, missed: 1 }, turn(9, "assistant", "m9", "9"));
  for (const [before, entries] of [[9, [turn(8, "user", "m8", "8")]], [8, []]]) {
    const { id, params } = io.socket.of("request").at(-1);
    assert.equal(params.before_seq, before);
    io.socket.say({ type: "response", id, result: { entries, more: false } });
    await Promise.resolve();
  }
  assert.deepEqual([chat.conversation.entries.map(({ text }) => text), chat.conversation.lastSeq], [["1", "8", "9"], 9]);
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
  assert.deepEqual([one.seen.gone, two.seen.gone, two.seen.switched], [0, 1, 2], "the other tab is told");
});

test("erased elsewhere, where the token is not shared: one question, then a new session", () => {
  const { io, seen, chat, storage } = open();
  greet(io);
  io.socket.say(turn(1, "user", "a", "vieja"));
  io.socket.drop(1000);
  io.clock.advance(15_000);
  io.socket.accept();
  io.socket.say({ type: "error", code: "bad_resume" });
  assert.deepEqual(io.socket.of("hello").map(({ resume }) => resume), ["t1", undefined]);
  io.socket.say(welcome({ session: "s2", resume: "t2" }));
  assert.deepEqual([storage.get("resume"), chat.conversation.entries, seen.gone], ["t2", [], 1]);
  const opened = io.sockets.length;
  io.clock.advance(25_000);
  assert.equal(io.sockets.length, opened, "and stays there");
});

test("two tabs that begin at the same moment end up in one session", () => {
  const store = fakeStore();
  const [one, two] = [open({ store }), open({ store })];
  for (const tab of [one, two]) tab.io.socket.accept();
  one.io.socket.say(welcome({ session: "s1", resume: "t1" }));
  two.chat.send("para la que quede");
  two.io.socket.say(welcome({ session: "s2", resume: "t2" }));
  assert.equal(two.io.sockets.length, 2);
  two.io.socket.accept();
  assert.deepEqual([two.io.socket.of("hello")[0].resume, store.getItem("psicoia.resume")], ["t1", "t1"]);
  two.io.socket.say(welcome({ resumed: true }));
  assert.deepEqual(two.io.socket.of("message").map(({ text }) => text), ["para la que quede"]);
});

test("an answer that the server has forgotten is asked for again, one that goes on is not", () => {
  const { chat, io } = open();
  greet(io);
  chat.send("uno");
  const { id } = io.socket.of("message")[0];
  accepted(io, id, 1);
  io.socket.say({ type: "delta", id, offset: 0, text: "Hola, ¿qu" });
  io.socket.drop();
  resume(io, { seq: 1 }, { type: "delta", id, offset: 0, text: "Hola, ¿qué" });
  assert.deepEqual(io.socket.of("message"), []);

  io.socket.drop();
  resume(io, { seq: 1 });
  assert.deepEqual(io.socket.of("message"), [{ type: "message", id, text: "uno" }]);
  accepted(io, id, 1);
  done(io, id, 2, "Buenas");
  assert.deepEqual(chat.conversation.entries.map(({ text }) => text), ["uno", "Buenas"]);
});

test("a page that opens on a message without an answer offers to ask for it, and never asks by itself", () => {
  const store = fakeStore();
  store.setItem("psicoia.resume", "t1");
  const { chat, io, seen } = open({ store });
  const replayed = [turn(1, "user", "a", "uno"), turn(2, "assistant", "a", "A"), turn(3, "user", "b", "dos"), turn(4, "support", "b", "ayuda")];
  resume(io, { seq: 4 }, ...replayed);
  assert.deepEqual([seen.events, io.socket.of("message")], [["unanswered:assistant:"], []]);
  io.socket.drop();
  resume(io, { seq: 4 });
  assert.deepEqual([seen.events.length, io.socket.of("message")], [1, []], "told once");

  const offer = chat.conversation.entries.at(-1);
  assert.deepEqual([offer.id, offer.error, offer.streaming], ["b", "unanswered", false]);
  chat.askAgain(offer);
  assert.deepEqual(io.socket.of("message"), [{ type: "message", id: "b", text: "dos" }]);
  assert.deepEqual([offer.streaming, chat.conversation.openAnswers], [true, ["b"]]);
  accepted(io, "b", 3);
  done(io, "b", 5, "B");
  assert.deepEqual(chat.conversation.entries.map(({ text }) => text), ["uno", "A", "dos", "ayuda", "B"]);
  assert.deepEqual([offer.finish, offer.seq, chat.conversation.lastSeq], ["stop", 5, 5]);
});

test("asked for without a connection, an answer is asked for by the next one", () => {
  const store = fakeStore();
  store.setItem("psicoia.resume", "t1");
  const { chat, io } = open({ store });
  resume(io, { seq: 1 }, turn(1, "user", "a", "uno"));
  io.socket.drop();
  chat.askAgain(chat.conversation.get("assistant", "a"));
  resume(io, { seq: 1 });
  assert.deepEqual(io.socket.of("message"), [{ type: "message", id: "a", text: "uno" }]);
});

test("an answer that is offered and comes by itself is shown, as it comes or as it is stored", () => {
  for (const [frames, text] of [
    [[{ type: "delta", id: "a", offset: 0, text: "ya" }, { type: "done", id: "a", seq: 2, finish: "stop", source: "llm", chars: 2 }], "ya"],
    [[turn(2, "assistant", "a", "estaba")], "estaba"],
  ]) {
    const store = fakeStore();
    store.setItem("psicoia.resume", "t1");
    const { chat, io, seen } = open({ store });
    resume(io, { seq: 1 }, turn(1, "user", "a", "uno"));
    io.socket.say(...frames);
    assert.deepEqual(seen.events, ["unanswered:assistant:", `finished:assistant:${text}`]);
    assert.deepEqual(chat.conversation.entries.map((entry) => entry.text), ["uno", text]);
    assert.equal(chat.conversation.get("assistant", "a").error, null);
  }
});

test("nothing is offered while something is on its way", () => {
  const { chat, io, seen } = open();
  greet(io);
  chat.send("uno");
  const { id } = io.socket.of("message")[0];
  accepted(io, id, 1);
  io.socket.drop();
  chat.send("dos");
  resume(io, { seq: 2 }, turn(2, "user", "x", "de otra pestaña"));
  assert.deepEqual([seen.events, chat.conversation.get("assistant", "x")], [["added:user:de otra pestaña"], undefined]);
});

test("an answer that broke off and is not kept is asked for again under its id, and takes the place of what there was", () => {
  const { chat, io, seen } = open();
  greet(io);
  chat.send("uno");
  const { id } = io.socket.of("message")[0];
  accepted(io, id, 1);
  io.socket.say({ type: "delta", id, offset: 0, text: "Hola, ¿qu" }, { type: "error", id, code: "unavailable", retry_after_ms: 1_000 });
  const answer = chat.conversation.get("assistant", id);
  assert.deepEqual([answer.finish, answer.seq, seen.problems], ["error", null, ["unavailable"]]);
  chat.askAgain(answer);
  assert.deepEqual(io.socket.of("message").map((frame) => frame.id), [id, id]);
  accepted(io, id, 1);
  done(io, id, 2, "Buenas");
  assert.deepEqual(chat.conversation.entries.map(({ text }) => text), ["uno", "Buenas"]);
  assert.deepEqual([answer.finish, answer.error], ["stop", null]);
});

test("a message whose `accepted` was lost still counts as open", () => {
  const { chat, io } = open();
  greet(io);
  for (const text of ["uno", "dos", "tres"]) chat.send(text);
  const [one, two] = io.socket.of("message").map(({ id }) => id);
  io.socket.drop();
  resume(io, { seq: 2 }, turn(1, "user", one, "uno"), turn(2, "user", two, "dos"));
  const again = () => io.socket.of("message").map(({ text }) => text);
  assert.deepEqual(again(), ["uno", "dos"]);
  accepted(io, one, 1);
  assert.deepEqual(again(), ["uno", "dos"], "the third waits");
  done(io, one, 3, "A");
  assert.deepEqual(again(), ["uno", "dos", "tres"]);
});

test("a session of which nothing is kept any more opens empty, and claims what it has seen", () => {
  const store = fakeStore();
  store.setItem("psicoia.resume", "t1");
  const { chat, io, seen } = open({ store });
  resume(io, { seq: 8 });
  assert.deepEqual([chat.conversation.entries.length, seen.restored], [0, 1]);
  io.socket.drop();
  resume(io, { seq: 8 });
  assert.equal(io.socket.of("hello")[0].since, 8);
});

test("a page that opens and is cut in mid-replay still takes the rest for history", () => {
  const store = fakeStore();
  store.setItem("psicoia.resume", "t1");
  const { io, seen } = open({ store });
  greet(io, { resumed: true, seq: 2 });
  io.socket.say(turn(1, "user", "a", "uno"));
  io.socket.drop();
  resume(io, { seq: 2 }, turn(2, "assistant", "a", "eco"));
  assert.deepEqual([io.socket.of("hello")[0].since, seen.events, seen.restored], [1, [], 1]);
});

test("earlier messages come page by page, until there are none", async () => {
  const store = fakeStore();
  store.setItem("psicoia.resume", "t1");
  const { chat, io, seen } = open({ store });
  resume(io, { seq: 4, missed: 2 }, turn(3, "user", "m3", "3"), turn(4, "assistant", "m4", "4"));
  for (const [before, entries, more] of [[3, [turn(2, "user", "m2", "2")], true], [2, [turn(1, "user", "m1", "1")], false]]) {
    assert.equal(seen.older, true);
    const loaded = chat.loadOlder((apply) => apply());
    const { id, method, params } = io.socket.of("request").at(-1);
    assert.deepEqual([method, params.before_seq], ["history", before]);
    io.socket.say({ type: "response", id, result: { entries, more } });
    await loaded;
  }
  assert.deepEqual([chat.conversation.entries.map(({ text }) => text), seen.older], [["1", "2", "3", "4"], false]);
  assert.deepEqual(seen.events, []);
});

test("a message that the gateway does not take is not sent for ever", () => {
  const { chat, io, seen } = open();
  greet(io);
  chat.send("enorme");
  io.socket.drop(1009);
  resume(io);
  assert.deepEqual([states(chat), io.socket.of("message"), seen.problems], [["enorme:failed"], [], ["text_too_long"]]);
});

test("a session that could not be erased stays", async () => {
  const { chat, io, storage } = open();
  greet(io);
  io.socket.say(turn(1, "user", "a", "x"));
  const erased = chat.startOver();
  io.socket.drop();
  await assert.rejects(erased, { code: "interrupted" });
  await assert.rejects(chat.startOver(), { code: "disconnected" });
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

test("what could not be stored counts more than what is stored", () => {
  const store = fakeStore();
  store.setItem("psicoia.resume", "old");
  const full = new Storage({ ...store, setItem() { throw new Error("full"); }, removeItem() { throw new Error("full"); } });
  full.set("resume", "new");
  assert.equal(full.get("resume"), "new");
  full.remove("resume");
  assert.equal(full.get("resume"), null);
});
