// A conversation over HTTP, against a server of requests that answers as told.

import assert from "node:assert/strict";
import { test } from "node:test";

import { LinesSocket } from "../js/lines-socket.js";
import { FakeClock } from "./peer.js";

const settled = () => new Promise((resolve) => { setImmediate(() => setImmediate(resolve)); });

/** A socket that is open, with the requests it has made. */
async function opened() {
  const requests = [];
  const fetch = (path, { headers, body, signal }) => new Promise((resolve, reject) => {
    const request = { path, prefer: headers.prefer, frames: body.trim().split("\n").map((line) => JSON.parse(line)), signal };
    let stream;
    const response = new ReadableStream({ start: (controller) => { stream = controller; } });
    signal.addEventListener("abort", () => {
      reject(new Error("aborted"));
      stream.error(new Error("aborted"));
    });
    request.refuse = () => resolve({ ok: false, statusText: "Forbidden" });
    request.cut = () => reject(new Error("network"));
    request.end = () => stream.close();
    request.write = (text) => {
      resolve({ ok: true, body: response });
      stream.enqueue(new TextEncoder().encode(text));
      return settled();
    };
    request.say = (...frames) => request.write(frames.map((frame) => `${JSON.stringify(frame)}\n`).join(""));
    requests.push(request);
  });
  const clock = new FakeClock();
  const socket = new LinesSocket(fetch, clock);
  const heard = [];
  socket.onmessage = ({ data }) => heard.push(data === "" ? "" : JSON.parse(data));
  socket.onclose = ({ code, reason }) => heard.push(["closed", code, reason]);
  assert.equal(socket.readyState, 0);
  await settled();
  return { socket, requests, heard, clock, send: (frame) => socket.send(JSON.stringify(frame)) };
}

const hello = { type: "hello", v: 1, resume: "t0", since: 7, locale: "es" };

async function welcomed() {
  const made = await opened();
  made.send(hello);
  await made.requests[0].say({ type: "welcome", resume: "t1" });
  made.heard.length = 0;
  return made;
}

test("one request stays open for what the server says; the end of a replay is asked for in it", async () => {
  const { socket, requests, heard, send } = await opened();
  assert.equal(socket.readyState, 1);
  send(hello);
  send({ type: "ping", id: "replayed" });
  assert.equal(requests.length, 1);
  const [listening] = requests;
  assert.deepEqual([listening.path, listening.prefer, listening.frames], ["lines", "wait", [hello, { type: "ping", id: "replayed" }]]);
  // Lines come in pieces of any size; empty ones are signs of life.
  await listening.write('{"type":"welcome","resu');
  await listening.write('me":"t1"}\n{"type":"turn","seq":8,"text":"mañ');
  await listening.write('ana"}\n\n');
  assert.deepEqual(heard, [{ type: "welcome", resume: "t1" }, { type: "turn", seq: 8, text: "mañana" }, ""]);
  await listening.say({ type: "closed", code: 1000, reason: "erased" });
  listening.end();
  await settled();
  assert.deepEqual([heard.at(-1), socket.readyState], [["closed", 1000, "erased"], 3]);
});

test("another hello takes the place of the first, and a session that is new asks for no end of a replay", async () => {
  const { requests, heard, send, socket } = await opened();
  send(hello);
  socket.onmessage = ({ data }) => {
    heard.push(JSON.parse(data));
    if (heard.length === 1) send({ type: "hello", v: 1 });
  };
  await requests[0].say({ type: "error", code: "bad_resume" }, { type: "error", code: "hello_required" });
  assert.deepEqual(requests[1].frames, [{ type: "hello", v: 1 }]);
  await requests[1].say({ type: "welcome", resume: "t2" });
  assert.deepEqual([heard.map(({ type }) => type), socket.readyState], [["error", "welcome"], 1]);
});

test("what is sent goes in a request of its own, in the session of the open one; its sender alone hears the receipt", async () => {
  const { requests, heard, send } = await welcomed();
  send({ type: "message", id: "a", text: "hola" });
  send({ type: "message", id: "b", text: "¿estás?" });
  send({ type: "request", id: "r", method: "about" });
  await settled();
  assert.equal(requests.length, 3);
  const [, request, messages] = requests;
  assert.deepEqual(request.frames, [{ type: "hello", v: 1, resume: "t1", locale: "es" }, { type: "request", id: "r", method: "about" }]);
  assert.deepEqual([messages.prefer, messages.frames.map(({ id }) => id)], [undefined, [undefined, "a", "b"]]);
  // The next one waits until these are stored: their order is that of the conversation.
  send({ type: "message", id: "c", text: "…" });
  await messages.say({ type: "welcome" }, { type: "accepted", id: "a" }, { type: "support", id: "b" }, { type: "delta", id: "a" });
  assert.equal(requests.length, 3);
  await messages.say({ type: "error", id: "b", code: "rate_limited" }, { type: "delta", id: "a" });
  assert.deepEqual(heard, [{ type: "accepted", id: "a" }, { type: "support", id: "b" }, { type: "error", id: "b", code: "rate_limited" }]);
  assert.equal(messages.signal.aborted, true, "the answer comes to all of the session");
  assert.deepEqual(requests[3].frames[1], { type: "message", id: "c", text: "…" });
  await request.say({ type: "response", id: "r", result: {} });
  assert.equal(heard.at(-1).type, "response");
});

test("a heartbeat and a stop go at once, and need no word of a session of their own", async () => {
  const { socket, requests, heard, send } = await welcomed();
  send({ type: "ping" });
  send({ type: "stop", id: "a" });
  await requests[1].say({ type: "welcome" }, { type: "pong" });
  await requests[2].say({ type: "welcome" });
  requests[2].end();
  await settled();
  assert.deepEqual([heard, socket.readyState], [[{ type: "pong" }], 1]);
});

test("lost: a request without an answer, one that is refused, one that is cut, and the open one", async () => {
  for (const lose of [
    async ({ requests: [, request], clock }) => clock.advance(35_000) ?? request,
    async ({ requests: [, request] }) => request.refuse(),
    async ({ requests: [, request] }) => request.cut(),
    async ({ requests: [, request] }) => { await request.say({ type: "welcome" }); request.end(); },
    async ({ requests: [listening] }) => listening.end(),
  ]) {
    const made = await welcomed();
    made.send({ type: "message", id: "a", text: "hola" });
    await settled();
    await lose(made);
    await settled();
    assert.deepEqual([made.heard, made.socket.readyState], [[["closed", undefined, ""]], 3], String(lose));
    assert.ok(made.requests.every(({ signal }) => signal.aborted));
  }
  const refused = await opened();
  refused.send(hello);
  refused.requests[0].refuse();
  await settled();
  assert.deepEqual(refused.heard, [["closed", undefined, ""]]);
});

test("one that is closed says nothing more", async () => {
  const { socket, requests, heard, send } = await welcomed();
  send({ type: "message", id: "a", text: "hola" });
  await settled();
  socket.close();
  await settled();
  assert.deepEqual([heard, requests.map(({ signal }) => signal.aborted)], [[], [true, true]]);
});
