// @ts-check
/**
 * JSON whose seeds are whole: they go to 2^63, and numbers here are exact only to 2^53. So a large seed is a text of digits
 * on this side, and a number on the other.
 *
 * Neither can be mistaken within a text, where quotation marks have a backslash before them.
 */

const READ = /("(?:seed|base_seed|variant_seed)":\s*)(\d{16,})/g;
const WRITTEN = /("(?:seed|base_seed|variant_seed)":)"(\d+)"/g;

/** @param {string} text @returns {any} */
export function parse(text) {
  return JSON.parse(text.replace(READ, '$1"$2"'));
}

/** @param {unknown} value @returns {string} */
export function stringify(value) {
  return JSON.stringify(value).replace(WRITTEN, "$1$2");
}
