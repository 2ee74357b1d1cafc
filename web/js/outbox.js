// Messages on their way: which may be sent now, which must be sent again after a cut. No socket, no DOM.

/**
 * Turns of this client that may be open at once. The server runs a session's turns one after another and
 * refuses a third by default, so whatever was written while offline is let out at that pace.
 */
export const MAX_OPEN_TURNS = 2;

export class Outbox {
  /** Not on the wire: id → text, oldest first. */
  #waiting = new Map();
  /** On the wire without `accepted`. */
  #sent = new Map();
  /** Accepted, answer not finished. */
  #answering = new Set();

  /** Messages that the server has not confirmed; leaving the page would lose them. */
  get unconfirmed() {
    return this.#waiting.size + this.#sent.size;
  }

  add(id, text) {
    if (!this.#sent.has(id)) this.#waiting.set(id, text);
  }

  /** Takes what may be sent now, oldest first. */
  take() {
    const ready = [];
    for (const [id, text] of this.#waiting) {
      if (this.#sent.size + this.#answering.size >= MAX_OPEN_TURNS) break;
      this.#waiting.delete(id);
      this.#sent.set(id, text);
      ready.push({ id, text });
    }
    return ready;
  }

  /** Follows the server's frames: what is accepted is not sent again, what is finished makes room. */
  observe(frame) {
    const { id } = frame;
    if (frame.type === "accepted" && this.#sent.delete(id)) this.#answering.add(id);
    if (frame.type === "done" || (frame.type === "turn" && frame.role === "assistant")) this.drop(id);
    // Its `accepted` was lost: the replay, or another tab, tells that it is stored.
    if (frame.type === "turn" && frame.role === "user") {
      const known = this.#waiting.delete(id) || this.#sent.delete(id);
      if (known) this.#answering.add(id);
    }
    if (frame.type === "error" && frame.code !== "shutting_down") this.drop(id);
  }

  /** The connection broke: what was not accepted goes again, in its first order and with its id. Returns those ids. */
  cut() {
    const again = [...this.#sent.keys()];
    this.#waiting = new Map([...this.#sent, ...this.#waiting]);
    this.#sent.clear();
    this.#answering.clear();
    return again;
  }

  /** Takes a message back, or stops counting it. Returns its text if it was not confirmed. */
  drop(id) {
    const text = this.#waiting.get(id) ?? this.#sent.get(id);
    this.#waiting.delete(id);
    this.#sent.delete(id);
    this.#answering.delete(id);
    return text;
  }

  clear() {
    this.#waiting.clear();
    this.#sent.clear();
    this.#answering.clear();
  }
}
