// @ts-check
/**
 * A question before everything else.
 *
 * ask({title, text, yes, no, danger})   resolves to true or false
 * open(title, body, buttons)            a dialog with any content; returns the element, whose close() ends it
 */
import { h, icon, uid } from "./dom.js";

/**
 * @param {string} title
 * @param {Node[]} body
 * @param {Node[]} [buttons]
 * @returns {HTMLDialogElement}
 */
export function open(title, body, buttons = []) {
  const id = uid("dialog");
  const before = document.activeElement;
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-labelledby": id },
    h(
      "header",
      null,
      h("h2", { id }, title),
      h("button", { class: "button icon-only", type: "button", "aria-label": "Close", onclick: () => dialog.close() }, icon("close")),
    ),
    h("div", { class: "dialog-body" }, body),
    buttons.length ? h("footer", null, buttons) : null,
  );
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before instanceof HTMLElement && before.isConnected) before.focus();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * @param {{title: string, text: string, yes?: string, no?: string, danger?: boolean}} asked
 * @returns {Promise<boolean>}
 */
export function ask({ title, text, yes = "Yes", no = "Cancel", danger = false }) {
  return new Promise((resolve) => {
    let answer = false;
    const agree = () => {
      answer = true;
      dialog.close();
    };
    const dialog = open(
      title,
      [h("p", null, text)],
      [
        h("button", { class: "button", type: "button", onclick: () => dialog.close() }, no),
        h("button", { class: `button ${danger ? "danger" : "primary"}`, type: "button", onclick: agree }, yes),
      ],
    );
    dialog.addEventListener("close", () => resolve(answer));
  });
}
