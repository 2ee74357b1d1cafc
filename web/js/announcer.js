// Speaks to screen readers. Each sentence is a node of its own, so that two in a row are both read:
// a region whose text is replaced loses the first one.

const KEEP_MS = 60_000;

export class Announcer {
  #region;

  constructor(region) {
    this.#region = region;
  }

  say(words) {
    const line = document.createElement("p");
    line.textContent = words;
    this.#heard().append(line);
    // Old sentences would be found again, out of place, by someone who reads through the page.
    setTimeout(() => line.remove(), KEEP_MS);
  }

  /** While a dialog is open all outside of it is inert, and so silent: each dialog has a region of its own. */
  #heard() {
    return document.querySelector("dialog[open] .announcer") ?? this.#region;
  }
}
