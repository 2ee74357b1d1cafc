// A dialog with a heading, a button to close it and a body, made here: nothing of it has to be in the page before it is used.

import { element, label, onOwnClick, refocus, worded } from "./dom.js";

const CROSS = "m7 7 10 10M17 7 7 17";

export class Panel {
  body = element("div", { className: "dialog-body", tabIndex: 0, role: "region" });
  #dialog;

  /** @param title name of its heading's words; `closed()` runs when it has been closed */
  constructor(id, title, texts, closed = () => {}) {
    const heading = worded("h2", title, texts, { id: `${id}-title` });
    const close = element("button", { id: `${id}-close`, className: "icon", type: "button", data: { label: "close" }, onclick: () => this.close() }, drawing(CROSS));
    label(close, texts.t("close"));
    const announcer = element("div", { className: "announcer visually-hidden" });
    announcer.setAttribute("aria-live", "polite");
    announcer.setAttribute("aria-relevant", "additions");
    this.#dialog = element("dialog", { id, className: "panel" }, element("div", { className: "dialog-head" }, heading, close), this.body, announcer);
    for (const node of [this.#dialog, this.body]) node.setAttribute("aria-labelledby", heading.id);
    onOwnClick(this.#dialog, () => this.close());
    for (const done of [closed, refocus]) this.#dialog.addEventListener("close", done);
    document.body.append(this.#dialog);
  }

  get isOpen() {
    return this.#dialog.open;
  }

  open() {
    if (!this.#dialog.open) this.#dialog.showModal();
    this.body.scrollTop = 0;
  }

  close() {
    this.#dialog.close();
  }
}

/** A picture of lines, of 24 by 24. */
function drawing(path) {
  const [svg, line] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}
