// Every word a person reads: one file a language in `words/`. A text may hold `{0}`, `{1}`… for what the sentence is about.
// Where it depends on a number it has several forms: `=0` for exactly that number, else the plural categories of the
// language (`one`, `few`, `many`…) and `other`. The page brings those of its language (`#words`), and the names of the files of all.

/** The words in the language chosen now; one object, shared by everything that shows words. */
export class Texts {
  #words;
  #load;

  /** `words` are those of the language; `load(language)` is a promise of those of another. */
  constructor(language, words, load) {
    this.language = language;
    this.#words = { [language]: words };
    this.#load = load;
  }

  /** Goes on in this language. Where its words cannot be loaded, it stays at the one that was spoken. */
  async speak(language) {
    this.#words[language] ??= await this.#load(language);
    this.language = language;
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
