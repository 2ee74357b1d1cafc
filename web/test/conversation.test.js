import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation } from "../js/conversation.js";

const AT = "2026-01-02T03:04:05Z";

/** A conversation that took these frames, and what it reported. */
function after(...frames) {
  const conversation = new Conversation();
  const events = frames.flatMap((frame) => conversation.apply(frame, 1_000));
  return { conversation, events };
}

function turn(seq, role, id, text, more = {}) {
  return { type: "turn", seq, role, id, text, at: AT, ...more };
}

function delta(id, offset, text) {
  return { type: "delta", id, offset, text };
}

function done(id, seq, chars, more = {}) {
  return { type: "done", id, seq, chars, finish: "stop", source: "llm", ...more };
}

const streaming = (conversation) => conversation.entries.filter((entry) => entry.streaming).map(({ id }) => id);

function shape(conversation) {
  return conversation.entries.map(({ role, id, text }) => `${role}:${id}:${text}`);
}

test("deltas join by offset, whatever is repeated or overlaps", () => {
  for (const [frames, want] of [
    [[delta("a", 0, "ho"), delta("a", 2, "la")], "hola"],
    [[delta("a", 0, "ho"), delta("a", 0, "ho"), delta("a", 2, "la")], "hola"],
    [[delta("a", 0, "ho"), delta("a", 0, "hola"), delta("a", 4, "!")], "hola!"],
    [[delta("a", 0, "hola"), delta("a", 1, "ol"), delta("a", 3, "a!")], "hola!"],
    // Offsets count code points: the leaf is one, though JavaScript counts two.
    [[delta("a", 0, "🌿a"), delta("a", 1, "aé"), delta("a", 3, "🌿")], "🌿aé🌿"],
    // A server that was killed in mid-answer writes another one: what it says now is what counts.
    [[delta("a", 0, "hola, ¿cómo"), delta("a", 0, "buenas"), delta("a", 6, "!")], "buenas!"],
    [[delta("a", 0, "hola, ¿cómo"), delta("a", 0, "hola"), delta("a", 4, ", qué")], "hola, qué"],
    [[delta("a", 0, "🌿🌿x"), delta("a", 1, "yz"), delta("a", 3, "🌿")], "🌿yz🌿"],
    // A hole is never filled with the wrong text.
    [[delta("a", 0, "ho"), delta("a", 9, "x")], "ho"],
  ]) {
    const { conversation } = after(...frames);
    assert.equal(conversation.get("assistant", "a").text, want, JSON.stringify(frames));
  }
});

test("a turn from question to answer", () => {
  const conversation = new Conversation();
  conversation.write("a", "hola", 1);
  conversation.mark("a", "sending");
  conversation.apply({ type: "accepted", id: "a", seq: 1 }, 2);
  assert.equal(conversation.get("user", "a").state, "sent");
  assert.deepEqual(streaming(conversation), ["a"], "shown as being written from the moment it is accepted");
  conversation.apply({ type: "queued", id: "a", ahead: 3 }, 2);
  assert.equal(conversation.get("assistant", "a").ahead, 3);
  conversation.apply({ type: "support", id: "a", seq: 2, level: "high", text: "ayuda", resources: [] }, 2);
  conversation.apply(delta("a", 0, "sí"), 3);
  assert.equal(conversation.get("assistant", "a").ahead, null);
  const events = conversation.apply(done("a", 3, 2, { source: "companion" }), 4);
  assert.deepEqual(events.map(({ kind }) => kind), ["finished"]);
  assert.equal(conversation.get("assistant", "a").source, "companion");
  assert.deepEqual(shape(conversation), ["user:a:hola", "support:a:ayuda", "assistant:a:sí"]);
  assert.deepEqual([streaming(conversation), conversation.lastSeq], [[], 3]);
});

test("what is replayed is not doubled", () => {
  const frames = [
    turn(1, "user", "a", "hola"), turn(2, "support", "a", "ayuda"), turn(3, "assistant", "a", "sí", { finish: "stop" }),
  ];
  const { conversation, events } = after(...frames, ...frames, delta("a", 0, "sí"), done("a", 3, 2));
  assert.equal(conversation.entries.length, 3);
  assert.deepEqual(events.map(({ kind }) => kind), ["added", "added", "added"]);
  assert.equal(conversation.get("user", "a").at, Date.parse(AT));
});

test("a message whose `accepted` was lost is recognised in the replay", () => {
  const conversation = new Conversation();
  conversation.write("a", "hola", 1);
  conversation.mark("a", "sending");
  conversation.mark("a", "waiting");
  conversation.apply(turn(1, "user", "a", "hola"), 2);
  conversation.mark("a", "sending"); // The resend: too late to change anything.
  conversation.apply({ type: "accepted", id: "a", seq: 1 }, 3);
  assert.deepEqual(shape(conversation), ["user:a:hola", "assistant:a:"]);
  assert.deepEqual([conversation.get("user", "a").state, conversation.get("user", "a").seq], ["sent", 1]);
});

