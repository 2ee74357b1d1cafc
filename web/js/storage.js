// What this browser remembers: the session's token, the language, the theme. Never what people write:
// the device may be shared, and the server keeps the conversation.

const PREFIX = "psicoia.";

export class Storage {
  #store;
  /** Stands in where the browser refuses storage: then things are remembered until the page closes. */
  #memory = new Map();

  constructor(store) {
    this.#store = store;
  }

  /** The browser's own storage, or none where merely touching it throws (blocked cookies, sandboxes). */
  static ofBrowser() {
    try {
      return new Storage(globalThis.localStorage);
    } catch {
      return new Storage(null);
    }
  }

  get(name) {
    // What could not be stored is newer than what is stored.
    if (this.#memory.has(name)) return this.#memory.get(name);
    try {
      return this.#store?.getItem(PREFIX + name) ?? null;
    } catch {
      return null;
    }
  }

  set(name, value) {
    try {
      if (!this.#store) throw new Error("no storage");
      this.#store.setItem(PREFIX + name, value);
      this.#memory.delete(name);
    } catch {
      this.#memory.set(name, value);
    }
  }

  remove(name) {
    this.#memory.delete(name);
    try {
      this.#store?.removeItem(PREFIX + name);
    } catch {
      this.#memory.set(name, null);
    }
  }

  /** True if a `storage` event of the window is about this name. A null key means everything was cleared. */
  concerns(event, name) {
    return event.key === null || event.key === PREFIX + name;
  }
}
