// What the page says about itself: the connection in words, and notices near the composer.

import { byId, reword } from "./dom.js";

/** A cut shorter than this is not worth a word. */
const PATIENCE_MS = 1_500;
/** The first connection may take a while over a slow line. */
const FIRST_PATIENCE_MS = 8_000;

export class StatusView {
  #texts;
  #say;
  #retry;
  #renew;
  #state = { name: "connecting", retryAt: null };
  #notice = null;
  #now;
  #everConnected = false;
  #lostSince = null;
  #told = null;
  #ticking = null;

  /** `say(words)` speaks, `retry()` reconnects at once, `renew()` loads the newest page, `now()` is the clock of the times that are told. */
  constructor(texts, { say, retry, renew, now }) {
    this.#texts = texts;
    this.#now = now;
    this.#say = say;
    this.#retry = retry;
    this.#renew = renew;
    const [take, dismiss] = byId("update-note").querySelectorAll("button");
    take.onclick = () => renew();
    dismiss.onclick = () => {
      byId("update-note").hidden = true;
      byId("message").focus();
    };
    byId("notice").querySelector("button").onclick = () => this.clearNotice();
    this.render();
  }

  connection(state) {
    this.#state = state;
    if (state.name === "connected") this.#connected();
    else this.#lostSince ??= this.#now();
    this.render();
  }

  /**
   * Shows what went wrong; `words` is a function, so that it follows the language. `retryMs`: it is tried again by
   * itself after that time. `repeated`: the same problem with a new countdown; not spoken again.
   */
  notice(words, { retryMs = 0, repeated = false } = {}) {
    if (repeated && this.#notice === null) return;
    this.#notice = { words, until: retryMs > 0 ? this.#now() + retryMs : null };
    if (!repeated) this.#say(retryMs > 0 ? `${words()} ${this.#texts.t("wait", Math.ceil(retryMs / 1_000))}` : words());
    this.render();
  }

  /** A new version of the page is there: taken when the person likes, or with the next visit. */
  updateReady() {
    this.#offerReload("update_ready");
  }

  /** Something of the page could not be loaded: another try is a reload. */
  partMissing() {
    this.#offerReload("load_failed");
  }

  #offerReload(reason) {
    const note = byId("update-note");
    const words = note.querySelector("p");
    if (note.hidden || words.dataset.t !== reason) this.#say(this.#texts.t(reason));
    reword(words, reason, this.#texts);
    note.hidden = false;
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
    this.#everConnected = true;
    if (this.#told !== null) this.#say(this.#texts.t("connection_back"));
    this.#told = null;
  }

  #renderStatus() {
    const { name, retryAt } = this.#state;
    const status = byId("status");
    status.dataset.state = name;
    setText(status.querySelector(".words"), this.#texts.t(`status_${name}`, this.#secondsUntil(retryAt)));
  }

  #renderConnectionNote() {
    const { name, why } = this.#state;
    const patience = this.#everConnected ? PATIENCE_MS : FIRST_PATIENCE_MS;
    const lost = this.#state.blocked || name === "offline" || (this.#lostSince !== null && this.#now() - this.#lostSince >= patience);
    const words = this.#texts.t(why ? `refused_${why}` : this.#nameOfNote());
    const note = byId("connection-note");
    note.hidden = !lost && !why;
    setText(note.querySelector("p"), words);
    const button = note.querySelector("button");
    setText(button, this.#texts.t(why ? "reload" : "retry_now"));
    button.onclick = () => (why ? this.#renew() : this.#retry());
    // Said once per cut: the seconds that count down are for the eyes only.
    if (!note.hidden && this.#told !== words) this.#say(words);
    if (!note.hidden) this.#told = words;
  }

  #nameOfNote() {
    const { name, blocked } = this.#state;
    if (name === "offline") return "connection_offline";
    if (blocked) return "connection_blocked";
    return this.#everConnected ? "connection_lost" : "connection_slow";
  }

  #renderNotice() {
    const notice = byId("notice");
    notice.hidden = this.#notice === null;
    if (this.#notice === null) return;
    const { words, until } = this.#notice;
    const seconds = this.#secondsUntil(until);
    setText(notice.querySelector(".words"), words());
    const wait = until === null ? "" : this.#texts.t(seconds > 0 ? "wait" : "wait_over", seconds);
    setText(notice.querySelector(".wait"), wait);
  }

  /** One timer, and only while something on the page depends on the time. */
  #tick() {
    const counting = this.#state.name !== "connected" || this.#secondsUntil(this.#notice?.until) > 0;
    clearTimeout(this.#ticking);
    if (counting && !this.#state.why) this.#ticking = setTimeout(() => this.render(), 500);
  }

  #secondsUntil(time) {
    return time ? Math.max(0, Math.ceil((time - this.#now()) / 1_000)) : 0;
  }
}

/** Writing the same text again would be a change to whoever watches the page. */
function setText(node, words) {
  if (node.textContent !== words) node.textContent = words;
}
