// Leaving at once: everything that the page has stored on this device goes, and a page that says nothing takes its place. Works
// without a network. No DOM: what is removed, and how one goes, is handed in.

import { LEFT } from "./storage.js";

/** The page is blank by then; this long it waits for what the browser removes in the background. */
const LIMIT_MS = 300;
/** Three presses of Shift lie within this time. */
const THREE_MS = 1_500;

export class Exit {
  #io;
  #left = false;

  /**
   * @param io {cover() (nothing is to be seen any more), erases() → whether the conversation goes too, erase(), storage, tab (a {@link Storage} each),
   *   cookie, removeTraces() → promise, tellOthers() (tabs), clock, go()}
   */
  constructor(io) {
    this.#io = io;
  }

  /** Whether the page is on its way out: it has nothing to ask then. */
  get left() {
    return this.#left;
  }

  /** `told`: another tab leaves, and with it this one. */
  async leave({ told = false } = {}) {
    if (this.#left) return;
    this.#left = true;
    const { cover, erases, erase, storage, tab, cookie, removeTraces, tellOthers, clock, go } = this.#io;
    cover();
    if (!told) {
      if (erases()) erase();
      tellOthers();
    }
    storage.end(LEFT);
    tab.end();
    const removed = Promise.allSettled([removeTraces(), cookie.forget()]);
    await Promise.race([removed, new Promise((resolve) => clock.setTimeout(resolve, LIMIT_MS))]);
    go();
  }
}

/** Removes what a page may have stored apart from {@link Storage}: workers, caches, databases. Each may be missing. */
export function removeTraces({ serviceWorker, caches, indexedDB }) {
  const all = (list, remove) => list.then((items) => Promise.all(items.map(remove)));
  return Promise.allSettled([
    serviceWorker && all(serviceWorker.getRegistrations(), (worker) => worker.unregister()),
    caches && all(caches.keys(), (name) => caches.delete(name)),
    indexedDB?.databases && all(indexedDB.databases(), ({ name }) => indexedDB.deleteDatabase(name)),
  ]);
}

/** Shift, three times in a row and nothing between: a capital letter is no such press. */
export class ThreeShifts {
  #now;
  #presses = [];
  #alone = false;

  constructor(now) {
    this.#now = now;
  }

  down({ key, repeat }) {
    if (repeat) return;
    this.#alone = key === "Shift";
    if (!this.#alone) this.#presses = [];
  }

  /** Whether this was the third one. */
  up({ key }) {
    if (key !== "Shift" || !this.#alone) return false;
    this.#alone = false;
    this.#presses = [...this.#presses.filter((at) => this.#now() - at < THREE_MS), this.#now()];
    return this.#presses.length >= 3;
  }
}
