// What the page says about itself: the connection in words, and notices near the composer.

import { byId } from "./dom.js";

/** A cut shorter than this is nobody's business. */
const PATIENCE_MS = 1_500;

export class StatusView {
  #texts;
  #say;
  #retry;
  #state = { name: "connecting", retryAt: null };
  #notice = null;
  #lostSince = null;
  #told = false;
  #ticking = null;

  /** `say(words)` speaks, `retry()` reconnects at once. */
  constructor(texts, { say, retry }) {
    this.#texts = texts;
    this.#say = say;
    this.#retry = retry;
    byId("notice").querySelector("button").onclick = () => this.clearNotice();
    this.render();
  }

  connection(state) {
    this.#state = state;
    if (state.name === "connected") this.#connected();
    else this.#lostSince ??= Date.now();
    this.render();
  }

  /** Shows what went wrong; `words` is a function, so that it follows the language. */
  notice(words, retryAfterMs = 0) {
    this.#notice = { words, until: retryAfterMs > 0 ? Date.now() + retryAfterMs : null };
    const wait = retryAfterMs > 0 ? ` ${this.#texts.t("wait", Math.ceil(retryAfterMs / 1_000))}` : "";
    this.#say(words() + wait);
    this.render();
  }

  clearNotice() {
    const hadFocus = byId("notice").contains(document.activeElement);
    this.#notice = null;
    this.render();
    if (hadFocus) byId("message").focus();
  }

  render() {
    this.#renderStatus();
    this.#renderConnectionNote();
    this.#renderNotice();
    this.#tick();
  }

  #connected() {
    this.#lostSince = null;
    if (this.#told) this.#say(this.#texts.t("connection_back"));
    this.#told = false;
  }

  #renderStatus() {
    const { name, retryAt } = this.#state;
    const status = byId("status");
    status.dataset.state = name;
    setText(status.querySelector(".words"), this.#texts.t(`status_${name}`, secondsUntil(retryAt)));
  }

  #renderConnectionNote() {
    const { why } = this.#state;
    const lost = this.#lostSince !== null && Date.now() - this.#lostSince >= PATIENCE_MS;
    const words = why ? this.#texts.t(`refused_${why}`) : this.#texts.t("connection_lost");
    const note = byId("connection-note");
    note.hidden = !lost && !why;
    setText(note.querySelector("p"), words);
    const button = note.querySelector("button");
    setText(button, this.#texts.t(why ? "reload" : "retry_now"));
    button.onclick = why ? () => location.reload() : () => this.#retry();
    // Said once per cut: the seconds that count down are for the eyes only.
    if (!note.hidden && !this.#told) this.#say(words);
    if (!note.hidden) this.#told = true;
  }

  #renderNotice() {
    const notice = byId("notice");
    notice.hidden = this.#notice === null;
    if (this.#notice === null) return;
    const { words, until } = this.#notice;
    const seconds = secondsUntil(until);
    setText(notice.querySelector(".words"), words());
    const wait = until === null ? "" : this.#texts.t(seconds > 0 ? "wait" : "wait_over", seconds);
    setText(notice.querySelector(".wait"), wait);
  }

  /** One timer, and only while something on the page depends on the time. */
  #tick() {
    const counting = this.#state.name !== "connected" || secondsUntil(this.#notice?.until) > 0;
    clearTimeout(this.#ticking);
    if (counting && !this.#state.why) this.#ticking = setTimeout(() => this.render(), 500);
  }
}

function secondsUntil(time) {
  return time ? Math.max(0, Math.ceil((time - Date.now()) / 1_000)) : 0;
}

/** Writing the same text again would be a change to whoever watches the page. */
function setText(node, words) {
  if (node.textContent !== words) node.textContent = words;
}
