// The help lines: whose come first, and how one looks. The data is help-lines.json, loaded when the page
// starts, so that the list is there when the server is not.

import { phoneLink, webLink } from "./contact.js";
import { byId, element, onOwnClick } from "./dom.js";

const INTERNATIONAL = "INT";

/** `{own, international, others}`: the person's country, everyone's, and the rest by name. Pure. */
export function arrange(countries, region, language) {
  const byName = (a, b) => a.country_name[language].localeCompare(b.country_name[language], language);
  return {
    own: countries.find((entry) => entry.country === region && region !== INTERNATIONAL) ?? null,
    international: countries.find((entry) => entry.country === INTERNATIONAL) ?? null,
    others: countries.filter((entry) => entry.country !== region && entry.country !== INTERNATIONAL).sort(byName),
  };
}

/** What a person can act on: a number to call, an address to open, or else just the words. */
export function contactNode({ contact, url, channel }, texts) {
  const site = url ? webLink(url) : null;
  const phone = contact ? phoneLink(contact, channel) : null;
  const number = phone && element("a", { className: "contact", href: phone.href, textContent: phone.text });
  const rest = phone?.rest ? element("span", { className: "contact-rest", textContent: ` ${phone.rest}` }) : null;
  if (number && !site) return element("span", {}, number, rest);
  if (!site) return element("strong", { textContent: contact ?? texts.t("local_emergency") });
  const words = contact && !phone ? contact : new URL(site).host;
  const address = element("a", {
    className: number ? "site" : "contact", href: site, target: "_blank", rel: "noopener noreferrer", textContent: words,
  });
  address.setAttribute("aria-label", texts.t("opens_site", words));
  return element("span", {}, number, rest, number ? " " : null, address);
}

export class Help {
  #texts;
  #region;
  #countries = null;
  #dialog = byId("help");

  constructor(texts, region) {
    this.#texts = texts;
    this.#region = region;
    byId("help-close").onclick = () => this.#dialog.close();
    // A click on the dialog itself, not on its content, is a click on the backdrop.
    onOwnClick(this.#dialog, () => this.#dialog.close());
    for (const button of document.querySelectorAll("[data-open-help]")) button.onclick = () => this.open();
    this.#load();
  }

  open() {
    if (this.#countries === null) this.#load();
    this.render();
    this.#dialog.showModal();
  }

  render() {
    const list = byId("help-lines");
    if (this.#countries === null) {
      list.replaceChildren(element("p", { className: "problem", textContent: this.#texts.t("help_failed") }));
      return;
    }
    const { own, international, others } = arrange(this.#countries, this.#region, this.#texts.language);
    const sections = [
      own && this.#section("help_yours", [own], "own"),
      international && this.#section("help_international", [international], "own"),
      this.#section("help_others", others, "others"),
    ];
    list.replaceChildren(...sections.filter((section) => section !== null));
  }

  async #load() {
    try {
      const response = await fetch("help-lines.json");
      if (!response.ok) return;
      this.#countries = await response.json();
      if (this.#dialog.open) this.render();
    } catch {
      // Tried again when the dialog opens, which says so meanwhile.
    }
  }

  #section(title, countries, className) {
    const heading = element("h3", { textContent: this.#texts.t(title) });
    return element("section", { className }, heading, ...countries.map((entry) => this.#country(entry)));
  }

  #country(entry) {
    const name = entry.country === INTERNATIONAL ? null
      : element("h4", { textContent: entry.country_name[this.#texts.language] });
    const lines = element("ul", {}, ...entry.lines.map((line) => this.#line(line)));
    return element("div", { className: "country" }, name, lines);
  }

  #line(line) {
    const { t, language } = { t: this.#texts.t.bind(this.#texts), language: this.#texts.language };
    const about = [line.name ?? t(`kind_${line.kind}`), line.note?.[language], line.hours];
    const dated = line.source || line.verified_at;
    return element("li", { data: { kind: line.kind } },
      contactNode(line, this.#texts),
      element("span", { className: "about", textContent: about.filter(Boolean).join(" · ") }),
      line.recheck ? element("span", { className: "recheck", textContent: t("recheck") }) : null,
      dated ? element("span", { className: "source", textContent: t("source", line.source, line.verified_at) }) : null,
    );
  }
}
