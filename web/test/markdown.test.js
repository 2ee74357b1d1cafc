// The few marks of Markdown: what becomes of them, and that no text, in whatever pieces, becomes anything else.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { decided, parse, strip } from "../js/markdown.js";
import { MarkdownView } from "../js/markdown-view.js";

const cases = JSON.parse(readFileSync(new URL("markdown-cases.json", import.meta.url), "utf8"));

/** A part in the short form of the cases. */
function short(part) {
  if (part.kind) return [part.kind, ...part.parts.map(short)];
  return part.link ? [part.link, part.text] : part.text;
}

const shortBlock = ({ kind, parts, items }) => [kind, ...(items ? items.map((item) => item.map(short)) : parts.map(short))];

test("the cases that terminals are held to as well", () => {
  for (const [text, stripped, blocks] of cases) {
    assert.equal(strip(text), stripped, text);
    assert.deepEqual(parse(text).map(shortBlock), blocks, text);
  }
});

/** mulberry32: the same numbers for the same seed. */
function numbers(seed) {
  let state = seed;
  return (count) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % count;
  };
}

const PIECES = ["*", "**", "_", "__", "~~", "`", "```", "\\", "[", "](", ")", "https://a.b/c_d", "http://x", "javascript:x", "\n", "\n\n", "> ", "- ", "1. ", "# ", " ", "hola", "ñ", "👩‍👧", "5", ".", "<b>", "&lt;", "---"];

function* texts(count) {
  for (let seed = 1; seed <= count; seed += 1) {
    const below = numbers(seed);
    yield Array.from({ length: below(16) }, () => PIECES[below(PIECES.length)]).join("");
  }
}

const wordsIn = ({ text, parts, items }) => text ?? (parts ?? items.flat()).map(wordsIn).join("");
const bare = (text) => text.replace(/\s/g, "");
/** The line that begins a block of code may name its language. */
const LANGUAGE = /^ {0,3}(?:`{3,}|~{3,}) *[^\s`~]{0,20} *$/gm;

test("the words of the tree are the stripped text, and its links go to https", () => {
  for (const text of texts(20_000)) {
    const blocks = parse(text);
    const links = (part) => (part.link ? [part] : (part.parts ?? part.items?.flat() ?? []).flatMap(links));
    for (const { link, text: words } of blocks.flatMap(links)) {
      assert.match(link, /^https:\/\//);
      assert.match(words, /https:\/\//, "the address is shown");
    }
    // A list shows its marks by itself.
    if (blocks.some(({ items }) => items)) continue;
    assert.equal(bare(blocks.map(wordsIn).join("")), bare(strip(text)), JSON.stringify(text));
  }
});

test("every letter of a text is kept", () => {
  const letters = (text) => text.replace(/[\s*_~`\\[\]()>#\-+.!\d:/]/g, "");
  for (const text of texts(20_000)) assert.equal(letters(strip(text)), letters(text.replace(LANGUAGE, "")), JSON.stringify(text));
});

test("in whatever pieces a text comes, the same nodes stand there, and none is of another kind", () => {
  globalThis.document = { createElement: (tag) => new FakeNode(tag), createTextNode: (data) => new FakeText(data) };
  const below = numbers(1);
  for (const text of texts(5_000)) {
    const [whole, pieces] = [new FakeNode("div"), new FakeNode("div")];
    new MarkdownView(whole).show(text, false);
    const view = new MarkdownView(pieces);
    for (let end = 0; end < text.length; end += 1 + below(6)) {
      view.show(text.slice(0, end), true);
      assert.ok(bare(pieces.textContent).length <= bare(text).length);
    }
    view.show(text, false);
    assert.equal(pieces.shape, whole.shape, JSON.stringify(text));
    for (const tag of whole.tags) assert.ok(["div", "p", "blockquote", "ul", "ol", "li", "strong", "em", "a"].includes(tag), tag);
  }
});

test("what may still become a mark is not shown while an answer is written", () => {
  for (const [text, shown] of [
    ["Un **", "Un "], ["Un *poco", "Un *poco"], ["hola\n-", "hola\n"], ["hola\n1.", "hola\n"], ["ver [la guía](https://exa", "ver "], ["a\n```", "a\n"],
    ["a [b] c", "a [b] c"], ["\\", ""], ["12 años", "12 años"],
  ]) assert.equal(decided(text), shown, text);
});

/** As much of the DOM as a view needs. */
class FakeText {
  constructor(data) {
    this.data = data;
  }

  appendData(more) {
    this.data += more;
  }

  get textContent() {
    return this.data;
  }

  get shape() {
    return JSON.stringify(this.data);
  }

  tags = [];
}

class FakeNode {
  childNodes = [];
  dataset = {};

  constructor(tag) {
    this.tag = tag;
  }

  get lastChild() {
    return Object.assign(this.childNodes.at(-1), { remove: () => this.childNodes.pop() });
  }

  append(...nodes) {
    for (const node of nodes) this.childNodes.push(this.#held(node));
  }

  #held(node) {
    return Object.assign(node, { replaceWith: (other) => this.childNodes.splice(this.childNodes.indexOf(node), 1, this.#held(other)) });
  }

  replaceChildren() {
    this.childNodes = [];
  }

  get textContent() {
    return this.childNodes.map((node) => node.textContent).join("");
  }

  get shape() {
    return `${this.tag}:${this.href ?? ""}:${this.start ?? ""}[${this.childNodes.map((node) => node.shape).join()}]`;
  }

  get tags() {
    return [this.tag, ...this.childNodes.flatMap((node) => node.tags)];
  }
}
