// The dialog that looks for words in the whole conversation, or for a day of it, and goes there.

import { button, element, worded } from "./dom.js";
import { daysOf, find } from "./find.js";
import { Panel } from "./panel.js";

export class Search {
  #texts;
  #on;
  #panel;
  #entries = null;
  #field = element("input", { id: "search-field", type: "search", autocomplete: "off", spellcheck: false, dir: "auto" });
  #days = element("select", { id: "search-day", className: "country-select" });
  #told = element("p", { id: "search-told", className: "aside" });
  #list = element("ol", { id: "search-found", className: "found" });

  /** @param on {everything() → promise of all entries, go(seq, ready) → promise; runs `ready` once it is there, and shows it} */
  constructor(texts, on) {
    this.#texts = texts;
    this.#on = on;
    this.#panel = new Panel("search", "search_title", texts);
    this.#told.setAttribute("role", "status");
    const form = element("form", { id: "search-form" },
      worded("label", "search_words", texts, { htmlFor: "search-field" }),
      element("div", { className: "field" }, this.#field, button("search_go", texts, null, { type: "submit" })));
    form.onsubmit = (event) => {
      event.preventDefault();
      this.#search();
    };
    this.#days.onchange = () => {
      if (this.#days.value !== "") this.#go(Number(this.#days.value));
    };
    this.#panel.body.append(form, worded("label", "search_day", texts, { htmlFor: "search-day" }), this.#days, this.#told, this.#list);
  }

  /** The whole conversation is fetched once each time, so that old entries are found as well. */
  async open() {
    this.#entries = null;
    this.#list.replaceChildren();
    this.#told.textContent = this.#texts.t("older_loading");
    this.#renderDays([]);
    this.#panel.open();
    this.#field.focus();
    try {
      this.#entries = await this.#on.everything();
      this.#told.textContent = "";
      this.#renderDays(daysOf(this.#entries));
    } catch {
      this.#told.textContent = this.#texts.t("error_disconnected");
    }
  }

  #renderDays(days) {
    const shape = { weekday: "long", day: "numeric", month: "long", year: "numeric" };
    const options = days.map(({ at, seq }) => element("option", { value: String(seq), textContent: new Date(at).toLocaleDateString(this.#texts.language, shape) }));
    this.#days.replaceChildren(element("option", { value: "", textContent: this.#texts.t("where_choose") }), ...options);
  }

  #search() {
    if (this.#entries === null) return;
    const found = find(this.#entries, this.#field.value);
    this.#list.replaceChildren(...found.map((one) => this.#item(one)));
    this.#told.textContent = this.#texts.t("search_count", found.length);
  }

  #item({ seq, role, at, before, found, after }) {
    const when = new Date(at).toLocaleString(this.#texts.language, { dateStyle: "medium", timeStyle: "short" });
    const words = element("span", { className: "words" }, before, element("mark", { textContent: found }), after);
    const about = element("span", { className: "about", textContent: `${this.#texts.t(`who_${role}`)} ${when}` });
    return element("li", {}, element("button", { type: "button", className: "hit", onclick: () => this.#go(seq) }, about, words));
  }

  async #go(seq) {
    try {
      await this.#on.go(seq, () => this.#panel.close());
    } catch {
      this.#told.textContent = this.#texts.t("error_disconnected");
    }
  }
}
