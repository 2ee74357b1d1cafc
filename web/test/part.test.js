// The second script of the page.

import assert from "node:assert/strict";
import { afterEach, mock, test } from "node:test";

import { part } from "../js/part.js";

afterEach(() => {
  mock.timers.reset();
  delete globalThis.document;
});

/** A page where the first `failing` tries to load a script fail; `run` is the script's function. */
function pageWith(failing, run) {
  const asked = [];
  globalThis.document = {
    createElement: () => ({}),
    head: {
      append(script) {
        asked.push(script.src);
        queueMicrotask(() => (asked.length <= failing ? script.onerror() : script.onload(Object.assign(script, { run }))));
      },
    },
  };
  return asked;
}

/** Lets time pass until `promise` has an end. */
async function ended(promise) {
  let open = true;
  const end = promise.then((value) => ({ value }), (error) => ({ error })).finally(() => { open = false; });
  while (open) {
    mock.timers.tick(3_000);
    await new Promise(setImmediate);
  }
  return end;
}

test("it is given what it shares, and tried again where it does not come", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const asked = pageWith(2, (a, b) => ({ sum: a + b }));
  assert.deepEqual(await ended(part("later.1.js", [1, 2])), { value: { sum: 3 } });
  assert.deepEqual(asked, ["later.1.js", "later.1.js", "later.1.js"]);
});

test("it is given up after four tries", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const asked = pageWith(9, null);
  assert.match((await ended(part("later.1.js", []))).error.message, /later\.1\.js/);
  assert.equal(asked.length, 4);
});
