// The dialog with help lines. Its data is help-lines.json, loaded when the page starts and tried again until it is there,
// so that the lines are at hand when the server is not.

import { byId, element, onOwnClick } from "./dom.js";
import { HelpLines, sections } from "./help-lines.js";
import { resourceNode } from "./resource-view.js";
import { countrySelect, whereNode } from "./where.js";

const LOAD_AGAIN_MS = [1_000, 4_000, 15_000, 60_000];

export class Help {
  #texts;
  #place;
  #on;
  #need = {};
  #tries = 0;
  #dialog = byId("help");
  lines = new HelpLines();

  /** @param on {say(words), chosen(code), loaded(), own() → what calls the person's own contact} */
  constructor(texts, place, on) {
    this.#texts = texts;
    this.#place = place;
    this.#on = on;
    byId("help-close").onclick = () => this.#dialog.close();
    // A click on the dialog itself, not on its content, is a click on the backdrop.
    onOwnClick(this.#dialog, () => this.#dialog.close());
    for (const button of document.querySelectorAll("[data-open-help]")) {
      button.onclick = (event) => {
        // A link to the page with the lines, for the time before this script.
        event.preventDefault();
        this.open();
      };
    }
  }

  /** `need` as in `support`: what it is for stands first. */
  open(need = {}) {
    this.#need = need;
    this.render();
    this.#dialog.showModal();
    this.#dialog.querySelector(".dialog-body").scrollTop = 0;
  }

  /** Loads the data, and again where that failed. */
  async load() {
    try {
      const response = await fetch("help-lines.json");
      if (!response.ok) throw new Error(response.statusText);
      this.lines = new HelpLines(await response.json());
      this.#on.loaded();
    } catch {
      const wait = LOAD_AGAIN_MS[this.#tries];
      this.#tries += 1;
      if (wait !== undefined) setTimeout(() => this.load(), wait);
    }
    this.render();
  }

  render() {
    const focused = document.activeElement?.id;
    byId("help-lines").replaceChildren(...(this.lines.loaded ? this.#content() : this.#unloaded()));
    if (focused === "help-country") byId("help-country")?.focus();
  }

  /** Without the data there is still the directory. */
  #unloaded() {
    const words = element("p", { className: "problem", textContent: this.#texts.t("help_failed") });
    return [words, this.#list(this.lines.of(null, this.#texts.language))];
  }

  #content() {
    const { known } = this.#place;
    const own = this.lines.has(known) ? known : null;
    const groups = sections(this.lines.of(own, this.#texts.language), this.#need);
    const title = own === null ? this.#texts.t("help_international") : this.lines.nameOf(own, this.#texts.language);
    return [
      element("p", { className: "my-person" }, ...this.#on.own()),
      this.#where(own),
      element("section", { className: "own", data: { country: own ?? "" } },
        element("h3", { textContent: title }),
        own === null ? element("p", { className: "local-emergency", textContent: this.#texts.t("local_emergency") }) : null,
        ...groups.map((group) => this.#group(group))),
      element("p", { className: "aside", textContent: this.#texts.t("reviewed", this.lines.reviewedOn) }),
    ];
  }

  #where(own) {
    if (this.#place.chosen === null) return whereNode(this.#place, this.lines, this.#texts, (code) => this.#on.chosen(code));
    const id = "help-country";
    return element("div", { className: "where" },
      element("span", { className: "pick" },
        element("label", { className: "field-label", htmlFor: id, textContent: this.#texts.t("country") }),
        countrySelect(this.lines, this.#texts, { id, current: own ?? "", chosen: (code) => this.#on.chosen(code) })));
  }

  #group({ section, resources }) {
    return element("section", { className: "kind", data: { section } },
      element("h4", { textContent: this.#texts.t(`section_${section}`) }), this.#list(resources));
  }

  #list(resources) {
    const options = { say: this.#on.say, dated: true };
    return element("ul", { className: "resources" }, ...resources.map((resource) => resourceNode(resource, this.#texts, options)));
  }
}
