// The list of entries on the page: follows the conversation's changes, one node per entry.

import { byId } from "./dom.js";
import { EntryView } from "./entry-view.js";

export class LogView {
  #log = byId("log");
  #views = new Map();
  #texts;
  #actions;

  constructor(texts, actions) {
    this.#texts = texts;
    this.#actions = actions;
  }

  /** Listener for {@link Conversation}. */
  change({ kind, entry, next, suffix }) {
    if (kind === "cleared") this.#clear();
    else if (kind === "removed") this.#remove(entry);
    else if (kind === "grown") this.#views.get(entry.key).grow(suffix);
    else if (kind === "placed") this.#place(entry, next);
    else this.#views.get(entry.key)?.update();
  }

  nodeOf(entry) {
    return this.#views.get(entry.key).node;
  }

  /** Writes every entry's words again, after a change of language. */
  render() {
    for (const view of this.#views.values()) view.update();
  }

  #place(entry, next) {
    let view = this.#views.get(entry.key);
    if (view) {
      view.update();
    } else {
      view = new EntryView(entry, this.#texts, this.#actions);
      this.#views.set(entry.key, view);
    }
    const before = next ? this.#views.get(next.key).node : null;
    // Moving a node that already stands there would take the focus from a button inside it.
    if (!view.node.isConnected || view.node.nextElementSibling !== before) this.#log.insertBefore(view.node, before);
  }

  #remove(entry) {
    this.#views.get(entry.key)?.node.remove();
    this.#views.delete(entry.key);
  }

  #clear() {
    this.#log.replaceChildren();
    this.#views.clear();
  }
}
