// @ts-check
/**
 * A sound to hear and see: play, loop, place, outline, spectrogram. Its file is fetched when it is first needed.
 *
 *   const stage = new Stage({label: "rain", url: "/v1/sounds/7/audio?format=flac", loop: true});
 *   root.append(stage.element);
 *   await stage.load();    // by itself when it is played
 *   await stage.play();
 *   stage.clip             // what player.js plays; null until it is there
 *
 * `use(url)` puts another file in its place, at the same position: A against B.
 */
import { api, aborted, told } from "./api.js";
import { h, icon, pending, replace } from "./dom.js";
import { clock } from "./figures.js";
import { player } from "./player.js";
import { Spectrogram } from "./spectrogram.js";
import { Waveform, lanesOf } from "./waveform.js";

/** @typedef {import("./player.js").Clip} Clip */

export class Stage {
  /** @param {{label: string, url: string, loop: boolean, duration: number, rate?: number | null}} given */
  constructor({ label, url, loop, duration, rate = null }) {
    this.url = url;
    this.rate = rate;
    this.looped = loop;
    this.duration = duration;
    /** @type {Clip | null} */
    this.clip = null;
    /** @type {Map<string, Clip>} */
    this.clips = new Map();
    /** @type {Promise<Clip> | null} */
    this.loading = null;
    this.left = new AbortController();
    this.frame = 0;
    this.playButton = h("button", { class: "button primary play", type: "button", "aria-label": `Play ${label}`, onclick: () => void this.toggle() }, icon("play"));
    this.loopButton = h(
      "button",
      { class: "button small", type: "button", "aria-pressed": loop, title: "Play it again and again", onclick: () => this.#loop(!this.looped) },
      icon("loop"), "Loop",
    );
    this.time = h("span", { class: "time" });
    this.note = h("p", { class: "hint", role: "status" });
    this.waveform = new Waveform({ label: `Position in ${label}`, duration, onSeek: (part) => void this.seek(part) });
    this.spectrogram = new Spectrogram();
    this.pictures = h("div", { class: "pictures" }, this.waveform.element, this.spectrogram.element);
    this.element = h(
      "div", { class: "stage" },
      h("div", { class: "transport" }, this.playButton, h("div", null, this.time, h("div", { class: "row" }, this.loopButton))),
      this.pictures, this.note,
    );
    this.label = label;
    this.changed = () => this.#show();
    player.addEventListener("change", this.changed);
    this.#show();
  }

  /** Fetch, decode and draw it. @returns {Promise<Clip>} */
  load() {
    this.loading ??= this.#load(this.url).catch((error) => {
      this.loading = null;
      if (!aborted(error)) this.note.textContent = `The sound could not be fetched: ${told(error)}`;
      throw error;
    });
    return this.loading;
  }

  /** @param {string} url */
  async #load(url) {
    this.note.textContent = "";
    let clip = this.clips.get(url);
    if (!clip) {
      this.pictures.classList.add("skeleton");
      try {
        const bytes = await pending(this.playButton, api.bytes(url, { signal: this.left.signal, timeoutMs: 120_000 }));
        clip = await player.decode(bytes, { loop: this.looped, rate: this.rate });
      } finally {
        this.pictures.classList.remove("skeleton");
      }
      this.clips.set(url, clip);
    }
    clip.loop = this.looped;
    this.clip = clip;
    this.duration = clip.duration;
    this.waveform.show(lanesOf(clip.buffer), clip.duration);
    this.#show();
    void this.spectrogram.show(clip.buffer, this.left.signal).catch((error) => {
      if (!aborted(error)) throw error;
    });
    return clip;
  }

  async play() {
    const clip = await this.load();
    await player.play(clip);
  }

  async toggle() {
    await player.toggle(await this.load().catch(() => Promise.reject(new DOMException("told already", "AbortError"))));
  }

  /** Hear another file from here on, from the same place. @param {string} url */
  async use(url) {
    const playing = player.isPlaying(this.clip);
    const at = this.clip ? player.position(this.clip) : 0;
    this.url = url;
    this.loading = null;
    const clip = await this.load();
    if (playing) await player.swap(clip);
    else clip.at = Math.min(at, clip.duration);
    this.#show();
  }

  /** Give back what its samples take, which is much of a long sound; they are fetched again when they are wanted. */
  release() {
    if (!this.clip || player.isPlaying(this.clip)) return;
    this.clip = null;
    this.loading = null;
    this.clips.clear();
    this.#show();
  }

  /** @param {number} part 0..1 */
  async seek(part) {
    const clip = this.clip ?? (await this.load());
    player.seek(clip, part * clip.duration);
    this.#place();
  }

  /** @param {boolean} looped */
  #loop(looped) {
    this.looped = looped;
    this.loopButton.setAttribute("aria-pressed", String(looped));
    if (this.clip) player.setLoop(this.clip, looped);
  }

  #show() {
    const playing = player.isPlaying(this.clip);
    if (this.playButton.dataset.playing !== String(playing)) {
      this.playButton.dataset.playing = String(playing);
      replace(this.playButton, icon(playing ? "pause" : "play"));
      this.playButton.setAttribute("aria-label", `${playing ? "Pause" : "Play"} ${this.label}`);
    }
    this.#place();
    if (playing) this.#follow();
  }

  #follow() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      this.#place();
      if (player.isPlaying(this.clip)) this.#follow();
    });
  }

  #place() {
    const at = this.clip ? player.position(this.clip) : 0;
    const part = this.clip ? at / this.clip.duration : null;
    this.waveform.playhead(part);
    this.spectrogram.playhead(part);
    this.time.textContent = `${clock(at)} / ${clock(this.duration)}`;
  }

  close() {
    this.left.abort();
    cancelAnimationFrame(this.frame);
    if (player.isPlaying(this.clip)) player.pause();
    player.removeEventListener("change", this.changed);
    this.waveform.close();
    this.spectrogram.close();
  }
}
