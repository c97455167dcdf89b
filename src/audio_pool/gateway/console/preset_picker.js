// @ts-check
/**
 * Which presets a sound is made with: chosen by name from those that suit the engine, shown as buttons that take them away.
 *
 *   const picker = new PresetPicker({signal, onChange: () => …});
 *   picker.chosen = ["horror", "old radio"];   picker.suit("procedural");   picker.element
 *
 * What is chosen stays, though it is not known here (any more): the server says what is wrong with it.
 */
import { aborted, api, told } from "./api.js";
import { field, h, icon, replace } from "./dom.js";
import { announce } from "./notice.js";

/** @typedef {import("./api.js").Json} Json */

const MOST = 16;

export class PresetPicker {
  /** @param {{signal: AbortSignal, onChange: () => void}} given */
  constructor({ signal, onChange }) {
    this.signal = signal;
    this.onChange = onChange;
    /** @type {string[]} */
    this.names = [];
    /** @type {Json[]} */
    this.known = [];
    this.engine = "";
    this.asked = 0;
    this.select = h("select", { onchange: () => this.#add(this.select.value) }, h("option", { value: "" }, "Add a preset…"));
    this.list = h("ul", { class: "preset-list", "aria-label": "Presets that are chosen" });
    this.element = h("div", { class: "preset-picker" }, field("Presets", this.select, "Words and settings with a name: a place, a mood, a length."), this.list);
  }

  /** @param {string[]} names */
  set chosen(names) {
    this.names = [...new Set(names)].slice(0, MOST);
    this.#show();
  }

  get chosen() {
    return this.names;
  }

  /** Offer those that suit an engine; "": any. @param {string} engine */
  suit(engine) {
    if (engine === this.engine && this.known.length) return;
    this.engine = engine;
    void this.load();
  }

  async load() {
    const turn = ++this.asked;
    /** @type {Json[]} */
    const found = [];
    try {
      for (let after = /** @type {string | null} */ (null), first = true; first || after; first = false) {
        const query = new URLSearchParams({ limit: "500" });
        if (this.engine) query.set("engine", this.engine);
        if (after) query.set("after", after);
        const page = await api.get(`/v1/presets?${query}`, { signal: this.signal });
        found.push(...page.presets);
        after = page.following;
      }
    } catch (error) {
      if (!aborted(error)) this.select.title = told(error); // the rest of the form goes on without them
      return;
    }
    if (turn !== this.asked) return;
    this.known = found;
    this.#show();
  }

  /** @param {string} name */
  #add(name) {
    if (!name || this.names.includes(name)) return;
    this.names = [...this.names, name];
    this.#show();
    announce(`Preset ${name} is chosen`);
    this.onChange();
  }

  /** @param {string} name */
  #remove(name) {
    this.names = this.names.filter((one) => one !== name);
    this.#show();
    this.select.focus();
    announce(`Preset ${name} is taken away`);
    this.onChange();
  }

  #show() {
    const left = this.known.filter((one) => !this.names.includes(one.id));
    const group = (/** @type {string} */ label, /** @type {string} */ type) => {
      const found = left.filter((one) => one.type === type);
      return found.length ? h("optgroup", { label }, found.map((one) => h("option", { value: one.id }, one.id))) : null;
    };
    replace(this.select, h("option", { value: "" }, "Add a preset…"), group("Words", "prompt"), group("Settings", "generation_parameters"));
    this.select.disabled = this.names.length >= MOST;
    replace(
      this.list,
      this.names.map((name) => h("li", null, h("button", { class: "button small", type: "button", "aria-label": `Take away preset ${name}`, onclick: () => this.#remove(name) }, name, icon("close")))),
    );
    this.list.hidden = this.names.length === 0;
  }
}
