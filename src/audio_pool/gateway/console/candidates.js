// @ts-check
/**
 * The candidates of one sound side by side: heard in turns at the same place and equally loud, seen beside each other,
 * one of them kept.
 *
 *   const candidates = new Candidates({making, sound, onChosen: (sound) => …, onAgain: (seed) => …, near: () => clip});
 *   card.beside.append(candidates.element);  candidates.close();
 *
 * `making` is the job that they were made for, `sound` what it was answered with, `near` the clip of the sound itself:
 * who hears that one, and presses a number, goes on from the same place.
 *
 * While one of them is heard, or the focus is among them, the number keys and the arrow keys choose which is heard.
 * Blind, they stand in another order under letters, without pictures and figures, until they are revealed.
 */
import { api, aborted, Problem, told } from "./api.js";
import { h, icon, pending, replace } from "./dom.js";
import { level } from "./figures.js";
import { announce, toast } from "./notice.js";
import { player } from "./player.js";
import { Spectrogram } from "./spectrogram.js";

/** @typedef {import("./api.js").Json} Json */
/** @typedef {import("./player.js").Clip} Clip */

/**
 * @typedef {object} One
 * @property {number} number among all that were made
 * @property {Json} told seed, quality, loudness, ...: as the server tells a candidate
 * @property {string} url
 * @property {boolean} kept it is the kept sound
 * @property {boolean} gone its file can be had no more
 * @property {Clip | null} clip
 * @property {Promise<Clip> | null} loading
 * @property {AbortController | null} getting
 * @property {Spectrogram} picture
 * @property {HTMLElement} element
 * @property {HTMLButtonElement} hear
 * @property {HTMLElement} rest what tells which it is
 * @property {HTMLButtonElement} keep
 */

const TYPING = "input:not([type=checkbox]):not([type=radio]):not([type=range]), textarea, select, [contenteditable]";
const OWN_ARROWS = "[role=slider], [role=radiogroup], input";

export class Candidates {
  /**
   * @param {{making: import("./making.js").Making, sound: Json, onChosen: (sound: Json) => void, onAgain: (seed: number) => void, near: () => Clip | null}} given
   */
  constructor({ making, sound, onChosen, onAgain, near }) {
    this.making = making;
    this.onChosen = onChosen;
    this.onAgain = onAgain;
    this.near = near;
    /** @type {Json} */
    this.metadata = sound.metadata;
    this.repeats = Boolean(this.metadata.is_loop);
    this.blind = false;
    this.left = new AbortController();
    this.frame = 0;
    this.ending = 0;
    /** In their own order. @type {One[]} */
    this.all = [];
    /** As they stand. @type {One[]} */
    this.order = [];
    /** Heard last. @type {One | null} */
    this.last = null;
    /** Until one is chosen, nothing is fetched. @type {Promise<unknown> | null} */
    this.choosing = null;
    this.repeatButton = h("button", { class: "button small", type: "button", "aria-pressed": this.repeats, onclick: () => this.#repeat(!this.repeats) }, icon("loop"), "Repeat");
    this.blindButton = h("button", { class: "button small", type: "button", "aria-pressed": false, onclick: () => this.#veil(!this.blind) }, icon("no"), "Blind");
    this.list = h("ol", { class: "candidate-list" });
    this.note = h("p", { class: "hint", role: "status" });
    this.element = h(
      "section", { class: "candidates stack", "aria-label": `Side by side: ${making.request.prompt}` },
      h("div", { class: "row apart" }, h("h4", null, "Candidates side by side"), h("div", { class: "row" }, this.repeatButton, this.blindButton)),
      this.list, this.note,
    );
    const kept = /** @type {Json[]} */ (this.metadata.candidates_kept ?? []);
    this.#add({ ...this.#winner(), url: sound.url }, true);
    for (const one of kept) this.#add(one, false);
    this.#sort();
    this.#expires(kept);
    this.#veil(false);
    this.changed = () => this.#show();
    this.pressed = (/** @type {KeyboardEvent} */ event) => this.#key(event);
    player.addEventListener("change", this.changed);
    document.addEventListener("keydown", this.pressed);
    this.seen = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) void this.#loadAll();
    });
    this.seen.observe(this.element);
    void this.#refresh(sound.id);
  }

  /** The sound that was chosen, told as a candidate. @returns {Json} */
  #winner() {
    const { metadata } = this;
    const at = metadata.candidates.findIndex((/** @type {Json} */ one) => one.seed === metadata.seed);
    return { ...metadata, number: at + 1, verdict: "chosen" };
  }

