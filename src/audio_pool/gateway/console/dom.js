// @ts-check
/**
 * Elements, made without markup: the page's policy takes no text as markup, so that no prompt can ever be any.
 *
 *   h("button", {class: "button", type: "button", onclick: save}, icon("save"), "Save")
 *
 * h        an element. Of its properties: `class`; `data-…` and `aria-…` and whatever has no property of that name are
 *          attributes; `on…` are listeners; false, null and undefined leave it out; `ref` is called with the element.
 * icon     a small picture that says nothing to a screen reader; its name is one of ICONS.
 * replace  puts these children in the place of all that an element has.
 * field    a label, its control, and a hint below it, which is read out with it.
 * uid      an id that nothing else on the page has.
 * soon     does something once the last call is so long ago (typing).
 * pending  marks an element as busy once something has taken 200 ms.
 */

/** @typedef {Node | string | number | null | undefined | false} Child */

let last = 0;

/** @param {string} [stem] */
export function uid(stem = "id") {
  last += 1;
  return `${stem}-${last}`;
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any> | null} [props]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) set(element, name, value);
  append(element, children);
  return element;
}

/**
 * @param {HTMLElement} element
 * @param {string} name
 * @param {any} value
 */
function set(element, name, value) {
  if (value === null || value === undefined) return;
  if (name === "ref") value(element);
  else if (name === "class") element.className = value;
  else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, String(one));
  else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name.startsWith("aria-") || name.startsWith("data-")) element.setAttribute(name, String(value));
  else if (value === false && !(name in element)) return;
  else if (name in element && name !== "list" && name !== "form") Reflect.set(element, name, value);
  else element.setAttribute(name === "htmlFor" ? "for" : name, value === true ? "" : String(value));
}

/**
 * @param {Element} element
 * @param {(Child | Child[])[]} children
 */
function append(element, children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/**
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export function replace(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/** Outlines within 24 by 24, drawn with a line. @type {Record<string, string>} */
const ICONS = {
  play: "M7 4.5v15l12-7.5z",
  pause: "M8 5v14M16 5v14",
  stop: "M6 6h12v12H6z",
  loop: "M4 12a6 6 0 0 1 6-6h8m0 0-3-3m3 3-3 3M20 12a6 6 0 0 1-6 6H6m0 0 3 3m-3-3 3-3",
  download: "M12 4v11m0 0-4-4m4 4 4-4M5 20h14",
  again: "M20 12a8 8 0 1 1-2.6-5.9M20 3v4h-4",
  dice: "M4 4h16v16H4zM8.4 8.4h.4v.4h-.4zM15.2 8.4h.4v.4h-.4zM11.8 11.8h.4v.4h-.4zM8.4 15.2h.4v.4h-.4zM15.2 15.2h.4v.4h-.4z",
  star: "m12 4 2.5 5.2 5.7.8-4.1 4 1 5.7-5.1-2.7-5.1 2.7 1-5.7-4.1-4 5.7-.8z",
  heart: "M12 20S4 15 4 9.5A4.2 4.2 0 0 1 12 7a4.2 4.2 0 0 1 8 2.5C20 15 12 20 12 20z",
  pin: "M9 4h6l-1 6 3 3H7l3-3zM12 13v7",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  copy: "M9 9h10v11H9zM5 15V4h10",
  code: "m8 8-4 4 4 4M16 8l4 4-4 4M13 5l-2 14",
  why: "M9 9.5a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.1-1.5 2.4M12 18h.01",
  no: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M5.8 5.8l12.4 12.4",
  check: "m5 12.5 4.5 4.5L19 7",
  close: "M6 6l12 12M18 6 6 18",
  chevron: "m6 9.5 6 6 6-6",
  more: "M5.6 11.8h.4v.4h-.4zM11.8 11.8h.4v.4h-.4zM18 11.8h.4v.4h-.4z",
  search: "M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12M20 20l-4.8-4.8",
  volume: "M4 10v4h3l5 4V6l-5 4zM16 9a4 4 0 0 1 0 6",
  key: "M8 11a4 4 0 1 0 0 8 4 4 0 0 0 0-8M11 12.5 20 4m-4 3.5 2.5 2.5",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6 19 19M19 5l-1.4 1.4M6.4 17.6 5 19",
  moon: "M19 14.5A8 8 0 1 1 9.5 5a6.5 6.5 0 0 0 9.5 9.5z",
  auto: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  make: "M4 10v4M8 6v12M12 9v6M16 4v16M20 10v4",
  library: "M5 4h6v7H5zM13 4h6v7h-6zM5 13h6v7H5zM13 13h6v7h-6z",
  live: "M4 13h3.5l2.5-8 4 15 2.5-7H20",
  cache: "M5 6c0-3 14-3 14 0v12c0 3-14 3-14 0zM5 6c0 3 14 3 14 0M5 12c0 3 14 3 14 0",
  warn: "M12 4 2.8 20h18.4zM12 10v4M12 17h.01",
  tag: "M4 4h8l8 8-8 8-8-8zM8 8h.01",
  pack: "M4 8l8-4 8 4v8l-8 4-8-4zM4 8l8 4 8-4M12 12v8",
};

/**
 * @param {string} name
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const SVG = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name] ?? "");
  svg.append(path);
  return svg;
}

/**
 * @param {string} label
 * @param {HTMLElement} control an input, select or textarea
 * @param {Child} [hint]
 */
export function field(label, control, hint) {
  control.id ||= uid("field");
  const below = hint ? h("p", { class: "hint", id: `${control.id}-hint` }, hint) : null;
  if (below) control.setAttribute("aria-describedby", below.id);
  return h("div", { class: "field" }, h("label", { htmlFor: control.id }, label), control, below);
}

/**
 * @template {any[]} A
 * @param {number} ms
 * @param {(...given: A) => void} work
 * @returns {((...given: A) => void) & {cancel: () => void}}
 */
export function soon(ms, work) {
  let timer = 0;
  const later = /** @param {A} given */ (...given) => {
    clearTimeout(timer);
    timer = window.setTimeout(() => work(...given), ms);
  };
  return Object.assign(later, { cancel: () => clearTimeout(timer) });
}

/**
 * @template T
 * @param {HTMLElement} element gets `aria-busy`, which shows a spinner
 * @param {Promise<T>} work
 * @returns {Promise<T>}
 */
export async function pending(element, work) {
  const timer = setTimeout(() => element.setAttribute("aria-busy", "true"), 200);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
    element.removeAttribute("aria-busy");
  }
}
