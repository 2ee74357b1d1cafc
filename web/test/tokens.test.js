// The keys to conversations: none is lost but by the server's own word.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ResumeCookie } from "../js/resume-cookie.js";
import { Storage } from "../js/storage.js";
import { tokenIn, Tokens } from "../js/tokens.js";
import { FakeClock, fakeStore } from "./peer.js";

function made({ store = fakeStore() } = {}) {
  const seen = [];
  let time = 1_000;
  const tokens = new Tokens(new Storage(store), () => time++, (kept) => seen.push(kept.join(" ")));
  return { tokens, seen, store };
}

/** What {@link Tokens.next} gives until there is nothing left, if the server knows none. */
function order(tokens) {
  const tried = new Set();
  for (let token = tokens.next(tried); token !== null; token = tokens.next(tried)) tried.add(token);
  return [...tried];
}

test("what happens to a token, in every way a session can end", () => {
  for (const [what, happen, all, tried] of [
    ["a first one", () => {}, ["a"], ["a"]],
    ["not known", (tokens) => tokens.refused("a"), ["a"], ["a"]],
    ["not known, and another one begun", (tokens) => {
      tokens.refused("a");
      tokens.adopt("b", true);
    }, ["b", "a"], ["a", "b"]],
    ["not known, and something said in the other one", (tokens) => {
      tokens.refused("a");
      tokens.adopt("b", true);
      tokens.said("b");
    }, ["b", "a"], ["b", "a"]],
    ["known again", (tokens) => {
      tokens.refused("a");
      tokens.adopt("b", true);
      tokens.adopt("a", undefined);
    }, ["a"], ["a"]],
    ["known again, with something said meanwhile", (tokens) => {
      tokens.refused("a");
      tokens.adopt("b", false);
      tokens.refused("b");
      tokens.adopt("a", undefined);
    }, ["a", "b"], ["a", "b"]],
    ["left for another one", (tokens) => tokens.adopt("b", undefined), ["b", "a"], ["b"]],
    ["erased", (tokens) => tokens.erased("a"), [], []],
    ["erased when it is an earlier one", (tokens) => {
      tokens.adopt("b", undefined);
      tokens.erased("a");
    }, ["b"], ["b"]],
    ["another tab's is there", (tokens) => {
      tokens.adopt("b", false);
      tokens.refused("a");
      tokens.erased("x");
    }, ["b", "a"], ["b"]],
  ]) {
    const { tokens } = made();
    tokens.adopt("a", false);
    happen(tokens);
    assert.deepEqual([tokens.all, order(tokens)], [all, tried], what);
  }
});

test("earlier ones are dated and bounded, and what cannot be read harms nothing", () => {
  const { tokens, store } = made();
  for (let number = 0; number < 50; number += 1) tokens.adopt(`t${number}`, false);
  assert.deepEqual([tokens.current, tokens.previous.length, tokens.previous[0].token], ["t49", 32, "t48"]);
  assert.ok(tokens.previous.every(({ at }, place, list) => place === 0 || at < list[place - 1].at));
  for (const broken of ["", "{", "null", "[1, null, {}]", '{"token":"x"}']) {
    store.setItem("psicoia.resume.previous", broken);
    assert.deepEqual(tokens.previous, [], broken);
    assert.deepEqual(order(tokens), ["t49"]);
  }
});

test("an empty browser takes over what was kept elsewhere, another one does not", () => {
  const empty = made().tokens;
  empty.recall(["a", "b", "no token", ""]);
  assert.deepEqual([empty.current, empty.all, order(empty)], ["a", ["a", "b"], ["a", "b"]]);
  const other = made().tokens;
  other.adopt("c", false);
  other.recall(["a"]);
  assert.deepEqual(other.all, ["c"]);
  const none = made().tokens;
  none.recall([]);
  assert.deepEqual(none.all, []);
});

test("a session in which nothing was said is not worth keeping elsewhere", () => {
  const { tokens, seen } = made();
  tokens.adopt("a", true);
  tokens.said("a");
  tokens.said("a");
  tokens.erased("a");
  assert.deepEqual(seen, ["", "a", ""]);
});

test("a code as people paste it", () => {
  for (const [text, token] of [
    ["rt_6Jm0x-1QdPq", "rt_6Jm0x-1QdPq"], ["  abc\n", "abc"], ["/reanudar abc", "abc"], ["/REANUDAR   abc ", "abc"],
    ["/resume abc", "abc"], ["/Resume\tabc", "abc"], ["PSICOIA_RESUME=abc psicoia host:9000", "abc"], ["  PSICOIA_RESUME=a-b_c psicoia\n", "a-b_c"],
    ["PSICOIA_RESUME=abc", "abc"], ["PSICOIA_RESUME='abc' psicoia", "abc"], ["export PSICOIA_RESUME=abc", "abc"], ["$ PSICOIA_RESUME=abc psicoia", "abc"],
    ["To go on with this conversation later, write: /resume abc", "abc"],
    ["/resume", null], ["/resumen abc", null], ["PSICOIA_RESUME=", null], ["PSICOIA_RESUME= psicoia", null], ["PSICOIA_RESUME=ñ psicoia", null],
    ["", null], ["hola che", null], ["ñandú", null], ["x".repeat(129), null], ["/reanudar", null],
  ]) assert.equal(tokenIn(text), token, text);
});