test("an answer cut off by the network is completed by its stored turn, or goes on from offset 0", () => {
  const stored = after(delta("a", 0, "ho"), turn(2, "assistant", "a", "hola", { finish: "length", source: "llm" }));
  const entry = stored.conversation.get("assistant", "a");
  assert.deepEqual([entry.text, entry.streaming, entry.finish], ["hola", false, "length"]);
  assert.deepEqual(stored.events.map(({ kind }) => kind), ["finished"]);

  const live = after(delta("a", 0, "ho"), delta("a", 0, "hola"), delta("a", 4, "!"), done("a", 2, 5));
  assert.equal(live.conversation.get("assistant", "a").text, "hola!");
});

test("an answer that does not add up is reported, and the stored text wins", () => {
  const { conversation, events } = after(delta("a", 0, "ho"), delta("a", 3, "a"), done("a", 2, 4));
  assert.deepEqual(events.map(({ kind }) => kind), ["incomplete", "finished"]);
  conversation.apply(turn(2, "assistant", "a", "hola", { finish: "stop" }), 2);
  assert.deepEqual(shape(conversation), ["assistant:a:hola"]);
});

test("another tab's turns stand in the same order live and after a reload", () => {
  const live = after(
    turn(1, "user", "a", "uno"), delta("a", 0, "A"), turn(2, "user", "b", "dos"),
    done("a", 3, 1), delta("b", 0, "B"), done("b", 4, 1),
  );
  const reloaded = after(
    turn(1, "user", "a", "uno"), turn(2, "user", "b", "dos"), turn(3, "assistant", "a", "A"), turn(4, "assistant", "b", "B"),
  );
  assert.deepEqual(shape(live.conversation), ["user:a:uno", "assistant:a:A", "user:b:dos", "assistant:b:B"]);
  assert.deepEqual(shape(reloaded.conversation), shape(live.conversation));
});

test("older pages go on top, and what is unsent stays at the bottom", () => {
  const conversation = new Conversation();
  conversation.write("z", "sin mandar", 1);
  for (const seq of [5, 6, 3, 4, 1, 2]) conversation.apply(turn(seq, seq % 2 ? "user" : "assistant", `m${seq}`, `${seq}`), 2);
  assert.deepEqual(conversation.entries.map(({ text }) => text), ["1", "2", "3", "4", "5", "6", "sin mandar"]);
});

test("`since` never claims what lies beyond a gap", () => {
  const { conversation } = after(turn(4, "user", "a", "x"), turn(5, "assistant", "a", "y"), turn(9, "user", "b", "z"));
  assert.deepEqual([conversation.firstSeq, conversation.lastSeq], [4, 5]);
  // Unless the server has nothing there any more.
  conversation.settle(9);
  assert.equal(conversation.lastSeq, 9);
  conversation.reset();
  assert.equal(conversation.lastSeq, 0);
});

test("a waiting answer that is stopped has no seq and is over", () => {
  const { conversation } = after(
    turn(1, "user", "a", "x"), { type: "queued", id: "a", ahead: 2 }, done("a", undefined, 0, { finish: "stopped" }),
  );
  const entry = conversation.get("assistant", "a");
  assert.deepEqual([entry.finish, entry.seq, entry.streaming], ["stopped", null, false]);
});

test("an empty queue is not spoken of: after a reload the answer may have begun without a word yet", () => {
  const { conversation } = after(turn(1, "user", "a", "x"), { type: "queued", id: "a", ahead: 2 }, { type: "queued", id: "a", ahead: 0 });
  const entry = conversation.get("assistant", "a");
  assert.deepEqual([entry.ahead, entry.streaming], [null, true]);
});

test("help lines without a `seq` are shown, once, and what is held is still known", () => {
  const card = { type: "support", id: "a", level: "high", text: "ayuda", resources: [] };
  const { conversation } = after(turn(1, "user", "a", "x"), card, card);
  assert.deepEqual([shape(conversation), conversation.firstSeq, conversation.lastSeq], [["user:a:x", "support:a:ayuda"], 1, 1]);
  conversation.apply(turn(2, "support", "a", "ayuda"), 2);
  conversation.apply(card, 3);
  assert.deepEqual([shape(conversation), conversation.lastSeq, conversation.get("support", "a").seq], [["user:a:x", "support:a:ayuda"], 2, 2]);
  const { id, ...unnamed } = card;
  conversation.apply(unnamed, 4);
  conversation.apply(unnamed, 5);
  assert.deepEqual([conversation.entries.length, conversation.lastSeq], [4, 2]);
  assert.equal(new Set(conversation.entries.map(({ key }) => key)).size, 4);
});

