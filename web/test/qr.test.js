// QR codes: the pictures that an independent reader has read, and for every size what a reader does first.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { qrOf } from "../js/qr.js";

const drawing = (rows) => rows.map((row) => row.map((dark) => (dark ? "#" : ".")).join(""));
/** Bytes that a code of version 1, 2… holds. */
const ROOM = [14, 26, 42, 62, 84, 106, 122, 152, 180, 213];

test("a short text, as another program reads it", () => {
  assert.deepEqual(drawing(qrOf("PsicoIA")), GOLDEN);
});

test("each version takes as much as the standard says, and no more", () => {
  ROOM.forEach((room, place) => {
    const size = 21 + 4 * place;
    assert.equal(qrOf("a".repeat(room)).length, size);
    assert.equal(qrOf("ñ".repeat(Math.floor(room / 2))).length, size, "bytes count, not letters");
    assert.equal(qrOf("a".repeat(room + 1))?.length ?? null, place + 1 < ROOM.length ? size + 4 : null);
  });
});

test("the largest ones are those that another program has read", () => {
  const sums = ROOM.slice(2).map((room) => createHash("sha256").update(drawing(qrOf("https://example.org/#codigo=".padEnd(room, "K7-"))).join("\n")).digest("hex").slice(0, 12));
  assert.deepEqual(sums, SUMS);
});

test("three finders, a timing line and a format that says itself twice", () => {
  for (const room of ROOM) {
    const rows = qrOf("x".repeat(room));
    const size = rows.length;
    for (const [x, y] of [[0, 0], [size - 7, 0], [0, size - 7]]) {
      assert.deepEqual(rows.slice(y, y + 7).map((row) => row.slice(x, x + 7).map(Number).join("")), ["1111111", "1000001", "1011101", "1011101", "1011101", "1000001", "1111111"]);
    }
    for (let at = 8; at < size - 8; at += 1) assert.deepEqual([rows[6][at], rows[at][6]], [at % 2 === 0, at % 2 === 0]);
    const beside = [0, 1, 2, 3, 4, 5, 7, 8].map((x) => rows[8][x]).concat([7, 5, 4, 3, 2, 1, 0].map((y) => rows[y][8]));
    const again = Array.from({ length: 7 }, (_, place) => rows[size - 1 - place][8]).concat(Array.from({ length: 8 }, (_, place) => rows[8][size - 8 + place]));
    assert.deepEqual(again, beside);
  }
});

/** Read by jsQR 1.4. */
const GOLDEN = [
  "#######....##.#######",
  "#.....#.......#.....#",
  "#.###.#.#.##..#.###.#",
  "#.###.#.#####.#.###.#",
  "#.###.#.##..#.#.###.#",
  "#.....#.#.##..#.....#",
  "#######.#.#.#.#######",
  "........###..........",
  "#.#####..#.#..#####..",
  ".....#....######..###",
  "#.#..###....#.##.#.#.",
  "....#..##.#####..##..",
  ".####.##....#..#.....",
  "........##..#..#...#.",
  "#######..#.#.#...###.",
  "#.....#.##.......####",
  "#.###.#.#.##.#.##..#.",
  "#.###.#.#.######..#..",
  "#.###.#.#.#.#.#..#...",
  "#.....#...#####.###..",
  "#######.##..#...#..#.",
];
const SUMS = [
  "e647814a7ca3", "6515abc25ce5", "3a249f583e3a", "0d06d8f99f2d",
  "4bbf550d8059", "a56d9988b478", "12a828bef064", "b4e9459510ee",
];
