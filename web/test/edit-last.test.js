// The last message, rewritten: nothing is erased before the new text is sent, and never another message than that.

import assert from "node:assert/strict";
import { test } from "node:test";

import { EditLast } from "../js/edit-last.js";

function editing({ forget = async () => {}, last = null } = {}) {
  // The note above the field is all it needs of a page.
  globalThis.document = { createElement: () => ({ dataset: {}, append() {} }) };
  const seen = [];
  const state = { field: "", last };
  const on = {
    put: (text) => {
      const before = state.field;
      state.field = text;
      return before;
    },
    isLast: (entry) => entry === state.last,
    forget: () => { seen.push("forget"); return forget(); },
    send: (text) => seen.push(`send:${text}`), fail: (code) => seen.push(`fail:${code}`), late: () => seen.push("late"), leave: () => {},
  };
  return { edit: new EditLast({ t: (name) => name }, on), seen, state };
}

const entry = { text: "hola" };

test("the text goes into the field, what was there comes back, and nothing is erased by giving up", () => {
  const { edit, seen, state } = editing({ last: entry });
  state.field = "a medias";
  edit.begin(entry);
  assert.deepEqual([state.field, edit.isEditing, edit.node.hidden], ["hola", true, false]);
  edit.cancel();
  assert.deepEqual([state.field, edit.isEditing, edit.node.hidden, seen], ["a medias", false, true, []]);
});

test("sending erases first, then sends", async () => {
  const { edit, seen, state } = editing({ last: entry });
  state.field = "a medias";
  edit.begin(entry);
  state.field = "";
  await edit.send("hola, sí");
  assert.deepEqual([seen, state.field, edit.isEditing], [["forget", "send:hola, sí"], "a medias", false]);
});

test("what could not be erased is not sent, and stands in the field", async () => {
  const { edit, seen, state } = editing({ last: entry, forget: async () => { throw Object.assign(new Error("x"), { code: "disconnected" }); } });
  edit.begin(entry);
  state.field = "";
  await edit.send("hola, sí");
  assert.deepEqual([seen, state.field, edit.isEditing], [["forget", "fail:disconnected"], "hola, sí", true]);
});

test("a message that is not the last one any more is not erased", async () => {
  const { edit, seen, state } = editing({ last: entry });
  edit.begin({ text: "otra" });
  assert.equal(edit.isEditing, false);
  edit.begin(entry);
  state.last = { text: "de otro lado" };
  await edit.send("hola, sí");
  assert.deepEqual(seen, ["late", "send:hola, sí"]);
});
