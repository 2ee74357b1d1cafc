// The few things every view needs from the DOM. Text always goes in as text, never as markup.

export function byId(id) {
  return document.getElementById(id);
}

/** An element with properties (`className`, `textContent`, `data: {…}`, `onclick`…) and children. */
export function element(tag, { data = {}, ...properties } = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  Object.assign(node.dataset, data);
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** An element with words that follow the language: {@link fillWords} finds it. */
export function worded(tag, name, texts, { data = {}, ...properties } = {}) {
  return element(tag, { ...properties, textContent: texts.t(name), data: { ...data, t: name } });
}

/** Gives such an element other words. */
export function reword(node, name, texts) {
  node.dataset.t = name;
  node.textContent = texts.t(name);
}

/** A button with words that follow the language. */
export function button(name, texts, onclick, properties = {}) {
  return worded("button", name, texts, { type: "button", className: "button", onclick, ...properties });
}

/**
 * Runs `action` for clicks on `node` itself, not on what is in it. Never as an `onclick` that returns something: `false`
 * would cancel what a click on a link or a button inside does.
 */
export function onOwnClick(node, action) {
  node.addEventListener("click", (event) => {
    if (event.target === node) action();
  });
}

/** Sets or removes an attribute that is there or not. */
export function toggleAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : value);
}

/** Writes the words of the language into everything in `index.html` that names a sentence. */
export function fillWords(texts) {
  document.documentElement.lang = texts.language;
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = texts.t(node.dataset.t);
  for (const node of document.querySelectorAll("[data-guide]")) {
    node.href = `${node.dataset.guide}?lang=${texts.language}`;
    label(node, texts.t("opens_site", node.textContent));
  }
  for (const node of document.querySelectorAll("[data-page]")) node.href = `${node.dataset.page}?lang=${texts.language}`;
  for (const node of document.querySelectorAll("[data-label]")) label(node, texts.t(node.dataset.label));
  for (const node of document.querySelectorAll("[data-title]")) node.title = texts.t(node.dataset.title);
  for (const node of document.querySelectorAll("[data-aria-label]")) node.setAttribute("aria-label", texts.t(node.dataset.ariaLabel));
  for (const node of document.querySelectorAll("[data-placeholder]")) node.placeholder = texts.t(node.dataset.placeholder);
}

/** A name for a button that shows an icon: spoken, and shown on hover. */
export function label(node, words) {
  node.setAttribute("aria-label", words);
  node.title = words;
}

/** A dialog gives the focus back when it closes; in Chromium a field then takes no keys until it has the focus anew. */
export function refocus() {
  const { activeElement } = document;
  activeElement?.blur();
  activeElement?.focus({ preventScroll: true });
}
