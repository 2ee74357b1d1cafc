// The dialog about what is kept: where and until when, who reads it, how to take it along, and how to erase it.

import { copyText } from "./clipboard.js";
import { button, element, worded } from "./dom.js";
import { Panel } from "./panel.js";
import { qrNode } from "./qr-view.js";

const COUNT_MS = 1_000;

export class MyData {
  #texts;
  #on;
  #panel;
  #facts = element("ul", { id: "data-facts", className: "facts" });
  #told = element("p", { className: "problem", id: "data-told" });
  #code = element("div", { id: "data-code", hidden: true });
  #memory = element("p", { id: "data-memory", className: "quote", hidden: true, dir: "auto" });
  #forget;
  #confirm = element("div", { id: "data-confirm", className: "lead", hidden: true });
  #about = null;
  #timer = null;

  /**
   * @param on {about(), save(kind), print(), link(), address(code), enterCode(), closeOthers(), leave(), wayBack(), forgetLast(), hasLast(), eraseAll(),
   *   summary(), forgetSummary(), isKept(), say(words)}; what asks the server returns promises that reject with a `code`
   */
  constructor(texts, on) {
    this.#texts = texts;
    this.#on = on;
    this.#panel = new Panel("my-data", "data_title", texts, () => this.#closed());
    this.#told.setAttribute("role", "alert");
    const act = (name, action, id) => button(name, texts, () => this.#try(action), { id });
    const choices = (...buttons) => element("div", { className: "choices" }, ...buttons);
    const part = (title, text, ...nodes) => [worded("h3", title, texts), text ? worded("p", text, texts) : "", ...nodes];
    this.#forget = act("data_memory_forget", () => this.#ask("data_memory_sure", "data_memory_forget", () => this.#forgetMemory()), "data-memory-forget");
    this.#forget.hidden = true;
    this.#panel.body.append(
      this.#told, this.#confirm, ...part("data_kept", null, this.#facts),
      ...part("data_take", "data_take_text", choices(
        act("data_text", () => on.save("text"), "data-text"), act("data_json", () => on.save("json"), "data-json"),
        act("data_print", () => on.print(), "data-print"), act("data_therapist", () => on.save("therapist"), "data-therapist"))),
      ...part("data_devices", "data_devices_text", choices(
        act("data_link", () => this.#showCode(), "data-link"),
        act("data_enter", () => this.#go(on.enterCode), "data-enter"),
        act("data_close_others", () => this.#ask("data_close_others_sure", "data_close_others", () => this.#closeOthers()), "data-close-others"),
        act("data_leave", () => this.#ask("data_leave_sure", "data_leave", () => this.#go(on.leave), () => this.#go(on.wayBack)), "data-leave")), this.#code),
      ...part("data_memory", "data_memory_text", choices(act("data_memory_show", () => this.#showMemory(), "data-memory-show"), this.#forget), this.#memory),
      ...part("data_erase", null, choices(
        act("data_forget_last", () => this.#ask("data_forget_last_sure", "data_forget_last", () => this.#forgetLast()), "data-forget-last"),
        act("start_over_confirm", () => this.#go(on.eraseAll), "start-over"))));
  }

  open() {
    this.render();
    this.#panel.open();
    this.#try(async () => {
      this.#about = await this.#on.about();
      this.render();
    });
  }

  /** Runs when another conversation is shown: what was told is of the one before. */
  withdraw() {
    this.#panel.close();
  }

  render() {
    this.#facts.replaceChildren(...factsOf(this.#about, this.#on.isKept(), this.#texts).map((words) => element("li", { textContent: words })));
  }

  #closed() {
    clearInterval(this.#timer);
    for (const node of [this.#code, this.#memory, this.#forget, this.#confirm]) node.hidden = true;
    this.#code.replaceChildren();
    this.#memory.textContent = "";
    this.#told.textContent = "";
  }

  async #try(action) {
    this.#told.textContent = "";
    this.#confirm.hidden = true;
    try {
      await action();
    } catch (error) {
      const name = `error_${error.code}`;
      this.#told.textContent = this.#texts.t(this.#texts.has(name) ? name : "error_other");
      this.#told.scrollIntoView({ block: "nearest" });
    }
  }

  #go(action) {
    this.#panel.close();
    action();
  }

  /** Asks before what cannot be undone. `first`: what may be wise to do before. */
  #ask(question, name, action, first = null) {
    const no = button("cancel", this.#texts, () => { this.#confirm.hidden = true; });
    const wise = first === null ? null : button("data_code_first", this.#texts, first);
    const yes = button(name, this.#texts, () => this.#try(action), { className: "button danger", id: "data-sure" });
    this.#confirm.replaceChildren(worded("p", question, this.#texts), element("div", { className: "choices" }, no, ...(wise ? [wise] : []), yes));
    this.#confirm.hidden = false;
    this.#confirm.scrollIntoView({ block: "nearest" });
    no.focus();
  }

  #done(name) {
    this.#told.textContent = "";
    this.#confirm.replaceChildren(worded("p", name, this.#texts));
    this.#confirm.hidden = false;
    this.#on.say(this.#texts.t(name));
  }

  async #showCode() {
    const { code, expires_in_ms } = await this.#on.link();
    const until = performance.now() + expires_in_ms;
    const left = element("p", { className: "aside" });
    const field = element("input", { id: "data-code-text", type: "text", readOnly: true, value: code, spellcheck: false });
    field.setAttribute("aria-label", this.#texts.t("data_link"));
    const copy = button("copy", this.#texts, async () => {
      this.#on.say(this.#texts.t((await copyText(code, field)) ? "code_copied" : "code_select"));
    });
    const picture = qrNode(this.#on.address(code), this.#texts.t("data_qr"));
    this.#code.replaceChildren(worded("p", "data_code_text", this.#texts), element("div", { className: "field" }, field, copy), ...(picture ? [picture] : []), left);
    this.#code.hidden = false;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#countDown(until, left), COUNT_MS);
    this.#countDown(until, left);
    field.focus();
  }

  #countDown(until, left) {
    const minutes = Math.ceil((until - performance.now()) / 60_000);
    if (minutes > 0) {
      left.textContent = this.#texts.t("data_code_left", minutes);
      return;
    }
    clearInterval(this.#timer);
    this.#code.replaceChildren(worded("p", "data_code_over", this.#texts));
  }

  async #closeOthers() {
    await this.#on.closeOthers();
    this.#done("data_closed_others");
  }

  async #forgetLast() {
    if (!this.#on.hasLast()) {
      this.#done("data_nothing");
      return;
    }
    await this.#on.forgetLast();
    this.#done("data_forgot_last");
  }

  async #showMemory() {
    const { text } = await this.#on.summary();
    this.#memory.textContent = text || this.#texts.t("data_memory_none");
    this.#memory.hidden = false;
    this.#forget.hidden = !text;
    this.#on.say(this.#memory.textContent);
  }

  async #forgetMemory() {
    await this.#on.forgetSummary();
    this.#memory.hidden = true;
    this.#forget.hidden = true;
    this.#done("data_memory_forgot");
  }
}

/** What is kept, in sentences. `about` as the server tells it, null before it has. */
export function factsOf(about, isKept, texts) {
  const t = texts.t.bind(texts);
  const here = t("data_here");
  if (about === null) return [here];
  const { operator, contact, retention_days: days, unreached_days: unreached, kept, models = [], guard } = about;
  const names = (list) => list.map(({ name, host }) => `${name} (${host})`).join(", ");
  const stored = kept && isKept;
  return [
    operator ? t("data_operator", [operator, contact].filter(Boolean).join(", ")) : "",
    stored ? t("data_stored") : t("data_not_stored"),
    stored ? t("data_until", days ?? 0) : "",
    stored && unreached > 0 ? t("data_unreached", unreached) : "",
    models.length > 0 ? t("data_models", names(models)) : t("data_no_model"),
    guard ? t("data_guard", names([guard])) : "",
    here,
  ].filter((words) => words !== "");
}
