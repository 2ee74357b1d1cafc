// A pause, where the server has reminded the person of one: the conversation out of sight, a circle at the pace of a calm breath, and
// no time, no count and nothing that calls back.

import { byId } from "./dom.js";

export class Pause {
  #dialog = byId("pause");

  /** @param back() runs when the person goes on */
  constructor(back) {
    byId("pause-end").onclick = () => this.#dialog.close();
    this.#dialog.addEventListener("close", back);
  }

  begin() {
    this.#dialog.showModal();
    // The heading is read; the button that ends it is one key away.
    byId("pause-title").focus();
  }
}
