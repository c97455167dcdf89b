// @ts-check
/**
 * What is wanted: the words, who is to make it, and everything that this engine lets one choose.
 *
 *   const form = new SoundForm({engines: () => context.engines(), onMake: (request) => …});
 *   form.fill({prompt: "rain", loop: true});   form.request();   form.focus();
 *
 * What is typed is kept in this tab (sessionStorage) at every stroke, so that neither a reload nor a server that is gone
 * takes it away. The engine's own options are made from its description; what a chosen engine has not is not shown, and
 * not asked for, but kept.
 */
import { aborted, api, told } from "./api.js";
import { field, h, icon, replace, soon, uid } from "./dom.js";
import { seconds } from "./figures.js";
import { PresetPicker } from "./preset_picker.js";

/** @typedef {import("./api.js").Json} Json */

const KEPT = "audio-pool.form";
const CHECK_MS = 450;
const LONGEST_SLIDER_S = 30;
const MOST_CANDIDATES = 16;
const KIND = "kind:";
/** Fields that are a control each, by their name in a request. */
const TEXTS = /** @type {const} */ (["prompt", "negative_prompt", "engine", "duration_s", "candidates", "seed", "voice", "steps", "guidance_scale", "namespace", "loudness_profile"]);
const NUMBERS = new Set(["duration_s", "candidates", "steps", "guidance_scale"]);
/** A loudness of its own that a configuration may have is not known here. */
const PROFILES = { "": "As the pool is set", game: "Game, −18 LUFS", broadcast: "Broadcast, −23 LUFS", web: "Web, −14 LUFS", film: "Film, −27 LUFS" };

export class SoundForm {
  /** @param {{engines: () => Promise<{engines: Json[], default: string}>, onMake: (request: Json) => void, signal: AbortSignal}} given */
  constructor({ engines, onMake, signal }) {
    this.askEngines = engines;
    this.onMake = onMake;
    this.signal = signal;
    /** @type {Json[]} */
    this.engines = [];
    this.defaultEngine = "";
    /** What was typed for each option, by its name. @type {Record<string, string>} */
    this.options = {};
    this.checking = new AbortController();
    this.check = soon(CHECK_MS, () => void this.#check());
    this.kept = /** @type {Json} */ ({});
    const number = (/** @type {Json} */ more) => h("input", { type: "number", inputMode: "decimal", ...more });
    this.prompt = h("textarea", {
      id: uid("prompt"), rows: 3, required: true, maxLength: 5000, placeholder: "Rain on a tin roof, distant thunder", enterKeyHint: "go", spellcheck: true,
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        this.element.requestSubmit();
      },
    });
    this.engine = h("select", null, h("option", { value: "" }, "Auto"));
    this.duration_s = number({ min: "0.05", max: "600", step: "any", value: "4", required: true });
    this.slider = h("input", { type: "range", min: "0.5", max: String(LONGEST_SLIDER_S), step: "0.5", value: "4", "aria-label": "Seconds, by a slider", tabIndex: -1 });
    this.loop = h("input", { type: "checkbox", class: "switch", role: "switch", id: uid("loop") });
    this.candidates = number({ min: "1", max: String(MOST_CANDIDATES), step: "1", placeholder: "auto" });
    this.seed = h("input", { type: "text", inputMode: "numeric", pattern: "[0-9]{1,19}", placeholder: "random", autocomplete: "off" });
    this.negative_prompt = h("input", { type: "text", maxLength: 2000, placeholder: "music, voices" });
    this.voice = h("select", null);
    this.steps = number({ min: "1", max: "1000", step: "1" });
    this.guidance_scale = number({ min: "0", max: "100", step: "any" });
    this.loudness_profile = h("select", null, Object.entries(PROFILES).map(([value, text]) => h("option", { value }, text)));
    this.namespace = h("input", { type: "text", maxLength: 64, placeholder: "default", autocomplete: "off", spellcheck: false });
    this.force = h("input", { type: "checkbox", id: uid("force") });
    this.within_s = number({ min: "0.05", max: "86400", step: "any", placeholder: "as long as it takes" });
    this.stand_in = h("input", { type: "checkbox", id: uid("stand-in") });
    this.presets = new PresetPicker({ signal, onChange: () => {
      this.#named();
      this.#keep();
    } });
    this.also = h("span", { class: "soft" });
    this.findings = h("ul", { class: "findings", "aria-live": "polite", "aria-label": "About these words" });
    this.asks = h("label", { htmlFor: this.prompt.id }, "What do you want to hear?");
    this.about = h("p", { class: "hint" });
    this.own = h("div", { class: "fields" });
    this.fields = {
      length: this.#length(),
      negative: field("Not in it", this.negative_prompt, "What is not to be heard."),
      voice: field("Voice", this.voice),
      steps: field("Steps", this.steps),
      guidance: field("Guidance", this.guidance_scale, "How closely it keeps to the words."),
    };
    const dice = h("button", { class: "button icon-only", type: "button", "aria-label": "Draw a seed", title: "Draw a seed", onclick: () => this.#draw() }, icon("dice"));
    this.seed.id = uid("seed");
    this.make = h("button", { class: "button primary make", type: "submit" }, icon("make"), "Make it");
    this.more = h(
      "details", { class: "more" },
      h("summary", null, "More", this.also),
      this.presets.element,
      h("div", { class: "fields" },
        h("div", { class: "field" }, h("label", { htmlFor: this.seed.id }, "Seed"), h("div", { class: "joined" }, this.seed, dice), h("p", { class: "hint", id: `${this.seed.id}-hint` }, "The same seed makes the same sound.")),
        this.fields.negative, this.fields.voice, this.fields.steps, this.fields.guidance,
        field("Loudness", this.loudness_profile),
        field("Answer within", this.within_s, "Seconds; by then the best there is, and the sound itself when it is made."),
        field("Namespace", this.namespace, "Sounds of one namespace are never found from another. Empty: the default one, or your key's."),
      ),
      this.own,
      h("label", { class: "choice" }, this.stand_in, "Something at once, and the sound itself when it is made"),
      h("label", { class: "choice" }, this.force, "Make a new one even if a kept one fits"),
    );
    this.seed.setAttribute("aria-describedby", `${this.seed.id}-hint`);
    this.element = this.#form();
    this.#restore();
    void this.loadEngines();
  }

  #form() {
    return h(
      "form",
      {
        class: "sound-form card", "aria-label": "The sound that is wanted",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          this.onMake(this.request());
        },
        oninput: (/** @type {Event} */ event) => this.#changed(event),
      },
      h("div", { class: "field prompt-field" }, this.asks, this.prompt, this.findings),
      this.fields.length, this.#loops(),
      h("div", { class: "fields who" }, field("Made by", this.engine), field("Candidates", this.candidates, "The best is kept; hear the others, too.")),
      this.about, this.more, this.make,
    );
  }

