// Breathing together: a circle that grows and shrinks, and words that say the same. Begun and ended by the person.

import { breathAt, rhythmOf } from "./breathing.js";
import { element } from "./dom.js";

const TICK_MS = 250;

export class BreathView {
  #rhythm;
  #texts;
  #startedAt = null;
  #timer = null;
  #circle = element("i", { className: "circle" });
  #words = element("p", { className: "phase" });
  #button = element("button", { type: "button", className: "quiet" });
  #how = element("p", { className: "how" });
  node = element("div", { className: "exercise breathing" });

  /** @param exercise one for which {@link rhythmOf} is not null */
  constructor(exercise, texts) {
    this.#rhythm = rhythmOf(exercise);
    this.#texts = texts;
    this.node.dataset.exercise = exercise;
    // The parts are the pace itself: spoken as they come, which here the person has asked for.
    this.#words.setAttribute("aria-live", "polite");
    const stage = element("div", { className: "stage" }, this.#circle);
    stage.setAttribute("aria-hidden", "true");
    this.node.append(stage, element("div", { className: "told" }, this.#how, this.#words, this.#button));
    this.#button.onclick = () => (this.#startedAt === null ? this.#start() : this.#stop());
    this.render();
  }

  render() {
    const running = this.#startedAt !== null;
    const parts = this.#rhythm.map(({ part, seconds }) => this.#texts.t(`breath_${part}_for`, seconds));
    this.#how.textContent = `${parts.join(", ")}.`;
    this.#button.textContent = this.#texts.t(running ? "breath_stop" : "breath_start");
    this.node.classList.toggle("running", running);
    this.#words.hidden = !running;
  }

  #start() {
    this.#startedAt = performance.now();
    this.render();
    this.#tick();
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#startedAt = null;
    this.#words.textContent = "";
    this.#circle.removeAttribute("data-part");
    this.render();
  }

  #tick() {
    const now = breathAt(this.#rhythm, (performance.now() - this.#startedAt) / 1_000);
    // The conversation may have been erased, or left for another one.
    if (now === null || !this.node.isConnected) {
      this.#stop();
      return;
    }
    if (this.#circle.dataset.part !== now.part) {
      this.#circle.dataset.part = now.part;
      this.#circle.style.transitionDuration = `${now.left}s`;
      this.#words.textContent = this.#texts.t(`breath_${now.part}`);
    }
    this.#timer = setTimeout(() => this.#tick(), TICK_MS);
  }
}
