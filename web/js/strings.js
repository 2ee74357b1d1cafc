// Every word a person reads: one file a language in `words/`. A text may hold `{0}`, `{1}`… for what the sentence is about.
// Where it depends on a number it has several forms: `=0` for exactly that number, else the plural categories of the
// language (`one`, `few`, `many`…) and `other`.

import en from "../words/en.json" with { type: "json" };
import es from "../words/es.json" with { type: "json" };

export const strings = { es, en };

/** The words in the language chosen now; one object, shared by everything that shows words. */
export class Texts {
  #words;

  constructor(language, words = strings) {
    this.language = language;
    this.#words = words;
  }

  /** A sentence by name. An unknown name is a mistake of ours and shows itself as such. */
  t(name, ...about) {
    const words = this.#words[this.language][name] ?? name;
    const text = typeof words === "string" ? words : form(words, about[0], this.language);
    return text.replace(/\{(\d)\}/g, (_, position) => about[position]);
  }

  has(name) {
    return name in this.#words[this.language];
  }
}

function form(forms, number, language) {
  return forms[`=${number}`] ?? forms[new Intl.PluralRules(language).select(number)] ?? forms.other;
}
