// Storage beyond the page: by `localStorage` the session's tokens, the language and the theme; by
// `sessionStorage`, which ends with the tab, text that has not reached the server. Text the server has is never
// kept here: the device may be shared.

const PREFIX = "psicoia.";
/** Stays behind where the person has left: what the gateway still keeps for them is to be removed. */
export const LEFT = "left";

export class Storage {
  #store;
  /** Stands in where the browser refuses storage: then things are remembered until the page closes. */
  #memory = new Map();
  #ended = false;

  constructor(store) {
    this.#store = store;
  }

  /** The browser's own storage, or none where merely touching it throws (blocked cookies, sandboxes). */
  static ofBrowser() {
    return Storage.#of(() => globalThis.localStorage);
  }

  /** The storage of this tab: it survives a reload, and nothing else reads it. */
  static ofTab() {
    return Storage.#of(() => globalThis.sessionStorage);
  }

  static #of(store) {
    try {
      return new Storage(store());
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

  /** The value that was set with {@link Storage.setJson}; null if there is none, or none that can be read. */
  getJson(name) {
    try {
      return JSON.parse(this.get(name));
    } catch {
      return null;
    }
  }

  /** Returns whether it is kept beyond this page. */
  set(name, value) {
    if (this.#ended) return false;
    try {
      if (!this.#store) throw new Error("no storage");
      this.#store.setItem(PREFIX + name, value);
      this.#memory.delete(name);
      return true;
    } catch {
      this.#memory.set(name, value);
      return false;
    }
  }

  setJson(name, value) {
    return this.set(name, JSON.stringify(value));
  }

  remove(name) {
    this.#memory.delete(name);
    try {
      this.#store?.removeItem(PREFIX + name);
    } catch {
      this.#memory.set(name, null);
    }
  }

  /** Removes everything, and keeps nothing from now on: the person leaves. `mark`: the only name that is left behind. */
  end(mark = null) {
    this.#ended = true;
    this.#memory.clear();
    try {
      const names = Array.from({ length: this.#store?.length ?? 0 }, (_, at) => this.#store.key(at));
      for (const name of names) if (name.startsWith(PREFIX)) this.#store.removeItem(name);
      if (mark !== null) this.#store?.setItem(PREFIX + mark, "1");
    } catch {
      // Nothing could be read, so nothing was written.
    }
  }

  /** True if a `storage` event of the window is about this name. A null key means everything was cleared. */
  concerns(event, name) {
    return event.key === null || event.key === PREFIX + name;
  }
}
