import assert from "node:assert/strict";
import { test } from "node:test";

import { followKeyboard } from "../js/keyboard.js";

test("the page ends above a keyboard that lies over it, and only above that", () => {
  let resized;
  const view = { height: 740, scale: 1, addEventListener: (_, action) => { resized = action; } };
  const style = new Map();
  const root = {
    clientHeight: 740,
    style: { setProperty: (name, value) => style.set(name, value), removeProperty: (name) => style.delete(name) },
  };
  let tops = 0;
  followKeyboard(view, root, () => { tops += 1; });
  for (const [height, scale, want] of [[440, 1, "440px"], [740, 1, undefined], [680, 1, undefined], [370, 2, undefined]]) {
    Object.assign(view, { height, scale });
    resized();
    assert.equal(style.get("--height"), want, `${height} × ${scale}`);
  }
  assert.equal(tops, 1);
});
