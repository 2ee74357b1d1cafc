// A text as a QR code (ISO/IEC 18004), in bytes and with error correction M, versions 1 to 10: up to 213 bytes, more than an address
// with a code needs. Text in, a square of dark and light modules out; pure.

/** By version: error correction codewords of a block, and the data codewords of each block. */
const BLOCKS = [
  null, [10, [16]], [16, [28]], [26, [44]], [18, [32, 32]], [24, [43, 43]], [16, [27, 27, 27, 27]], [18, [31, 31, 31, 31]],
  [22, [38, 38, 39, 39]], [22, [36, 36, 36, 37, 37]], [26, [43, 43, 43, 43, 44]],
];
/** Centres of the alignment patterns. */
const ALIGNMENT = [null, [], [6, 18], [6, 22], [6, 26], [6, 30], [6, 34], [6, 22, 38], [6, 24, 42], [6, 26, 46], [6, 28, 50]];
const MASKS = [
  (x, y) => (x + y) % 2, (_, y) => y % 2, (x) => x % 3, (x, y) => (x + y) % 3,
  (x, y) => (Math.floor(y / 2) + Math.floor(x / 3)) % 2, (x, y) => ((x * y) % 2) + ((x * y) % 3),
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2, (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
];
const FORMAT_M = 0;

/** The rows of the code of `text`, true for a dark module; null if the text is too long. */
export function qrOf(text) {
  const bytes = new TextEncoder().encode(text);
  const version = BLOCKS.findIndex((blocks, place) => blocks !== null && bytes.length <= roomOf(place));
  if (version < 0) return null;
  const codewords = interleaved(dataOf(bytes, version), version);
  const candidates = MASKS.map((_, mask) => drawn(codewords, version, mask));
  const penalties = candidates.map(penaltyOf);
  return candidates[penalties.indexOf(Math.min(...penalties))];
}

function capacityOf(version) {
  return BLOCKS[version][1].reduce((sum, count) => sum + count, 0);
}

/** Bytes of text: less the mode, and the length in one byte or, from version 10 on, two. */
function roomOf(version) {
  return Math.floor((8 * capacityOf(version) - 4 - (version < 10 ? 8 : 16)) / 8);
}

function dataOf(bytes, version) {
  const capacity = capacityOf(version);
  const bits = [];
  const put = (value, count) => {
    for (let bit = count - 1; bit >= 0; bit -= 1) bits.push((value >> bit) & 1);
  };
  put(0b0100, 4);
  put(bytes.length, version < 10 ? 8 : 16);
  for (const byte of bytes) put(byte, 8);
  put(0, Math.min(4, 8 * capacity - bits.length));
  while (bits.length % 8 !== 0) bits.push(0);
  for (let filler = 0xec; bits.length < 8 * capacity; filler ^= 0xec ^ 0x11) put(filler, 8);
  return Array.from({ length: capacity }, (_, place) => bits.slice(8 * place, 8 * place + 8).reduce((value, bit) => 2 * value + bit, 0));
}

/** The codewords of all blocks in turn, then their error correction in turn. */
function interleaved(data, version) {
  const [correction, counts] = BLOCKS[version];
  let at = 0;
  const blocks = counts.map((count) => data.slice(at, (at += count)));
  const divisor = generator(correction);
  const checks = blocks.map((block) => remainder(block, divisor));
  return [blocks, checks].flatMap((parts) => {
    const longest = Math.max(...parts.map((part) => part.length));
    return Array.from({ length: longest }, (_, place) => parts.map((part) => part[place])).flat().filter((word) => word !== undefined);
  });
}

/** Multiplication in GF(2^8) modulo 0x11d. */
function times(one, other) {
  let product = 0;
  for (let bit = 7; bit >= 0; bit -= 1) {
    product = (product << 1) ^ ((product >> 7) * 0x11d);
    product ^= ((other >> bit) & 1) * one;
  }
  return product;
}

/** The coefficients of (x - 1)(x - 2)(x - 4)…, without the first. */
function generator(degree) {
  const result = Array.from({ length: degree }, (_, place) => (place === degree - 1 ? 1 : 0));
  let root = 1;
  for (let count = 0; count < degree; count += 1) {
    for (let place = 0; place < degree; place += 1) result[place] = times(result[place], root) ^ (result[place + 1] ?? 0);
    root = times(root, 2);
  }
  return result;
}

function remainder(data, divisor) {
  const result = divisor.map(() => 0);
  for (const byte of data) {
    const factor = byte ^ result.shift();
    result.push(0);
    divisor.forEach((coefficient, place) => { result[place] ^= times(coefficient, factor); });
  }
  return result;
}

/** The square with everything in it, for one mask. */
function drawn(codewords, version, mask) {
  const size = 17 + 4 * version;
  const rows = Array.from({ length: size }, () => Array(size).fill(null));
  const set = (x, y, dark) => {
    if (rows[y]?.[x] !== undefined) rows[y][x] = Boolean(dark);
  };
  drawPatterns(set, size, version);
  drawFormat(set, size, mask);
  if (version >= 7) drawVersion(set, size, version);
  drawData(rows, size, codewords, mask);
  return rows;
}

function drawPatterns(set, size, version) {
  for (let place = 0; place < size; place += 1) {
    set(6, place, place % 2 === 0);
    set(place, 6, place % 2 === 0);
  }
  const ring = (x, y, radius, light) => {
    for (let dy = -radius; dy <= radius; dy += 1) {
      for (let dx = -radius; dx <= radius; dx += 1) set(x + dx, y + dy, !light.includes(Math.max(Math.abs(dx), Math.abs(dy))));
    }
  };
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) ring(x, y, 4, [2, 4]);
  const centres = ALIGNMENT[version];
  const last = centres.length - 1;
  centres.forEach((x, i) => centres.forEach((y, j) => {
    const corner = (i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0);
    if (!corner) ring(x, y, 2, [1]);
  }));
}

