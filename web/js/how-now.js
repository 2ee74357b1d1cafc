// The question at the end of an exercise. What the person picks is said in the conversation, in their words; nothing has to be picked.

import { button, element, worded } from "./dom.js";

const ANSWERS = ["better", "same", "worse"];

export class HowNow {
  #question;
  node = element("div", { className: "how-now", hidden: true });

  /** @param on {exercised(words)}: what the person says of it, to be sent */
  constructor(texts, on) {
    this.#question = worded("p", "how_now", texts, { className: "phase", tabIndex: -1 });
    const picks = ANSWERS.map((name) => button(`how_now_${name}`, texts, () => {
      this.node.hidden = true;
      on.exercised(texts.t(`how_now_${name}_text`));
    }, { className: "quiet", data: { how: name } }));
    this.node.append(this.#question, element("div", { className: "tools-row" }, ...picks));
  }

  ask() {
    this.node.hidden = false;
    this.#question.focus();
  }

  withdraw() {
    this.node.hidden = true;
  }
}