  #length() {
    this.duration_s.id = uid("seconds");
    return h("div", { class: "field" }, h("label", { htmlFor: this.duration_s.id }, "Seconds"), h("div", { class: "joined" }, this.duration_s, this.slider));
  }

  #loops() {
    const hint = h("p", { class: "hint", id: `${this.loop.id}-hint` }, "It goes on without a seam.");
    this.loop.setAttribute("aria-describedby", hint.id);
    return h("div", { class: "field loops" }, h("label", { class: "choice", htmlFor: this.loop.id }, this.loop, "Loop"), hint);
  }

  // -- what is asked

  /** The request that the form stands for. @returns {Json} */
  request() {
    const engine = this.chosen();
    const has = has_(engine);
    /** @type {Json} */
    const request = { prompt: this.prompt.value.trim() };
    for (const name of TEXTS) {
      const control = this[name];
      const value = control.value.trim();
      if (name === "prompt" || value === "" || !has(name)) continue;
      request[name] = NUMBERS.has(name) ? Number(value) : value;
    }
    if (has("duration_s")) request.loop = this.loop.checked;
    if (this.force.checked) request.force = true;
    if (this.within_s.value) Object.assign(request, { deadline_ms: Math.round(1000 * Number(this.within_s.value)), best_by_deadline: true, upgrade: true });
    if (this.stand_in.checked) request.stand_in = true;
    const options = this.#ownOptions(engine);
    if (Object.keys(options).length) request.options = options;
    if (this.presets.chosen.length) request.presets = [...this.presets.chosen];
    return request;
  }

  /** @param {Json} request what to show */
  fill(request) {
    for (const name of TEXTS) {
      if (name in request) this[name].value = String(request[name] ?? "");
    }
    if ("engine" in request) this.#engineListed(String(request.engine ?? ""));
    if ("loop" in request) this.loop.checked = request.loop === true || request.loop === "true" || request.loop === "1";
    if ("force" in request) this.force.checked = Boolean(request.force);
    if ("deadline_ms" in request) this.within_s.value = request.deadline_ms ? String(Number(request.deadline_ms) / 1000) : "";
    if ("stand_in" in request) this.stand_in.checked = String(request.stand_in) === "true";
    this.options = Object.fromEntries(Object.entries(request.options ?? {}).map(([name, value]) => [name, String(value)]));
    if ("presets" in request) this.presets.chosen = namesIn(request.presets);
    this.#named();
    this.#fit();
    this.#keep();
    this.check();
  }

  focus() {
    this.prompt.focus();
  }

  /** The engine that is to make it, as far as that is known here. @returns {Json | null} */
  chosen() {
    const name = this.engine.value || this.defaultEngine;
    if (!name.startsWith(KIND)) return this.engines.find((engine) => engine.name === name) ?? null;
    const fit = this.engines.filter((engine) => engine.kinds.includes(name.slice(KIND.length)));
    return fit.find((engine) => engine.state === "ready") ?? fit[0] ?? null;
  }

  /** @param {Json | null} engine @returns {Json} */
  #ownOptions(engine) {
    /** @type {Json} */
    const found = {};
    for (const option of engine?.options ?? []) {
      const text = this.options[option.name] ?? "";
      if (text === "") continue;
      found[option.name] = option.type === "bool" ? text === "true" : option.type === "str" ? text : Number(text);
    }
    return found;
  }

  // -- engines

  async loadEngines() {
    try {
      const told = await this.askEngines();
      if (this.signal.aborted) return;
      this.engines = told.engines;
      this.defaultEngine = told.default;
    } catch (error) {
      if (aborted(error) || this.signal.aborted) return;
      this.about.textContent = `The engines are not known yet: ${told(error)}`;
      return;
    }
    const kept = this.engine.value || this.kept?.engine || "";
    const kinds = [...new Set(this.engines.flatMap((engine) => engine.kinds))].sort();
    replace(
      this.engine,
      h("option", { value: "" }, this.defaultEngine ? `Auto: ${this.defaultEngine.replace(KIND, "")}` : "Auto"),
      kinds.length > 1 || this.engines.length > 1 ? h("optgroup", { label: "By kind" }, kinds.map((kind) => h("option", { value: KIND + kind }, kind.charAt(0).toUpperCase() + kind.slice(1)))) : null,
      h("optgroup", { label: "Engines" }, this.engines.map((engine) => h("option", { value: engine.name }, engine.state === "ready" ? engine.name : `${engine.name} (${engine.state})`))),
    );
    this.#engineListed(kept);
    this.#fit();
  }

  /** Choose an engine, listing it where it is not, so that what a link asks for is not lost. @param {string} name */
  #engineListed(name) {
    this.engine.value = name;
    if (this.engine.value === name) return;
    this.engine.append(h("option", { value: name }, name));
    this.engine.value = name;
  }

  /** Show what the chosen engine has, within its bounds. */
  #fit() {
    const engine = this.chosen();
    const has = has_(engine);
    this.fields.length.hidden = !has("duration_s");
    this.duration_s.required = has("duration_s");
    this.loop.closest(".field")?.toggleAttribute("hidden", !has("duration_s"));
    this.fields.negative.hidden = !has("negative_prompt");
    this.fields.voice.hidden = !has("voice");
    this.fields.steps.hidden = !has("steps");
    this.fields.guidance.hidden = !has("guidance_scale");
    for (const name of /** @type {const} */ (["duration_s", "negative_prompt", "voice", "steps", "guidance_scale"])) {
      this[name].disabled = !has(name); // what is not shown must not hold the form up
    }
    this.asks.textContent = engine?.speech ? "What is to be said?" : "What do you want to hear?";
    if (engine) {
      this.duration_s.min = String(engine.shortest_s);
      this.duration_s.max = String(engine.longest_s);
      this.slider.max = String(Math.min(LONGEST_SLIDER_S, engine.longest_s));
      this.steps.placeholder = engine.steps === null ? "" : String(engine.steps);
      this.guidance_scale.placeholder = engine.guidance_scale === null ? "" : String(engine.guidance_scale);
      const voice = this.voice.value || this.kept?.voice || "";
      replace(this.voice, h("option", { value: "" }, "The engine's choice"), engine.voices.map((/** @type {Json} */ one) => h("option", { value: one.name }, [one.name, one.language, one.summary].filter(Boolean).join(" · "))));
      this.voice.value = voice;
      if (this.voice.selectedIndex < 0) this.voice.value = "";
    }
    this.slider.value = this.duration_s.value;
    replace(this.own, engine ? engine.options.map((/** @type {Json} */ option) => this.#optionField(option)) : null);
    this.about.textContent = engine ? aboutEngine(engine) : "";
    if (engine) this.presets.suit(engine.name);
  }

  /** A control for one of the engine's own options. @param {Json} option */
  #optionField(option) {
    const name = option.name;
    const usual = option.default === null ? "the engine's choice" : String(option.default);
    /** @type {HTMLInputElement | HTMLSelectElement} */
    let control;
    const choices = option.type === "bool" ? ["true", "false"] : option.choices;
    if (choices.length) {
      const words = option.type === "bool" ? { true: "Yes", false: "No" } : {};
      control = h("select", null, h("option", { value: "" }, `Unset: ${usual}`), choices.map((/** @type {string} */ one) => h("option", { value: one }, Reflect.get(words, one) ?? one)));
    } else if (option.type === "str") {
      control = h("input", { type: "text", placeholder: usual, maxLength: option.high ?? 2000 });
    } else {
      control = h("input", { type: "number", placeholder: usual, min: option.low ?? "", max: option.high ?? "", step: option.type === "int" ? "1" : "any" });
    }
    control.value = this.options[name] ?? "";
    control.dataset.option = name;
    const bounds = option.low !== null && option.high !== null && option.type !== "str" ? ` ${option.low} to ${option.high}.` : "";
    const label = name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
    return field(label, control, [option.summary && `${option.summary}.`.replace(/\.\.$/, "."), bounds].filter(Boolean).join(""));
  }

  // -- what is typed

  /** @param {Event} event */
  #changed(event) {
    const from = event.target;
    if (from === this.slider) this.duration_s.value = this.slider.value;
    if (from === this.duration_s) this.slider.value = this.duration_s.value;
    if (from instanceof HTMLElement && from.dataset.option) this.options[from.dataset.option] = Reflect.get(from, "value");
    if (from === this.engine) this.#fit();
    this.#keep();
    if (from === this.prompt || from === this.negative_prompt || from === this.engine || from === this.loop) this.check();
  }

  /** Say which presets are chosen, also where they are folded away. */
  #named() {
    this.also.textContent = this.presets.chosen.length ? `\u00a0· ${this.presets.chosen.join(", ")}` : "";
  }

  #draw() {
    this.seed.value = String(crypto.getRandomValues(new Uint32Array(1))[0]);
    this.#keep();
  }

  #keep() {
    const kept = Object.fromEntries(TEXTS.map((name) => [name, this[name].value]));
    sessionStorage.setItem(KEPT, JSON.stringify({ ...kept, loop: this.loop.checked, force: this.force.checked, deadline_ms: 1000 * Number(this.within_s.value), stand_in: this.stand_in.checked, options: this.options, presets: this.presets.chosen, more: this.more.open }));
  }

  #restore() {
    try {
      this.kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
    } catch {
      this.kept = {};
    }
    this.more.addEventListener("toggle", () => this.#keep());
    this.more.addEventListener("invalid", () => (this.more.open = true), true); // or the browser has nowhere to say it
    this.more.open = Boolean(this.kept.more);
    const { more, ...request } = this.kept;
    this.fill(request);
  }

  /** Ask what is likely to make a bad sound of these words; nobody waits for it. */
  async #check() {
    this.checking.abort();
    this.checking = new AbortController();
    const prompt = this.prompt.value.trim();
    if (!prompt) {
      replace(this.findings);
      return;
    }
    const asked = { prompt, loop: this.loop.checked, negative_prompt: this.negative_prompt.value, engine: this.engine.value || null };
    const { signal } = this.checking;
    try {
      const { findings, tips } = await api.post("/v1/prompts/check", asked, { signal });
      if (signal.aborted || this.signal.aborted) return;
      replace(
        this.findings,
        findings.map((/** @type {Json} */ one) => h("li", null, icon("warn"), h("span", null, one.sentence.charAt(0).toUpperCase() + one.sentence.slice(1), "."))),
        findings.length ? tips.map((/** @type {string} */ tip) => h("li", { class: "tip" }, icon("check"), h("span", null, tip))) : null,
      );
    } catch (error) {
      if (!signal.aborted) replace(this.findings); // advice that does not come is none
    }
  }

  close() {
    this.check.cancel();
    this.checking.abort();
  }
}

/** Names of presets, as a request has them or as an address does. @param {unknown} given @returns {string[]} */
function namesIn(given) {
  if (typeof given === "string") {
    try {
      given = JSON.parse(given);
    } catch {
      return [];
    }
  }
  return Array.isArray(given) ? given.map(String) : [];
}

/** What an engine lets one ask for: a function of a field's name. @param {Json | null} engine @returns {(name: string) => boolean} */
function has_(engine) {
  return (name) => {
    if (!engine) return name !== "voice" && name !== "steps" && name !== "guidance_scale";
    if (name === "duration_s") return !engine.natural_length;
    if (name === "voice") return engine.voices.length > 0;
    if (name === "steps" || name === "guidance_scale") return engine[name] !== null;
    return name === "negative_prompt" ? engine.negative_prompt : true;
  };
}

/** @param {Json} engine */
function aboutEngine(engine) {
  const free = engine.commercial_use ? "free for commercial use" : "not for commercial use";
  const length = engine.natural_length ? "as long as its words take" : `up to ${seconds(engine.longest_s)}`;
  return [engine.summary, length, `${engine.licence}, ${free}`].filter(Boolean).join(" · ");
}
