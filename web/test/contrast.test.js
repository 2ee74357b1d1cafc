// The colours in css/base.css against WCAG 2.2 AA, those of help against AAA, in both themes.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const css = readFileSync(new URL("../css/base.css", import.meta.url), "utf8");
const TEXT = 4.5;
const EDGE = 3;
const HELP = 7;

// [foreground, background, least contrast]
const pairs = [
  ...["page", "glow", "surface", "user", "accent-soft", "care"].map((ground) => ["ink", ground, TEXT]),
  ...["page", "glow", "surface", "accent-soft", "care"].map((ground) => ["ink-soft", ground, TEXT]),
  ...["page", "surface", "accent-soft", "care"].map((ground) => ["accent", ground, TEXT]),
  ...["page", "surface"].map((ground) => ["danger", ground, TEXT]),
  ...["care", "surface", "accent-soft"].map((ground) => ["care-ink", ground, HELP]),
  ...["care", "surface", "accent-soft"].flatMap((ground) => ["ink", "help", "help-soft"].map((ink) => [ink, ground, HELP])),
  // The button below the field, which on a small page stands on the glow of the upper edge.
  ...["page", "glow"].map((ground) => ["help", ground, HELP]),
  ["on-help", "help", HELP],
  ["on-accent", "accent", TEXT],
  ["on-danger", "danger", TEXT],
  ...["page", "surface", "glow", "care"].map((ground) => ["edge", ground, EDGE]),
  ...["page", "glow", "care"].map((ground) => ["care-edge", ground, EDGE]),
];

function tokens(selector) {
  const start = css.indexOf(`${selector} {`);
  assert.ok(start >= 0, selector);
  const block = css.slice(start, css.indexOf("}", start));
  return Object.fromEntries([...block.matchAll(/--([a-z-]+): (#[0-9a-f]{6});/g)].map(([, name, value]) => [name, value]));
}

function luminance(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const share = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one, other) {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

for (const selector of [":root", ':root[data-theme="dark"]']) {
  test(`contrast in ${selector}`, () => {
    const colours = tokens(selector);
    for (const [front, back, least] of pairs) {
      const got = contrast(colours[front], colours[back]);
      assert.ok(got >= least, `${front} on ${back}: ${got.toFixed(2)} < ${least}`);
    }
  });
}

test("the pages about the service have the chat's dark colours", () => {
  const guide = readFileSync(new URL("../css/guide.css", import.meta.url), "utf8");
  const all = (text) => Object.fromEntries([...text.matchAll(/--([a-z-]+): ([^;]+);/g)].map(([, name, value]) => [name, value]));
  const block = (text, from) => text.slice(text.indexOf(from), text.indexOf("}", text.indexOf(from)));
  const [dark, light, own] = [block(css, ':root[data-theme="dark"] {'), block(css, ":root {"), block(guide, ":root {")].map(all);
  for (const [name, value] of Object.entries(own)) assert.equal(value, dark[name], name);
  for (const [, name] of guide.matchAll(/var\(--([a-z-]+)\)/g)) {
    assert.ok(name in own || !(name in dark), `--${name} stays ${light[name]} in the dark`);
  }
});
