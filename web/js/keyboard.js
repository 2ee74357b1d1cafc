// The height that an on-screen keyboard leaves, for browsers that lay it over the page (Safari) in place of making the page
// smaller. Pure but for the `view` and the `root` it is given.

/** Less than this is a bar of the browser's that moves. */
const KEYBOARD_PX = 120;

/** @param view the `visualViewport`; `root` the document's element; `toTop()` undoes the browser's own scrolling of the page */
export function followKeyboard(view, root, toTop) {
  view.addEventListener("resize", () => {
    // A magnified page shows a part of itself: that is no keyboard.
    const covered = view.scale === 1 && root.clientHeight - view.height > KEYBOARD_PX;
    if (covered) root.style.setProperty("--height", `${view.height}px`);
    else root.style.removeProperty("--height");
    if (covered) toTop();
  });
}
