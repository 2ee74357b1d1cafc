// The title of the tab: the product's name, or a word that says nothing where the person wants that. early.js reads it too, before
// anything is shown.

const NAME = "PsicoIA";

export class Title {
  #storage;
  #texts;
  #show;
  #unread = 0;

  /** @param show(words) puts them on the tab */
  constructor(storage, texts, show) {
    this.#storage = storage;
    this.#texts = texts;
    this.#show = show;
    this.render();
  }

  get isNeutral() {
    return this.#storage.get("title") !== null;
  }

  setNeutral(neutral) {
    if (neutral) this.#storage.set("title", this.#texts.t("title_neutral"));
    else this.#storage.remove("title");
    this.render();
  }

  /** How many things arrived that nobody has seen. */
  set unread(count) {
    this.#unread = count;
    this.render();
  }

  get unread() {
    return this.#unread;
  }

  /** Also after a change of the language. */
  render() {
    const words = this.isNeutral ? this.#texts.t("title_neutral") : NAME;
    if (this.isNeutral) this.#storage.set("title", words);
    this.#show(this.#unread > 0 ? `(${this.#unread}) ${words}` : words);
  }
}
