// Writing the last message anew. Nothing is erased before the new text is sent: until then the old one stands, and the person may leave
// it at that.

import { button, element, worded } from "./dom.js";

export class EditLast {
  #on;
  #before = null;
  #node;

  /** @param on {put(text) (into the field; returns what was there), forget() → promise, send(text), fail(code), leave()} */
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

  begin(text) {
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
    const before = this.#end();
    try {
      await this.#on.forget();
    } catch (error) {
      // Not sent: it would stand beside the old one.
      this.begin(text);
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
