// The session as a whole, over fake sockets: resend, resume, two tabs, starting over.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Chat } from "../js/chat.js";
import { Drafts } from "../js/drafts.js";
import { Storage } from "../js/storage.js";
import { mend } from "../js/text.js";
import { Tokens } from "../js/tokens.js";
import { fakeIo, fakeStore, welcome } from "./peer.js";

function open({ store = fakeStore(), tab = fakeStore(), io = fakeIo(), place = {} } = {}) {
  const seen = { kept: [], introduced: [], plans: [], answering: false, problems: [], waits: [], events: [], restored: 0, switched: 0, gone: [], back: 0, older: false };
  const storage = new Storage(store);
  const tokens = new Tokens(storage, io.wall);
  const chat = new Chat(io, tokens, new Drafts(new Storage(tab), io.wall), {
    locale: () => "es-AR",
    place: () => place,
    introduced: (text, lang) => seen.introduced.push(`${lang}:${text}`),
    kept: (kept, asAsked) => seen.kept.push([kept, asAsked]),
    change() {}, state() {}, limits() {}, accepted() {},
    planned: () => seen.plans.push(chat.hasPlan),
    turned: () => { seen.answering = chat.isAnswering; },
    problem: ({ code, retryMs }) => {
      seen.problems.push(code);
      seen.waits.push(retryMs);
    },
    happened: ({ kind, entry }) => seen.events.push(`${kind}:${entry.role}:${entry.text}`),
    restored: () => { seen.restored += 1; },
    older: (more) => { seen.older = more; },
    switched: () => { seen.switched += 1; },
    gone: (why) => seen.gone.push(why),
    back: () => { seen.back += 1; },
  });
  chat.start();
  return { chat, io, seen, storage, tokens };
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

function greetIfNeeded(io) {
  if (io.socket.readyState === 0) greet(io, { resumed: true });
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

/** The texts on the page, but for answers that are not there. */
const texts = (chat) => chat.conversation.entries.map(({ text }) => text).filter((text) => text !== "");
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

test("however many answers are open, a message goes out when it is written; what has no room goes again by itself", () => {
  const { chat, io, seen } = open();
  greet(io);
  for (const text of ["uno", "dos", "tres", "cuatro"]) chat.send(text);
  const ids = io.socket.of("message").map(({ id }) => id);
  assert.equal(ids.length, 4);
  ids.slice(0, 2).forEach((id, place) => accepted(io, id, place + 1));
  for (const id of ids.slice(2)) io.socket.say({ type: "error", id, code: "user_busy", retry_after_ms: 2_000 });
  assert.deepEqual(states(chat), ["uno:sent", "dos:sent", "tres:waiting", "cuatro:waiting"]);
  assert.deepEqual(seen.problems, ["user_busy", "user_busy"]);
  io.clock.advance(1_999);
  assert.equal(io.socket.of("message").length, 4, "not before the server said");
  io.clock.advance(1_001);
  assert.deepEqual(io.socket.of("message").slice(4).map(({ id }) => id), ids.slice(2), "in the order of writing");
});

test("back in mid-answer, all that was written goes out, and the answer goes on", () => {
  const { chat, io } = open();
  greet(io);
  chat.send("A");
  const [{ id }] = io.socket.of("message");
  accepted(io, id, 1);
  io.socket.drop();
  chat.send("B");
  chat.send("C");
  resume(io, { seq: 1 }, { type: "delta", id, offset: 0, text: "ya" });
  assert.deepEqual(io.socket.of("message").map(({ text }) => text), ["B", "C"]);
  const [, late] = io.socket.of("message");
  io.socket.say({ type: "error", id: late.id, code: "user_busy", retry_after_ms: 2_000 });
  assert.deepEqual(states(chat), ["A:sent", "B:sending", "C:waiting"]);
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

test("a refused message is sent again by itself when its time has come, under its id, or taken back", () => {
  for (const code of ["rate_limited", "user_busy", "overloaded", "unavailable"]) {
    const { chat, io, seen } = open();
    greet(io);
    chat.send("hola");
    const { id } = io.socket.of("message")[0];
    io.socket.say({ type: "error", id, code, retry_after_ms: 10_000 });
    assert.deepEqual([states(chat), seen.problems, chat.hasUnsent], [["hola:waiting"], [code], true]);
    assert.equal(seen.waits[0], 12_500, "with jitter");
    io.clock.advance(12_499);
    assert.equal(io.socket.of("message").length, 1);
    io.clock.advance(1);
    assert.deepEqual(io.socket.of("message").map((frame) => frame.id), [id, id]);
    io.socket.say({ type: "error", id, code, retry_after_ms: 10_000 });
    assert.equal(chat.takeBack(chat.conversation.get("user", id)), "hola");
    io.clock.advance(29_000);
    assert.deepEqual([chat.conversation.entries.length, chat.hasUnsent, io.socket.of("message").length], [0, false, 2]);
  }
});

test("a message that is refused for good keeps its text, and goes again when the person says so", () => {
  const { chat, io, seen } = open();
  greet(io);
  chat.send("hola");
  const { id } = io.socket.of("message")[0];
  io.socket.say({ type: "error", id, code: "text_too_long" });
  assert.deepEqual([states(chat), seen.problems], [["hola:failed"], ["text_too_long"]]);
  io.clock.advance(600_000);
  assert.equal(io.sockets.flatMap((socket) => socket.of("message")).length, 1);
  greetIfNeeded(io);
  chat.retry(chat.conversation.get("user", id));
  assert.deepEqual(io.socket.of("message").at(-1), { type: "message", id, text: "hola" });
});

test("a refused message stays behind a later one that is taken, and before one that is refused after it", () => {
  const { chat, io } = open();
  greet(io);
  for (const text of ["uno", "dos", "tres"]) chat.send(text);
  const [one, two, three] = io.socket.of("message").map(({ id }) => id);
  io.socket.say({ type: "error", id: one, code: "unavailable", retry_after_ms: 20_000 });
  accepted(io, two, 1);
  io.socket.say({ type: "error", id: three, code: "user_busy", retry_after_ms: 2_000 });
  assert.deepEqual(texts(chat), ["dos", "uno", "tres"], "as the server stores them");
  io.clock.advance(20_000);
  assert.equal(io.socket.of("message").length, 3, "no refused message overtakes an earlier one");
  io.clock.advance(5_000);
  assert.deepEqual(io.socket.of("message").slice(3).map(({ id }) => id), [one, three]);
});

test("half a character does not get on the wire", () => {
  for (const [text, sent] of [["hola \ud83d", "hola \ufffd"], ["\udc00x", "\ufffdx"], ["🌿\ud83d\ud83c\udf3f", "🌿\ufffd🌿"], ["a\0b", "ab"]]) {
    assert.equal(mend(text), sent);
  }
  assert.equal(mend("entero 🌿é"), "entero 🌿é");
});

test("an error that names no message is of the oldest one that is not accepted, and the others go on", () => {
  for (const code of ["bad_frame", "line_too_long", "invalid_utf8"]) {
    const { chat, io, seen } = open();
    greet(io);
    for (const text of ["uno", "dos", "tres"]) chat.send(text);
    const [one, , three] = io.socket.of("message").map(({ id }) => id);
    accepted(io, one, 1);
    io.socket.say({ type: "error", code });
    accepted(io, three, 2);
    assert.deepEqual(states(chat), ["uno:sent", "tres:sent", "dos:failed"]);
    assert.deepEqual(seen.problems, [code]);
    io.socket.drop();
    resume(io, { seq: 2 }, turn(1, "user", one, "uno"));
    chat.send("cuatro");
    assert.deepEqual(io.socket.of("message").map(({ text }) => text).filter((text) => text === "dos"), []);
    assert.equal(io.socket.of("message").at(-1).text, "cuatro");
  }
});

test("a lost `accepted` on a connection that lives: sent again under its id, and in the end left to the person", () => {
  const { chat, io, seen } = open();
  greet(io);
  const alive = () => io.socket.say({ type: "pong" });
  chat.send("hola");
  for (let sends = 1; sends <= 3; sends += 1) {
    assert.equal(io.socket.of("message").length, sends);
    for (let second = 0; second < 20; second += 1) {
      io.clock.advance(1_000);
      alive();
    }
  }
  assert.deepEqual([new Set(io.socket.of("message").map(({ id }) => id)).size, io.sockets.length], [1, 1]);
  assert.deepEqual([states(chat), seen.problems], [["hola:failed"], ["timeout"]]);
  accepted(io, io.socket.of("message")[0].id, 1);
  assert.deepEqual(states(chat), ["hola:sent"], "late is better than never");
});

test("what was not sent survives a reload of the tab: waiting, refused and failed, with its ids and its waits", () => {
  const [store, tab, io] = [fakeStore(), fakeStore(), fakeIo()];
  const one = open({ store, tab, io });
  greet(io);
  for (const text of ["sale", "espera", "falla"]) one.chat.send(text);
  const [gone, refused, failed] = io.socket.of("message").map(({ id }) => id);
  io.socket.say({ type: "error", id: refused, code: "rate_limited", retry_after_ms: 8_000 }, { type: "error", id: failed, code: "text_too_long" });
  accepted(io, gone, 1);
  io.socket.drop();
  one.chat.send("sin conexión");

  const two = open({ store, tab, io: Object.assign(fakeIo(), { wall: io.wall }) });
  assert.deepEqual(states(two.chat), ["espera:waiting", "falla:failed", "sin conexión:waiting"]);
  greet(two.io, { resumed: true, seq: 1 });
  assert.deepEqual(two.io.socket.of("message").map(({ text }) => text), ["sin conexión"]);
  two.io.clock.advance(10_000);
  assert.deepEqual(two.io.socket.of("message").map(({ text }) => text), ["sin conexión", "espera"]);
  assert.equal(two.io.socket.of("message")[1].id, refused);
  for (const [place, { id }] of two.io.socket.of("message").entries()) accepted(two.io, id, place + 2);
  two.chat.takeBack(two.chat.conversation.get("user", failed));
  assert.equal(tab.getItem("psicoia.unsent"), null, "what the server has is kept nowhere else");
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

test("a token the server does not know is kept, and tried again behind the new one", () => {
  const store = fakeStore();
  store.setItem("psicoia.resume", "old");
  const one = open({ store });
  one.io.socket.accept();
  one.io.socket.say({ type: "error", code: "bad_resume" });
  assert.equal("resume" in one.io.socket.of("hello")[1], false);
  one.io.socket.say(welcome({ session: "s2", resume: "new" }));
  assert.deepEqual([one.tokens.all, one.seen.gone], [["new", "old"], ["unknown"]]);
  one.chat.send("algo");
  accepted(one.io, one.io.socket.of("message")[0].id, 1);

  // The right database is back: the new token is unknown there, the old one is not.
  const two = open({ store });
  two.io.socket.accept();
  two.io.socket.say({ type: "error", code: "bad_resume" });
  assert.deepEqual(two.io.socket.of("hello").map(({ resume }) => resume), ["new", "old"]);
  two.io.socket.say(welcome({ session: "s1", resume: "old", resumed: true, seq: 2 }));
  assert.deepEqual([two.tokens.all, two.seen.gone, two.seen.back], [["old", "new"], [], 1]);
});

test("of a new session in which nothing was said nothing is lost: the lost ones are tried before it", () => {
  const store = fakeStore();
  store.setItem("psicoia.resume", "old");
  const one = open({ store });
  one.io.socket.accept();
  one.io.socket.say({ type: "error", code: "bad_resume" }, welcome({ session: "s2", resume: "new" }));
  const two = open({ store });
  two.io.socket.accept();
  assert.deepEqual(two.io.socket.of("hello").map(({ resume }) => resume), ["old"]);
  two.io.socket.say({ type: "error", code: "bad_resume" }, welcome({ session: "s2", resume: "new", resumed: true }));
  assert.deepEqual(two.io.socket.of("hello").map(({ resume }) => resume), ["old", "new"], "once each");
  assert.deepEqual([two.tokens.all, two.seen.gone, two.seen.back], [["new", "old"], [], 0]);
  const three = open({ store });
  three.io.socket.accept();
  assert.deepEqual(three.io.socket.of("hello").map(({ resume }) => resume), ["old"], "each time the page opens");
  two.io.socket.drop();
  two.io.clock.advance(15_000);
  two.io.socket.accept();
  two.io.socket.say({ type: "error", code: "bad_resume" });
  two.io.socket.say({ type: "error", code: "bad_resume" });
  assert.equal("resume" in two.io.socket.of("hello")[2], false);
  two.io.socket.say({ type: "error", code: "bad_resume" });
  assert.equal(two.io.socket.of("hello").length, 3, "a server that refuses even that is not hammered");
});

test("only the server's own word that it is erased takes a token away", () => {
  const { io, tokens, seen } = open();
  greet(io);
  io.socket.say(turn(1, "user", "a", "x"));
  io.socket.drop(1000, "bye");
  assert.deepEqual(tokens.all, ["t1"]);
  io.clock.advance(15_000);
  greet(io, { resumed: true, seq: 1 });
  io.socket.drop(1000, "erased");
  io.clock.advance(15_000);
  io.socket.accept();
  assert.equal("resume" in io.socket.of("hello")[0], false);
  io.socket.say(welcome({ session: "s2", resume: "t2" }));
  assert.deepEqual([tokens.all, seen.gone], [["t2"], ["erased"]]);
});

test("a storage that is emptied under an open page takes nothing from it", () => {
  const { chat, io, storage, tokens, seen } = open();
  greet(io);
  io.socket.say(turn(1, "user", "a", "x"));
  storage.remove("resume");
  io.socket.drop();
  resume(io, { seq: 1 });
  assert.deepEqual(io.socket.of("hello").map(({ resume, since }) => [resume, since]), [["t1", 1]]);
  assert.deepEqual([texts(chat), tokens.all, seen.gone], [["x"], ["t1"], []]);
});

test("a code goes on with its conversation, and keeps the present one", async () => {
  const { chat, io, tokens, seen } = open();
  greet(io);
  io.socket.say(turn(1, "user", "a", "de acá"));
  tokens.said("t1");
  assert.equal(chat.code, "t1");
  const done = chat.goOnWith("other");
  io.socket.accept();
  assert.deepEqual(io.socket.of("hello").map(({ resume, since }) => [resume, since]), [["other", 0]]);
  assert.deepEqual(texts(chat), ["de acá"], "nothing goes before the other is there");
  io.socket.say(welcome({ session: "s9", resume: "other", resumed: true, seq: 1 }), turn(1, "user", "b", "de allá"));
  await done;
  assert.deepEqual([texts(chat), tokens.all, chat.code, seen.gone], [["de allá"], ["other", "t1"], "other", []]);
  assert.equal(tokens.previous[0].end, "left");
});

test("a code the server does not know, or cannot be asked about, changes nothing", async () => {
  const { chat, io, tokens, seen } = open();
  greet(io);
  io.socket.say(turn(1, "user", "a", "de acá"));
  tokens.said("t1");
  const unknown = chat.goOnWith("typo");
  io.socket.accept();
  io.socket.say({ type: "error", code: "bad_resume" });
  await assert.rejects(unknown, { code: "unknown" });
  assert.deepEqual(io.socket.of("hello").map(({ resume, since }) => [resume, since]), [["typo", 0], ["t1", 1]]);
  io.socket.say(welcome({ resumed: true, seq: 1 }));
  const lost = chat.goOnWith("other");
  io.socket.drop();
  await assert.rejects(lost, { code: "disconnected" });
  io.clock.advance(15_000);
  io.socket.accept();
  assert.deepEqual(io.socket.of("hello").map(({ resume }) => resume), ["t1"]);
  assert.deepEqual([texts(chat), tokens.all, seen.gone], [["de acá"], ["t1"], []]);
});

test("a code entered with messages on their way: each is sent once by the page, and then left to the person", async () => {
  const tab = fakeStore();
  const { chat, io, seen } = open({ tab });
  greet(io);
  chat.send("uno");
  const [{ id }] = io.socket.of("message");
  const done = chat.goOnWith("other");
  chat.send("dos");
  greet(io, { session: "s9", resume: "other", resumed: true, seq: 0 });
  io.socket.say({ type: "pong", id: "replayed" });
  await done;
  io.clock.advance(60_000);
  assert.deepEqual(io.sockets.flatMap((socket) => socket.of("message")).map(({ text }) => text), ["uno"]);
  assert.deepEqual([states(chat), seen.problems], [["uno:failed", "dos:failed"], []]);
  assert.deepEqual(chat.conversation.entries.map(({ error }) => error), ["moved", "moved"]);
  assert.equal(JSON.parse(tab.getItem("psicoia.unsent")).length, 2, "a reload keeps them");
  greetIfNeeded(io);
  chat.retry(chat.conversation.get("user", id));
  assert.deepEqual(io.socket.of("message"), [{ type: "message", id, text: "uno" }]);
});

test("a code entered on a page that has not been connected yet takes no message to another conversation", async () => {
  const store = fakeStore();
  store.setItem("psicoia.resume", "t1");
  const { chat, io } = open({ store });
  chat.send("para la de acá");
  const done = chat.goOnWith("other");
  greet(io, { session: "s9", resume: "other", resumed: true });
  await done;
  assert.deepEqual([io.socket.of("message"), states(chat)], [[], ["para la de acá:failed"]]);
});

test("another tab goes on with another conversation: a message on its way here is left to the person", () => {
  const store = fakeStore();
  const { chat, io, storage } = open({ store });
  greet(io);
  io.socket.say(turn(1, "user", "a", "vieja"));
  chat.send("uno");
  new Tokens(storage, io.wall).adopt("t9", false);
  chat.tokenChanged();
  greet(io, { session: "s9", resume: "t9", resumed: true });
  assert.deepEqual([io.socket.of("message"), states(chat)], [[], ["uno:failed"]]);
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
  assert.deepEqual([texts(chat), chat.conversation.lastSeq], [["1", "2", "3", "4"], 4]);
});

test("a gap of which only some is kept any more is filled with that, and not asked about again", async () => {
  const { chat, io } = open();
  greet(io);
  io.socket.say(turn(1, "user", "m1", "1"));
  io.socket.drop();
  resume(io, { seq: 9, missed: 1 }, turn(9, "assistant", "m9", "9"));
  // The last one: whether what was held is still there.
  for (const [before, entries] of [[9, [turn(8, "user", "m8", "8")]], [8, []], [2, [turn(1, "user", "m1", "1")]]]) {
    const { id, params } = io.socket.of("request").at(-1);
    assert.equal(params.before_seq, before);
    io.socket.say({ type: "response", id, result: { entries, more: false } });
    await settled();
  }
  assert.deepEqual([texts(chat), chat.conversation.lastSeq], [["1", "8", "9"], 9]);
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
  two.io.socket.say(welcome({ session: "s2", resume: "t2", resumed: true }));
  assert.equal(two.chat.conversation.entries.length, 0);
  assert.deepEqual([one.seen.gone, two.seen.gone, two.seen.switched], [[], ["erased"], 1], "the other tab is told");
});

test("the other tab is told what happened to the conversation it shows", () => {
  for (const [what, elsewhere, why] of [
    ["a code was entered", (tokens) => tokens.adopt("t2", undefined), "moved"],
    ["erased, and another one begun", (tokens) => {
      tokens.erased("t1");
      tokens.adopt("t2", false);
    }, "erased"],
    ["the server did not know it", (tokens) => {
      tokens.refused("t1");
      tokens.adopt("t2", false);
    }, "unknown"],
  ]) {
    for (const connected of [true, false]) {
      const { chat, io, seen, storage } = open();
      greet(io);
      io.socket.say(turn(1, "user", "a", "vieja"));
      if (!connected) io.socket.drop();
      elsewhere(new Tokens(storage, io.wall));
      chat.tokenChanged();
      greet(io, { session: "s2", resume: "t2", resumed: true });
      assert.deepEqual([seen.gone, texts(chat)], [[why], []], `${what}, ${connected}`);
    }
  }
});

test("erased in another tab while this one has no connection, and no other is begun yet", () => {
  const { chat, io, seen, storage } = open();
  greet(io);
  io.socket.say(turn(1, "user", "a", "vieja"));
  io.socket.drop();
  new Tokens(storage, io.wall).erased("t1");
  chat.tokenChanged();
  io.clock.advance(15_000);
  io.socket.accept();
  io.socket.say({ type: "error", code: "bad_resume" }, welcome({ session: "s2", resume: "t2" }));
  assert.deepEqual([seen.gone, texts(chat)], [["erased"], []]);
});

test("away to another conversation in another tab and back again: nothing has happened here", () => {
  const { chat, io, seen, storage } = open();
  greet(io);
  io.socket.say(turn(1, "user", "a", "de acá"));
  const other = new Tokens(storage, io.wall);
  other.adopt("t2", undefined);
  chat.tokenChanged();
  other.adopt("t1", undefined);
  chat.tokenChanged();
  greet(io, { resumed: true, seq: 1 });
  assert.deepEqual([seen.gone, texts(chat), seen.switched], [[], ["de acá"], 0]);
});

test("starting over begins a new session, also after a cut, a reload or in another tab, and never an earlier one", async () => {
  const store = fakeStore();
  store.setItem("psicoia.resume", "t1");
  store.setItem("psicoia.resume.previous", JSON.stringify([{ token: "old", end: "unknown", at: 1 }]));
  const [one, other] = [open({ store }), open({ store })];
  for (const { io } of [one, other]) resume(io, { seq: 1 }, turn(1, "user", "a", "vieja"));
  const erased = one.chat.startOver();
  one.io.socket.say({ type: "response", id: one.io.socket.of("request")[0].id, result: { erased: 1 } });
  await erased;
  other.io.socket.drop(1000, "erased");
  other.io.clock.advance(15_000);
  for (const { io } of [one, other]) {
    io.socket.accept();
    assert.deepEqual(io.socket.of("hello").map(({ resume }) => resume), [undefined]);
  }
  one.io.socket.drop();
  one.io.clock.advance(15_000);
  const reloaded = open({ store });
  for (const { io } of [one, reloaded]) {
    io.socket.accept();
    assert.deepEqual(io.socket.of("hello").map(({ resume }) => resume), [undefined]);
  }
  assert.deepEqual(one.tokens.previous.map(({ token }) => token), ["old"], "it is offered");
});

test("of recalled tokens the first one is gone on with, and the others are not tried once it was known", () => {
  for (const [known, tried] of [[true, ["a", undefined]], [false, ["a", "b"]]]) {
    const store = fakeStore();
    new Tokens(new Storage(store), () => 1).recall(["a", "b"]);
    const { io, tokens } = open({ store });
    if (known) {
      resume(io, { resume: "a", seq: 1 }, turn(1, "user", "a", "x"));
      io.socket.drop();
      io.clock.advance(15_000);
    }
    io.socket.accept();
    io.socket.say({ type: "error", code: "bad_resume" });
    assert.deepEqual(io.socket.of("hello").map(({ resume }) => resume), tried);
    assert.deepEqual(tokens.all.includes("b"), true, "it is offered");
  }
});

test("earlier tokens that are heard of while a session is begun by choice do not take its place", async () => {
  const { chat, io, tokens } = open();
  greet(io);
  io.socket.say(turn(1, "user", "a", "vieja"));
  const erased = chat.startOver();
  io.socket.say({ type: "response", id: io.socket.of("request")[0].id, result: { erased: 1 } });
  await erased;
  tokens.found(["old"]);
  io.socket.accept();
  assert.deepEqual(io.socket.of("hello").map(({ resume }) => resume), [undefined]);
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
  assert.deepEqual([storage.get("resume"), chat.conversation.entries, seen.gone], ["t2", [], ["unknown"]]);
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
  assert.deepEqual([offer.streaming, chat.isAnswering], [true, true]);
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

test("an answer that broke off and is not kept is asked for again by itself, and takes the place of what there was", () => {
  const { chat, io, seen } = open();
  greet(io);
  chat.send("uno");
  chat.send("dos");
  const [one, two] = io.socket.of("message").map(({ id }) => id);
  accepted(io, one, 1);
  accepted(io, two, 2);
  io.socket.say({ type: "delta", id: one, offset: 0, text: "Hola, ¿qu" }, { type: "error", id: one, code: "unavailable", retry_after_ms: 1_000 });
  const answer = chat.conversation.get("assistant", one);
  assert.deepEqual([answer.streaming, answer.again, answer.seq, seen.problems], [true, true, null, ["unavailable"]]);
  done(io, two, 3, "B");
  io.clock.advance(1_500);
  assert.deepEqual(io.socket.of("message").map(({ id }) => id), [one, two, one]);
  accepted(io, one, 1);
  done(io, one, 4, "Buenas");
  assert.deepEqual(texts(chat), ["uno", "Buenas", "dos", "B"]);
  assert.deepEqual([answer.finish, answer.error, chat.isAnswering, seen.answering], ["stop", null, false, false]);
});

test("an answer is not asked for by itself for ever, and can then be asked for wherever it stands", () => {
  const { chat, io, seen } = open();
  greet(io);
  chat.send("uno");
  const [{ id }] = io.socket.of("message");
  accepted(io, id, 1);
  chat.send("dos");
  const later = io.socket.of("message")[1].id;
  accepted(io, later, 2);
  done(io, later, 3, "B");
  const asked = () => io.sockets.flatMap((socket) => socket.of("message")).filter((frame) => frame.id === id).length;
  for (let sends = 1; chat.isAnswering; sends += 1) {
    assert.equal(asked(), sends);
    io.socket.say({ type: "error", id, code: "overloaded", retry_after_ms: 1_000 }, { type: "pong" });
    for (let second = 0; second < 60 && asked() === sends && chat.isAnswering; second += 1) {
      io.clock.advance(1_000);
      io.socket.say({ type: "pong" });
    }
  }
  const answer = chat.conversation.get("assistant", id);
  assert.deepEqual([asked(), answer.finish, answer.streaming, seen.events.at(-1)], [7, "error", false, "failed:assistant:"]);
  chat.askAgain(answer);
  assert.equal(asked(), 8);
  accepted(io, id, 1);
  done(io, id, 4, "A");
  assert.deepEqual(texts(chat), ["uno", "A", "dos", "B"]);
});

test("every message without an answer can be asked for one, also above others, and only the newest is spoken of", () => {
  const store = fakeStore();
  store.setItem("psicoia.resume", "t1");
  const { chat, io, seen } = open({ store });
  resume(io, { seq: 4 }, turn(1, "user", "a", "uno"), turn(2, "user", "b", "dos"), turn(3, "assistant", "b", "B"), turn(4, "user", "c", "tres"));
  assert.deepEqual(["a", "b", "c"].map((id) => chat.conversation.get("assistant", id).error), ["unanswered", null, "unanswered"]);
  assert.deepEqual(seen.events, ["unanswered:assistant:"]);
  chat.askAgain(chat.conversation.get("assistant", "a"));
  assert.deepEqual(io.socket.of("message"), [{ type: "message", id: "a", text: "uno" }]);
});

test("an answer that waits for its first word after a reload is awaited, not offered", () => {
  for (const sign of [{ type: "queued", id: "a", ahead: 0 }, { type: "delta", id: "a", offset: 0, text: "" }]) {
    const store = fakeStore();
    store.setItem("psicoia.resume", "t1");
    const { chat, io, seen } = open({ store });
    resume(io, { seq: 1 }, turn(1, "user", "a", "uno"), sign);
    assert.deepEqual([chat.isAnswering, seen.events], [true, []]);
    chat.stop();
    assert.deepEqual(io.socket.of("stop"), [{ type: "stop", id: "a" }]);
  }
});

test("an answer the server does not speak of for long is given up, and said to be", () => {
  const { chat, io, seen } = open();
  greet(io);
  chat.send("hola");
  const [{ id }] = io.socket.of("message");
  accepted(io, id, 1);
  for (let second = 0; second < 180; second += 1) {
    assert.equal(chat.isAnswering, true);
    io.clock.advance(1_000);
    io.socket.say({ type: "pong" });
  }
  assert.deepEqual([chat.isAnswering, seen.events], [false, ["failed:assistant:"]]);
  done(io, id, 2, "al fin");
  assert.deepEqual([texts(chat), chat.isAnswering], [["hola", "al fin"], false]);
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
  assert.deepEqual([texts(chat), seen.older], [["1", "2", "3", "4"], false]);
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

test("stop ends what is in progress, and what waits to be asked for again", () => {
  const { chat, io } = open();
  greet(io);
  for (const text of ["uno", "dos"]) chat.send(text);
  const [one, two] = io.socket.of("message").map(({ id }) => id);
  accepted(io, one, 1);
  accepted(io, two, 2);
  io.socket.say({ type: "error", id: one, code: "overloaded", retry_after_ms: 5_000 });
  assert.equal(chat.stop(), true);
  assert.deepEqual(io.socket.of("stop"), [{ type: "stop", id: two }]);
  io.socket.say({ type: "done", id: two, finish: "stopped", source: "llm", chars: 0 });
  assert.equal(chat.isAnswering, false);
  io.clock.advance(25_000);
  assert.equal(io.socket.of("message").length, 2, "not asked for again");
  assert.deepEqual([one, two].map((id) => chat.conversation.get("assistant", id).finish), ["stopped", "stopped"]);
});

test("hello says where the person is, as far as that is known, and a choice is told at once", () => {
  const place = { time_zone: "America/Bogota" };
  const { chat, io } = open({ place });
  greet(io);
  const [hello] = io.socket.of("hello");
  assert.deepEqual([hello.time_zone, "country" in hello], ["America/Bogota", false]);
  place.country = "CO";
  chat.setCountry("CO");
  const [request] = io.socket.of("request");
  assert.deepEqual([request.method, request.params], ["set_country", { country: "CO" }]);
  // A server that does not know it is not asked again, and is told with the next hello.
  io.socket.say({ type: "error", id: request.id, code: "unknown_method", message: "x" });
  io.socket.drop();
  io.clock.advance(15_000);
  io.socket.accept();
  assert.equal(io.socket.of("hello")[0].country, "CO");
});

test("help is told once, also where the message is refused, and again by no replay", () => {
  const { chat, io, seen } = open();
  greet(io);
  chat.send("me quiero morir");
  const [{ id }] = io.socket.of("message");
  const card = { type: "support", id, level: "high", subject: "self", kind: "suicide", text: "ayuda", resources: [{ name: "x", contact: "1" }] };
  io.socket.say(card, { type: "error", id, code: "unavailable", message: "x", retry_after_ms: 5_000 });
  io.socket.say({ ...turn(1, "support", id, "ayuda"), level: "high", resources: card.resources });
  assert.deepEqual(seen.events, ["added:support:ayuda"]);
  assert.deepEqual(texts(chat), ["me quiero morir", "ayuda"]);
  io.socket.drop();
  resume(io, { seq: 1 }, { ...turn(1, "support", id, "ayuda"), level: "high", resources: card.resources });
  // Sent again, it calls for help again.
  io.socket.say(card);
  assert.deepEqual([seen.events, texts(chat)], [["added:support:ayuda"], ["me quiero morir", "ayuda"]]);
});

test("the server says what it is at the beginning, and in the course of a long conversation", () => {
  const { chat, io, seen } = open();
  greet(io);
  io.socket.say({ type: "notice", code: "ai", text: "soy una IA" }, { type: "notice", code: "weather", text: "llueve" }, { type: "notice", code: "ai" }, { type: "notice" });
  assert.deepEqual([seen.introduced, texts(chat)], [["es:soy una IA"], []]);
  io.clock.advance(10_000);
  io.socket.say({ type: "notice", code: "ai", text: "recordatorio" });
  assert.deepEqual([texts(chat), seen.events], [["recordatorio"], ["noted:note:recordatorio"]]);
  assert.equal(io.socket.readyState, 1);
});

const PLAN = { title: "Mi plan", steps: [{ heading: "Señales", text: "no duermo" }], footer: "Emergencias." };

/** Answers the newest request for the plan. */
function tellPlan(io, plan) {
  const { id } = io.socket.of("request").filter(({ method }) => method === "safety_plan").at(-1);
  io.socket.say({ type: "response", id, result: plan === null ? {} : { plan } });
  return new Promise(setImmediate);
}

const asked = (io) => io.socket.of("request").filter(({ method }) => method === "safety_plan").length;

test("a plan that was made earlier is there after a reload, and without a connection", async () => {
  const { chat, io, seen, storage } = open();
  storage.set("resume", "t1");
  const companion = (seq, id) => ({ ...turn(seq, "assistant", id, "¿Qué te pasa?"), source: "companion" });
  greet(io, { resumed: true, seq: 2 });
  io.socket.say(turn(1, "user", "a", "hola"), companion(2, "a"));
  assert.equal(asked(io), 0, "the replay comes first");
  io.socket.say({ type: "pong", id: "replayed" });
  assert.equal(asked(io), 1);
  await tellPlan(io, PLAN);
  assert.deepEqual([seen.plans.at(-1), chat.hasPlan], [true, true]);
  io.socket.drop();
  assert.deepEqual(await chat.safetyPlan(), PLAN);

  resume(io, { seq: 2 });
  assert.equal(asked(io), 0, "nothing is new");
  io.socket.drop();
  resume(io, { seq: 4 }, turn(3, "user", "b", "hola"), companion(4, "b"));
  assert.equal(asked(io), 1, "it may have gone on meanwhile");
});

test("nobody asks for a plan where there can be none", () => {
  for (const [first, source, want] of [[1, "llm", 0], [1, "companion", 1], [501, "llm", 1]]) {
    const { io } = open();
    greet(io, { resumed: true, seq: first + 1 });
    io.socket.say(turn(first, "user", "a", "hola"), { ...turn(first + 1, "assistant", "a", "¿Sí?"), source }, { type: "pong", id: "replayed" });
    assert.equal(asked(io), want, `${first} ${source}`);
  }
});

test("a plan is looked for with each of its steps, and again when it is wanted", async () => {
  const { chat, io, seen } = open();
  greet(io);
  io.socket.say({ type: "pong", id: "replayed" });
  assert.equal(asked(io), 0, "in a new conversation there is none");
  chat.send("quiero un plan");
  const [{ id }] = io.socket.of("message");
  accepted(io, id, 1);
  io.socket.say({ type: "delta", id, offset: 0, text: "¿Qué señales notás?", exercise: "safety_plan" });
  io.socket.say({ type: "done", id, seq: 2, finish: "stop", source: "companion", chars: 19, exercise: "safety_plan" });
  assert.equal(asked(io), 1);
  await tellPlan(io, null);
  assert.equal(chat.hasPlan, false);
  const wanted = chat.safetyPlan();
  await tellPlan(io, PLAN);
  assert.deepEqual([await wanted, chat.hasPlan, seen.plans.at(-1)], [PLAN, true, true]);
});

test("the plan of a conversation goes with it", async () => {
  const { chat, io } = open();
  greet(io);
  const wanted = chat.safetyPlan();
  await tellPlan(io, PLAN);
  await wanted;
  const late = chat.safetyPlan();
  const { id } = io.socket.of("request").at(-1);
  const over = chat.startOver();
  io.socket.say({ type: "response", id: io.socket.of("request").at(-1).id, result: { erased: 2 } });
  await over;
  assert.equal(chat.hasPlan, false);
  // Told of the conversation that was there.
  io.socket.say({ type: "response", id, result: { plan: PLAN } });
  assert.deepEqual([await late, chat.hasPlan], [null, false]);
});

const requests = (io, method) => io.socket.of("request").filter((request) => request.method === method);
const settled = () => new Promise((resolve) => setImmediate(resolve));

function answer(io, method, result) {
  io.socket.say({ type: "response", id: requests(io, method).at(-1).id, result });
  return settled();
}

/** A conversation of two exchanges. */
function twoExchanges(options) {
  const opened = open(options);
  greet(opened.io);
  ["uno", "dos"].forEach((text, place) => {
    opened.chat.send(text);
    const { id } = opened.io.socket.of("message")[place];
    accepted(opened.io, id, 2 * place + 1);
    done(opened.io, id, 2 * place + 2, `eco: ${text}`);
  });
  return opened;
}

test("the last exchange is erased with its answer, and numbers that are gone leave no hole", async () => {
  const { chat, io } = twoExchanges();
  assert.equal(chat.lastMessage.text, "dos");
  const forgetting = chat.forgetLast();
  await answer(io, "forget_last", { erased: 2, seq: 5, id: chat.lastMessage.id });
  await forgetting;
  assert.deepEqual(texts(chat), ["uno", "eco: uno"]);
  io.socket.drop();
  io.clock.advance(15_000);
  io.socket.accept();
  assert.equal(io.socket.of("hello")[0].since, 5);
});

test("what another device erases goes here too, also in the middle of its answer and before it is accepted", () => {
  const { chat, io, seen } = twoExchanges();
  const last = chat.lastMessage.id;
  io.socket.say({ type: "support", id: last, seq: 5, level: "high", text: "ayuda", resources: [] });
  io.socket.say({ type: "forgotten", seq: 6, id: last, from_seq: 3 });
  assert.deepEqual(texts(chat), ["uno", "eco: uno"]);
  chat.send("tres");
  const third = io.socket.of("message").at(-1).id;
  accepted(io, third, 7);
  io.socket.say({ type: "delta", id: third, offset: 0, text: "ec" });
  assert.equal(seen.answering, true);
  io.socket.say({ type: "forgotten", seq: 8, id: third, from_seq: 7 });
  assert.deepEqual([texts(chat), seen.answering, chat.conversation.lastSeq], [["uno", "eco: uno"], false, 8]);
  chat.send("cuatro");
  const fourth = io.socket.of("message").at(-1).id;
  io.socket.say({ type: "forgotten", seq: 9, id: fourth, from_seq: 9 });
  assert.deepEqual([texts(chat), chat.hasUnsent], [["uno", "eco: uno"], false]);
});

test("nothing is erased here where the server could not, or had nothing to", async () => {
  const { chat, io } = twoExchanges();
  const failing = chat.forgetLast();
  io.socket.say({ type: "error", id: requests(io, "forget_last")[0].id, code: "unavailable" });
  await assert.rejects(failing, { code: "unavailable" });
  const idle = chat.forgetLast();
  await answer(io, "forget_last", { erased: 0, seq: 4 });
  await idle;
  assert.equal(texts(chat).length, 4);
  io.socket.drop();
  await assert.rejects(chat.forgetLast(), { code: "disconnected" });
});

test("a message that was answered together with the next one is not offered an answer of its own", () => {
  const { chat, io } = open();
  greet(io);
  chat.send("uno");
  chat.send("dos");
  const [one, two] = io.socket.of("message").map(({ id }) => id);
  accepted(io, one, 1);
  accepted(io, two, 2);
  io.socket.say({ type: "done", id: one, finish: "merged", source: "llm", chars: 0, ms: {} });
  assert.equal(chat.isAnswering, true);
  done(io, two, 3, "a las dos");
  assert.deepEqual([texts(chat), chat.isAnswering], [["uno", "dos", "a las dos"], false]);
  io.socket.drop();
  resume(io, { seq: 3 });
  assert.equal(chat.conversation.get("assistant", one), undefined);
  const other = open();
  greet(other.io, { resumed: true, seq: 3 });
  other.io.socket.say({ ...turn(1, "user", "a", "uno"), finish: "merged" }, turn(2, "user", "b", "dos"), turn(3, "assistant", "b", "a las dos"), { type: "pong", id: "replayed" });
  assert.equal(other.chat.conversation.entries.length, 3);
});

test("stopping gives back what had not gone out", () => {
  const { chat, io } = open();
  greet(io);
  chat.send("uno");
  accepted(io, io.socket.of("message")[0].id, 1);
  chat.send("dos");
  io.socket.say({ type: "error", id: io.socket.of("message")[1].id, code: "user_busy", retry_after_ms: 2_000 });
  chat.send("tres");
  assert.equal(chat.takeBackUnsent(), "dos", "the third is on its way");
  assert.deepEqual(states(chat), ["uno:sent", "tres:sending"]);
  io.socket.drop();
  chat.send("cuatro");
  assert.equal(chat.takeBackUnsent(), "tres\ncuatro");
  assert.equal(chat.takeBackUnsent(), "");
  chat.send("cinco");
  assert.equal(chat.takeBackUnsent({ all: true }), "cinco");
});

test("another conversation is begun beside the one that was there, which stays among the earlier ones", () => {
  const { chat, io, tokens } = twoExchanges();
  chat.begin();
  assert.deepEqual([texts(chat), tokens.current, tokens.previous.map(({ token, end }) => [token, end])], [[], null, [["t1", "left"]]]);
  io.socket.accept();
  assert.deepEqual([io.socket.of("hello")[0].resume, "keep" in io.socket.of("hello")[0]], [undefined, false]);
  io.socket.say(welcome({ session: "s2", resume: "t2" }));
  assert.deepEqual([tokens.current, tokens.kept], ["t2", ["t2", "t1"]]);
});

test("a conversation that is not kept leaves no token behind, and its words go into no other", () => {
  const { chat, io, seen, tokens } = twoExchanges();
  chat.begin({ keep: false });
  io.socket.accept();
  assert.equal(io.socket.of("hello")[0].keep, false);
  io.socket.say(welcome({ session: "s2", resume: "t2", kept: false }));
  assert.deepEqual([chat.isKept, seen.kept.at(-1), tokens.kept, tokens.current], [false, [false, true], ["t1"], "t2"]);
  // Its server is gone: what is written meanwhile stays, and the next one is not kept either.
  io.socket.drop();
  chat.send("solo entre nosotros");
  io.clock.advance(15_000);
  io.socket.accept();
  io.socket.say({ type: "error", code: "bad_resume", message: "" });
  const again = io.socket.of("hello").at(-1);
  assert.deepEqual([again.resume, again.keep], [undefined, false]);
  io.socket.say(welcome({ session: "s3", resume: "t3", kept: false }));
  assert.deepEqual([seen.gone, tokens.all, states(chat)], [["ended"], ["t3", "t1"], ["solo entre nosotros:sending"]]);
  // By choice, the next one is kept, and this one is no earlier one to go back to.
  chat.begin();
  io.socket.accept();
  assert.equal("keep" in io.socket.of("hello")[0], false);
  io.socket.say(welcome({ session: "s4", resume: "t4" }));
  assert.deepEqual([chat.isKept, tokens.previous.map(({ token }) => token)], [true, ["t1"]]);
});

test("a server that keeps every conversation is not taken for one that does not", () => {
  const { chat, io, seen } = open();
  greet(io);
  chat.begin({ keep: false });
  io.socket.accept();
  io.socket.say(welcome({ session: "s2", resume: "t2" }));
  assert.deepEqual([chat.isKept, seen.kept.at(-1)], [true, [true, false]]);
});

test("closing other devices: the new token is kept before it is sent, and one that may be the good one stays", async () => {
  const { chat, io, tokens } = twoExchanges();
  const closing = chat.closeElsewhere();
  const { resume: fresh } = requests(io, "rotate_resume")[0].params;
  assert.match(fresh, /^[A-Za-z0-9_-]{43}$/);
  assert.deepEqual(tokens.previous.map(({ token, end }) => [token, end]), [[fresh, "unknown"]]);
  await answer(io, "rotate_resume", { resume: fresh });
  await closing;
  assert.deepEqual([tokens.all, chat.code], [[fresh], fresh]);
  const refused = chat.closeElsewhere();
  io.socket.say({ type: "error", id: requests(io, "rotate_resume").at(-1).id, code: "unavailable" });
  await assert.rejects(refused, { code: "unavailable" });
  assert.deepEqual(tokens.all, [fresh]);
  const unsure = chat.closeElsewhere();
  const { resume: maybe } = requests(io, "rotate_resume").at(-1).params;
  io.socket.drop();
  await assert.rejects(unsure, { code: "interrupted" });
  // It was done: the old one is unknown now, the new one goes on with the same conversation.
  io.clock.advance(15_000);
  io.socket.accept();
  io.socket.say({ type: "error", code: "bad_resume", message: "" });
  assert.equal(io.socket.of("hello").at(-1).resume, maybe);
  io.socket.say(welcome({ resume: maybe, resumed: true, seq: 4 }));
  assert.deepEqual([tokens.current, texts(chat).length], [maybe, 4]);
});

test("a device whose conversation was closed from another one says so, and forgets the dead code", () => {
  const { chat, io, seen, tokens } = twoExchanges();
  io.socket.drop(4011, "revoked");
  io.clock.advance(15_000);
  io.socket.accept();
  io.socket.say({ type: "error", code: "bad_resume", message: "" });
  io.socket.say(welcome({ session: "s2", resume: "t2" }));
  assert.deepEqual([seen.gone, tokens.all, texts(chat)], [["revoked"], ["t2"], []]);
});

test("leaving a device forgets every conversation here, and erases none", () => {
  const { chat, io, tokens } = twoExchanges();
  chat.leave();
  assert.deepEqual([tokens.all, texts(chat), io.sockets.flatMap((socket) => socket.of("request")).filter(({ method }) => method === "erase")], [[], [], []]);
  io.socket.accept();
  assert.equal(io.socket.of("hello")[0].resume, undefined);
});

test("the whole conversation comes page by page, and a server that repeats itself ends it", async () => {
  const { chat, io } = twoExchanges();
  const all = chat.everything();
  await answer(io, "export", { entries: [turn(1, "user", "a", "uno")], more: true, next: 1 });
  assert.equal(requests(io, "export").at(-1).params.after_seq, 1);
  await answer(io, "export", { entries: [turn(2, "assistant", "a", "eco")], more: true, next: 1 });
  assert.deepEqual((await all).map(({ seq }) => seq), [1, 2]);
});

test("older entries are loaded until the wanted one is there, or there are no more", async () => {
  const { chat, io } = open();
  greet(io, { resumed: true, seq: 300, missed: 250 });
  io.socket.say(...Array.from({ length: 50 }, (_, place) => turn(251 + place, "user", `m${251 + place}`, "x")), { type: "pong", id: "replayed" });
  const around = (apply) => apply();
  const loading = chat.loadUntil(120, around);
  await answer(io, "history", { entries: Array.from({ length: 100 }, (_, place) => turn(151 + place, "user", `m${151 + place}`, "x")), more: true });
  await answer(io, "history", { entries: Array.from({ length: 100 }, (_, place) => turn(51 + place, "user", `m${51 + place}`, "x")), more: true });
  await loading;
  assert.equal(chat.conversation.firstSeq, 51);
  const endless = chat.loadUntil(1, around);
  await answer(io, "history", { entries: [], more: false });
  await endless;
  assert.equal(chat.conversation.firstSeq, 51);
});
