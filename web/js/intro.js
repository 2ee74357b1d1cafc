// What a person reads before their first conversation in this browser, until they go on or write. Links for the names of pages in
// what the server says about itself.

import { byId, element } from "./dom.js";

const GUIDE = { acerca: "acerca", about: "acerca", proteccion: "proteccion", protection: "proteccion" };

export class Intro {
  #storage;

  /** @param on {start(), person() (the person would rather talk to one), changed()} */
  constructor(storage, on) {
    this.#storage = storage;
    byId("intro-start").onclick = () => {
      this.done();
      on.changed();
      on.start();
    };
    byId("intro-person").onclick = () => on.person();
  }

  /** Whether it is to be read. */
  get isDue() {
    return this.#storage.get("introduced") === null;
  }

  done() {
    if (this.isDue) this.#storage.set("introduced", "1");
  }
}

/** `text` as nodes: "/acerca" and the like lead to these pages. */
export function withGuides(text) {
  return text.split(/(\/(?:acerca|about|proteccion|protection)\b)/).map((part) => {
    const guide = part.startsWith("/") ? GUIDE[part.slice(1)] : undefined;
    if (guide === undefined) return part;
    const { href } = document.querySelector(`.guides [data-guide="${guide}"]`);
    return element("a", { href, textContent: part, target: "_blank", rel: "noopener" });
  });
}
