// @ts-check
/** The tables and lists of the view *Live*: figures of one look, as elements. */
import { share, span } from "./chart.js";
import { h } from "./dom.js";
import { count, percent, seconds, size } from "./figures.js";

/** @typedef {Record<string, any>} Look a PoolLook of the gateway (docs/http.md) */
/** @typedef {{count: number, p50_s: number | null, p99_s: number | null}} Quantiles */

const SCALE = /** @type {[number, number]} */ ([0.0001, 100]);
const PRIORITIES = ["interactive", "normal", "background"];
export const CACHE = /** @type {Record<string, string>} */ ({
  exact: "the same words", canonical: "the same words, written otherwise", semantic: "the same meaning", global: "the same meaning, from another place",
  joined: "joined one under way", new_generation: "made anew", "": "no sound",
});
const LOOKED_FOR = /** @type {Record<string, string>} */ ({ exact: "The same words", semantic: "The same meaning", join: "The same, under way" });
export const STAGES = /** @type {Record<string, string>} */ ({ lookup: "Looking it up", queue: "Waiting", generate: "Generating", score: "Judging", master: "Mastering", store: "Storing" });

/** @param {any} task */
export function workLine(task) {
  const name = [task.stage || task.duties || task.role, task.engine, task.sounds > 1 ? `${task.sounds} sounds` : "", seconds(Math.round(task.busy_s))].filter(Boolean).join(" · ");
  return h("div", null, h("small", null, name), share(task.fraction, `${percent(task.fraction)} done`, "accent"));
}

/** @param {any[]} load */
export function loadTable(load) {
  const rows = PRIORITIES.map((priority) => {
    const those = load.filter((one) => one.priority === priority);
    const sum = (/** @type {"running" | "waiting"} */ name) => those.reduce((all, one) => all + one[name], 0);
    const engines = those.filter((one) => one.waiting).map((one) => `${one.engine} ${one.waiting}`).join(", ");
    return h("tr", null, h("th", { scope: "row" }, priority), number(sum("running")), number(sum("waiting")), h("td", { class: "wide soft" }, engines));
  });
  return table(["Priority", "Being made", "Waiting", ""], rows, [1, 2], "Queue by priority");
}

/** @param {any[]} gpus @param {any} disk */
export function cardsList(gpus, disk) {
  const lines = gpus.map((gpu) => {
    const all = gpu.used_bytes + gpu.free_bytes;
    return memoryLine(gpu.name, gpu.used_bytes, all);
  });
  if (disk.total_bytes) lines.push(memoryLine("Disk of the cache", disk.total_bytes - disk.free_bytes, disk.total_bytes));
  if (!gpus.length) lines.push(h("p", { class: "soft" }, "No worker is on a graphics card."));
  return lines;
}

/** @param {string} name @param {number} used @param {number} all */
function memoryLine(name, used, all) {
  const part = used / all;
  return h("div", null,
    h("div", { class: "row apart" }, h("span", null, name), h("small", null, `${size(used)} of ${size(all)}`)),
    share(part, `${percent(part)} used`, part > 0.95 ? "bad" : ""));
}

/** @param {Look} look @param {boolean} lately */
export function hitsTable(look, lately) {
  const rows = look.looked_for.map((/** @type {any} */ one) => {
    const [lookups, hits] = lately ? [one.lookups_lately, one.hits_lately] : [one.lookups, one.hits];
    const part = lookups ? hits / lookups : null;
    return h("tr", null, h("th", { scope: "row" }, LOOKED_FOR[one.kind] ?? one.kind), number(lookups), number(hits),
      h("td", { class: "number" }, percent(part)), h("td", { class: "wide" }, share(part ?? 0, `${percent(part)} found`, "accent")));
  });
  if (!rows.length) return h("p", { class: "soft" }, "Nothing has been looked for yet.");
  const answers = look.answers.filter((/** @type {any} */ one) => (lately ? one.lately : one.count));
  return h("div", { class: "stack" },
    table(["Looked for by", "Times", "Found", "Rate", ""], rows, [1, 2, 3], "Found in the cache, by stage"),
    h("ul", { class: "row" }, answers.map((/** @type {any} */ one) => h("li", { class: "tag" }, `${CACHE[one.cache] ?? one.cache}: ${count(lately ? one.lately : one.count)}`))));
}

/**
 * @param {string} title
 * @param {{name: string, ever: Quantiles, lately: Quantiles}[]} times
 * @param {(name: string) => string} named
 * @param {boolean} lately
 */
export function timesTable(title, times, named, lately) {
  const rows = times.map((one) => {
    const { count: many, p50_s: half, p99_s: most } = lately ? one.lately : one.ever;
    const words = `half within ${seconds(half)}, 99 of 100 within ${seconds(most)}`;
    return h("tr", null, h("th", { scope: "row" }, named(one.name)), number(many), h("td", { class: "number" }, seconds(half)), h("td", { class: "number" }, seconds(most)),
      h("td", { class: "wide" }, half !== null && most !== null ? span([half, most], SCALE, words) : ""));
  });
  return rows.length ? table([title, "Times", "p50", "p99", ""], rows, [1, 2, 3], title) : h("p", { class: "soft" }, `${title}: none yet.`);
}

/** @param {any[]} errors */
export function errorList(errors) {
  if (!errors.length) return h("p", { class: "soft" }, "None since the pool was started.");
  return h("ul", { class: "stack live-errors" }, errors.map((one) =>
    h("li", null, h("span", { class: "tag bad" }, one.code), " ", h("small", null, new Date(one.at * 1000).toLocaleTimeString()), one.message ? h("p", null, one.message) : null)));
}

/**
 * @param {string[]} heads
 * @param {Node[]} rows
 * @param {number[]} numbers columns that hold numbers
 * @param {string} label
 */
function table(heads, rows, numbers, label) {
  return h("table", { class: "table", "aria-label": label },
    h("thead", null, h("tr", null, heads.map((text, column) => (text ? h("th", { scope: "col", class: numbers.includes(column) ? "number" : "" }, text) : h("td", { class: "wide" }))))),
    h("tbody", null, rows));
}

/** @param {number} value */
function number(value) {
  return h("td", { class: "number" }, count(value));
}

/** @param {number} value */
export function round(value) {
  return Number(value.toFixed(value < 10 ? 1 : 0));
}
