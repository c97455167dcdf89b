// @ts-check
/**
 * How many there are of each of a few things: upright bars, drawn as SVG, with the same figures as a table beside it for
 * those who do not see them.
 *
 *   root.append(bars({label: "Sounds by age", unit: "sounds", bars: [["today", 12], ["a week", 30]]}));
 */
import { h } from "./dom.js";
import { count } from "./figures.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDE = 560;
const TALL = 150;
const FOOT = 24;
const HEAD = 18;

/** @param {{label: string, unit: string, bars: [string, number][]}} given */
export function bars({ label, unit, bars: all }) {
  const most = Math.max(1, ...all.map(([, n]) => n));
  const step = WIDE / Math.max(1, all.length);
  const svg = made("svg", { viewBox: `0 0 ${WIDE} ${TALL}`, class: "bars", "aria-hidden": "true" });
  all.forEach(([name, n], at) => {
    const tall = n ? Math.max(2, ((TALL - FOOT - HEAD) * n) / most) : 0;
    const left = at * step + step * 0.12;
    svg.append(
      made("rect", { x: left, y: TALL - FOOT - tall, width: step * 0.76, height: tall, rx: 4, class: "bar-figure" }),
      made("text", { x: at * step + step / 2, y: TALL - FOOT - tall - 6, class: "bar-count" }, count(n)),
      made("text", { x: at * step + step / 2, y: TALL - 7, class: "bar-name" }, name),
    );
  });
  svg.append(made("line", { x1: 0, x2: WIDE, y1: TALL - FOOT + 0.5, y2: TALL - FOOT + 0.5, class: "bar-floor" }));
  const table = h(
    "table",
    { class: "unseen" },
    h("caption", null, label),
    h("thead", null, h("tr", null, h("th", { scope: "col" }, "Age"), h("th", { scope: "col" }, unit))),
    h("tbody", null, all.map(([name, n]) => h("tr", null, h("th", { scope: "row" }, name), h("td", null, count(n))))),
  );
  const figure = h("figure", { class: "bars-frame" }, table);
  figure.prepend(svg);
  return figure;
}

/** @param {string} tag @param {Record<string, string | number>} attributes @param {string} [text] */
function made(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  if (text) element.textContent = text;
  return element;
}
