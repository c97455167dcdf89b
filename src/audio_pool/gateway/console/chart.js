// @ts-check
/**
 * Small drawings of numbers, each with its words for those who do not see it.
 *
 *   const chart = new Columns(["found", "new"]);        chart.show(points, "at most 12 a second, now 3")
 *   span([0.02, 0.4], [0.001, 100], "half within 20 ms, all but one in a hundred within 0.4 s")
 *   share(0.7, "70 % of the memory")
 *
 * Colours come from the style sheet: `.chart .NAME`.
 */

const SVG = "http://www.w3.org/2000/svg";
const HIGH = 100;

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {...Element} children
 */
function s(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** Columns over time, one upon another, the newest at the right. */
export class Columns {
  /**
   * @param {string[]} names of the series, the lowest first: the classes that they are drawn with
   * @param {number} places columns that there is room for
   */
  constructor(names, places) {
    this.names = names;
    this.places = places;
    this.element = s("svg", { class: "chart columns", viewBox: `0 0 ${places} ${HIGH}`, preserveAspectRatio: "none", role: "img" });
  }

  /**
   * @param {number[][]} points a list for each place in time, the oldest first, with a number for each series
   * @param {string} words what they come to
   */
  show(points, words) {
    const shown = points.slice(-this.places);
    const highest = Math.max(1, ...shown.map((values) => values.reduce((sum, value) => sum + value, 0)));
    const paths = this.names.map(() => "");
    shown.forEach((values, number) => {
      const left = this.places - shown.length + number;
      let low = HIGH;
      values.forEach((value, series) => {
        const tall = (value / highest) * (HIGH - 2);
        if (tall > 0) paths[series] += `M${left + 0.1} ${low.toFixed(2)}v${(-tall).toFixed(2)}h0.8v${tall.toFixed(2)}z`;
        low -= tall;
      });
    });
    this.element.setAttribute("aria-label", words);
    this.element.replaceChildren(...paths.map((d, series) => s("path", { class: this.names[series], d })));
  }
}

/**
 * From one number to another, on a scale on which each step is ten times the one before.
 * @param {[number, number]} ends
 * @param {[number, number]} scale
 * @param {string} words
 */
export function span(ends, scale, words) {
  const [first, last] = scale.map(Math.log10);
  const [low, high] = ends.map((value) => {
    const part = (Math.log10(Math.max(value, scale[0])) - first) / (last - first);
    return Math.min(1, Math.max(0, part)) * 200;
  });
  const ticks = [];
  for (let power = Math.ceil(first); power <= last; power += 1) {
    const at = ((power - first) / (last - first)) * 200;
    ticks.push(s("path", { class: "tick", d: `M${at.toFixed(1)} 2v12` }));
  }
  return s(
    "svg", { class: "chart span", viewBox: "-6 0 212 16", role: "img", "aria-label": words },
    ...ticks,
    s("path", { class: "reach", d: `M${low.toFixed(1)} 8H${high.toFixed(1)}` }),
    s("circle", { class: "half", cx: low.toFixed(1), cy: 8, r: 4.5 }),
    s("path", { class: "most", d: `M${high.toFixed(1)} 3v10` }),
  );
}

/**
 * So large a part of a whole.
 * @param {number} part 0..1
 * @param {string} words
 * @param {string} [kind] a further class
 */
export function share(part, words, kind = "") {
  const wide = Math.min(1, Math.max(0, part)) * 100;
  return s(
    "svg", { class: `chart share ${kind}`, viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "img", "aria-label": words },
    s("path", { class: "whole", d: "M0 0h100v8H0z" }),
    s("path", { class: "part", d: `M0 0h${wide.toFixed(1)}v8H0z` }),
  );
}
