// The dialog for a note of one's mood, and the notes there are.

import { button, element, worded } from "./dom.js";
import { MOODS } from "./moods.js";
import { Panel } from "./panel.js";

const SHOWN = 14;

export class MoodView {
  #texts;
  #moods;
  #say;
  #panel;
  #list = element("ul", { className: "notes" });
  #erase;

  constructor(texts, moods, say) {
    this.#texts = texts;
    this.#moods = moods;
    this.#say = say;
    this.#panel = new Panel("mood", "mood_title", texts);
    const picks = MOODS.map((mood) => button(`mood_${mood}`, texts, () => this.#note(mood), { data: { mood } }));
    this.#erase = button("mood_erase", texts, () => this.#eraseAll(), { className: "quiet", id: "mood-erase" });
    this.#panel.body.append(worded("p", "mood_text", texts), element("div", { className: "choices" }, ...picks), this.#list, this.#erase);
  }

  open() {
    this.render();
    this.#panel.open();
  }

  render() {
    const { notes } = this.#moods;
    this.#list.replaceChildren(...notes.slice(0, SHOWN).map((note) => element("li", { textContent: moodWords(note, this.#texts).join(": ") })));
    this.#erase.hidden = notes.length === 0;
  }

  #note(mood) {
    this.#moods.note(mood);
    this.render();
    this.#say(this.#texts.t("mood_noted"));
  }

  #eraseAll() {
    this.#moods.erase();
    this.render();
    this.#panel.body.focus();
    this.#say(this.#texts.t("mood_erased"));
  }
}

/** When it was, and how. */
export function moodWords({ mood, at }, texts) {
  return [new Date(at).toLocaleString(texts.language, { dateStyle: "medium", timeStyle: "short" }), texts.t(`mood_${mood}`)];
}
