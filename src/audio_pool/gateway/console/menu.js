// @ts-check
/**
 * A button that shows further ones: `menu([icon("download"), "Download"], [button, button], {label})`.
 *
 * A disclosure, so that it is read and reached as what it is; it closes at Escape, at a click elsewhere, and when one of
 * its buttons has been pressed.
 */
import { h } from "./dom.js";

/**
 * @param {(Node | string)[]} face
 * @param {HTMLElement[]} items
 * @param {{label?: string, small?: boolean}} [how] `label`: its name, where the face is a picture alone
 * @returns {HTMLDetailsElement}
 */
export function menu(face, items, { label, small = true } = {}) {
  const summary = h("summary", { class: `button ${small ? "small" : ""}`, "aria-label": label ?? null, title: label ?? null }, face);
  const list = h("div", null, items);
  const details = h("details", { class: "menu" }, summary, list);
  const close = () => {
    details.open = false;
  };
  const elsewhere = (/** @type {Event} */ event) => {
    if (!(event.target instanceof Node && details.contains(event.target))) close();
  };
  details.addEventListener("toggle", () => {
    if (details.open) {
      document.addEventListener("pointerdown", elsewhere);
      list.classList.toggle("leftwards", details.getBoundingClientRect().left + list.offsetWidth > innerWidth - 8);
    } else document.removeEventListener("pointerdown", elsewhere);
  });
  details.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !details.open) return;
    event.stopPropagation();
    close();
    summary.focus();
  });
  details.addEventListener("focusout", (event) => {
    if (event.relatedTarget instanceof Node && !details.contains(event.relatedTarget)) close();
  });
  for (const item of items) item.addEventListener("click", close);
  return details;
}