  /** @param {Json} told @param {boolean} kept */
  #add(told, kept) {
    const hear = h("button", { class: "button candidate-hear", type: "button", "aria-pressed": false });
    const keep = h("button", { class: "button small", type: "button" }, icon("check"), "Keep this one");
    const picture = new Spectrogram();
    const rest = h("div", { class: "stack" });
    const element = h("li", { class: "candidate" }, hear, picture.element, rest, keep);
    /** @type {One} */
    const one = { number: told.number, told, url: told.url, kept, gone: false, clip: null, loading: null, getting: null, picture, element, hear, rest, keep };
    hear.addEventListener("click", () => void this.#hear(one, true));
    keep.addEventListener("click", () => void (one.gone ? this.onAgain(one.told.seed) : this.#choose(one)));
    this.all.push(one);
  }

  #sort() {
    this.all.sort((a, b) => a.number - b.number);
    this.order = this.all.slice();
  }

  /** What is kept still, and whether another was chosen since. @param {number | null} entry */
  async #refresh(entry) {
    try {
      const now = await api.get(this.#address(), { signal: this.left.signal });
      if (now.entry !== null && now.entry !== entry) {
        const kept = await api.get(`/v1/sounds/${now.entry}${this.#within("?")}`, { signal: this.left.signal });
        const sound = { id: kept.id, url: `/v1/sounds/${kept.id}/audio?format=flac${this.#within("&")}`, metadata: kept.metadata };
        this.#take(sound, now.candidates);
        this.onChosen(sound);
      } else this.#take(null, now.candidates);
    } catch (error) {
      if (error instanceof Problem && error.status === 404) this.#allGone();
      else if (!aborted(error) && !(error instanceof Problem)) this.note.textContent = told(error);
    }
  }

  #address() {
    return `/v1/jobs/${this.making.jobId}/candidates`;
  }

