// Leaving at once, and the keys for it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Exit, ThreeShifts, removeTraces } from "../js/exit.js";
import { ResumeCookie } from "../js/resume-cookie.js";
import { Storage } from "../js/storage.js";
import { FakeClock, fakeStore } from "./peer.js";

const settled = async () => { for (let turn = 0; turn < 20; turn += 1) await null; };

/** A page of a browser with two tabs' worth of storage, and a gateway that answers or does not. */
function page({ online = true, erases = false, local = fakeStore() } = {}) {
  const done = [];
  const clock = new FakeClock();
  const storage = new Storage(local);
  const tab = new Storage(fakeStore());
  const fetch = async (_, { method, keepalive, signal }) => {
    done.push(`${method}${keepalive ? " kept alive" : ""}`);
    if (online) return { ok: true, text: async () => "t1" };
    return new Promise((_, reject) => signal.addEventListener("abort", reject));
  };
  const cookie = new ResumeCookie(fetch, clock, storage);
  const exit = new Exit({
    cover: () => done.push("cover"),
    erases: () => erases,
    erase: () => done.push("erase"),
    tellOthers: () => done.push("tell"),
    storage,
    tab,
    cookie,
    removeTraces: async () => done.push("traces"),
    clock,
    go: () => done.push("go"),
  });
  return { done, clock, storage, tab, cookie, exit, local };
}

test("nothing stays, and nothing comes back behind it", async () => {
  const { done, storage, tab, exit, local } = page();
  local.setItem("another app", "x");
  storage.set("resume", "t1");
  tab.set("draft", "no le digas");
  exit.leave();
  assert.equal(exit.left, true);
  await settled();
  assert.deepEqual(done, ["cover", "tell", "traces", "DELETE kept alive", "go"]);
  // What still runs as the page goes finds and keeps nothing.
  storage.set("resume", "t2");
  assert.deepEqual([storage.get("resume"), tab.get("draft"), local.getItem("psicoia.resume")], [null, null, null]);
  assert.deepEqual([local.length, local.getItem("another app")], [1, "x"]);
  await exit.leave();
  assert.equal(done.filter((what) => what === "go").length, 1);
});

test("without a network it goes all the same, and the next page takes nothing from the cookie until it is gone", async () => {
  const { done, clock, storage, cookie, exit, local } = page({ online: false });
  storage.set("resume", "t1");
  cookie.keep(["t1"]);
  exit.leave();
  await settled();
  clock.advance(300);
  await settled();
  assert.equal(done.at(-1), "go");
  cookie.keep(["t1"]);
  assert.deepEqual([storage.get("resume"), storage.get("left")], [null, "1"]);

  const still = page({ online: false, local });
  const recalled = still.cookie.recall();
  still.clock.advance(5_000);
  assert.deepEqual([await recalled, still.done], [[], ["DELETE kept alive"]]);

  const back = page({ local });
  assert.deepEqual([await back.cookie.recall(), back.done], [["t1"], ["DELETE kept alive", "GET"]]);
  assert.equal(back.storage.get("left"), null);
});

test("the conversation goes too where the person chose that, once for all tabs", async () => {
  const first = page({ erases: true });
  first.exit.leave();
  const told = page({ erases: true });
  told.exit.leave({ told: true });
  await settled();
  assert.deepEqual(first.done.slice(0, 3), ["cover", "erase", "tell"]);
  assert.ok(!told.done.includes("erase") && !told.done.includes("tell") && told.done.at(-1) === "go");
});

test("workers, caches and databases go; a browser without them, or one that refuses, holds nothing up", async () => {
  const gone = [];
  const refuses = { keys: async () => { throw new Error("insecure"); } };
  await removeTraces({
    serviceWorker: { getRegistrations: async () => [{ unregister: async () => gone.push("worker") }] },
    caches: { keys: async () => ["one", "two"], delete: async (name) => gone.push(name) },
    indexedDB: { databases: async () => [{ name: "notes" }], deleteDatabase: (name) => gone.push(name) },
  });
  assert.deepEqual(gone.sort(), ["notes", "one", "two", "worker"]);
  await removeTraces({ serviceWorker: undefined, caches: refuses, indexedDB: {} });
});

test("Shift three times leaves; writing in capitals, holding it and pressing it now and then do not", () => {
  const clock = new FakeClock();
  const press = (shifts, ...keys) => {
    for (const key of keys) shifts.down({ key, repeat: false });
    return keys.reverse().map((key) => shifts.up({ key })).includes(true);
  };
  const shifts = new ThreeShifts(clock.now);
  assert.deepEqual([press(shifts, "Shift"), press(shifts, "Shift"), press(shifts, "Shift")], [false, false, true]);

  const writing = new ThreeShifts(clock.now);
  for (const letter of "HOLA QUE TAL") assert.equal(press(writing, "Shift", letter), false);
  assert.deepEqual([press(writing, "Shift"), press(writing, "a"), press(writing, "Shift"), press(writing, "Shift")], [false, false, false, false]);

  const slow = new ThreeShifts(clock.now);
  for (let time = 0; time < 6; time += 1) {
    assert.equal(press(slow, "Shift"), false);
    clock.advance(1_000);
  }
  const held = new ThreeShifts(clock.now);
  held.down({ key: "Shift", repeat: false });
  for (let time = 0; time < 9; time += 1) held.down({ key: "Shift", repeat: true });
  assert.equal(held.up({ key: "Shift" }), false);
});
