// @ts-check
/** Why a request was answered with a kept sound or a new one, in words: `explained(metadata, explanation)`. */
import { h } from "./dom.js";
import { ago } from "./figures.js";

/** @typedef {Record<string, any>} Json */

const MOST = 5;

/**
 * @param {Json | undefined} metadata of the sound that came
 * @param {Json} explanation what POST /v1/explain says now
 */
export function explained(metadata, explanation) {
  const cached = Boolean(metadata?.cached);
  const near = explanation.entries.filter((/** @type {Json} */ entry) => entry.id !== metadata?.entry_id).slice(0, MOST);
  return h("div", { class: "stack" },
    h("p", null, h("strong", null, cached ? "A kept sound was given: " : "A new sound was made: "), because(metadata, cached)),
    cached && metadata?.matched_prompt ? h("p", null, "It was made for ", h("q", null, metadata.matched_prompt), `, ${ago(metadata.generation_timestamp)}.`) : null,
    near.length ? h("div", null,
      h("h4", null, "What else is kept that comes near"),
      h("ul", { class: "near" }, near.map((/** @type {Json} */ entry) => h("li", null,
        h("span", { class: `tag ${entry.accepted ? "good" : ""}` }, entry.accepted ? "would do, too" : "would not do"),
        " ", h("q", null, entry.prompt), `: ${entry.reason}`, closeness(entry))))) : h("p", { class: "soft" }, "Nothing else that is kept comes near."),
    explanation.encoder ? null : h("p", { class: "hint" }, "Words are compared as they are: this pool has no encoder that knows what they mean."),
    explanation.warnings.map((/** @type {string} */ warning) => h("p", { class: "hint" }, warning)));
}

/** @param {Json | undefined} metadata @param {boolean} cached */
function because(metadata, cached) {
  if (cached) return `${metadata?.hit_reason ?? "it fits"}.`;
  if (metadata?.forced) return "a new one was asked for, whatever is kept.";
  return "nothing that was kept fitted these words and settings. It is kept now, and is given the next time.";
}

/** @param {Json} entry */
function closeness(entry) {
  const parts = [
    entry.cosine !== null && `words ${entry.cosine.toFixed(2)}`,
    entry.clap !== null && `sound ${entry.clap.toFixed(2)}`,
  ].filter(Boolean);
  return parts.length ? ` (${parts.join(", ")})` : "";
}
