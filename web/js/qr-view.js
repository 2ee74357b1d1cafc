// A QR code as a picture: dark on light in both themes, with the margin that scanners need.

import { qrOf } from "./qr.js";

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = 4;

/** The picture of `text`, named `name`; null where the text is too long for one. */
export function qrNode(text, name) {
  const rows = qrOf(text);
  if (rows === null) return null;
  const size = rows.length + 2 * MARGIN;
  const dark = rows.flatMap((row, y) => row.map((module, x) => (module ? `M${x + MARGIN} ${y + MARGIN}h1v1h-1z` : "")));
  const svg = make("svg", { class: "qr", viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": name });
  svg.append(make("rect", { class: "paper", width: size, height: size }), make("path", { class: "ink", d: dark.join("") }));
  return svg;
}

function make(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}
