import assert from "node:assert/strict";
import { test } from "node:test";

import { Offline } from "../js/offline.js";

const settled = () => new Promise((resolve) => { setImmediate(resolve); });

class FakeWorker extends EventTarget {
  state = "installing";
  said = [];

  postMessage(words) {
    this.said.push(words);
  }

  become(state) {
    this.state = state;
    this.dispatchEvent(new Event("statechange"));
  }
}

/** A browser whose page is controlled by a worker, or not yet. */
async function browser({ controlled = true, waiting = null, update = () => {} } = {}) {
  const told = [];
  const registration = Object.assign(new EventTarget(), { waiting, installing: null, update: async () => update(registration) });
  const workers = Object.assign(new EventTarget(), { controller: controlled ? {} : null, register: async () => registration });
  const offline = new Offline(workers, { ready: () => told.push("ready"), reload: () => told.push("reload") });
  await offline.start();
  return { told, registration, workers, offline };
}

function found(registration) {
  registration.installing = new FakeWorker();
  registration.dispatchEvent(new Event("updatefound"));
  return registration.installing;
}

test("a new version is offered once all of it is there, and taken when the person wants it", async () => {
  const { told, registration, workers, offline } = await browser();
  const worker = found(registration);
  await settled();
  assert.deepEqual(told, []);
  Object.assign(registration, { installing: null, waiting: worker });
  worker.become("installed");
  await settled();
  assert.deepEqual([told, worker.said], [["ready"], []]);
  await offline.renew();
  assert.deepEqual([told, worker.said], [["ready"], ["skip-waiting"]]);
  workers.dispatchEvent(new Event("controllerchange"));
  assert.deepEqual(told, ["ready", "reload"]);
});

test("the first worker of a browser is no new version, and one that lacks a file is none either", async () => {
  const first = await browser({ controlled: false });
  found(first.registration).become("installed");
  first.workers.dispatchEvent(new Event("controllerchange"));
  const broken = await browser();
  found(broken.registration).become("redundant");
  await settled();
  assert.deepEqual([first.told, broken.told], [[], []]);
});

test("another tab took the new version, or an earlier page left it waiting: offered here too", async () => {
  const other = await browser();
  other.workers.dispatchEvent(new Event("controllerchange"));
  const earlier = await browser({ waiting: new FakeWorker() });
  assert.deepEqual([other.told, earlier.told], [["ready"], ["ready"]]);
});

test("the newest version is asked for where this one is too old; without one, or without workers, the page is loaded again", async () => {
  const worker = new FakeWorker();
  const update = (registration) => {
    registration.installing = worker;
    setImmediate(() => {
      Object.assign(registration, { installing: null, waiting: worker });
      worker.become("installed");
    });
  };
  const old = await browser({ update });
  await old.offline.renew();
  assert.deepEqual(worker.said, ["skip-waiting"]);
  const same = await browser({ update: () => { throw new Error("no network"); } });
  await same.offline.renew();
  assert.deepEqual(same.told, ["reload"]);
  const told = [];
  const none = new Offline(undefined, { ready: () => {}, reload: () => told.push("reload") });
  await none.start();
  await none.renew();
  const refuses = { controller: null, addEventListener: () => {}, register: async () => { throw new Error("insecure"); } };
  const refused = new Offline(refuses, { ready: () => {}, reload: () => told.push("reload") });
  await refused.start();
  await refused.renew();
  assert.deepEqual(told, ["reload", "reload"]);
});
