// Text measured as the wire measures it: in Unicode scalar values, not UTF-16 units.

/** Number of code points in `text`. */
export function countChars(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/** `text`, `total` code points long, without its first `count`. Nothing is counted where nothing is left. */
export function dropChars(text, count, total = Infinity) {
  return count >= total ? "" : text.slice(unitsOf(text, count));
}

/** The first `count` code points of `text`. */
export function takeChars(text, count) {
  return text.slice(0, unitsOf(text, count));
}

/** How many UTF-16 units the first `count` code points of `text` take. */
function unitsOf(text, count) {
  let units = 0;
  for (const char of text) {
    if (count <= 0) break;
    units += char.length;
    count -= 1;
  }
  return units;
}

/** `text` as the wire takes it: half a surrogate pair is no character, and U+0000 is refused. */
export function mend(text) {
  // With the `u` flag a surrogate matches only where it stands alone.
  return text.replace(/[\ud800-\udfff]/gu, "\ufffd").replaceAll("\0", "");
}

/** A fresh id for a message or a request. `randomUUID` is missing on plain HTTP; this is not. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A token for a session, 32 random bytes in base64url. */
export function newToken() {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
