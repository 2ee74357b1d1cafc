// Where the person writes.

import { byId, onOwnClick, toggleAttribute } from "./dom.js";
import { countChars, mend } from "./text.js";

/** The count is shown from this share of the limit on. */
const COUNT_FROM = 0.85;

export class Composer {
  #texts;
  #on;
  #form = byId("composer");
  #field = byId("message");
  #count = byId("message-count");
  #send = byId("send");
  #limit = 8_000;
  #tooLong = false;

  /** @param on {send(text), stop(), say(words), draft(text)} */
  constructor(texts, on, draft) {
    this.#texts = texts;
    this.#on = on;
    // Text written before this script was there is the newer one.
    this.#field.value ||= draft;
    this.#form.onsubmit = (event) => {
      event.preventDefault();
      this.#submit();
    };
    this.#field.onkeydown = (event) => this.#key(event);
    this.#field.oninput = () => this.#edited();
    byId("stop").onclick = () => this.#on.stop();
    onOwnClick(this.#form, () => this.#field.focus());
    new ResizeObserver(() => this.#fitPlaceholder()).observe(this.#field);
    this.#changed();
  }

  set limit(chars) {
    this.#limit = chars;
    this.render();
  }

  set canStop(can) {
    const stop = byId("stop");
    if (stop.hidden === !can) return;
    const hadFocus = document.activeElement === stop;
    stop.hidden = !can;
    this.#fitPlaceholder();
    // The button disappears when the answer ends: the focus must not fall back to the top of the page.
    if (hadFocus && !can) this.focus();
  }

  focus() {
    this.#field.focus({ preventScroll: true });
  }

  /** Puts a text back for editing, above what was written since. */
  putBack(text) {
    const { value } = this.#field;
    this.#field.value = value.trim() === "" ? text : `${text}\n${value}`;
    this.#edited();
    this.focus();
  }

  /** Puts a text in place of what is written, and returns that. */
  replace(text) {
    const { value } = this.#field;
    this.#field.value = text;
    this.#edited();
    this.focus();
    return value;
  }

  render() {
    this.#fitPlaceholder();
    this.#changed();
  }

  /** The longer words where they have room, which Stop takes. */
  #fitPlaceholder() {
    const field = this.#field;
    field.placeholder = this.#texts.t("message_placeholder");
    if (!byId("stop").hidden || field.scrollWidth > field.clientWidth) field.placeholder = this.#texts.t("message_placeholder_short");
  }

  #key(event) {
    // While an input method composes a letter, Enter belongs to it (229 is how Safari says so).
    const composing = event.isComposing || event.keyCode === 229;
    if (event.key !== "Enter" || event.shiftKey || composing) return;
    event.preventDefault();
    this.#submit();
  }

  #submit() {
    const text = mend(this.#field.value).trim();
    if (text === "") {
      this.#on.say(this.#texts.t("empty"));
      this.focus();
    } else if (this.#tooLong) {
      this.#on.say(this.#count.textContent);
    } else {
      this.#field.value = "";
      this.#edited();
      this.#on.send(text);
    }
  }

  #edited() {
    this.#on.draft(this.#field.value);
    this.#changed();
  }

  #changed() {
    const { value } = this.#field;
    const chars = value.length < this.#limit * COUNT_FROM ? 0 : countChars(value.trim());
    const extra = chars - this.#limit;
    this.#count.hidden = chars < this.#limit * COUNT_FROM;
    const numbers = [chars, this.#limit].map((count) => count.toLocaleString(this.#texts.language));
    this.#count.textContent = extra > 0 ? this.#texts.t("too_long", extra) : this.#texts.t("count", ...numbers);
    // Said once, when the limit is crossed, not at every key.
    if (extra > 0 && !this.#tooLong) this.#on.say(this.#count.textContent);
    this.#tooLong = extra > 0;
    this.#form.classList.toggle("too-long", this.#tooLong);
    toggleAttribute(this.#field, "aria-invalid", this.#tooLong ? "true" : null);
    // aria-disabled and not disabled: the button keeps the focus and can say why it does nothing.
    toggleAttribute(this.#send, "aria-disabled", this.#tooLong || value.trim() === "" ? "true" : null);
    this.#grow();
  }

  /** Grows with its text up to the height the style sheet allows; newer browsers do it by themselves. */
  #grow() {
    if (CSS.supports("field-sizing", "content")) return;
    this.#field.style.height = "auto";
    this.#field.style.height = `${this.#field.scrollHeight}px`;
  }
}
