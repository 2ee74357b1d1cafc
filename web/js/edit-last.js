// Writing the last message anew. Nothing is erased before the new text is sent: until then the old one stands, and the person may leave
// it at that.

import { button, element, worded } from "./dom.js";

export class EditLast {
  #on;
  #before = null;
  #entry = null;
  #node;

  /** @param on {put(text) (into the field; returns what was there), isLast(entry), forget() → promise, send(text), fail(code), late(), leave()} */
  constructor(texts, on) {
    this.#on = on;
    this.#node = element("div", { id: "editing", className: "note", hidden: true },
      worded("p", "editing", texts), button("cancel", texts, () => this.cancel(), { className: "quiet", id: "editing-cancel" }));
  }

  /** Stands above the field. */
  get node() {
    return this.#node;
  }

  get isEditing() {
    return this.#before !== null;
  }

  /** `text` in place of the message's own, where that was written already. */
  begin(entry, text = entry.text) {
    if (!this.#on.isLast(entry)) return;
    this.#entry = entry;
    this.#before = this.#on.put(text);
    this.#node.hidden = false;
  }

  cancel() {
    if (this.isEditing) this.#on.put(this.#end());
    this.#on.leave();
  }

  /** The message is another now, or gone. What was written stays in the field. */
  withdraw() {
    if (this.isEditing) this.#end();
  }

  /** Sends `text` in place of the last message. */
  async send(text) {
    const entry = this.#entry;
    const before = this.#end();
    try {
      // Another device may have written meanwhile: then nothing is erased.
      if (this.#on.isLast(entry)) await this.#on.forget();
      else this.#on.late();
    } catch (error) {
      // Not sent: it would stand beside the old one.
      this.begin(entry, text);
      this.#before = before;
      this.#on.fail(error.code);
      return;
    }
    this.#on.send(text);
    if (before !== "") this.#on.put(before);
  }

  #end() {
    const before = this.#before;
    this.#before = null;
    this.#node.hidden = true;
    return before;
  }
}
