// How one entry of the conversation looks. It is built once and then only touched where it changed.

import { rhythmOf } from "./breathing.js";
import { element, toggleAttribute } from "./dom.js";
import { AnswerTools } from "./answer-tools.js";
import { partOf } from "./help-lines.js";
import { MarkdownView } from "./markdown-view.js";
import { resourceNode } from "./resource-view.js";
import { SAFETY_PLAN } from "./safety-plan.js";
import { isSteps } from "./steps.js";

/** Marks of answers that no model has written, or not to the end. */
const MARKED = new Set(["companion", "screened"]);

/**
 * `actions`: {retry(entry), edit(entry), editLast(entry), goOn(), askAgain(entry), openHelp(entry?), openExercise(name), breath(name, show(view)), pause(), savePlan(), what
 * {@link AnswerTools} needs, resources(entry) → those of a card
 * for where the person is, where(entry) → the question for that or null, say(words), leave() (the focus has no place here any more)}
 */
export class EntryView {
  #texts;
  #actions;
  #body;
  #who = element("span", { className: "visually-hidden" });
  #meta = element("div", { className: "meta" });
  #day = null;
  /** What the card shows: written again only where that is another. */
  #card = null;
  #exercise = null;
  #exerciseAsked = false;
  #tools = null;

  constructor(entry, texts, actions) {
    this.entry = entry;
    this.#texts = texts;
    this.#actions = actions;
    const text = element("div", { className: "text", dir: "auto" });
    this.#body = entry.role === "assistant" ? new MarkdownView(text) : new PlainView(text);
    this.node = element("article", { className: "entry", data: { role: entry.role } }, this.#who, text, this.#meta);
    if (entry.role === "support") this.node.insertBefore(element("h2", { className: "support-title" }), text);
    this.update();
  }

  /** Shows what an answer has grown by. */
  grow() {
    this.#body.show(this.entry.text, true);
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
    this.#body.show(entry.text, entry.streaming === true);
    this.#who.textContent = `${this.#texts.t(`who_${entry.role}`)} `;
    toggleAttribute(node, "data-state", entry.state);
    if (entry.role === "note") toggleAttribute(node, "lang", entry.lang);
    if (entry.role === "assistant") {
      this.#updateAnswer();
      this.#updateExercise();
      this.#updateTools();
    }
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

  #updateExercise() {
    const { exercise, streaming } = this.entry;
    if (!this.#exerciseAsked && !streaming && exercise && rhythmOf(exercise)) {
      this.#exerciseAsked = true;
      this.#actions.breath(exercise, (view) => {
        this.#exercise = view;
        this.node.insertBefore(view.node, this.#meta);
      });
    }
    this.#exercise?.render();
  }

  /** What can be done with an answer, below it. */
  #updateTools() {
    const { entry } = this;
    const wanted = !entry.streaming && entry.text !== "";
    if (this.#tools === null && wanted) {
      this.#tools = new AnswerTools(entry, this.#texts, this.#actions);
      this.node.append(this.#tools.node);
    }
    if (this.#tools === null) return;
    this.#tools.node.hidden = !wanted;
    this.#tools.render();
  }

  #updateSupport() {
    const { entry, node } = this;
    for (const name of ["level", "subject", "kind"]) toggleAttribute(node, `data-${name}`, entry[name]);
    const title = this.#texts.t(titleOf(entry, this.#texts));
    const resources = this.#actions.resources(entry);
    const where = this.#actions.where(entry);
    // A button under a finger, or with the focus, must not be another one because of an update that changes nothing.
    const card = JSON.stringify([title, resources, where?.textContent ?? null]);
    if (card === this.#card) return;
    this.#card = card;
    const held = node.querySelector(".card-body");
    const hadFocus = held?.contains(document.activeElement);
    node.querySelector(".support-title").textContent = title;
    const [shown, others] = partOf(resources).map((part) => this.#list(part));
    const more = others.childElementCount === 0 ? null : element("details", { open: held?.querySelector("details")?.open ?? false },
      element("summary", { textContent: this.#texts.t("support_more", others.childElementCount) }), others);
    const body = element("div", { className: "card-body" }, shown, more, where);
    if (held) held.replaceWith(body);
    else node.insertBefore(body, this.#meta);
    if (hadFocus) body.querySelector("a, button, select")?.focus();
  }

  #list(resources) {
    const items = resources.map((resource) => resourceNode(resource, this.#texts, { say: this.#actions.say }));
    return element("ul", { className: "resources" }, ...items);
  }

  #metaOf(entry) {
    if (entry.role === "user") return this.#metaOfMessage(entry);
    if (entry.role === "support") return [this.#button("support_all", () => this.#actions.openHelp(entry))];
    if (entry.role === "note") return [this.#button("pause", () => this.#actions.pause())];
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
      entry.state === "sent" && this.#button("edit_last", () => this.#actions.editLast(entry), "edit-last"),
      // Whoever waits to be read may need somebody now.
      (failed || entry.state === "waiting") && this.#button("see_help_meanwhile", () => this.#actions.openHelp(), "see-help"),
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
      MARKED.has(entry.source) && this.#sourceMark(entry.source),
      empty && broken && this.#words(entry.error === "unanswered" ? "unanswered" : "no_answer", "mark"),
      empty && entry.finish === "stopped" && this.#words("stopped_early", "mark"),
      !empty && this.#texts.has(`mark_${entry.finish}`) && this.#words(`mark_${entry.finish}`, "mark"),
      isSteps(entry.exercise) && this.#button("exercise_here", () => this.#actions.openExercise(entry.exercise), "exercise-here"),
      entry.exercise === SAFETY_PLAN && this.#button("plan_save", () => this.#actions.savePlan(), "plan-save"),
      lost && this.#button("ask_again", () => this.#actions.askAgain(entry), "go-on ask"),
      !lost && (broken || entry.finish === "length") && this.#button("go_on", () => this.#actions.goOn(), "go-on"),
    ];
  }

  #sourceMark(source) {
    const mark = this.#words(`mark_${source}`, "mark companion");
    mark.title = this.#texts.t(`mark_${source}_title`);
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

/** Text as it was written. */
class PlainView {
  #text = document.createTextNode("");

  constructor(node) {
    node.append(this.#text);
  }

  show(text) {
    if (this.#text.data !== text) this.#text.data = text;
  }
}

/** The heading of a card: about what it is for, never about how grave. */
function titleOf({ subject, kind }, texts) {
  if (subject === "other" && kind !== "medical") return "support_other";
  const name = `support_${kind}`;
  return texts.has(name) ? name : "support_suicide";
}
