// The few marks of Markdown that an answer may carry: bold, italic, lists, quotes and `https` links. Text in, a tree out; pure.
// markdown-view.js makes nodes of the tree. Marks of other kinds are dropped, and so is a mark without its partner. Whether a
// character is a mark is seen from its neighbours alone, as in `protocol::markdown`, which drops all of them for terminals: both
// are held to test/markdown-cases.json.

import { webLink } from "./contact.js";

const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/;
const FENCE = /^ {0,3}(?:`{3,}|~{3,}) *[^\s`~]{0,20} *$/;
const QUOTE = /^(?: {0,3}> ?)+/;
const HEADING = /^ {0,3}#{1,6} +/;
const BULLET = /^( *)[-*+] +/;
const NUMBER = /^ *(\d{1,2})[.)] +/;
/** A character that is escaped; a link; an address, in which nothing is a mark; a run of marks. */
const TOKEN = /\\([\\`*_~#[\]>+\-.!()])|\[([^[\]\n]{1,300})\]\(([^\s()<>]+(?:\([^\s()<>]*\)[^\s()<>]*)*)\)|(:\/\/[^\s<>"*`\]]+)|(\*+|_+|~~+|`+)/g;
const ADDRESS = /https:\/\/[^\s<>"*`\]]+/g;
const AFTER_ADDRESS = /[.,;:!?'’”»_~…]+$/;
const WORD = /[\p{Alphabetic}\p{N}]/u;
const SPACE = /\p{White_Space}/u;
/** What stands at the end of a line that is being written and may become a mark or a link: a whole line, its end. */
const UNDECIDED_LINE = /^ *(?:[-*_~`#>+ ]+|\d{1,2}[.)]?)$/;
const UNDECIDED_END = /(?:\[[^[\]]{0,300}(?:\](?:\([^\s<>]{0,2000})?)?|[*_~`\\]+)$/;

/**
 * The blocks of `text`: `{kind: "p" | "quote", start, parts}` and `{kind: "ul" | "ol", start, first, items: [parts]}`; `start` is where
 * in `text` it begins. Parts: `{text}`, `{link, text}`, and `{kind: "strong" | "em", parts}`.
 */
export function parse(text) {
  const blocks = [];
  let start = 0;
  let open = null;
  for (const line of text.split("\n")) {
    const read = readLine(line);
    if (read.text === undefined) open = null;
    else if (open !== null && goesOn(open, read, line)) add(open, read);
    else blocks.push((open = { ...read, start, lines: [read.text] }));
    if (read.alone) open = null;
    start += line.length + 1;
  }
  return blocks.map(finish);
}

/** `text` as it reads without any type: spoken, or in the clipboard. */
export function strip(text) {
  const lines = text.split("\n").map((line) => ({ line, ...readLine(line) }));
  return lines.filter(({ dropped }) => !dropped).map(({ line, lead = "", text: words }) => (words === undefined ? line : lead + plain(words))).join("\n");
}

/** An answer that is being written, without an end that may still become a mark. */
export function decided(text) {
  const start = text.lastIndexOf("\n") + 1;
  const line = text.slice(start);
  if (UNDECIDED_LINE.test(line)) return text.slice(0, start);
  return text.slice(0, start) + line.replace(UNDECIDED_END, "");
}

/** `{kind, text}`, with `lead` (what stands for its mark in plain text) and `alone` (nothing goes on with it); without a text it ends a block. */
function readLine(line) {
  if (RULE.test(line) || FENCE.test(line)) return { dropped: true };
  if (line.trim() === "") return {};
  const rest = (mark) => line.slice(mark[0].length);
  const quote = QUOTE.exec(line);
  if (quote) return { kind: "quote", text: rest(quote) };
  const heading = HEADING.exec(line);
  if (heading) return { kind: "p", text: rest(heading), alone: true };
  const bullet = BULLET.exec(line);
  if (bullet) return { kind: "ul", text: rest(bullet), lead: `${bullet[1]}- ` };
  const number = NUMBER.exec(line);
  if (number) return { kind: "ol", text: rest(number), lead: number[0], first: Number(number[1]) };
  return { kind: "p", text: line };
}

function isList({ kind }) {
  return kind === "ul" || kind === "ol";
}

function goesOn(open, read, line) {
  return open.kind === read.kind ? !read.alone : isList(open) && read.kind === "p" && !read.alone && line.startsWith("  ");
}

/** A further line of a block; of a list, another item or a line of the last one. */
function add(open, { kind, text }) {
  if (isList(open) && kind === "p") open.lines.push(`${open.lines.pop()}\n${text.trimStart()}`);
  else open.lines.push(text);
}

function finish({ kind, start, first, lines }) {
  if (isList({ kind })) return { kind, start, first, items: lines.map(partsOf) };
  return { kind, start, parts: partsOf(lines.join("\n")) };
}

/** The pieces of a text in their order: `{text}`, `{link, text}` and `{mark, opens, closes}`. */
function* tokens(text) {
  let at = 0;
  for (const { 0: all, 1: escaped, 2: name, 3: target, 4: address, 5: run, index } of text.matchAll(TOKEN)) {
    if (index > at) yield { text: text.slice(at, index) };
    at = index + all.length;
    if (run) yield markOf(run, [...text.slice(0, index).slice(-2)].at(-1) ?? " ", [...text.slice(at, at + 2)][0] ?? " ");
    else if (name) yield linkOf(plain(name), target);
    else yield { text: escaped ?? address };
  }
  if (at < text.length) yield { text: text.slice(at) };
}

/** A run of marks between its neighbours. Inside a word, alone, or beside a digit (`*4141` is a number to call) it is text. */
function markOf(run, before, after) {
  if (run[0] === "`") return { mark: run, opens: false, closes: false };
  const [wordBefore, wordAfter] = [WORD.test(before), WORD.test(after)];
  const [spaceBefore, spaceAfter] = [SPACE.test(before), SPACE.test(after)];
  const number = run === "*" && /\d/.test(before + after);
  if ((wordBefore && wordAfter) || (spaceBefore && spaceAfter) || number) return { text: run };
  return { mark: run, opens: !spaceAfter && !wordBefore, closes: !spaceBefore && !wordAfter };
}

/** A link always shows its address. One that may not be followed is text. */
function linkOf(name, target) {
  const text = [target, target.replace(/^https?:\/\//, "")].includes(name) ? target : `${name} (${target})`;
  const link = webLink(target);
  return link === null ? { text } : { link, text };
}

function plain(text) {
  return [...tokens(text)].map((token) => token.text ?? "").join("");
}

function partsOf(text) {
  const open = [{ parts: [] }];
  for (const token of tokens(text)) {
    const partner = token.closes ? open.findLastIndex(({ mark }) => mark === token.mark) : -1;
    if (token.mark === undefined) {
      open.at(-1).parts.push(token);
    } else if (partner > 0) {
      dissolve(open, partner + 1);
      const { parts } = open.pop();
      open.at(-1).parts.push(...typed(token.mark, parts));
    } else if (token.opens) {
      open.push({ mark: token.mark, parts: [] });
    }
  }
  dissolve(open, 1);
  return joined(open[0].parts);
}

/** What was opened and has no partner is no type: its words belong to what is around it. */
function dissolve(open, left) {
  while (open.length > left) {
    const { parts } = open.pop();
    open.at(-1).parts.push(...parts);
  }
}

function typed(mark, parts) {
  if (mark[0] === "~") return parts;
  if (mark.length === 1) return [{ kind: "em", parts }];
  return [{ kind: "strong", parts: mark.length === 3 ? [{ kind: "em", parts }] : parts }];
}

/** Texts that follow each other become one, in which addresses are links. */
function joined(parts) {
  const out = [];
  for (const part of parts) {
    const before = out.at(-1);
    const isText = (other) => other !== undefined && other.link === undefined && other.kind === undefined;
    if (isText(part) && isText(before)) out[out.length - 1] = { text: before.text + part.text };
    else out.push(part.kind ? { ...part, parts: joined(part.parts) } : part);
  }
  return out.flatMap((part) => (part.kind || part.link ? [part] : linked(part.text)));
}

function linked(text) {
  const parts = [];
  let at = 0;
  for (const { 0: found, index } of text.matchAll(ADDRESS)) {
    const address = withoutEnd(found);
    const link = webLink(address);
    if (link === null) continue;
    if (index > at) parts.push({ text: text.slice(at, index) });
    parts.push({ link, text: address });
    at = index + address.length;
  }
  return at < text.length ? [...parts, { text: text.slice(at) }] : parts;
}

/** An address without the punctuation of the sentence it ends. */
function withoutEnd(address) {
  const bare = address.replace(AFTER_ADDRESS, "");
  return bare.endsWith(")") && !bare.includes("(") ? withoutEnd(bare.slice(0, -1)) : bare;
}