  /** @param {string} sign */
  #within(sign) {
    return this.metadata.namespace === "default" ? "" : `${sign}namespace=${encodeURIComponent(this.metadata.namespace)}`;
  }

  /** @param {Json[]} kept */
  #expires(kept) {
    clearTimeout(this.ending);
    const at = Math.min(...kept.map((one) => one.expires_at));
    if (!Number.isFinite(at)) return;
    this.until = at;
    this.ending = window.setTimeout(() => this.#allGone(), Math.min(2 ** 31 - 1, Math.max(0, at * 1000 - Date.now())));
  }

  /** Those that were not chosen can be had no more: what has been fetched is heard still. */
  #allGone() {
    for (const one of this.all) one.gone = !one.kept;
    this.#tell();
  }

  // -- hearing

  async #loadAll() {
    for (const one of this.all) {
      if (!one.gone) await this.#load(one).catch(() => {}); // told by the one who wants to hear it
    }
  }

  /** @param {One} one @returns {Promise<Clip>} */
  #load(one) {
    one.loading ??= this.#fetch(one).catch((error) => {
      one.loading = null;
      throw error;
    });
    return one.loading;
  }

  /** @param {One} one */
  async #fetch(one) {
    await this.choosing;
    one.getting = new AbortController();
    const signal = AbortSignal.any([this.left.signal, one.getting.signal]);
    const bytes = await pending(one.hear, api.bytes(one.url, { signal, timeoutMs: 120_000 }));
    const clip = await player.decode(bytes, { loop: this.repeats, rate: this.metadata.sample_rate });
    one.clip = clip;
    this.#match(one);
    void one.picture.show(clip.buffer, this.left.signal).catch((error) => {
      if (!aborted(error)) throw error;
    });
    return clip;
  }

  /** By how many decibels one is turned down, so that it is as loud as the quietest. @param {One} one */
  #gain(one) {
    const known = this.all.map((other) => other.told.loudness_lufs).filter((lufs) => typeof lufs === "number");
    const own = one.told.loudness_lufs;
    return typeof own === "number" && known.length > 1 ? Math.min(...known) - own : 0;
  }

  /** Turn a clip down: the louder of two always sounds better. @param {One} one */
  #match(one) {
    const factor = 10 ** (this.#gain(one) / 20);
    if (!one.clip || factor === 1) return;
    for (let channel = 0; channel < one.clip.buffer.numberOfChannels; channel += 1) {
      const samples = one.clip.buffer.getChannelData(channel);
      for (let at = 0; at < samples.length; at += 1) samples[at] *= factor;
    }
  }

  /** Hear one; pressed again, it pauses. @param {One} one @param {boolean} [toggles] */
  async #hear(one, toggles = false) {
    player.unlock();
    try {
      const clip = await this.#load(one);
      clip.loop = this.repeats;
      const before = this.#heard();
      const ours = before?.clip ?? (player.isPlaying(this.near()) ? this.near() : null);
      this.last = one;
      if (ours === clip) {
        if (toggles) player.pause();
      } else if (ours && player.isPlaying(ours)) await player.swap(clip);
      else await player.play(clip, { at: clip.at });
      this.note.textContent = this.#hint();
      announce(this.#nameOf(one));
    } catch (error) {
      if (aborted(error)) return;
      if (error instanceof Problem && error.status === 404) one.gone = !one.kept;
      this.#tell();
      this.note.textContent = `${this.#nameOf(one)} could not be fetched: ${told(error)}`;
    }
  }

  /** The one that is heard. @returns {One | null} */
  #heard() {
    return this.all.find((one) => player.isPlaying(one.clip)) ?? null;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.target instanceof Element ? event.target : null;
    if (target?.closest(TYPING) || target?.closest("dialog")) return;
    const among = target?.closest(".candidates") ?? null;
    if (among && among !== this.element) return;
    const inside = among !== null;
    if (!inside && !this.#heard() && !player.isPlaying(this.near())) return;
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step && target?.closest(OWN_ARROWS)) return;
    let at = /^[1-9]$/.test(event.key) ? Number(event.key) - 1 : -1;
    if (step) {
      const now = this.order.findIndex((one) => one === (this.#heard() ?? this.last));
      at = (now + step + this.order.length) % this.order.length;
    }
    const one = this.order[at];
    if (!one) return;
    event.preventDefault();
    if (inside) one.hear.focus();
    void this.#hear(one);
  }

  /** @param {boolean} repeats */
  #repeat(repeats) {
    this.repeats = repeats;
    this.repeatButton.setAttribute("aria-pressed", String(repeats));
    for (const one of this.all) if (one.clip) player.setLoop(one.clip, repeats);
  }

  // -- showing

  /** @param {boolean} blind */
  #veil(blind) {
    this.blind = blind;
    this.order = blind ? shuffled(this.all) : this.all.slice();
    this.blindButton.setAttribute("aria-pressed", String(blind));
    replace(this.blindButton, icon(blind ? "check" : "no"), blind ? "Reveal" : "Blind");
    this.element.classList.toggle("blind", blind);
    replace(this.list, this.order.map((one) => one.element));
    this.#tell();
    this.note.textContent = this.#hint();
    if (blind) announce("Hidden and in another order. Choose by ear.");
  }

  /** @param {One} one */
  #nameOf(one) {
    return this.blind ? String.fromCharCode(65 + this.order.indexOf(one)) : `Candidate ${one.number}`;
  }

  #hint() {
    const keys = this.order.length > 1 ? `1–${Math.min(9, this.order.length)}` : "1";
    const until = this.until && this.all.some((one) => !one.kept && !one.gone) ? ` The others can be heard until ${new Date(this.until * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}.` : "";
    return `Keys ${keys} and the arrows switch while one is heard: at the same place, equally loud.${until}`;
  }

  /** Say what is known of each. */
  #tell() {
    for (const one of this.order) {
      const { told: known } = one;
      const name = this.#nameOf(one);
      const failed = known.verdict === "failed_gate";
      replace(
        one.hear, h("kbd", { "aria-hidden": "true" }, String(this.order.indexOf(one) + 1)), h("span", null, name),
        !this.blind && one.kept && h("span", { class: "tag good" }, "Kept"),
        !this.blind && failed && h("span", { class: "tag warn" }, "Failed the gate"),
      );
      one.picture.element.setAttribute("aria-label", `Spectrogram of ${name}`);
      one.picture.element.hidden = this.blind;
      const gain = this.#gain(one);
      const pairs = [
        ["Quality", `${Math.round(known.quality.score)} of 100`],
        typeof known.clap_similarity === "number" && ["Fits the words", known.clap_similarity.toFixed(2)],
        ["Loudness", level(known.loudness_lufs, "LUFS")],
        gain < -0.05 && ["Here turned by", level(gain, "dB")],
        known.loop && ["Seam", `${Math.round(known.loop.seam_score)} of 100`],
        ["Seed", String(known.seed)],
      ].filter(Boolean);
      if (this.blind) replace(one.rest);
      else replace(
        one.rest,
        h("dl", { class: "figures" }, pairs.map((/** @type {any} */ [term, value]) => h("div", { class: term === "Seed" ? "whole" : "" }, h("dt", null, term), h("dd", null, value)))),
        known.quality.issues.length > 0 && h("p", { class: "hint" }, known.quality.issues.join(", ")),
      );
      one.rest.hidden = this.blind;
      one.keep.hidden = one.kept && !this.blind;
      replace(one.keep, icon(one.gone && !this.blind ? "again" : "check"), one.gone && !this.blind ? "Make it again" : "Keep this one");
      one.keep.setAttribute("aria-label", `${one.gone && !this.blind ? "Make it again" : "Keep this one"}: ${name}`);
    }
    this.#show();
  }

  #show() {
    const heard = this.#heard();
    for (const one of this.all) {
      one.hear.setAttribute("aria-pressed", String(one === heard));
      one.element.classList.toggle("heard", one === heard);
    }
    this.#place();
    cancelAnimationFrame(this.frame);
    if (heard) this.#follow();
  }

  #follow() {
    this.frame = requestAnimationFrame(() => {
      this.#place();
      if (this.#heard()) this.#follow();
    });
  }

  #place() {
    const heard = this.#heard();
    const part = heard?.clip ? player.position(heard.clip) / heard.clip.duration : null;
    for (const one of this.all) one.picture.playhead(part);
  }

  // -- choosing

  /** @param {One} one */
  async #choose(one) {
    if (one.kept) {
      this.#veil(false);
      toast("It is the one that is kept already.", { kind: "good" });
      return;
    }
    const before = this.all.find((other) => other.kept);
    let chosenNow = () => {};
    this.choosing = new Promise((resolve) => (chosenNow = () => resolve(undefined)));
    for (const other of this.all) if (!other.clip) other.getting?.abort(); // where it lies is about to be another place
    try {
      const chosen = await pending(one.keep, api.post(`${this.#address()}/${one.number}/choose`, {}, { signal: this.left.signal }));
      this.#take(chosen.sound, chosen.candidates);
      this.#veil(false);
      this.onChosen(chosen.sound);
      toast(`Candidate ${one.number} is kept now; the same request finds it.`, { kind: "good", label: "Undo", action: before && (() => void this.#choose(before)) });
      one.hear.focus();
    } catch (error) {
      if (aborted(error)) return;
      toast(`It was not kept: ${told(error)}`, { kind: "bad" });
      if (error instanceof Problem && error.status === 404) void this.#refresh(null);
    } finally {
      chosenNow();
      void this.#loadAll();
    }
  }

  /**
   * Take what is kept now, and what can be heard beside it.
   * @param {Json | null} sound None: the same as before.
   * @param {Json[]} kept
   */
  #take(sound, kept) {
    const byNumber = new Map(kept.map((one) => [one.number, one]));
    for (const one of this.all) {
      if (sound) one.kept = one.told.seed === sound.metadata.seed;
      const now = byNumber.get(one.number);
      if (one.kept && sound) one.url = sound.url;
      if (now && !one.kept) one.url = now.url;
      one.gone = !one.kept && !now;
    }
    this.#expires(kept);
    this.#tell();
    this.note.textContent = this.#hint();
  }

  close() {
    this.left.abort();
    clearTimeout(this.ending);
    cancelAnimationFrame(this.frame);
    this.seen.disconnect();
    if (this.#heard()) player.pause();
    player.removeEventListener("change", this.changed);
    document.removeEventListener("keydown", this.pressed);
    for (const one of this.all) one.picture.close();
  }
}

/**
 * @template T
 * @param {T[]} all
 * @returns {T[]} in an order that nobody knows
 */
function shuffled(all) {
  const order = all.slice();
  for (let at = order.length - 1; at > 0; at -= 1) {
    const other = crypto.getRandomValues(new Uint32Array(1))[0] % (at + 1);
    [order[at], order[other]] = [order[other], order[at]];
  }
  return order;
}
