// The conversation on paper. What is printed is made for it and goes away with the print: the page itself stays as it is.

import { element } from "./dom.js";

/** `parts`: `[{heading?, text}]`. Resolves when the browser has printed, or the person has not wanted to. */
export function printOut(title, about, parts) {
  const sheet = element("section", { id: "print" }, element("h1", { textContent: title }), element("p", { textContent: about }),
    ...parts.map(({ heading, text }) => element("article", {},
      heading ? element("h2", { textContent: heading }) : null, element("p", { textContent: text }))));
  document.body.append(sheet);
  return new Promise((resolve) => {
    addEventListener("afterprint", () => {
      sheet.remove();
      resolve();
    }, { once: true });
    print();
  });
}
