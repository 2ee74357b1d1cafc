// The menu: everything that is not needed all the time, by its name.

import { button, element } from "./dom.js";
import { Panel } from "./panel.js";

export class Menu {
  #panel;

  /** @param items `[{name (of its words), id, open()}]` */
  constructor(texts, items) {
    this.#panel = new Panel("menu", "menu_title", texts);
    const list = items.map(({ name, id, open }) => element("li", {}, button(name, texts, () => {
      this.#panel.close();
      open();
    }, { id })));
    this.#panel.body.append(element("ul", { className: "menu" }, ...list));
  }

  open() {
    this.#panel.open();
  }
}
