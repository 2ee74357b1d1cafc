// The safety plan that is written in the page, and the person to call: kept in this browser only. Pure but for the storage it is given.

export const STEP_COUNT = 6;
const MAX_CHARS = 4_000;
const NUMBER = /^[+(]?[\d*#][\d\s().*#-]*$/;

export class OwnPlan {
  #storage;
  #changed;

  /** @param storage a {@link Storage}; `changed()` runs after each change */
  constructor(storage, changed = () => {}) {
    this.#storage = storage;
    this.#changed = changed;
  }

  /** The text of each step, "" where nothing was written. */
  get steps() {
    const held = this.#storage.getJson("plan");
    const steps = Array.isArray(held) ? held : [];
    return Array.from({ length: STEP_COUNT }, (_, place) => (typeof steps[place] === "string" ? steps[place] : ""));
  }

  get isEmpty() {
    return this.steps.every((text) => text.trim() === "");
  }

  write(place, text) {
    this.#keep(this.steps.map((held, other) => (other === place ? text.slice(0, MAX_CHARS) : held)));
  }

  /** Takes over the plan of the conversation, `{steps: [{heading, text}]}`: what is written here already stays. Returns how many steps it brought. */
  take({ steps }, headings) {
    const held = this.steps;
    let brought = 0;
    for (const { heading, text } of steps) {
      const place = headings.indexOf(heading);
      if (place < 0 || held[place].includes(text)) continue;
      held[place] = [held[place].trim(), text].filter((part) => part !== "").join("\n").slice(0, MAX_CHARS);
      brought += 1;
    }
    if (brought > 0) this.#keep(held);
    return brought;
  }

  /** The plan as the server would tell it. */
  asTold({ title, headings, footer }) {
    const steps = this.steps.map((text, place) => ({ heading: headings[place], text: text.trim() }));
    return { title, steps: steps.filter(({ text }) => text !== ""), footer };
  }

  erase() {
    for (const name of ["plan", "person"]) this.#storage.remove(name);
    this.#changed();
  }

  /** `{name, phone}` of the person to call, null if there is none that can be called. */
  get person() {
    const held = this.#storage.getJson("person");
    return typeof held?.name === "string" && isNumber(held.phone) ? { name: held.name, phone: held.phone } : null;
  }

  /** Returns whether that is a number to call; what is no number is not kept, and no number at all removes the person. */
  setPerson(name, phone) {
    const number = phone.trim();
    if (number !== "" && !isNumber(number)) return false;
    if (number === "") this.#storage.remove("person");
    else this.#storage.setJson("person", { name: name.trim(), phone: number });
    this.#changed();
    return true;
  }

  #keep(steps) {
    if (steps.every((text) => text === "")) this.#storage.remove("plan");
    else this.#storage.setJson("plan", steps);
    this.#changed();
  }
}

function isNumber(phone) {
  return typeof phone === "string" && NUMBER.test(phone) && /\d/.test(phone) && phone.length <= 32;
}
