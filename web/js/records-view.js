// Takes the conversation along: as a file, or on paper.

import { strip } from "./markdown.js";
import { printOut } from "./print-view.js";
import { asJson, asText, forTherapist } from "./records.js";

export class Records {
  #texts;
  #on;

  /** @param on {everything() → promise of all entries, plan() → promise of steps, moods() → [[when, words]], give(name, text, type), wall()} */
  constructor(texts, on) {
    this.#texts = texts;
    this.#on = on;
  }

  /** `kind`: "text", "json" or "therapist". Rejects if the conversation cannot be fetched. */
  async save(kind) {
    const entries = await this.#on.everything();
    const name = `psicoia-${new Date(this.#on.wall()).toISOString().slice(0, 10)}`;
    if (kind === "json") this.#on.give(`${name}.json`, asJson(entries, { exported_at: new Date(this.#on.wall()).toISOString() }), "application/json");
    else this.#on.give(`${name}.txt`, kind === "text" ? asText(plain(entries), this.#words) : await this.#forTherapist(entries));
  }

  async print() {
    const entries = await this.#on.everything();
    const { title, about, who, when, day } = this.#words;
    await printOut(title, about, plain(entries).map(({ role, at, text }) => ({ heading: `${who(role)} ${day(new Date(at))}, ${when(new Date(at))}`, text })));
  }

  async #forTherapist(entries) {
    const t = this.#texts.t.bind(this.#texts);
    const moods = this.#on.moods().map(([when, words]) => ({ when, words }));
    const titles = { planTitle: t("plan_title"), moodTitle: t("mood_title"), talkTitle: t("log_label"), about: t("record_therapist_about") };
    return forTherapist(plain(entries), { plan: await this.#on.plan(), moods }, { ...this.#words, ...titles });
  }

  get #words() {
    const { language } = this.#texts;
    const t = this.#texts.t.bind(this.#texts);
    return {
      title: t("record_title"), about: t("record_about", new Date(this.#on.wall()).toLocaleDateString(language, { dateStyle: "long" })),
      who: (role) => t(`who_${role}`).replace(/:$/, ""),
      when: (date) => date.toLocaleTimeString(language, { timeStyle: "short" }),
      day: (date) => date.toLocaleDateString(language, { dateStyle: "full" }),
    };
  }
}

function plain(entries) {
  return entries.map((entry) => (entry.role === "assistant" ? { ...entry, text: strip(entry.text) } : entry));
}
