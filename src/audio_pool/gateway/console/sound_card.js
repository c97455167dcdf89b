// @ts-check
/**
 * One sound that was asked for: on its way, then to hear, see, judge and take along.
 *
 *   const card = new SoundCard(making, {onAgain: (request) => …, onReuse: (request) => …, onDrop: () => …});
 *   list.prepend(card.element);  card.compact = true;  card.close();
 *
 * card.stage   the sound to hear (stage.js), once it is there
 * card.beside  an empty element below it: for what is made of the same request, such as its other candidates
 */
import { Problem, aborted, api, told } from "./api.js";
import { BetterNote } from "./better_note.js";
import { Candidates } from "./candidates.js";
import { FILES, asCommand, asCurl, asPython, copied, fileName } from "./code.js";
import { open } from "./dialog.js";
import { h, icon, pending, replace, uid } from "./dom.js";
import { clock, hertz, level, seconds } from "./figures.js";
import { menu } from "./menu.js";
import { announce, toast } from "./notice.js";
import { explained } from "./why.js";
import { Rating } from "./rating.js";
import { Stage } from "./stage.js";

/** @typedef {import("./api.js").Json} Json */
/** @typedef {import("./making.js").Making} Making */

const STAGES = /** @type {const} */ (["lookup", "queue", "generate", "score", "master", "store"]);
const SOURCES = /** @type {Record<string, string>} */ ({
  new_generation: "New", joined: "New, shared with another request", exact: "Kept: the same words", canonical: "Kept: words that mean the same",
  semantic: "Kept: by meaning", global: "Kept: by its sound", looser: "Kept: something like it",
});

