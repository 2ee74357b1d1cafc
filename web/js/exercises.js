// The menu of exercises: they work without a connection, and end when the person wants.

import { BreathView } from "./breath-view.js";
import { button, element, worded } from "./dom.js";
import { Panel } from "./panel.js";
import { StepsView } from "./steps-view.js";
import { EXERCISES, isSteps } from "./steps.js";

export class Exercises {
  #texts;
  #on;
  #panel;
  #view = null;
  #list;
  #place = element("div", { className: "exercise-place" });

  /** @param on {speech, vibrate(pattern), exercised(words)} */
  constructor(texts, on) {
    this.#texts = texts;
    this.#on = { ...on, exercised: (words) => this.#ended(words, on.exercised) };
    this.#panel = new Panel("exercises", "exercises_title", texts, () => this.#leave());
    const picks = EXERCISES.map((name) => button(`exercise_${name}`, texts, () => this.#begin(name), { data: { pick: name } }));
    this.#list = element("div", { className: "choices" }, ...picks);
    this.#panel.body.append(worded("p", "exercises_text", texts), this.#list, this.#place);
  }

  /** `name`: it begins at once. */
  open(name = null) {
    this.#leave();
    this.#panel.open();
    if (name !== null) this.#begin(name);
  }

  render() {
    this.#view?.render();
  }

  #begin(name) {
    this.#leave();
    this.#view = isSteps(name) ? new StepsView(name, this.#texts, this.#on) : new BreathView(name, this.#texts, this.#on);
    this.#place.replaceChildren(this.#view.node);
    this.#list.hidden = true;
    this.#view.node.querySelector("button:not([hidden])")?.focus();
  }

  /** What is not on the page any more stops by itself. */
  #leave() {
    this.#place.replaceChildren();
    this.#list.hidden = false;
    this.#view = null;
    this.#on.speech.stop();
  }

  #ended(words, tell) {
    this.#panel.close();
    tell(words);
  }
}
