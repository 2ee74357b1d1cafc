// The quick exit on the page: its buttons and keys, the dialog about it, and the choice what becomes of the conversation.

import { copyText } from "./clipboard.js";
import { byId, element, onOwnClick } from "./dom.js";
import { ThreeShifts } from "./exit.js";

const CHOICES = ["keep", "erase"];

export class ExitView {
  #texts;
  #on;
  #dialog = byId("exit-dialog");
  #choices;

  /** @param on {leave(), code(), erases(), choose(erases), title: {@link Title}, say(words), now()} */
  constructor(texts, on) {
    this.#texts = texts;
    this.#on = on;
    this.#choices = ["intro-exit", "exit-choice"].map((id) => new ExitChoice(byId(id), texts, { ...on, chosen: () => this.render() }));
    for (const button of document.querySelectorAll("[data-exit]")) {
      button.onclick = (event) => {
        // Some are links, for the time before this script.
        event.preventDefault();
        on.leave();
      };
    }
    for (const button of document.querySelectorAll("[data-open-exit]")) button.onclick = () => this.open();
    byId("exit-close").onclick = () => this.#dialog.close();
    onOwnClick(this.#dialog, () => this.#dialog.close());
    byId("exit-title").onchange = ({ target }) => on.title.setNeutral(target.checked);
    this.#listen();
    this.render();
  }

  open() {
    this.render();
    this.#dialog.showModal();
  }

  render() {
    byId("exit-title").checked = this.#on.title.isNeutral;
    for (const choice of this.#choices) choice.render();
  }

  #listen() {
    const shifts = new ThreeShifts(this.#on.now);
    addEventListener("keydown", (event) => shifts.down(event), true);
    addEventListener("keyup", (event) => {
      if (shifts.up(event)) this.#on.leave();
    }, true);
  }
}

/** The question, with the code where it is kept: it is not on this device any more afterwards. */
class ExitChoice {
  #texts;
  #on;
  #code = element("input", { type: "text", readOnly: true, spellcheck: false, autocomplete: "off" });
  #copy = element("button", { type: "button", className: "button" });
  #shown = element("div", { className: "field" }, this.#code, this.#copy);
  #aside = element("p", { className: "aside" });
  #legend = element("legend", {});
  #options;

  constructor(place, texts, on) {
    this.#texts = texts;
    this.#on = on;
    this.#options = CHOICES.map((value) => {
      const field = element("input", { type: "radio", name: place.id, value, onchange: () => this.#choose(value) });
      return { value, field, words: element("span", {}) };
    });
    const labels = this.#options.map(({ field, words }) => element("label", { className: "option" }, field, words));
    this.#copy.onclick = () => this.#copyCode();
    place.append(this.#legend, ...labels, this.#shown, this.#aside);
  }

  render() {
    const chosen = this.#on.erases() ? "erase" : "keep";
    const code = this.#on.code();
    for (const { value, field, words } of this.#options) {
      field.checked = value === chosen;
      words.textContent = this.#texts.t(`exit_${value}`);
    }
    this.#legend.textContent = this.#texts.t("exit_choice");
    this.#aside.textContent = this.#texts.t(`exit_${chosen}_about`);
    this.#shown.hidden = chosen === "erase";
    this.#code.value = code ?? this.#texts.t("code_none");
    this.#code.setAttribute("aria-label", this.#texts.t("code_label"));
    this.#copy.hidden = code === null;
    this.#copy.textContent = this.#texts.t("code_copy");
  }

  #choose(value) {
    this.#on.choose(value === "erase");
    this.#on.chosen();
  }

  async #copyCode() {
    const copied = await copyText(this.#code.value, this.#code);
    if (!copied) this.#code.select();
    this.#copy.textContent = this.#texts.t(copied ? "code_copied" : "code_copy");
    this.#on.say(this.#texts.t(copied ? "code_copied" : "code_select"));
  }
}
