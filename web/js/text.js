// Text measured as the wire measures it: in Unicode scalar values, not UTF-16 units.

/** Number of code points in `text`. */
export function countChars(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/** `text` without its first `count` code points. */
export function dropChars(text, count) {
  if (count <= 0) return text;
  let units = 0;
  for (const char of text) {
    if (count === 0) break;
    units += char.length;
    count -= 1;
  }
  return text.slice(units);
}

/** A fresh id for a message or a request. `randomUUID` is missing on plain HTTP; this is not. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
