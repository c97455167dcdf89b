// @ts-check
/**
 * All that is known of one kept sound, with what can be done with it: beside the grid, or before it where that is narrow.
 *
 *   const detail = new SoundDetail({many, onChange: (sound) => …, onClose: () => …, go: context.go});
 *   root.append(detail.element);
 *   await detail.show(sound);  detail.hide();
 */
import { Problem, api, aborted, told } from "./api.js";
import { field, h, icon, replace } from "./dom.js";
import { ago, hertz, level, seconds, size } from "./figures.js";
import { addressOf } from "./listening.js";
import { Many, formats, saveAs, tagsIn } from "./many.js";
import { toast } from "./notice.js";
import { Rating } from "./rating.js";
import { Stage } from "./stage.js";

/** @typedef {import("./shelf.js").Sound} Sound */

export class SoundDetail {
  /** @type {Sound | null} */
  sound = null;
  #asked = new AbortController();
  /** @type {Stage | null} */
  #stage = null;

  /** @param {{many: Many, onChange: (sound: Sound) => void, onClose: () => void, go: (name: string, parameters?: URLSearchParams) => void}} given */
  constructor({ many, onChange, onClose, go }) {
    this.many = many;
    this.onChange = onChange;
    this.onClose = onClose;
    this.go = go;
    this.element = h("aside", { class: "detail card", "aria-label": "Sound", hidden: true, onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") this.hide();
    } });
  }

  close() {
    this.#asked.abort();
    this.#stage?.close();
  }

  hide() {
    if (this.element.hidden) return;
    this.element.hidden = true;
    this.sound = null;
    this.#asked.abort();
    this.#stage?.close();
    this.onClose();
  }

  /** @param {Sound} sound @param {{focus?: boolean}} [how] */
  async show(sound, { focus = false } = {}) {
    this.#asked.abort();
    this.#asked = new AbortController();
    const { signal } = this.#asked;
    this.sound = sound;
    this.element.hidden = false;
    this.#draw(sound);
    if (focus) this.title?.focus();
    try {
      const whole = await api.get(addressOf(sound, ""), { signal });
      this.sound = { ...whole, score: sound.score };
      this.#known(whole);
    } catch (error) {
      if (this.#gone(sound, error)) return;
      if (!aborted(error)) replace(this.facts ?? this.element, h("p", { class: "note bad" }, told(error)));
    }
  }

  /** Take away what somebody else has removed. @param {Sound} sound @param {unknown} error @returns {boolean} whether it is that */
  #gone(sound, error) {
    if (!(error instanceof Problem && error.code === "not_found")) return false;
    if (this.sound?.id === sound.id) this.hide();
    this.many.gone([sound]);
    return true;
  }

  /** Only what has changed. @param {Sound} sound */
  refresh(sound) {
    if (this.sound?.id !== sound.id) return;
    this.sound = { ...this.sound, ...sound };
    this.#marks(this.sound);
  }

  /** @param {Sound} sound */
  #draw(sound) {
    this.title = h("h2", { class: "prompt-title", tabIndex: -1 }, sound.prompt);
    this.#stage?.close();
    const stage = new Stage({ label: sound.prompt, url: addressOf(sound, "/audio", { format: "flac" }), loop: sound.is_loop, duration: sound.duration_s, rate: sound.sample_rate });
    this.#stage = stage;
    void stage.load().catch(() => {}); // it has told
    this.rating = new Rating({ label: `Rating of ${sound.prompt}`, value: sound.rating, onRate: (stars) => void this.#mark({ rating: stars }) });
    this.favourite = h("button", { class: "button icon-only", type: "button", title: "Favourite (F)", "aria-label": "Favourite", onclick: () => void this.#mark({ favourite: !this.sound?.favourite }) }, icon("heart"));
    this.pin = h("button", { class: "button icon-only", type: "button", title: "Pin (P): no rule removes it", "aria-label": "Pinned", onclick: () => void this.#mark({ pinned: !this.sound?.pinned }) }, icon("pin"));
    this.tags = h("input", { type: "text", autocapitalize: "none", spellcheck: false, onchange: () => void this.#mark({ tags: tagsIn(this.tags?.value ?? "") }) });
    this.facts = h("div", { class: "stack" }, h("div", { class: "skeleton", style: { height: "120px" } }));
    const format = formats();
    format.setAttribute("aria-label", "Format");
    replace(
      this.element,
      h("header", null, this.title, h("button", { class: "button icon-only", type: "button", "aria-label": "Close", onclick: () => this.hide() }, icon("close"))),
      stage.element,
      h("div", { class: "row" }, this.favourite, this.pin, this.rating.element),
      field("Tags", this.tags, "Parted by commas."),
      this.facts,
      h("div", { class: "row" }, format, h("button", { class: "button", type: "button", onclick: () => void this.#save(format.value) }, icon("download"), "Download")),
      h("div", { class: "row" },
        h("button", { class: "button", type: "button", onclick: () => this.#again() }, icon("again"), "Make more like it"),
        h("button", { class: "button danger", type: "button", onclick: () => void this.#remove() }, icon("trash"), "Remove")),
    );
    this.#marks(sound);
  }

  /** @param {Sound} sound */
  #marks(sound) {
    if (!this.rating || !this.favourite || !this.pin || !this.tags) return;
    this.rating.show(sound.rating);
    this.favourite.setAttribute("aria-pressed", String(sound.favourite));
    this.pin.setAttribute("aria-pressed", String(sound.pinned));
    if (document.activeElement !== this.tags) this.tags.value = sound.tags.join(", ");
  }

  /** @param {Sound} sound */
  #known(sound) {
    const known = sound.metadata ?? {};
    /** @type {[string, string][]} */
    const figures = [
      ["Length", seconds(sound.duration_s)],
      ["Loop", sound.is_loop ? (known.loop ? `seam ${Math.round(known.loop.seam_score)} of 100` : "yes") : "no"],
      ["Rate", hertz(sound.sample_rate)],
      ["Loudness", level(known.loudness_lufs, "LUFS")],
      ["True peak", level(known.true_peak_dbfs, "dBFS")],
      ["Quality", sound.quality === null ? "–" : `${Math.round(sound.quality)} of 100`],
      ["Size", size(sound.size_bytes)],
      ["Engine", sound.engine],
      ["Seed", String(known.base_seed ?? known.seed ?? "–")],
      ["Licence", String(known.licence || "–")],
      ["Kept", ago(sound.created_at)],
      ["Used", sound.hits ? `${sound.hits} times, ${ago(sound.last_used)}` : "never"],
    ];
    const warnings = /** @type {string[]} */ (known.warnings ?? []);
    replace(
      this.facts ?? this.element,
      h("dl", { class: "figures" }, figures.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))),
      warnings.length ? h("p", { class: "hint" }, `Warnings: ${warnings.join("; ")}`) : null,
    );
  }

  /** @param {Record<string, unknown>} marks */
  async #mark(marks) {
    const sound = this.sound;
    if (!sound) return;
    try {
      const now = await api.patch(addressOf(sound, ""), marks);
      this.onChange(now);
      this.refresh(now);
    } catch (error) {
      if (this.#gone(sound, error)) return;
      toast(told(error), { kind: "bad" });
      this.#marks(sound);
    }
  }

  /** @param {string} format */
  async #save(format) {
    const sound = this.sound;
    if (!sound) return;
    try {
      const blob = await api.blob(addressOf(sound, "/audio", { format }), { timeoutMs: 60_000 });
      saveAs(blob, `${sound.prompt.slice(0, 60).replace(/[^\p{L}\p{N} ._-]+/gu, "_") || "sound"}.${format}`);
    } catch (error) {
      if (!aborted(error) && !this.#gone(sound, error)) toast(told(error), { kind: "bad" });
    }
  }

  #again() {
    const sound = this.sound;
    if (!sound) return;
    const parameters = new URLSearchParams({ prompt: sound.prompt, engine: sound.engine, duration_s: String(sound.duration_s), loop: String(sound.is_loop) });
    this.go("make", parameters);
  }

  async #remove() {
    if (this.sound && (await this.many.remove([this.sound]))) this.hide();
  }
}
