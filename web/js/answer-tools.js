// What can be done with an answer: copy it, hear it, and say what the next one should be like. Below the last answer they are there;
// below earlier ones behind a button.

import { copyText } from "./clipboard.js";
import { button, element, reword } from "./dom.js";
import { strip } from "./markdown.js";

export class AnswerTools {
  #entry;
  #texts;
  #on;
  #copy;
  #listen;
  #open;
  node = element("div", { className: "tools" });

  /** @param on {speech (a {@link Speech}), say(words), ask(words) (sends them as the person's)} */
  constructor(entry, texts, on) {
    this.#entry = entry;
    this.#texts = texts;
    this.#on = on;
    this.#copy = button("copy", texts, () => this.#copyText(), { className: "quiet copy-answer" });
    this.#listen = button("listen", texts, () => this.#toggleReading(), { className: "quiet listen" });
    this.#open = button("answer_tools", texts, () => this.#show(), { className: "quiet tools-open" });
    this.#open.setAttribute("aria-expanded", "false");
    const ask = (name, className) => button(name, texts, () => on.ask(texts.t(`${name}_text`)), { className: `quiet ask-for ${className}` });
    const row = element("div", { className: "tools-row" }, this.#copy, this.#listen, ask("rephrase", "rephrase"), ask("no_help", "no-help"));
    this.node.append(this.#open, row);
    this.render();
  }

  render() {
    for (const node of this.node.querySelectorAll("[data-t]")) reword(node, node.dataset.t, this.#texts);
    this.#listen.hidden = !this.#on.speech.speaks(this.#texts.language);
  }

  #show() {
    this.node.dataset.open = "";
    this.#open.setAttribute("aria-expanded", "true");
    this.#copy.focus();
  }

  async #copyText() {
    const name = (await copyText(strip(this.#entry.text))) ? "copied" : "not_copied";
    reword(this.#copy, name === "copied" ? name : "copy", this.#texts);
    this.#on.say(this.#texts.t(name));
  }

  #toggleReading() {
    const { speech } = this.#on;
    if (this.#listen.dataset.t === "listen_stop") {
      speech.stop();
      return;
    }
    speech.say(strip(this.#entry.text), this.#texts.language, () => reword(this.#listen, "listen", this.#texts));
    if (speech.isSpeaking) reword(this.#listen, "listen_stop", this.#texts);
  }
}
