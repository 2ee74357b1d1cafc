// One message, from being written to its answer: events in, state out.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Drafts } from "../js/drafts.js";
import { Storage } from "../js/storage.js";
import { SENDING_MS, SILENCE_MS, Turns } from "../js/turns.js";
import { fakeStore } from "./peer.js";

const PASSING = ["rate_limited", "user_busy", "overloaded", "unavailable"];
const accepted = { type: "accepted", id: "a", seq: 1 };
const delta = { type: "delta", id: "a", offset: 0, text: "x" };
const queued = { type: "queued", id: "a", ahead: 0 };
const done = { type: "done", id: "a", seq: 2, finish: "stop" };
const question = { type: "turn", role: "user", id: "a", seq: 1 };
const answer = { type: "turn", role: "assistant", id: "a", seq: 2 };
const error = (code, more) => ({ type: "error", id: "a", code, retry_after_ms: 1_000, ...more });

/** A machine with message "a"; steps are frames, times to wait, or names of what the connection tells. */
function after(...steps) {
  const turns = new Turns({ random: () => 0 });
  const states = [];
  const sent = [];
  let now = 0;
  turns.write("a", "hola", now);
  for (const step of steps) {
    if (step === "welcome") turns.welcomed(now);
    else if (step === "replayed") turns.replayed(now);
    else if (step === "cut") turns.cut(now);
    else if (step === "ask") turns.ask("a", "hola", now);
    else if (step === "drop") turns.drop("a");
    else if (typeof step === "number") now += step;
    else turns.observe(step, now);
    turns.tick(now);
    sent.push(...turns.take(now).map(({ id }) => id));
    states.push(turns.get("a")?.state ?? "done");
  }
  return { state: states.at(-1), sends: sent.length, turns };
}

test("the transitions", () => {
  for (const [steps, state, sends] of [
    [[0], "waiting", 0],
    [["welcome"], "sending", 1],
    [["welcome", accepted], "accepted", 1],
    [["welcome", accepted, queued], "answering", 1],
    [["welcome", accepted, delta], "answering", 1],
    [["welcome", accepted, delta, done], "done", 1],
    [["welcome", accepted, answer], "done", 1],
    // Another core is generating the answer: pieces come before `accepted`.
    [["welcome", delta, accepted], "answering", 1],
    [["welcome", "cut"], "waiting", 1],
    [["welcome", "cut", "welcome"], "sending", 2],
    [["welcome", "cut", "welcome", question], "sending", 2],
    // Stored, as the replay tells before anything was sent again.
    [["welcome", accepted, "cut", "welcome"], "accepted", 1],
    [["welcome", accepted, "cut", "welcome", "replayed"], "sending", 2],
    [["welcome", accepted, "cut", "welcome", queued, "replayed"], "answering", 1],
    [["welcome", accepted, "cut", "welcome", { ...delta, text: "" }, "replayed"], "answering", 1],
    [["welcome", accepted, delta, "cut", "welcome", answer, "replayed"], "done", 1],
    ...PASSING.flatMap((code) => [
      [["welcome", error(code)], "refused", 1],
      [["welcome", error(code), 999], "refused", 1],
      [["welcome", error(code), 1_000], "sending", 2],
      [["welcome", error(code), "cut", 1_000], "refused", 1],
      [["welcome", error(code), "cut", 500, "welcome"], "refused", 1],
      [["welcome", error(code), "cut", 500, "welcome", 500], "sending", 2],
      [["welcome", accepted, error(code)], "refused", 1],
      [["welcome", accepted, delta, error(code), 1_000], "sending", 2],
      [["welcome", accepted, error(code), delta], "answering", 1],
      [["welcome", accepted, error(code), "drop", 5_000], "done", 1],
    ]),
    // The server counts on more than it says, or says nothing.
    [["welcome", error("unavailable", { retry_after_ms: undefined }), 499], "refused", 1],
    [["welcome", error("unavailable", { retry_after_ms: undefined }), 500], "sending", 2],
    [["welcome", error("text_too_long"), 600_000], "refused", 1],
    [["welcome", error("text_too_long"), "ask"], "sending", 2],
    [["welcome", error("text_too_long"), accepted], "accepted", 1],
    [["welcome", error("internal"), 600_000], "refused", 1],
    [["welcome", accepted, error("internal")], "done", 1],
    [["welcome", accepted, error("stopped")], "done", 1],
    [["welcome", accepted, error("not_found")], "accepted", 1],
    [["welcome", error("not_found")], "refused", 1],
    [["welcome", error("shutting_down")], "sending", 1],
    [["welcome", error("bad_frame", { id: undefined })], "refused", 1],
    [["welcome", accepted, error("bad_frame", { id: undefined })], "accepted", 1],
    [["welcome", error("bad_frame", { id: "other" })], "sending", 1],
    [["welcome", SENDING_MS - 1], "sending", 1],
    [["welcome", SENDING_MS], "sending", 2],
    [["welcome", SENDING_MS, SENDING_MS, SENDING_MS], "refused", 3],
    [["welcome", SENDING_MS, SENDING_MS, SENDING_MS, 600_000], "refused", 3],
    // A cut is no silence: the three times begin again.
    [["welcome", "cut", "welcome", "cut", "welcome", SENDING_MS], "sending", 4],
    [["welcome", SENDING_MS, SENDING_MS, "cut", "welcome", SENDING_MS, SENDING_MS], "sending", 6],
    [["welcome", "cut", "welcome", SENDING_MS, SENDING_MS, SENDING_MS], "refused", 4],
    [["welcome", accepted, SILENCE_MS - 1], "accepted", 1],
    [["welcome", accepted, SILENCE_MS], "done", 1],
    [["welcome", accepted, SILENCE_MS - 1, delta, SILENCE_MS - 1], "answering", 1],
    // Time without a connection does not count as silence of the server.
    [["welcome", accepted, "cut", 10 * SILENCE_MS, "welcome", SILENCE_MS - 1], "accepted", 1],
  ]) {
    const { state: got, sends: count } = after(...steps);
    assert.deepEqual([got, count], [state, sends], JSON.stringify(steps));
  }
});

