// Text of this tab that has not reached the server: the draft in the field, and messages without `accepted`.
// Kept for a reload, by the storage of the tab; gone with the tab, and as soon as the server has it.

/** Longest wait carried over from an earlier page of the tab. */
const MAX_WAIT_MS = 60_000;

export class Drafts {
  #tab;
  #wall;
  #safe = true;

  /** @param tab a {@link Storage}; `wall()` ms since 1970 */
  constructor(tab, wall) {
    this.#tab = tab;
    this.#wall = wall;
  }

  get text() {
    return this.#tab.get("draft") ?? "";
  }

  set text(text) {
    if (text === "") this.#tab.remove("draft");
    else this.#safe = this.#tab.set("draft", text);
  }

  /** Whether a reload would lose the text in the field. */
  get wouldBeLost() {
    return !this.#safe && this.text !== "";
  }

  /** `[{id, text, at, code, waitMs}]`, oldest first; `waitMs` null: only the person sends it again. */
  get unsent() {
    const list = this.#tab.getJson("unsent");
    if (!Array.isArray(list)) return [];
    return list.filter((message) => typeof message?.id === "string" && typeof message.text === "string").map(({ until, ...message }) => {
      const waitMs = until === null ? null : Math.min(MAX_WAIT_MS, Math.max(0, until - this.#wall()));
      return { ...message, waitMs };
    });
  }

  set unsent(messages) {
    const kept = messages.map(({ waitMs, ...message }) => ({ ...message, until: waitMs === null ? null : this.#wall() + waitMs }));
    if (kept.length === 0) this.#tab.remove("unsent");
    else this.#tab.setJson("unsent", kept);
  }
}
