// An exercise of steps: one sentence at a time, at the person's own pace, to be left at any moment.

import { button, element, reword } from "./dom.js";
import { HowNow } from "./how-now.js";
import { stepsOf } from "./steps.js";

export class StepsView {
  #texts;
  #steps;
  #at = 0;
  #words = element("p", { className: "phase" });
  #count = element("p", { className: "aside" });
  #next;
  #after;
  node = element("div", { className: "exercise steps" });

  /** @param on as of {@link HowNow} */
  constructor(exercise, texts, on) {
    this.#texts = texts;
    this.#steps = stepsOf(exercise);
    this.node.dataset.exercise = exercise;
    this.#words.tabIndex = -1;
    this.#next = button("steps_next", texts, () => this.#go());
    this.#after = new HowNow(texts, on);
    this.node.append(element("div", { className: "told" }, this.#words, this.#count,
      element("div", { className: "tools-row" }, this.#next, button("exercise_stop", texts, () => this.#end(), { className: "quiet" })), this.#after.node));
    this.render();
  }

  render() {
    reword(this.#words, this.#steps[this.#at], this.#texts);
    this.#count.textContent = this.#texts.t("steps_count", this.#at + 1, this.#steps.length);
    reword(this.#next, this.#at + 1 < this.#steps.length ? "steps_next" : "steps_done", this.#texts);
  }

  #go() {
    if (this.#at + 1 === this.#steps.length) {
      this.#end();
      return;
    }
    this.#at += 1;
    this.render();
    // Read out as it gets the focus; the button to go on stands right behind it.
    this.#words.focus();
  }

  #end() {
    for (const node of [this.#words, this.#count, this.#next.parentElement]) node.hidden = true;
    this.#after.ask();
  }
}
