// An answer as nodes, of a tree of markdown.js. While it grows only its last blocks are read again, and only nodes that changed
// are touched: what the person has selected stays selected.

import { element } from "./dom.js";
import { decided, parse } from "./markdown.js";

export class MarkdownView {
  #node;
  /** The text before the blocks that may still change, and how many blocks it has. */
  #settled = "";
  #count = 0;
  /** What stands behind them. */
  #shown = [];

  /** @param node the element that holds the blocks, and nothing else */
  constructor(node) {
    this.#node = node;
  }

  /** Shows `text`; `growing`: more of it may come. */
  show(text, growing) {
    const known = growing ? decided(text) : text;
    if (!known.startsWith(this.#settled)) this.#startAgain();
    const blocks = parse(known.slice(this.#settled.length));
    const wanted = blocks.map(ofBlock);
    patch(this.#node, this.#shown, wanted, this.#count);
    const done = Math.max(0, blocks.length - 2);
    this.#settled += done > 0 ? known.slice(this.#settled.length).slice(0, blocks[done].start) : "";
    this.#count += done;
    this.#shown = wanted.slice(done);
  }

  #startAgain() {
    this.#node.replaceChildren();
    this.#settled = "";
    this.#count = 0;
    this.#shown = [];
  }
}

function ofBlock({ kind, parts, items, first }) {
  if (!items) return { tag: kind === "quote" ? "blockquote" : "p", properties: {}, children: parts.map(ofPart) };
  const children = items.map((item) => ({ tag: "li", properties: {}, children: item.map(ofPart) }));
  return { tag: kind, properties: kind === "ol" ? { start: first } : {}, children };
}

function ofPart({ kind, parts, link, text }) {
  if (kind) return { tag: kind, properties: {}, children: parts.map(ofPart) };
  if (!link) return { text };
  return { tag: "a", properties: { href: link, target: "_blank", rel: "noopener noreferrer" }, children: [{ text }] };
}

/** Turns the children of `node` behind the first `from`, which are `shown`, into `wanted`. */
function patch(node, shown, wanted, from = 0) {
  wanted.forEach((part, place) => {
    const held = node.childNodes[from + place];
    const before = shown[place];
    if (before === undefined) node.append(make(part));
    else if (!isAlike(before, part)) held.replaceWith(make(part));
    else if (part.tag) patch(held, before.children, part.children);
    else if (part.text.startsWith(before.text)) held.appendData(part.text.slice(before.text.length));
    else held.data = part.text;
  });
  for (let extra = shown.length - wanted.length; extra > 0; extra -= 1) node.lastChild.remove();
}

function isAlike(one, other) {
  return one.tag === other.tag && JSON.stringify(one.properties) === JSON.stringify(other.properties);
}

function make({ tag, properties, children, text }) {
  return tag ? element(tag, properties, ...children.map(make)) : document.createTextNode(text);
}
