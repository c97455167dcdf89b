// @ts-check
/** The view *Cache*. */
import { h, replace } from "./dom.js";

/**
 * @param {HTMLElement} root
 * @param {import("./app.js").Context} context
 * @returns {import("./app.js").View}
 */
export function view(root, context) {
  replace(root, h("h1", null, "Cache"));
  return { close() {} };
}
