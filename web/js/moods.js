// How the person was, noted with one tap: in this browser only, with no count and no streak. Pure but for the storage it is given.

export const MOODS = ["very_low", "low", "so_so", "good", "very_good"];
const MAX_NOTES = 120;

export class Moods {
  #storage;
  #wall;

  constructor(storage, wall) {
    this.#storage = storage;
    this.#wall = wall;
  }

  /** `[{mood, at}]`, the newest first. */
  get notes() {
    const list = this.#storage.getJson("moods");
    return Array.isArray(list) ? list.filter((note) => MOODS.includes(note?.mood) && typeof note.at === "number") : [];
  }

  note(mood) {
    this.#storage.setJson("moods", [{ mood, at: this.#wall() }, ...this.notes].slice(0, MAX_NOTES));
  }

  erase() {
    this.#storage.remove("moods");
  }
}