/** A gateway that keeps a cookie. */
function fakeGateway() {
  const gateway = { cookie: "", asked: [], answers: true, fails: false };
  gateway.fetch = async (path, { method, headers, signal }) => {
    gateway.asked.push(method);
    if (!gateway.answers) return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("aborted"))));
    if (gateway.fails) return { ok: false, text: async () => "" };
    if (method === "PUT") gateway.cookie = headers["x-resume"];
    if (method === "DELETE") gateway.cookie = "";
    return { ok: path === "resume-token", text: async () => gateway.cookie };
  };
  return gateway;
}

test("the cookie: the last word counts, the same word is not said twice, and silence is waited for only so long", async () => {
  const [gateway, clock] = [fakeGateway(), new FakeClock()];
  const cookie = new ResumeCookie(gateway.fetch, clock);
  assert.deepEqual(await cookie.recall(), []);
  cookie.keep(["a"]);
  cookie.keep(["b", "a"]);
  cookie.keep(["b", "a"]);
  const settled = async () => { for (let turn = 0; turn < 20; turn += 1) await null; };
  await settled();
  assert.deepEqual([gateway.asked, gateway.cookie], [["GET", "PUT", "PUT"], "b.a"]);
  assert.deepEqual(await cookie.recall(), ["b", "a"]);
  cookie.keep(["1", "2", "3", "4", "5"]);
  await settled();
  assert.equal(gateway.cookie, "1.2.3.4");
  cookie.keep([]);
  await settled();
  assert.equal(gateway.cookie, "");
  gateway.answers = false;
  const asked = cookie.recall();
  clock.advance(3_000);
  assert.deepEqual(await asked, []);
});

/** A page with its tokens and its cookie, wired as in main.js. */
function page(gateway, store = fakeStore()) {
  const [clock, storage] = [new FakeClock(), new Storage(store)];
  const tokens = new Tokens(storage, clock.now, (kept) => cookie.keep(kept));
  const cookie = new ResumeCookie(gateway.fetch, clock, storage, (found) => tokens.found(found));
  const settled = async () => { for (let turn = 0; turn < 60; turn += 1) await null; };
  const read = async () => {
    const asked = cookie.recall();
    clock.advance(3_000);
    const kept = await asked;
    tokens.recall(kept);
    tokens.found(kept);
  };
  return { tokens, cookie, clock, settled, read, store };
}

test("the last copy in the cookie outlives reads that fail, whatever the page does meanwhile", async () => {
  for (const [what, meanwhile, kept] of [
    ["nothing is said", () => {}, "a.b"],
    ["something is said", (tokens) => tokens.said("new"), "new.a.b"],
    ["it is erased", (tokens) => tokens.erased("new"), "a.b"],
  ]) {
    for (const reloads of [0, 1]) {
      const gateway = Object.assign(fakeGateway(), { cookie: "a.b", answers: false });
      let { tokens, cookie, clock, settled, read, store } = page(gateway);
      await read();
      gateway.fails = true;
      gateway.answers = true;
      tokens.adopt("new", true);
      meanwhile(tokens);
      cookie.keep(tokens.kept);
      await settled();
      if (reloads) {
        ({ tokens, cookie, clock, settled } = page(gateway, store));
        cookie.keep(tokens.kept);
        await settled();
      }
      assert.deepEqual([gateway.cookie, new Set(gateway.asked)], ["a.b", new Set(["GET"])], `${what}: not written before it was read`);
      gateway.fails = false;
      cookie.keep(tokens.kept);
      await settled();
      assert.equal(gateway.cookie, kept, what);
      assert.ok(["a", "b"].every((token) => tokens.all.includes(token)), what);
      assert.equal(gateway.asked.includes("DELETE"), false, what);
      if (what === "nothing is said") assert.equal(tokens.next(new Set()), "a", "and is tried before the empty one");
    }
  }
});

test("a write the gateway does not take is made up for by the next one", async () => {
  const gateway = fakeGateway();
  const { tokens, cookie, settled, read } = page(gateway);
  await read();
  gateway.fails = true;
  tokens.adopt("a", false);
  await settled();
  gateway.fails = false;
  cookie.keep(tokens.kept);
  await settled();
  assert.equal(gateway.cookie, "a");
});
