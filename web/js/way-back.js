// The dialog about the way back to a conversation: its code, a field for a code from elsewhere, and the earlier
// conversations of this browser.

import { copyText } from "./clipboard.js";
import { byId, element, onOwnClick } from "./dom.js";
import { tokenIn } from "./tokens.js";

export class WayBack {
  #texts;
  #on;
  #busy = false;
  #problem = null;
  /** Token of an earlier conversation → its button. */
  #buttons = new Map();
  #dialog = byId("way-back-dialog");
  #code = byId("way-back-code");
  #field = byId("way-back-field");

  /** @param on {code(), earlier() → [{token, at}], goOn(token) → promise, say(words), done()} */
  constructor(texts, on) {
    this.#texts = texts;
    this.#on = on;
    byId("way-back-close").onclick = () => this.#dialog.close();
    // A click on the dialog itself, not on its content, is a click on the backdrop.
    onOwnClick(this.#dialog, () => this.#dialog.close());
    byId("way-back-copy").onclick = () => this.#copy();
    byId("way-back-form").onsubmit = (event) => {
      event.preventDefault();
      this.#enter();
    };
    this.#field.oninput = () => this.#tell(null);
  }

  /** `entered` stands in the field for a code already. */
  open(entered = "") {
    this.#field.value = entered;
    this.#tell(null);
    this.render();
    this.#dialog.showModal();
  }

  close() {
    this.#dialog.close();
  }

  render() {
    const code = this.#on.code();
    this.#code.value = code ?? this.#texts.t("code_none");
    byId("way-back-copy").hidden = code === null;
    byId("way-back-copy").textContent = this.#texts.t("code_copy");
    byId("way-back-enter").textContent = this.#texts.t(this.#busy ? "code_busy" : "code_enter");
    this.#renderEarlier();
    this.#showProblem();
  }

  /** The buttons are other nodes afterwards: the focus goes to the one of the same conversation. */
  #renderEarlier() {
    const section = byId("way-back-earlier");
    const focused = [...this.#buttons].find(([, button]) => button === document.activeElement)?.[0];
    this.#buttons.clear();
    const items = this.#on.earlier().map((entry) => this.#earlier(entry));
    section.hidden = items.length === 0;
    section.querySelector("ul").replaceChildren(...items);
    if (focused !== undefined) (this.#buttons.get(focused) ?? this.#field).focus();
  }

  #earlier({ token, at }) {
    const shape = { day: "numeric", month: "long", hour: "numeric", minute: "2-digit" };
    const when = this.#texts.t("code_until", new Date(at).toLocaleString(this.#texts.language, shape));
    const button = element("button", {
      type: "button", className: "quiet", textContent: this.#texts.t("code_return"), onclick: () => this.#goOn(token),
    });
    button.setAttribute("aria-label", `${this.#texts.t("code_return")}: ${when}`);
    this.#buttons.set(token, button);
    return element("li", {}, element("span", { textContent: when }), button);
  }

  async #copy() {
    this.#code.focus();
    this.#code.select();
    const copied = await copyText(this.#code.value, this.#code);
    byId("way-back-copy").textContent = this.#texts.t(copied ? "code_copied" : "code_copy");
    this.#on.say(this.#texts.t(copied ? "code_copied" : "code_select"));
  }

  #enter() {
    const token = tokenIn(this.#field.value);
    if (token !== null) this.#goOn(token);
    else this.#tell("malformed");
  }

  async #goOn(token) {
    if (this.#busy) return;
    this.#busy = true;
    this.#tell(null);
    this.render();
    try {
      await this.#on.goOn(token);
      this.#dialog.close();
      this.#on.done();
    } catch (error) {
      this.#tell(error.code);
    } finally {
      this.#busy = false;
      this.render();
    }
  }

  #tell(problem) {
    this.#problem = problem;
    this.#showProblem();
    if (problem !== null) this.#field.focus();
  }

  #showProblem() {
    const node = byId("way-back-problem");
    const words = this.#problem === null ? "" : this.#texts.t(`code_${this.#problem}`);
    if (node.textContent !== words) node.textContent = words;
    if (this.#problem === null) this.#field.removeAttribute("aria-invalid");
    else this.#field.setAttribute("aria-invalid", "true");
  }
}
