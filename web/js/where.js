// The question where the person is, which picks the help lines: the guess to be confirmed, and all countries.

import { element } from "./dom.js";

let count = 0;

/**
 * `place` a {@link Place}, `lines` the {@link HelpLines}, `chosen(code)` runs when the person has said it. `text` stands above it,
 * and may ask already.
 */
export function whereNode(place, lines, texts, chosen, text = "") {
  const { guess } = place;
  const id = `country-${(count += 1)}`;
  const name = guess === null ? null : lines.nameOf(guess, texts.language);
  const question = name === null ? texts.t("where") : texts.t("where_guess", name);
  const yes = guess === null ? null : element("button", {
    type: "button", className: "way yes", textContent: texts.t("where_yes", name), onclick: () => chosen(guess),
  });
  const asks = text.includes("?");
  const field = element("label", { className: "field-label", htmlFor: id, textContent: texts.t(guess === null ? "where_pick" : "where_other") });
  return element("div", { className: "where" },
    asks ? null : element("p", { className: "question", textContent: question }), yes,
    element("span", { className: "pick" }, field, countrySelect(lines, texts, { id, current: "", chosen })));
}

/** A list of all countries; `current` is selected, "" for none. */
export function countrySelect(lines, texts, { id, current, chosen }) {
  const select = element("select", { id, className: "country-select" });
  if (!current) select.append(element("option", { value: "", textContent: texts.t("where_choose") }));
  for (const { code, name } of lines.countries(texts.language)) select.append(element("option", { value: code, textContent: name }));
  select.value = current;
  select.onchange = () => {
    if (select.value !== "") chosen(select.value);
  };
  return select;
}
