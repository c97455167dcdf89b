// @ts-check
/**
 * Kept sounds heard in passing, by their ids: whoever points at one hears it, and nothing else any more.
 *
 *   const listening = new Listening();
 *   listening.point(sound);  listening.leave(sound);   // heard after a moment, so that nobody who passes hears all
 *   listening.toggle(sound);                           // a button
 *   listening.addEventListener("change", …);           // listening.heard: the sound that plays, or null
 *   listening.addEventListener("gone", …);             // detail: a sound that is kept no more
 *   listening.part                                     // 0..1 of it, for a playhead
 *   listening.close();
 *
 * A file is the master, decoded once; the last ones are kept.
 */
import { Problem, api, aborted, told } from "./api.js";
import { toast } from "./notice.js";
import { player } from "./player.js";

/** @typedef {import("./player.js").Clip} Clip */
/** @typedef {{id: number, namespace: string, is_loop: boolean, sample_rate: number}} Kept */

const MOMENT_MS = 140;
const HELD = 24;

/** @param {Kept} sound @param {string} path @param {Record<string, string>} [query] */
export function addressOf(sound, path, query = {}) {
  const parameters = new URLSearchParams(query);
  if (sound.namespace !== "default") parameters.set("namespace", sound.namespace);
  const text = parameters.toString();
  return `/v1/sounds/${sound.id}${path}${text ? `?${text}` : ""}`;
}

export class Listening extends EventTarget {
  /** @type {Kept | null} */
  heard = null;
  /** @type {Map<number, Clip>} */
  #clips = new Map();
  /** Those that are being removed. @type {Set<number>} */
  #hushed = new Set();
  /** @type {Clip | null} */
  #clip = null;
  #timer = 0;
  #left = new AbortController();
  #asking = new AbortController();

  constructor() {
    super();
    this.changed = () => {
      if (this.heard && !player.isPlaying(this.#clip)) this.#tell(null, null);
    };
    player.addEventListener("change", this.changed);
  }

  get part() {
    return this.#clip && player.isPlaying(this.#clip) ? player.position(this.#clip) / this.#clip.duration : 0;
  }

  /** @param {Kept} sound */
  point(sound) {
    clearTimeout(this.#timer);
    if (this.heard?.id === sound.id || this.#hushed.has(sound.id)) return;
    // before anything was pressed a browser lets no page be heard
    if (!navigator.userActivation?.hasBeenActive) return;
    this.#timer = window.setTimeout(() => void this.play(sound), MOMENT_MS);
  }

  /** @param {Kept} [sound] whoever it was; nobody: whatever plays */
  leave(sound) {
    clearTimeout(this.#timer);
    this.#asking.abort();
    if (this.heard && (!sound || this.heard.id === sound.id)) player.stop();
  }

  /** They are about to be removed: not to be heard by being pointed at any more. @param {Iterable<number>} ids */
  hush(ids) {
    this.leave();
    for (const id of ids) this.#hushed.add(id);
  }

  /** They stay. @param {Iterable<number>} ids */
  unhush(ids) {
    for (const id of ids) this.#hushed.delete(id);
  }

  /** @param {Kept} sound */
  async toggle(sound) {
    if (this.heard?.id === sound.id) this.leave(sound);
    else await this.play(sound);
  }

  /** @param {Kept} sound */
  async play(sound) {
    clearTimeout(this.#timer);
    this.#asking.abort();
    const asking = new AbortController();
    this.#asking = asking;
    try {
      const clip = await this.#clipOf(sound, asking.signal);
      if (asking.signal.aborted || this.#left.signal.aborted) return;
      this.heard = null; // what plays now ends by this
      clip.at = 0;
      await player.play(clip);
      if (player.isPlaying(clip)) this.#tell(sound, clip);
    } catch (error) {
      if (error instanceof Problem && error.code === "not_found") this.dispatchEvent(new CustomEvent("gone", { detail: sound }));
      else if (!aborted(error)) toast(told(error), { kind: "bad" });
    }
  }

  close() {
    this.#left.abort();
    this.leave();
    player.removeEventListener("change", this.changed);
  }

  /** @param {Kept | null} sound @param {Clip | null} clip */
  #tell(sound, clip) {
    this.heard = sound;
    this.#clip = clip;
    this.dispatchEvent(new Event("change"));
  }

  /** @param {Kept} sound @param {AbortSignal} signal */
  async #clipOf(sound, signal) {
    let clip = this.#clips.get(sound.id);
    if (!clip) {
      const bytes = await api.bytes(addressOf(sound, "/audio", { format: "flac" }), { signal });
      clip = await player.decode(bytes, { loop: sound.is_loop, rate: sound.sample_rate });
    }
    this.#clips.delete(sound.id);
    this.#clips.set(sound.id, clip);
    for (const old of this.#clips.keys()) {
      if (this.#clips.size <= HELD) break;
      this.#clips.delete(old);
    }
    return clip;
  }
}