export class SoundCard {
  /**
   * @param {Making} making
   * @param {{onAgain: (request: Json) => void, onReuse: (request: Json) => void, onDrop: () => void, autoplay?: boolean}} given
   */
  constructor(making, { onAgain, onReuse, onDrop, autoplay = false }) {
    this.making = making;
    this.onAgain = onAgain;
    this.onReuse = onReuse;
    this.onDrop = onDrop;
    this.autoplay = autoplay;
    /** @type {Stage | null} */
    this.stage = null;
    /** Those that were not chosen, to be heard against it. @type {Candidates | null} */
    this.candidates = null;
    this.beside = h("div", { class: "beside" });
    /** What is told of the sound, below it. */
    this.below = h("div", { class: "stack" });
    this.better = new BetterNote(making);
    /** The making that its sound came of: where it stood in, the one of the better sound later. */
    this.source = making;
    this.left = new AbortController();
    this.said = "";
    this.ticking = 0;
    this.rated = 0;
    this.within = "";
    /** Of the kept sound; null: it is not kept. @type {number | null} */
    this.entry = null;
    /** While it is under way. @type {{bar: HTMLElement, says: HTMLElement, elapsed: HTMLElement, cancel: HTMLButtonElement} | null} */
    this.way = null;
    const id = uid("sound");
    this.title = h("h3", { id, class: "prompt-title" }, making.request.prompt);
    this.tags = h("div", { class: "row tags" });
    this.fold = h("button", { class: "button icon-only", type: "button", onclick: () => (this.compact = !this.compact) }, icon("chevron"));
    this.body = h("div", { class: "stack" });
    this.element = h(
      "article", { class: "sound-card card", "aria-labelledby": id },
      h("header", null, h("div", null, this.title, this.tags), this.fold),
      this.body,
    );
    this.compact = false;
    this.changed = () => this.#show();
    making.addEventListener("change", this.changed);
    this.seen = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting) && !this.compact) void this.stage?.load().catch(() => {});
    });
    this.seen.observe(this.element);
    this.#show();
  }

  /** Only its name and how to play it are shown. */
  get compact() {
    return this.element.classList.contains("compact");
  }

  set compact(compact) {
    this.element.classList.toggle("compact", compact);
    this.fold.setAttribute("aria-expanded", String(!compact));
    this.fold.setAttribute("aria-label", `${compact ? "Show" : "Hide"} all of ${this.making.request.prompt}`);
    if (compact) this.stage?.release();
    else void this.stage?.load().catch(() => {});
  }

  #show() {
    const { making } = this;
    if (making.state === "done") {
      this.#done();
      this.better.show();
      if (making.better?.state === "done") void this.#replaced(making.better);
    } else if (making.over) this.#ended();
    else this.#underWay();
  }

  // -- on its way

  #underWay() {
    const { making } = this;
    this.way ??= this.#way();
    const { bar } = this.way;
    const { part, says } = making;
    bar.classList.toggle("doing", part === null || making.lost);
    if (part === null) bar.removeAttribute("aria-valuenow");
    else {
      bar.setAttribute("aria-valuenow", String(Math.round(part * 100)));
      bar.style.setProperty("--part", String(part));
    }
    bar.setAttribute("aria-valuetext", says);
    this.way.says.textContent = says;
    const stage = says.split(",")[0];
    if (stage !== this.said) announce(`${making.request.prompt}: ${stage}`);
    this.said = stage;
    this.#tick();
  }

  #way() {
    const way = {
      bar: h("div", { class: "progress", role: "progressbar", "aria-label": `Making ${this.making.request.prompt}`, "aria-valuemin": 0, "aria-valuemax": 100 }, h("span", null)),
      says: h("p", { class: "says" }),
      elapsed: h("span", { class: "soft" }),
      cancel: h("button", { class: "button small", type: "button", onclick: () => void this.#cancel() }, icon("close"), "Cancel"),
    };
    replace(this.body, h("div", { class: "row apart" }, h("div", { class: "row" }, way.says, way.elapsed), way.cancel), way.bar);
    this.ticking = window.setInterval(() => this.#tick(), 250);
    return way;
  }

  #tick() {
    if (this.way) this.way.elapsed.textContent = clock(Math.max(0, Date.now() / 1000 - this.making.at));
  }

  async #cancel() {
    const button = this.way?.cancel;
    if (button) button.disabled = true;
    try {
      await this.making.cancel();
    } catch (error) {
      if (button) button.disabled = false;
      toast(`It could not be cancelled: ${told(error)}`, { kind: "bad" });
    }
  }

  #ended() {
    const { making } = this;
    this.#settle();
    const failed = making.state === "failed";
    replace(
      this.body,
      h("div", { class: `note ${failed ? "bad" : ""}`, role: failed ? "alert" : "status" }, icon(failed ? "warn" : "no"), h("p", null, failed ? making.error : "Cancelled. Nothing was kept.")),
      h("div", { class: "row" },
        h("button", { class: "button small", type: "button", onclick: () => this.onAgain(making.request) }, icon("again"), "Try again"),
        h("button", { class: "button small quiet", type: "button", onclick: () => this.onReuse(making.request) }, "Change the words"),
        h("button", { class: "button small quiet", type: "button", onclick: () => this.onDrop() }, "Take away")),
    );
    announce(failed ? `It failed: ${making.error}` : "Cancelled");
  }

  #settle() {
    clearInterval(this.ticking);
    this.way = null;
  }

  // -- there

  #done() {
    const { sound } = this.source;
    if (!sound || this.stage) return;
    this.#settle();
    /** @type {Json} */
    const metadata = sound.metadata;
    this.stage = new Stage({ label: this.making.request.prompt, url: sound.url, loop: metadata.is_loop, duration: metadata.duration_s, rate: metadata.sample_rate });
    replace(this.body, this.stage.element, this.better.element, this.below);
    this.#tell(sound);
    announce(`${this.making.request.prompt}: ready, ${seconds(metadata.duration_s)}${metadata.approximate ? "; it stands in for what was asked for" : ""}`);
    if (this.autoplay) void this.stage.play().catch(() => {}); // the stage says what came in the way
    else if (!this.compact && this.element.isConnected) void this.stage.load().catch(() => {});
  }

  /** Tell all that is known of a sound. @param {Json} sound */
  #tell(sound) {
    const { metadata } = sound;
    this.entry = sound.id;
    this.within = metadata.namespace === "default" ? "" : `namespace=${encodeURIComponent(metadata.namespace)}`;
    replace(this.tags, this.#labels(metadata));
    replace(this.below, this.#judged(metadata), this.#figures(metadata), this.beside, this.#warnings(metadata), this.#provenance(metadata));
    if (!metadata.candidates_kept?.length || this.candidates) return;
    this.candidates = new Candidates({
      making: this.source, sound, near: () => this.stage?.clip ?? null, onChosen: (chosen) => this.#chosen(chosen),
      onAgain: (seed) => this.onAgain({ ...this.#plain(), seed, candidates: 1, force: false }),
    });
    replace(this.beside, this.candidates.element);
  }

  /** The sound as it was asked for takes the place of what stood in; who hears that hears this from the same moment on. @param {Making} better */
  async #replaced(better) {
    const { sound } = better;
    if (!sound || !this.stage || this.source === better) return;
    this.source = better;
    const within = this.element.contains(document.activeElement) && !this.stage.element.contains(document.activeElement) && document.activeElement !== this.fold;
    this.#tell(sound);
    if (within) this.stage.playButton.focus(); // what had the focus is gone
    await this.stage.use(sound.url).catch(() => {}); // the stage says what came in the way
    if (this.compact) this.stage.release();
  }

  /** Another of its candidates is the kept sound now. @param {Json} sound */
  #chosen(sound) {
    this.source.sound = sound;
    this.stage?.close();
    this.stage = null;
    this.autoplay = false;
    this.#done();
  }

  /** @param {Json} metadata */
  #labels(metadata) {
    const found = [
      h("span", { class: `tag ${metadata.cached ? "accent" : "good"}` }, SOURCES[metadata.cache_type] ?? metadata.cache_type),
      metadata.is_loop && h("span", { class: "tag" }, icon("loop"), "Loop"),
      h("span", { class: "tag" }, seconds(metadata.duration_s)),
      h("span", { class: "tag" }, metadata.engine),
      metadata.approximate && h("span", { class: "tag warn" }, "Approximate: it stands in"),
      metadata.accepted ? null : h("span", { class: "tag warn" }, "Did not pass the quality gate"),
    ];
    return found;
  }

  /** Everything that is done with it. @param {Json} metadata */
  #judged(metadata) {
    const { prompt } = this.making.request;
    const rating = new Rating({ label: `Rating of ${prompt}`, onRate: (stars) => void this.#rate(rating, stars) });
    const heart = h("button", { class: "button icon-only", type: "button", "aria-pressed": "false", "aria-label": "Favourite", title: "Favourite", onclick: () => void this.#favour(heart) }, icon("heart"));
    const kept = this.entry !== null;
    if (kept && metadata.cached) void this.#marks(rating, heart);
    const panel = h("div", { class: "why", hidden: true, id: uid("why") });
    const why = h("button", { class: "button small", type: "button", "aria-expanded": "false", "aria-controls": panel.id, onclick: () => void this.#why(why, panel) }, icon("why"), metadata.cached ? "Why this hit?" : "Why a new one?");
    const wrong = h("button", { class: "button small", type: "button", onclick: () => void this.#wrong(wrong) }, icon("no"), "Not what I meant");
    const files = kept ? FILES : FILES.filter((file) => file.end === metadata.format).slice(0, 1);
    return h("div", { class: "stack judged" },
      h("div", { class: "row" },
        kept && rating.element, kept && heart,
        h("button", { class: "button small", type: "button", onclick: () => this.#variant() }, icon("dice"), "Another variant"),
        wrong, why,
        menu([icon("download"), "Download"], files.map((file) => h("button", { class: "button small", type: "button", onclick: () => void this.#download(file) }, file.label))),
        menu([icon("code"), "Copy as"], [
          h("button", { class: "button small", type: "button", onclick: () => void this.#copy("curl", asCurl({ ...this.#plain(), format: "wav" }, Boolean(api.key))) }, "curl"),
          h("button", { class: "button small", type: "button", onclick: () => void this.#copy("Python", asPython(this.#plain())) }, "Python"),
          h("button", { class: "button small", type: "button", onclick: () => void this.#copy("a command", asCommand({ ...this.#plain(), format: "wav" })) }, "Command line"),
        ]),
        menu([icon("more")], [
          kept && h("a", { class: "button small", href: `#library?${this.#search(metadata)}` }, "Show it in the library"),
          h("button", { class: "button small", type: "button", onclick: () => this.onReuse(this.making.request) }, "Put it into the form"),
          h("button", { class: "button small", type: "button", onclick: () => this.#same(metadata) }, "Put it there with its seed"),
          h("button", { class: "button small", type: "button", onclick: () => this.onDrop() }, "Take away from this list"),
        ].filter((item) => item instanceof HTMLElement), { label: "More" })),
      panel);
  }

  /** Where the library shows it. @param {Json} metadata */
  #search(metadata) {
    const parameters = new URLSearchParams({ text: metadata.prompt });
    if (metadata.namespace !== "default") parameters.set("namespace", metadata.namespace);
    return parameters;
  }

  /** @param {Json} metadata */
  #figures(metadata) {
    const pairs = [
      ["Loudness", level(metadata.loudness_lufs, "LUFS"), "Of the whole sound, as broadcasters measure it"],
      ["True peak", level(metadata.true_peak_dbfs, "dBFS"), "The highest point of the wave, between the samples, too"],
      metadata.loop && ["Seam", `${Math.round(metadata.loop.seam_score)} of 100`, "How well its end goes over into its beginning"],
      ["Quality", `${Math.round(metadata.quality.score)} of 100`, "What the quality gate says of it"],
      ["Reaches to", hertz(metadata.bandwidth_hz), "Above this frequency there is nothing"],
      ["File", `${hertz(metadata.sample_rate)}, ${["", "mono", "stereo"][metadata.channels] ?? `${metadata.channels} channels`}`],
      [metadata.cached ? "Found in" : "Made in", seconds(metadata.timings_ms.total / 1000)],
    ].filter(Boolean);
    return h("dl", { class: "figures" }, pairs.map(([name, value, title]) => h("div", { title }, h("dt", null, name), h("dd", null, value))));
  }

  /** @param {Json} metadata */
  #warnings(metadata) {
    const said = [...metadata.warnings, ...metadata.quality.issues];
    if (!said.length) return null;
    return h("ul", { class: "stack" }, said.map((/** @type {string} */ one) => h("li", { class: "note" }, icon("warn"), h("p", null, one.replace(/^\w+: /, (name) => (name.length > 3 ? "" : name)).replace(/^./, (first) => first.toUpperCase())))));
  }

  /** @param {Json} metadata */
  #provenance(metadata) {
    const made = metadata.generation_timings_ms ?? metadata.timings_ms;
    const longest = Math.max(...STAGES.map((stage) => made[stage]), 1e-9);
    const details = Object.entries(metadata.options);
    const rows = [
      ["Words", metadata.prompt],
      metadata.negative_prompt && ["Not in it", metadata.negative_prompt],
      ["Engine", [metadata.engine, metadata.implementation !== metadata.engine && metadata.implementation].filter(Boolean).join(", ")],
      ["Model", [metadata.model, metadata.model_revision && `revision ${metadata.model_revision}`, metadata.dtype, metadata.quantization].filter(Boolean).join(", ")],
      ["Licence", `${metadata.licence}, ${metadata.commercial_use ? "free for commercial use" : "not for commercial use"}`],
      ["Seed", metadata.base_seed ?? metadata.seed ?? "–"],
      metadata.steps !== null && ["Steps", metadata.steps],
      metadata.guidance_scale !== null && ["Guidance", metadata.guidance_scale],
      metadata.voice && ["Voice", metadata.voice],
      details.length && ["Options", details.map(([name, value]) => `${name} ${value}`).join(", ")],
      ["Candidates", metadata.candidates.length > 1 ? `${metadata.candidates.length}, in ${metadata.rounds === 1 ? "one round" : `${metadata.rounds} rounds`}` : "1"],
      metadata.loop && ["Loop", metadata.loop.method === "native" ? "Made so by the engine" : `Crossfaded over ${seconds(metadata.loop.crossfade_s)}`],
      metadata.highpass && ["High-pass", metadata.highpass.hz ? `${hertz(metadata.highpass.hz)}, ${metadata.highpass.why}` : "none"],
      ["Made", new Date(metadata.generation_timestamp * 1000).toLocaleString()],
      ["By", `${metadata.worker.id || "–"} on ${metadata.worker.device}`],
      this.entry !== null && ["Kept as", `number ${this.entry}, namespace ${metadata.namespace}`],
    ].filter(Boolean);
    return h("details", { class: "provenance" },
      h("summary", null, "How it was made"),
      h("table", { class: "table" }, h("tbody", null, rows.map(([name, value]) => h("tr", null, h("th", { scope: "row" }, name), h("td", null, String(value)))))),
      h("h4", null, metadata.generation_timings_ms ? "Time, when it was made" : "Time"),
      h("ul", { class: "timings" }, STAGES.filter((stage) => made[stage] > 0).map((stage) => h("li", null, h("span", null, stage), h("span", { class: "timing", style: { "--part": made[stage] / longest } }), h("span", { class: "number" }, seconds(made[stage] / 1000))))));
  }

  // -- what is done with it

  /** The request as one writes it elsewhere. */
  #plain() {
    const { bit_depth, format, ...request } = this.making.request;
    return request;
  }

  #variant() {
    const { seed, ...request } = this.making.request;
    this.onAgain({ ...request, force: true });
  }

  /** @param {Json} metadata */
  #same(metadata) {
    this.onReuse({ ...this.making.request, seed: metadata.base_seed ?? metadata.seed ?? "" });
  }

  /** @param {string} [query] */
  #address(what = "", query = "") {
    const rest = [query, this.within].filter(Boolean).join("&");
    return `/v1/sounds/${this.entry}${what}${rest ? `?${rest}` : ""}`;
  }

  /** What is marked of it already. @param {Rating} rating @param {HTMLElement} heart */
  async #marks(rating, heart) {
    try {
      const kept = await api.get(this.#address(), { signal: this.left.signal });
      this.rated = kept.rating ?? 0;
      rating.show(this.rated);
      heart.setAttribute("aria-pressed", String(Boolean(kept.favourite)));
    } catch (error) {
      if (!(error instanceof Problem) && !aborted(error)) throw error; // it has been removed meanwhile
    }
  }

  /** @param {Rating} rating @param {number} stars 0: taken back */
  async #rate(rating, stars) {
    try {
      await (stars ? api.put(this.#address("/rating"), { rating: stars }) : api.delete(this.#address("/rating")));
      this.rated = stars;
      announce(stars ? `Rated ${stars} of 5` : "Rating taken back");
    } catch (error) {
      rating.show(this.rated);
      toast(`The rating was not kept: ${told(error)}`, { kind: "bad" });
    }
  }

  /** @param {HTMLElement} heart */
  async #favour(heart) {
    const favourite = heart.getAttribute("aria-pressed") !== "true";
    heart.setAttribute("aria-pressed", String(favourite));
    try {
      await (favourite ? api.put(this.#address("/favourite")) : api.delete(this.#address("/favourite")));
    } catch (error) {
      heart.setAttribute("aria-pressed", String(!favourite));
      toast(told(error), { kind: "bad" });
    }
  }

  /** @param {HTMLButtonElement} button */
  async #wrong(button) {
    button.disabled = true;
    try {
      const target = this.source.sound?.metadata.request_id || this.source.jobId;
      const { effect } = await pending(button, api.post("/v1/feedback", { target, verdict: "wrong" }));
      const denied = effect === "denied";
      replace(button, icon("check"), denied ? "Not offered again for these words" : "Noted");
      toast(denied ? "It will not be offered for these words again." : "Noted. The server no longer knows what it answered, so its choice stays as it is.", {
        kind: "good", label: "Make another", action: () => this.#variant(),
      });
    } catch (error) {
      button.disabled = false;
      toast(told(error), { kind: "bad" });
    }
  }

  /** @param {HTMLButtonElement} button @param {HTMLElement} panel */
  async #why(button, panel) {
    const shown = panel.hidden;
    panel.hidden = !shown;
    button.setAttribute("aria-expanded", String(shown));
    if (!shown) return;
    try {
      const explanation = await pending(button, api.post("/v1/explain", this.making.request, { signal: this.left.signal }));
      replace(panel, explained(this.source.sound?.metadata, explanation));
    } catch (error) {
      if (!aborted(error)) replace(panel, h("p", null, told(error)));
    }
  }

  /** @param {{label: string, query: string, end: string}} file */
  async #download(file) {
    const url = this.entry === null ? this.source.sound?.url : this.#address("/audio", file.query);
    try {
      const blob = await api.blob(url, { timeoutMs: 120_000 });
      const href = URL.createObjectURL(blob);
      h("a", { href, download: fileName(this.making.request.prompt, file.end) }).click();
      setTimeout(() => URL.revokeObjectURL(href), 60_000);
      announce(`${file.label} is downloaded`);
    } catch (error) {
      toast(`It was not downloaded: ${told(error)}`, { kind: "bad" });
    }
  }

  /** @param {string} what @param {string} text */
  async #copy(what, text) {
    if (await copied(text)) toast(`Copied as ${what}.`, { kind: "good" });
    else open(`As ${what}`, [h("pre", { class: "code", tabIndex: 0 }, text)]);
  }

  close() {
    clearInterval(this.ticking);
    this.left.abort();
    this.seen.disconnect();
    this.making.removeEventListener("change", this.changed);
    this.candidates?.close();
    this.stage?.close();
  }
}
