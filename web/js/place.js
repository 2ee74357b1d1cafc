// Where the person is: chosen by them and remembered, else a guess by the time zone, which the page asks about. Never
// by the browser's language: many speak the Spanish of another country than the one they are in. Pure.

const SHAPE = /^[A-Z]{2}$/;

export class Place {
  #storage;
  #zone;
  #lines;

  /** @param lines() the {@link HelpLines} there are now */
  constructor(storage, zone, lines) {
    this.#storage = storage;
    this.#zone = zone;
    this.#lines = lines;
  }

  /** What `hello` says of it. */
  get hello() {
    return { ...(this.chosen && { country: this.chosen }), ...(this.#zone && { time_zone: this.#zone }) };
  }

  /** Read every time: another tab may have asked. */
  get chosen() {
    const code = this.#storage.get("country");
    return SHAPE.test(code ?? "") ? code : null;
  }

  get guess() {
    return this.#zone ? this.#lines().countryOfZone(this.#zone) : null;
  }

  get known() {
    return this.chosen ?? this.guess;
  }

  choose(code) {
    this.#storage.set("country", code);
  }
}

/** The browser's time zone, null where it does not tell one. */
export function zoneOf(intl) {
  try {
    const zone = intl.DateTimeFormat().resolvedOptions().timeZone;
    return typeof zone === "string" && zone.length <= 64 ? zone : null;
  } catch {
    return null;
  }
}
