// @ts-check
/** The view *Library*. */
import { h, replace } from "./dom.js";

/**
 * @param {HTMLElement} root
 * @param {import("./app.js").Context} context
 * @returns {import("./app.js").View}
 */
export function view(root, context) {
  replace(root, h("h1", null, "Library"));
  return { close() {} };
}