test("the next thing to do is planned, and only with a connection", () => {
  for (const [steps, at] of [
    [[], Infinity],
    [["welcome"], SENDING_MS],
    [["welcome", accepted], SILENCE_MS],
    [["welcome", error("unavailable")], 1_000],
    [["welcome", error("unavailable"), "cut"], Infinity],
    [["welcome", error("internal")], Infinity],
    [["welcome", accepted, done], Infinity],
  ]) assert.equal(after(...steps).turns.nextAt, at, JSON.stringify(steps));
});

test("a draft and unsent messages survive in the tab, and without storage it is said that they would not", () => {
  const store = fakeStore();
  let time = 0;
  const drafts = () => new Drafts(new Storage(store), () => time);
  const unsent = [{ id: "a", text: "x", at: 1, code: "rate_limited", waitMs: 9_000 }, { id: "b", text: "y", at: 2, code: "internal", waitMs: null }];
  Object.assign(drafts(), { text: "hola", unsent });
  time = 4_000;
  assert.deepEqual([drafts().text, drafts().unsent], ["hola", [{ ...unsent[0], waitMs: 5_000 }, unsent[1]]]);
  time = -1_000_000; // The clock was set back.
  assert.equal(drafts().unsent[0].waitMs, 60_000);
  Object.assign(drafts(), { text: "", unsent: [] });
  assert.deepEqual([store.getItem("psicoia.draft"), store.getItem("psicoia.unsent")], [null, null]);
  store.setItem("psicoia.unsent", '[{"id":1},{"id":"a"},null]');
  assert.deepEqual(drafts().unsent, []);

  const full = new Drafts(new Storage({ ...store, setItem() { throw new Error("full"); } }), () => time);
  full.text = "largo";
  assert.deepEqual([full.text, full.wouldBeLost], ["largo", true]);
  full.text = "";
  assert.equal(full.wouldBeLost, false);
});
