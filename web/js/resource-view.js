// How a help line looks: its name, what is known of it, and a button for each way to reach it.

import { waysOf } from "./contact.js";
import { element } from "./dom.js";
import { isDirectory } from "./help-lines.js";

/**
 * `say(words)` speaks. `dated`: with where it is from and when that was checked.
 */
export function resourceNode(resource, texts, { say, dated = false }) {
  const ways = waysOf(resource).map((way) => wayNode(way, resource, texts, say));
  return element("li", { className: "resource", data: { kind: resource.kind ?? "" } },
    element("div", { className: "what" },
      element("strong", { className: "name", textContent: resource.name }),
      aboutNode(resource, texts),
      resource.unverified ? element("span", { className: "recheck", textContent: texts.t("unverified") }) : null,
      dated ? sourceNode(resource, texts) : null),
    element("div", { className: "ways" }, ...ways));
}

/** The words of a line for ears. */
export function spoken(resource, texts) {
  const sms = resource.sms && waysOf(resource)[0]?.how !== "sms" ? [smsWords(resource.sms, texts)] : [];
  return `${[`${resource.name}: ${resource.contact}`, ...sms].join(", ")}.`;
}

function aboutNode({ kind, url, hours, area, languages = [], free }, texts) {
  // Of an emergency number, and of a page, that goes without saying.
  const always = kind === "emergency" || isDirectory(url);
  const foreign = languages.length > 0 && !languages.includes(texts.language) ? languages : [];
  const names = foreign.map((code) => languageName(code, texts.language)).join(", ");
  const about = [always ? null : hours, free && !always ? texts.t("free") : null, area, names && texts.t("spoken_languages", names)];
  const words = about.filter(Boolean).join(" · ");
  return words ? element("span", { className: "about", textContent: words }) : null;
}

function sourceNode({ source, verified_at: date }, texts) {
  if (!source && !date) return null;
  const words = date ? texts.t("source_dated", source ?? texts.t("source_unknown"), date) : texts.t("source", source);
  return element("span", { className: "source", textContent: words });
}

function languageName(code, language) {
  try {
    return new Intl.DisplayNames(language, { type: "language" }).of(code) ?? code;
  } catch {
    return code;
  }
}

function smsWords({ to, body }, texts) {
  return body ? texts.t("sms_word", body, to) : texts.t("sms", to);
}

function wayNode(way, { name }, texts, say) {
  switch (way.how) {
    case "call": return link(way, texts.t("way_call", name, way.text), [icon("call"), way.text]);
    case "sms": {
      const words = smsWords(way, texts);
      return link(way, `${words}: ${name}`, [icon("sms"), words]);
    }
    case "whatsapp": return link(way, `WhatsApp ${way.text}: ${name}`, [icon("sms"), `WhatsApp ${way.text}`], true);
    case "site": return link(way, texts.t("opens_site", `${way.text}: ${name}`), [icon("site"), way.text], true);
    case "copy": return copyNode(way, name, texts, say);
    default: return element("span", { className: "way words", textContent: way.text });
  }
}

function link({ href, how }, name, children, elsewhere = false) {
  const away = elsewhere ? { target: "_blank", rel: "noopener noreferrer" } : {};
  const node = element("a", { className: `way ${how}`, href, ...away }, ...children);
  node.setAttribute("aria-label", name);
  return node;
}

/** A number that no link can dial: to be read, and to be copied. */
function copyNode({ text }, name, texts, say) {
  const number = element("span", { className: "number", textContent: text });
  const button = element("button", { type: "button", className: "way copy", textContent: texts.t("copy") });
  button.setAttribute("aria-label", texts.t("copy_number", text, name));
  button.onclick = async () => {
    const copied = await copy(text, number);
    say(texts.t(copied ? "number_copied" : "number_selected", text));
    if (copied) button.textContent = texts.t("copied");
  };
  return element("span", { className: "by-hand" }, number, button);
}

/** Whether `text` is in the clipboard now. Where the browser gives none, it is selected. */
async function copy(text, node) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(node);
    return false;
  }
}

const ICONS = {
  call: "M6.500 4h3l1.500 4-2 1.500a11 11 0 0 0 5.500 5.500l1.500-2 4 1.500v3a2 2 0 0 1-2.200 2A16 16 0 0 1 4.500 6.200 2 2 0 0 1 6.500 4Z",
  sms: "M4 6.500A2.500 2.500 0 0 1 6.500 4h11A2.500 2.500 0 0 1 20 6.500v7a2.500 2.500 0 0 1-2.500 2.500H11l-5 4v-4a2 2 0 0 1-2-2Z",
  site: "M14 4h6v6m0-6-9 9M10 6H6a2 2 0 0 0-2 2v10a2 2 0 0 0 2 2h10a2 2 0 0 0 2-2v-4",
};

function icon(name) {
  const [svg, path] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button that calls the person, one tap. Empty where there is nobody. */
export function callNodes(person, texts) {
  if (person === null) return [];
  const href = `tel:${person.phone.replace(/[^\d+*#]/g, "").replaceAll("#", "%23")}`;
  return [element("a", { className: "way call", href, textContent: texts.t("person_call", person.name || person.phone) })];
}
