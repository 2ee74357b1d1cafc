// A file of the page's, given to the person.

import { element } from "./dom.js";

const KEEP_MS = 60_000;

export function giveFile(name, text, type = "text/plain") {
  const file = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  element("a", { href: file, download: name }).click();
  // The browser takes the file after the click.
  setTimeout(() => URL.revokeObjectURL(file), KEEP_MS);
}
