// Stands in the page itself and runs before the first paint: the theme, the tab's title, and what to show until the script is there. In the
// words of old browsers, because it also has to tell those that the page is not for them. The keys are those of storage.js.
"use strict";
(function () {
  var root = document.documentElement;
  /** A failed load is tried again: during an upgrade another gateway behind the balancer has the script. */
  var AGAIN_MS = [300, 1000, 3000];
  var PATIENCE_MS = 20000;
  var tries = 0;

  function stored(key) {
    try {
      return localStorage.getItem("psicoia." + key);
    } catch (error) {
      return null;
    }
  }

  var theme = stored("theme");
  if (theme !== "light" && theme !== "dark") {
    theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }
  root.setAttribute("data-theme", theme);
  var title = stored("title");
  if (title !== null) document.title = title;
  if (stored("resume") !== null) root.setAttribute("data-returning", "");

  // The only scripts there are: the two of the page and its worker. Whatever else becomes one is refused by the browser.
  if (window.trustedTypes) {
    window.trustedTypes.createPolicy("default", {
      createScriptURL: function (url) {
        return /^(?:\/?sw\.js|(?:app|later)\.[0-9a-f]+\.js)$/.test(url) ? url : null;
      },
    });
  }

  function isReady() {
    return root.hasAttribute("data-ready");
  }

  function failed() {
    root.setAttribute("data-failed", "");
  }

  function again(script) {
    var copy = document.createElement("script");
    copy.src = script.getAttribute("src");
    document.head.appendChild(copy);
  }

  addEventListener("error", function (event) {
    if (isReady()) return;
    if (event.target === window) {
      failed();
    } else if (event.target.tagName === "SCRIPT") {
      if (tries === AGAIN_MS.length) failed();
      else setTimeout(again, AGAIN_MS[tries], event.target);
      tries += 1;
    }
  }, true);
  setTimeout(failed, PATIENCE_MS);
})();
