// Asks before everything is erased, and says so when it could not be.

import { MAY_BE_DONE } from "./chat.js";
import { byId } from "./dom.js";

export class StartOver {
  #texts;
  #erase;
  #done;
  #busy = false;
  #dialog = byId("start-over-dialog");
  #error = byId("start-over-error");

  /** `erase()` is asynchronous and may reject; `done()` runs after it worked. */
  constructor(texts, erase, done) {
    this.#texts = texts;
    this.#erase = erase;
    this.#done = done;
    byId("start-over-cancel").onclick = () => this.#dialog.close();
    byId("start-over-confirm").onclick = () => this.#confirm();
    this.render();
  }

  ask() {
    this.#error.hidden = true;
    this.#dialog.showModal();
    // The harmless choice has the focus, so that a stray Enter erases nothing.
    byId("start-over-cancel").focus();
  }

  /** There is nothing left to ask about. While it erases, it closes by itself. */
  withdraw() {
    if (!this.#busy) this.#dialog.close();
  }

  render() {
    byId("start-over-confirm").textContent = this.#texts.t(this.#busy ? "start_over_busy" : "start_over_confirm");
  }

  async #confirm() {
    if (this.#busy) return;
    this.#setBusy(true);
    this.#error.hidden = true;
    try {
      await this.#erase();
      this.#dialog.close();
      this.#done();
    } catch (error) {
      this.#fail(error.code);
    } finally {
      this.#setBusy(false);
    }
  }

  #fail(code) {
    const why = this.#texts.has(`error_${code}`) ? `${this.#texts.t(`error_${code}`)} ` : "";
    this.#error.textContent = why + this.#texts.t(MAY_BE_DONE.has(code) ? "start_over_unsure" : "start_over_failed");
    this.#error.hidden = false;
  }

  #setBusy(busy) {
    this.#busy = busy;
    this.render();
  }
}