test("help comes before anything else about its message, and stays right above the answer", () => {
  const card = { type: "support", id: "b", level: "high", subject: "self", kind: "suicide", text: "ayuda", resources: [{ name: "x" }] };
  const conversation = new Conversation();
  conversation.apply(turn(1, "user", "a", "x"), 1);
  conversation.write("b", "y", 2);
  assert.deepEqual(conversation.apply(card, 3).map(({ kind }) => kind), ["added"]);
  assert.deepEqual(shape(conversation).slice(-2), ["user:b:y", "support:b:ayuda"]);
  // Stored before its message is, which was refused: it stays beside it, and is no news.
  assert.deepEqual(conversation.apply({ ...turn(3, "support", "b", "ayuda"), level: "high", resources: [{ name: "x" }] }, 4), []);
  conversation.apply(turn(2, "assistant", "a", "A"), 4);
  assert.deepEqual(shape(conversation).slice(-2), ["user:b:y", "support:b:ayuda"]);
  conversation.apply({ type: "accepted", id: "b", seq: 4 }, 5);
  conversation.apply(delta("b", 0, "sí"), 6);
  assert.deepEqual(shape(conversation).slice(-3), ["user:b:y", "support:b:ayuda", "assistant:b:sí"]);
  // For another country, in place of the first.
  assert.deepEqual(conversation.apply({ ...card, resources: [{ name: "z" }] }, 7), []);
  conversation.apply({ ...turn(5, "support", "b", "ayuda"), level: "high", resources: [{ name: "z" }] }, 8);
  const { resources, kind, subject } = conversation.get("support", "b");
  assert.deepEqual([resources, kind, subject], [[{ name: "z" }], null, "self"]);
  assert.equal(conversation.entries.filter(({ role }) => role === "support").length, 1);
  assert.equal(conversation.lastSeq, 5);
});

test("a card after a reload is as it was, with its message or without", () => {
  const stored = { level: "concern", subject: "other", kind: "abuse", resources: [{ name: "x" }] };
  const { conversation } = after(turn(1, "user", "a", "x"), { ...turn(2, "support", "a", "ayuda"), ...stored }, turn(3, "assistant", "a", "A"), { ...turn(4, "support", "b", "otra"), ...stored });
  assert.deepEqual(shape(conversation), ["user:a:x", "support:a:ayuda", "assistant:a:A", "support:b:otra"]);
  const { level, subject, kind, resources } = conversation.get("support", "b");
  assert.deepEqual({ level, subject, kind, resources }, stored);
});

test("a note stands where it came, and makes no gap", () => {
  const conversation = new Conversation();
  conversation.apply(turn(1, "user", "a", "x"), 1);
  conversation.note("soy una IA", "es", 2);
  conversation.write("b", "y", 3);
  conversation.apply(turn(2, "assistant", "a", "A"), 4);
  conversation.apply({ type: "accepted", id: "b", seq: 3 }, 5);
  assert.deepEqual(shape(conversation).slice(0, 4), ["user:a:x", "assistant:a:A", "note:undefined:soy una IA", "user:b:y"]);
  assert.equal(conversation.lastSeq, 3);
});

test("an exercise comes with any piece of its answer, and stays", () => {
  const { conversation } = after(turn(1, "user", "a", "x"), { ...delta("a", 0, "res"), exercise: "breath_long" }, done("a", 2, 3), turn(2, "assistant", "a", "res"));
  assert.equal(conversation.get("assistant", "a").exercise, "breath_long");
  const late = after(turn(1, "user", "a", "x"), delta("a", 0, "res"), done("a", 2, 3, { exercise: "safety_plan" })).conversation;
  assert.equal(late.get("assistant", "a").exercise, "safety_plan");
});

test("of a message that is answered together with the next one no answer is awaited", () => {
  const { conversation } = after(turn(1, "user", "a", "x"), { type: "queued", id: "a", ahead: 0 }, done("a", undefined, 0, { finish: "merged" }));
  assert.deepEqual(shape(conversation), ["user:a:x"]);
});

test("an answer that is given up is revived if it comes after all, and stored text is the last word", () => {
  const conversation = new Conversation();
  conversation.apply(delta("a", 0, "ho"), 1_000);
  conversation.giveUp("a", 2_000, "error", "timeout");
  assert.deepEqual([conversation.get("assistant", "a").finish, streaming(conversation)], ["error", []]);
  conversation.apply(delta("a", 2, "la"), 3_000);
  assert.deepEqual([conversation.get("assistant", "a").text, streaming(conversation)], ["hola", ["a"]]);
  conversation.apply(done("a", 2, 4), 4_000);
  conversation.giveUp("a", 5_000, "error", "timeout");
  conversation.apply(delta("a", 0, "otra"), 6_000);
  assert.deepEqual([conversation.get("assistant", "a").text, conversation.get("assistant", "a").finish], ["hola", "stop"]);
});

test("another session takes everything with it but what no session has yet", () => {
  const conversation = new Conversation();
  conversation.apply(turn(1, "user", "a", "vieja"), 1);
  conversation.write("b", "nueva", 2);
  conversation.reset();
  assert.deepEqual(shape(conversation), ["user:b:nueva"]);
  assert.equal(conversation.lastSeq, 0);
  conversation.reset({ keepUnsent: false });
  assert.equal(conversation.entries.length, 0);
});
