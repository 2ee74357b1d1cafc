// The dialog about the way back, over as much of a document as it touches.

import assert from "node:assert/strict";
import { test } from "node:test";

import { textsIn } from "./strings.js";

class FakeNode {
  children = [];
  dataset = {};
  attributes = new Map();
  value = "";
  textContent = "";
  open = false;

  append(...children) {
    this.children.push(...children);
  }

  replaceChildren(...children) {
    // What had the focus is out of the document now.
    if (this.contains(document.activeElement)) document.activeElement = document.body;
    this.children = children;
  }

  contains(node) {
    return this === node || this.children.some((child) => child.contains(node));
  }

  querySelector() {
    return this.list;
  }

  setAttribute(name, value) {
    this.attributes.set(name, value);
  }

  removeAttribute(name) {
    this.attributes.delete(name);
  }

  addEventListener() {}

  focus() {
    document.activeElement = this;
  }

  showModal() {
    this.open = true;
  }

  close() {
    this.open = false;
    document.activeElement = document.body;
  }
}

/** The dialog, open, over what `state` holds. */
async function opened(state) {
  const nodes = new Map();
  globalThis.document = {
    body: new FakeNode(),
    getElementById: (id) => nodes.get(id) ?? nodes.set(id, new FakeNode()).get(id),
    createElement: () => new FakeNode(),
    querySelectorAll: () => [],
  };
  const list = document.getElementById("way-back-earlier").list = new FakeNode();
  const { WayBack } = await import("../js/way-back.js");
  const dialog = new WayBack(textsIn("es"), { say() {}, ...state, code: () => state.code, earlier: () => state.earlier });
  dialog.open();
  return { dialog, node: (id) => nodes.get(`way-back-${id}`), buttons: () => list.children.map((item) => item.children[1]) };
}

const earlier = (...tokens) => tokens.map((token) => ({ token, end: "left", at: 0 }));

test("a code that changes under the open dialog is shown, and the focus stays where it was", async () => {
  const state = { code: null, earlier: earlier("a", "b") };
  const { dialog, node, buttons } = await opened(state);
  assert.equal(node("copy").hidden, true);
  buttons()[1].focus();
  state.code = "t1";
  state.earlier = earlier("c", "a", "b");
  dialog.render();
  assert.deepEqual([node("code").value, node("copy").hidden, buttons().indexOf(document.activeElement)], ["t1", false, 2]);
  state.earlier = earlier("c");
  dialog.render();
  assert.equal(document.activeElement, node("field"), "the one that had it is not there any more");
  node("field").value = "a medias";
  dialog.render();
  assert.equal(node("field").value, "a medias");
});

test("once another conversation is there the dialog is closed first, then the page is told", async () => {
  const told = [];
  const { node } = await opened({ code: "t1", earlier: [], goOn: async (token) => told.push(token), done: () => told.push(node("dialog").open) });
  node("field").value = "abc";
  node("form").onsubmit({ preventDefault() {} });
  await null;
  await null;
  await null;
  assert.deepEqual(told, ["abc", false]);
});
