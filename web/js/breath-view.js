// Breathing together: a circle that grows and shrinks, words that say the same, and, where the device can and the person wants it, a
// voice and a short vibration at each turn. Begun and ended by the person. Without motion, the words count the seconds.

import { breathAt, LASTS_S, rhythmOf, vibrationOf } from "./breathing.js";
import { button, element, reword } from "./dom.js";
import { HowNow } from "./how-now.js";

const TICK_MS = 250;

export class BreathView {
  #rhythm;
  #texts;
  #on;
  #startedAt = null;
  #timer = null;
  #part = null;
  #circle = element("i", { className: "circle" });
  #words = element("p", { className: "phase" });
  #left = element("span", { className: "left" });
  #button;
  #voice;
  #how = element("p", { className: "how" });
  #after;
  node = element("div", { className: "exercise breathing" });

  /**
   * @param exercise one for which {@link rhythmOf} is not null
   * @param on {speech, vibrate(pattern), exercised(words)}
   */
  constructor(exercise, texts, on) {
    this.#rhythm = rhythmOf(exercise);
    this.#texts = texts;
    this.#on = on;
    this.node.dataset.exercise = exercise;
    // The parts are the pace itself: spoken as they come, which here the person has asked for.
    this.#words.setAttribute("aria-live", "polite");
    this.#left.setAttribute("aria-hidden", "true");
    const stage = element("div", { className: "stage" }, this.#circle);
    stage.setAttribute("aria-hidden", "true");
    this.#button = button("breath_start", texts, () => (this.#startedAt === null ? this.#start() : this.#end()), { className: "quiet" });
    this.#voice = button("breath_voice", texts, () => this.#toggleVoice(), { className: "quiet voice" });
    this.#voice.setAttribute("aria-pressed", "false");
    this.#after = new HowNow(texts, on);
    this.node.append(stage, element("div", { className: "told" }, this.#how, element("div", { className: "pace" }, this.#words, this.#left),
      element("div", { className: "tools-row" }, this.#button, this.#voice), this.#after.node));
    this.render();
  }

  render() {
    const running = this.#startedAt !== null;
    const parts = this.#rhythm.map(({ part, seconds }) => this.#texts.t(`breath_${part}_for`, seconds));
    this.#how.textContent = `${parts.join(", ")}. ${this.#texts.t("breath_lasts", LASTS_S / 60)}`;
    reword(this.#button, running ? "breath_stop" : "breath_start", this.#texts);
    reword(this.#voice, "breath_voice", this.#texts);
    this.#voice.hidden = !this.#on.speech.speaks(this.#texts.language);
    this.node.classList.toggle("running", running);
    this.#words.parentElement.hidden = !running;
    for (const node of this.#after.node.querySelectorAll("[data-t]")) reword(node, node.dataset.t, this.#texts);
  }

  get #speaks() {
    return this.#voice.getAttribute("aria-pressed") === "true";
  }

  #toggleVoice() {
    this.#voice.setAttribute("aria-pressed", String(!this.#speaks));
    // What a voice says a screen reader need not say as well.
    this.#words.setAttribute("aria-live", this.#speaks ? "off" : "polite");
    if (!this.#speaks) this.#on.speech.stop();
  }

  #start() {
    this.#startedAt = performance.now();
    this.#after.withdraw();
    this.render();
    this.#tick();
  }

  /** At its end, or when the person has had enough: how are you now? */
  #end() {
    this.#stop();
    this.#after.ask();
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#startedAt = null;
    this.#part = null;
    this.#words.textContent = "";
    this.#circle.removeAttribute("data-part");
    if (this.#speaks) this.#on.speech.stop();
    this.#on.vibrate(0);
    this.render();
  }

  #tick() {
    // The conversation may have been erased, or left for another one, or the dialog closed.
    if (!this.node.isConnected || this.node.checkVisibility?.() === false) {
      this.#stop();
      return;
    }
    const now = breathAt(this.#rhythm, (performance.now() - this.#startedAt) / 1_000);
    if (now === null) {
      this.#end();
      return;
    }
    if (this.#part !== now.part) this.#turn(now);
    this.#left.textContent = now.left;
    this.#timer = setTimeout(() => this.#tick(), TICK_MS);
  }

  #turn({ part, left }) {
    this.#part = part;
    this.#circle.dataset.part = part;
    this.#circle.style.transitionDuration = `${left}s`;
    this.#words.textContent = this.#texts.t(`breath_${part}`);
    this.#on.vibrate(vibrationOf(part));
    if (this.#speaks) this.#on.speech.say(this.#words.textContent, this.#texts.language);
  }
}
