// How one entry of the conversation looks. It is built once and then only touched where it changed.

import { element, toggleAttribute } from "./dom.js";
import { contactNode } from "./help.js";

/** `actions`: {retry(entry), edit(entry), goOn(), askAgain(entry), openHelp(), leave() (the focus has no place here any more)} */
export class EntryView {
  #texts;
  #actions;
  #text = document.createTextNode("");
  #who = element("span", { className: "visually-hidden" });
  #meta = element("div", { className: "meta" });
  #day = null;

  constructor(entry, texts, actions) {
    this.entry = entry;
    this.#texts = texts;
    this.#actions = actions;
    const text = element("div", { className: "text", dir: "auto" }, this.#text);
    this.node = element("article", { className: "entry", data: { role: entry.role } }, this.#who, text, this.#meta);
    if (entry.role === "support") this.node.insertBefore(element("h2", { className: "support-title" }), text);
    this.update();
  }

  /** Appends a piece of a growing answer: no re-reading of what is already there. */
  grow(suffix) {
    this.#text.appendData(suffix);
  }

  /** Says above the entry which day it is, or not. Answers stand below their question, whatever the clock says. */
  nameDay(wanted) {
    if (wanted === (this.#day !== null) || this.entry.role !== "user") return;
    this.#day?.remove();
    this.#day = wanted ? element("p", { className: "day" }) : null;
    if (wanted) this.node.prepend(this.#day);
    this.#updateDay();
  }

  update() {
    const { entry, node } = this;
    if (this.#text.data !== entry.text) this.#text.data = entry.text;
    this.#who.textContent = `${this.#texts.t(`who_${entry.role}`)} `;
    toggleAttribute(node, "data-state", entry.state);
    toggleAttribute(node, "data-level", entry.level);
    if (entry.role === "assistant") this.#updateAnswer();
    if (entry.role === "support") this.#updateSupport();
    this.#updateDay();
    const hadFocus = this.#meta.contains(document.activeElement);
    this.#meta.replaceChildren(...this.#metaOf(entry).filter(Boolean));
    // The button that had the focus is another node now, or there is none any more.
    if (hadFocus) (this.#meta.querySelector("button") ?? { focus: this.#actions.leave }).focus();
  }

  #updateDay() {
    if (this.#day === null) return;
    const at = new Date(this.entry.at);
    const year = at.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
    const shape = { weekday: "long", day: "numeric", month: "long", ...year };
    this.#day.textContent = at.toLocaleDateString(this.#texts.language, shape);
  }

  #updateAnswer() {
    const { entry, node } = this;
    toggleAttribute(node, "data-streaming", entry.streaming);
    toggleAttribute(node, "aria-busy", entry.streaming ? "true" : null);
    toggleAttribute(node, "data-finish", entry.streaming ? null : entry.finish);
    toggleAttribute(node, "data-source", entry.streaming ? null : entry.source);
  }

  #updateSupport() {
    this.node.querySelector(".support-title").textContent = this.#texts.t("support_title");
    this.node.querySelector(".resources")?.remove();
    const { resources } = this.entry;
    if (!resources?.length) return;
    const items = resources.map((resource) => this.#resource(resource));
    this.node.insertBefore(element("ul", { className: "resources" }, ...items), this.#meta);
  }

  #resource(resource) {
    const about = [resource.name, resource.region, resource.hours && this.#texts.t("hours", resource.hours)];
    return element("li", {},
      contactNode(resource, this.#texts),
      element("span", { className: "about", textContent: about.filter(Boolean).join(" · ") }));
  }

  #metaOf(entry) {
    if (entry.role === "user") return this.#metaOfMessage(entry);
    if (entry.role === "support") return [this.#button("support_all", () => this.#actions.openHelp(), "quiet")];
    return entry.streaming ? this.#metaOfWaiting(entry) : this.#metaOfAnswer(entry);
  }

  #metaOfMessage(entry) {
    const failed = entry.state === "failed";
    const state = this.#words(failed && entry.error === "moved" ? "state_moved" : `state_${entry.state}`, "state");
    // One that waits because it was refused goes again by itself; meanwhile it can still be changed.
    const refused = entry.state === "waiting" && entry.error !== null;
    return [
      !failed && this.#time(entry),
      refused ? this.#words("state_refused", "state") : state,
      failed && this.#button("retry", () => this.#actions.retry(entry)),
      (failed || refused) && this.#button("edit", () => this.#actions.edit(entry)),
    ];
  }

  #metaOfWaiting(entry) {
    if (entry.again) return [this.#words("asking_again", "mark")];
    if (entry.ahead === null) return [this.#words("writing", "writing")];
    return [element("span", { className: "queue", textContent: this.#texts.t("queued", entry.ahead) })];
  }

  #metaOfAnswer(entry) {
    const empty = entry.text === "";
    const broken = entry.finish === "error";
    // What is stored is what the model reads: it can go on from there. What is not can only be asked for again.
    const lost = broken && entry.seq === null;
    return [
      this.#time(entry),
      entry.source === "companion" && this.#companionMark(),
      empty && broken && this.#words(entry.error === "unanswered" ? "unanswered" : "no_answer", "mark"),
      empty && entry.finish === "stopped" && this.#words("stopped_early", "mark"),
      !empty && this.#texts.has(`mark_${entry.finish}`) && this.#words(`mark_${entry.finish}`, "mark"),
      lost && this.#button("ask_again", () => this.#actions.askAgain(entry), "go-on ask"),
      !lost && (broken || entry.finish === "length") && this.#button("go_on", () => this.#actions.goOn(), "go-on"),
    ];
  }

  #companionMark() {
    const mark = this.#words("mark_companion", "mark companion");
    mark.title = this.#texts.t("mark_companion_title");
    return mark;
  }

  #words(name, className) {
    return element("span", { className, textContent: this.#texts.t(name) });
  }

  #button(name, onclick, className = "") {
    return element("button", { type: "button", className: `quiet ${className}`, textContent: this.#texts.t(name), onclick });
  }

  #time(entry) {
    if (entry.at === null) return null;
    const at = new Date(entry.at);
    const words = at.toLocaleTimeString(this.#texts.language, { timeStyle: "short" });
    return element("time", { dateTime: at.toISOString(), textContent: words });
  }
}
