// The list of entries on the page: follows the conversation's changes, one node per entry.

import { byId } from "./dom.js";
import { EntryView } from "./entry-view.js";

export class LogView {
  #log = byId("log");
  #views = new Map();
  #ofNode = new WeakMap();
  #texts;
  #actions;

  constructor(texts, actions) {
    this.#texts = texts;
    this.#actions = actions;
  }

  /** Listener for {@link Conversation}. */
  change({ kind, entry, next }) {
    if (kind === "cleared") this.#clear();
    else if (kind === "removed") this.#remove(entry);
    else if (kind === "grown") this.#views.get(entry.key).grow();
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
      this.#ofNode.set(view.node, view);
    }
    const before = next ? this.#views.get(next.key).node : null;
    // Moving a node that already stands there would take the focus from a button inside it.
    if (!view.node.isConnected || view.node.nextElementSibling !== before) this.#log.insertBefore(view.node, before);
    this.#nameDay(view.node);
    this.#nameDay(view.node.nextElementSibling);
  }

  /** Above the first message of a day stands which one it is; above the first of all only if that is not today. */
  #nameDay(node) {
    const view = this.#ofNode.get(node);
    const before = this.#ofNode.get(node?.previousElementSibling)?.entry.at ?? Date.now();
    view?.nameDay(!isSameDay(before, view.entry.at));
  }

  #remove(entry) {
    const node = this.#views.get(entry.key)?.node;
    const next = node?.nextElementSibling;
    node?.remove();
    this.#views.delete(entry.key);
    this.#nameDay(next);
  }

  #clear() {
    this.#log.replaceChildren();
    this.#views.clear();
  }
}

/** Of two times in ms since 1970; one that is not known is no other day. */
function isSameDay(one, other) {
  return one === null || other === null || new Date(one).toDateString() === new Date(other).toDateString();
}
