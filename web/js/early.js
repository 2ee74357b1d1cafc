// Runs before the first paint, so that the page never flashes in the wrong theme, nor its tab with a title that is not wanted. A classic script because
// modules run too late for that; theme.js and title.js take over afterwards. The keys are those of storage.js.
"use strict";
(function () {
  let theme = null;
  try {
    theme = localStorage.getItem("psicoia.theme");
    document.title = localStorage.getItem("psicoia.title") ?? document.title;
  } catch {
    // No storage: follow the system.
  }
  if (theme !== "light" && theme !== "dark") {
    theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }
  document.documentElement.dataset.theme = theme;
})();