/** `value` of `count` bits, followed by the remainder that protects it. */
function withCheck(value, polynomial, count) {
  let rest = value;
  for (let step = 0; step < count; step += 1) rest = (rest << 1) ^ ((rest >> (count - 1)) * polynomial);
  return (value << count) | rest;
}

function drawFormat(set, size, mask) {
  const bits = withCheck((FORMAT_M << 3) | mask, 0x537, 10) ^ 0x5412;
  for (let place = 0; place < 15; place += 1) {
    const dark = (bits >> place) & 1;
    if (place < 6) set(8, place, dark);
    else if (place < 8) set(8, place + 1, dark);
    else set(place === 8 ? 7 : 14 - place, 8, dark);
    if (place < 8) set(size - 1 - place, 8, dark);
    else set(8, size - 15 + place, dark);
  }
  set(8, size - 8, true);
}

function drawVersion(set, size, version) {
  const bits = withCheck(version, 0x1f25, 12);
  for (let place = 0; place < 18; place += 1) {
    const [far, near] = [size - 11 + (place % 3), Math.floor(place / 3)];
    set(far, near, (bits >> place) & 1);
    set(near, far, (bits >> place) & 1);
  }
}

/** Fills what is free in columns of two from the right, up and down in turn. */
function drawData(rows, size, codewords, mask) {
  let bit = 0;
  for (let right = size - 1; right >= 1; right -= 2) {
    if (right === 6) right = 5;
    for (let step = 0; step < size; step += 1) {
      const y = ((right + 1) & 2) === 0 ? size - 1 - step : step;
      for (const x of [right, right - 1]) {
        if (rows[y][x] !== null) continue;
        const dark = ((codewords[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1;
        rows[y][x] = Boolean(dark) !== (MASKS[mask](x, y) === 0);
        bit += 1;
      }
    }
  }
}

/** How hard a scanner would find it. */
function penaltyOf(rows) {
  const size = rows.length;
  const lines = [...rows, ...rows.map((_, x) => rows.map((row) => row[x]))].map((line) => line.map(Number).join(""));
  const runs = lines.flatMap((line) => line.match(/0{5,}|1{5,}/g) ?? []).reduce((sum, run) => sum + run.length - 2, 0);
  const finders = lines.flatMap((line) => line.match(/(?=10111010000|00001011101)/g) ?? []).length;
  let blocks = 0;
  let dark = 0;
  rows.forEach((row, y) => row.forEach((module, x) => {
    if (module) dark += 1;
    const next = rows[y + 1];
    if (next && x + 1 < size && row[x + 1] === module && next[x] === module && next[x + 1] === module) blocks += 1;
  }));
  const unbalanced = Math.floor(Math.abs((20 * dark) / size ** 2 - 10));
  return runs + 40 * finders + 3 * blocks + 10 * unbalanced;
}
