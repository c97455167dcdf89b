// @ts-check
/**
 * What the page says beside what it shows.
 *
 * announce(text)                              read out by screen readers, and not shown
 * toast(text, {kind, action, label, lastsMs}) shown at the lower edge and read out; `kind`: "good" | "bad" | "";
 *                                             `action` gets a button with `label` ("Undo"); errors stay until closed
 */
import { h, icon } from "./dom.js";

const LASTS_MS = 6_000;

/** @param {string} text */
export function announce(text) {
  const region = document.getElementById("announcer");
  if (region) region.textContent = text;
}

/**
 * @param {string} text
 * @param {{kind?: "good" | "bad" | "", action?: () => void, label?: string, lastsMs?: number}} [how]
 */
export function toast(text, { kind = "", action, label = "Undo", lastsMs } = {}) {
  const shelf = document.getElementById("toasts");
  if (!shelf) return;
  const close = () => note.remove();
  const note = h(
    "div",
    { class: `toast ${kind}`, role: kind === "bad" ? "alert" : "status" },
    icon(kind === "bad" ? "warn" : kind === "good" ? "check" : "live"),
    h("p", null, text),
    action &&
      h("button", { class: "button small", type: "button", onclick: () => (close(), action()) }, label),
    h("button", { class: "button icon-only small", type: "button", "aria-label": "Close", onclick: close }, icon("close")),
  );
  shelf.append(note);
  while (shelf.childElementCount > 3) shelf.firstElementChild?.remove();
  const lasts = lastsMs ?? (kind === "bad" ? 0 : LASTS_MS);
  if (lasts) setTimeout(close, lasts);
}
