// The dialog with the person's own safety plan, and with somebody to call. It says what stays here and what is part of the conversation,
// and takes one over into the other.

import { button, element, worded } from "./dom.js";
import { STEP_COUNT } from "./own-plan.js";
import { Panel } from "./panel.js";
import { callNodes } from "./resource-view.js";

export class MyPlan {
  #texts;
  #plan;
  #on;
  #panel;
  #fields;
  #call = element("p", { className: "my-person" });
  #told;
  #mayVanish;
  #name;
  #phone;
  #problem = element("p", { className: "problem" });

  /**
   * @param plan an {@link OwnPlan}
   * @param on {told() → promise of the conversation's plan or null, send(words), save(told plan), persist() → promise of whether the browser
   *   keeps what is stored, say(words)}
   */
  constructor(texts, plan, on) {
    this.#texts = texts;
    this.#plan = plan;
    this.#on = on;
    this.#panel = new Panel("my-plan", "plan_title", texts);
    this.#fields = Array.from({ length: STEP_COUNT }, (_, place) => this.#field(place));
    this.#told = worded("p", "own_plan_told", texts, { className: "aside", hidden: true });
    this.#mayVanish = worded("p", "own_plan_may_vanish", texts, { className: "lead", hidden: true });
    this.#panel.body.append(
      worded("p", "own_plan_text", texts), this.#call, this.#personForm(),
      ...this.#fields.flatMap((field) => [element("label", { htmlFor: field.id, data: { t: `plan_step_${Number(field.dataset.step) + 1}` } }), field]),
      this.#mayVanish, this.#told,
      element("div", { className: "choices" },
        button("plan_save", texts, () => this.#save(), { id: "own-plan-save" }),
        button("own_plan_take", texts, () => this.#take(), { id: "own-plan-take" }),
        button("own_plan_give", texts, () => this.#give(), { id: "own-plan-give" }),
        button("own_plan_erase", texts, () => this.#erase(), { id: "own-plan-erase" })));
    this.render();
  }

  open() {
    this.#told.hidden = true;
    for (const field of this.#fields) field.value = this.#plan.steps[field.dataset.step];
    const { person } = this.#plan;
    [this.#name.value, this.#phone.value] = [person?.name ?? "", person?.phone ?? ""];
    this.#problem.textContent = "";
    this.render();
    this.#panel.open();
  }

  render() {
    for (const label of this.#panel.body.querySelectorAll("[data-t]")) label.textContent = this.#texts.t(label.dataset.t);
    this.#call.replaceChildren(...callNodes(this.#plan.person, this.#texts));
  }

  #field(place) {
    const field = element("textarea", { id: `own-plan-${place + 1}`, rows: 2, data: { step: place }, dir: "auto", autocomplete: "off" });
    field.oninput = () => {
      const wasEmpty = this.#plan.isEmpty;
      this.#plan.write(place, field.value);
      if (wasEmpty) this.#persist();
    };
    return field;
  }

  #personForm() {
    [this.#name, this.#phone] = ["name", "phone"].map((part) => element("input", { id: `person-${part}`, autocomplete: "off", type: part === "phone" ? "tel" : "text" }));
    this.#problem.setAttribute("role", "alert");
    const form = element("form", { id: "person-form" },
      worded("h3", "person_title", this.#texts),
      worded("label", "person_name", this.#texts, { htmlFor: "person-name" }), element("div", { className: "field" }, this.#name),
      worded("label", "person_phone", this.#texts, { htmlFor: "person-phone" }),
      element("div", { className: "field" }, this.#phone, button("person_save", this.#texts, null, { type: "submit" })), this.#problem);
    form.onsubmit = (event) => {
      event.preventDefault();
      this.#savePerson();
    };
    return form;
  }

  #savePerson() {
    const good = this.#plan.setPerson(this.#name.value, this.#phone.value);
    this.#problem.textContent = good ? "" : this.#texts.t("person_no_number");
    if (!good) {
      this.#phone.focus();
      return;
    }
    this.render();
    this.#on.say(this.#texts.t("person_saved"));
    this.#persist();
  }

  /** What is only here may be lost by the browser: asked to keep it, and said where it does not promise to. */
  async #persist() {
    this.#mayVanish.hidden = await this.#on.persist();
  }

  /** What is written here, `[{heading, text}]`. */
  get steps() {
    return this.#plan.asTold(this.#words).steps;
  }

  get #words() {
    const headings = this.#fields.map((_, place) => this.#texts.t(`plan_step_${place + 1}`));
    return { title: this.#texts.t("plan_title"), headings, footer: this.#texts.t("own_plan_footer") };
  }

  #save() {
    if (this.#plan.isEmpty) this.#tell("own_plan_empty");
    else this.#on.save(this.#plan.asTold(this.#words));
  }

  async #take() {
    const told = await this.#on.told();
    const brought = told === null ? 0 : this.#plan.take(told, this.#words.headings);
    for (const field of this.#fields) field.value = this.#plan.steps[field.dataset.step];
    this.#tell(told === null ? "plan_none" : brought > 0 ? "own_plan_taken" : "own_plan_same");
    if (brought > 0) this.#persist();
  }

  /** As a message of the person's: from then on it is part of the conversation. */
  #give() {
    if (this.#plan.isEmpty) {
      this.#tell("own_plan_empty");
      return;
    }
    const { steps } = this;
    this.#panel.close();
    this.#on.send([this.#texts.t("own_plan_message"), ...steps.map(({ heading, text }) => `${heading}: ${text}`)].join("\n"));
  }

  #erase() {
    this.#plan.erase();
    this.open();
    this.#tell("own_plan_erased");
  }

  #tell(name) {
    this.#told.dataset.t = name;
    this.#told.textContent = this.#texts.t(name);
    this.#told.hidden = false;
    this.#on.say(this.#told.textContent);
  }
}
