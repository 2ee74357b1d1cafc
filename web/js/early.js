// Runs before the first paint, so that the page never flashes in the wrong theme. A classic script because
// modules run too late for that; theme.js takes over afterwards. The key is the one in storage.js.
"use strict";
(function () {
  let theme = null;
  try {
    theme = localStorage.getItem("psicoia.theme");
  } catch {
    // No storage: follow the system.
  }
  if (theme !== "light" && theme !== "dark") {
    theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }
  document.documentElement.dataset.theme = theme;
})();
