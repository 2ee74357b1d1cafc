// Follows the end of the conversation while the person is there, and leaves them alone while they read above.

import { byId } from "./dom.js";

/** This close to the end counts as being there. */
const NEAR_PX = 64;
/** This close to the beginning older entries are loaded. */
const TOP_PX = 160;
/** The button takes this much of the lower end. */
const JUMP_PX = 60;
/** What is kept in sight stands this far below the upper edge. */
const MARGIN_PX = 16;

export class Scroll {
  #scroller = byId("scroller");
  #jump = byId("jump");
  /** What stands at the upper and the lower edge; where the height is small, it scrolls like the rest. */
  #edges = { upper: this.#scroller.querySelector("header"), lower: byId("notes") };
  #texts;
  #atEnd = true;
  #lastTop = 0;
  #news = false;
  #kept = null;
  /** Runs when the person has scrolled to where older entries would stand. */
  onTop = () => {};

  constructor(texts) {
    this.#texts = texts;
    this.#scroller.addEventListener("scroll", () => this.#look(), { passive: true });
    this.#jump.onclick = () => {
      this.toEnd();
      byId("message").focus();
    };
    // Content that grows, off-screen entries that get their real height, a keyboard that slides in.
    const grown = new ResizeObserver(() => {
      for (const edge of Object.keys(this.#edges)) this.#scroller.style.setProperty(`--${edge}`, `${this.#heightOf(edge)}px`);
      this.#follow();
      this.#placeJump();
    });
    for (const node of [this.#scroller, byId("conversation"), ...Object.values(this.#edges)]) grown.observe(node);
  }

  toEnd() {
    this.#kept = null;
    this.#atEnd = true;
    this.#news = false;
    this.#follow();
    this.render();
  }

  /** Something new stands at the end: followed if the person is there, else announced by the button. */
  news() {
    if (this.#atEnd) return;
    this.#news = true;
    this.render();
  }

  /** Something that following the end must not push out of sight: help lines. Until the person moves on. */
  keepVisible(node) {
    if (this.#atEnd) this.#kept = node;
    this.#follow();
  }

  /** Keeps what the person reads in place while `change` adds entries above it. */
  keepPlace(change) {
    const anchor = byId("log").firstElementChild;
    const before = anchor?.getBoundingClientRect().top;
    change();
    if (anchor) this.#scroller.scrollTop += anchor.getBoundingClientRect().top - before;
  }

  /** Goes to an entry, and marks it by the focus. */
  show(node) {
    this.#kept = null;
    this.#atEnd = false;
    node.tabIndex = -1;
    node.scrollIntoView({ block: "start" });
    node.focus({ preventScroll: true });
    this.render();
  }

  render() {
    this.#placeJump();
    this.#jump.classList.toggle("news", this.#news);
    this.#jump.lastElementChild.textContent = this.#news ? this.#texts.t("new_messages") : "";
    this.#jump.setAttribute("aria-label", this.#texts.t(this.#news ? "new_messages" : "go_to_end"));
  }

  /** The button never lies on a card with help: it comes once the person has scrolled past. */
  #placeJump() {
    const hidden = this.#atEnd || this.#isEmpty || this.#isHelpBelow();
    const hadFocus = document.activeElement === this.#jump;
    this.#jump.hidden = hidden;
    if (hidden && hadFocus) byId("conversation").focus({ preventScroll: true });
  }

  /** As long as nothing was said, the page is read from its beginning. */
  get #isEmpty() {
    return byId("log").childElementCount === 0;
  }

  #isHelpBelow() {
    const bottom = this.#scroller.getBoundingClientRect().bottom - this.#heightOf("lower");
    const isThere = (box) => box.top < bottom && box.bottom > bottom - JUMP_PX;
    return [...byId("log").querySelectorAll('[data-role="support"]')].some((card) => isThere(card.getBoundingClientRect()));
  }

  #look() {
    this.#placeJump();
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    if (scrollTop === this.#lastTop) return; // Our own doing.
    const near = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    // Only going up is leaving: content that grew faster than we followed also puts the end far away.
    if (scrollTop < this.#lastTop && scrollTop < TOP_PX) this.onTop();
    const atEnd = near || (this.#atEnd && scrollTop >= this.#lastTop);
    this.#lastTop = scrollTop;
    if (near) this.#kept = null;
    if (atEnd === this.#atEnd) return;
    this.#atEnd = atEnd;
    if (atEnd) this.#news = false;
    this.render();
  }

  #follow() {
    if (!this.#atEnd || this.#isEmpty) return;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    const hidden = this.#kept === null ? 0 : this.#topOf(this.#scroller) + this.#heightOf("upper") + MARGIN_PX - this.#topOf(this.#kept);
    if (hidden > 0) this.#scroller.scrollTop -= hidden;
    this.#lastTop = this.#scroller.scrollTop;
    if (hidden <= 0) return;
    this.#atEnd = false;
    this.news();
  }

  /** What an edge takes of the view: nothing while it scrolls away. */
  #heightOf(edge) {
    const node = this.#edges[edge];
    return getComputedStyle(node).position === "sticky" ? node.offsetHeight : 0;
  }

  #topOf(node) {
    return node.getBoundingClientRect().top;
  }
}
