// @ts-check
/**
 * One sound at a time, heard as it is in its file: loops without a gap, and A against B at the same place.
 *
 *   const clip = await player.decode(await api.bytes(url), {loop: true});
 *   player.play(clip);  player.swap(other);  player.seek(clip, 1.5);  player.stop();
 *   player.addEventListener("change", …);    // what plays has changed: player.current, player.playing
 *   player.position(clip)                    // seconds within it, for playheads
 *
 * A file is decoded at its own rate, and played in a context of that rate: decoded at another it would be resampled as
 * if silence lay around it, and the joint of a loop would be heard. Loops want wav or flac; lossy formats have padding.
 *
 * rateOf(bytes)                    a file's own rate; null where its head does not say
 * wire(context, clip, {loop, at})  the very nodes that play a clip, in any context: an offline one renders what is heard
 */

const VOLUME = "audio-pool.volume";
const RAMP_S = 0.006;
const RESUME_MS = 1500;

export class Clip {
  /** @param {AudioBuffer} buffer @param {boolean} loop */
  constructor(buffer, loop) {
    this.buffer = buffer;
    this.loop = loop;
    /** Where it goes on from when it is played the next time, in seconds. */
    this.at = 0;
  }

  get duration() {
    return this.buffer.duration;
  }
}

/** @typedef {{source: AudioBufferSourceNode, fade: GainNode}} Wired */

/**
 * @param {BaseAudioContext} context
 * @param {Clip} clip
 * @param {{loop?: boolean, at?: number, into?: AudioNode, when?: number}} [how]
 * @returns {Wired}
 */
export function wire(context, clip, { loop = clip.loop, at = 0, into = context.destination, when = context.currentTime } = {}) {
  const fade = context.createGain();
  fade.connect(into);
  if (at > 0) {
    // in the middle of a wave: without a ramp it would click; at its beginning it begins as it was made
    fade.gain.setValueAtTime(0, when);
    fade.gain.linearRampToValueAtTime(1, when + RAMP_S);
  }
  const source = context.createBufferSource();
  source.buffer = clip.buffer;
  source.loop = loop;
  source.connect(fade);
  source.start(when, at);
  return { source, fade };
}

class Player extends EventTarget {
  /** @type {Clip | null} */
  current = null;
  playing = false;
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {GainNode | null} */
  #output = null;
  /** @type {Wired | null} */
  #wired = null;
  #startedAt = 0;
  #startedFrom = 0;
  #volume = Number(localStorage.getItem(VOLUME) ?? 0.8);

  /** 0..1, as a fader shows it. */
  get volume() {
    return this.#volume;
  }

  set volume(value) {
    this.#volume = Math.min(1, Math.max(0, value));
    localStorage.setItem(VOLUME, String(this.#volume));
    if (this.#context && this.#output) this.#output.gain.setTargetAtTime(gainOf(this.#volume), this.#context.currentTime, 0.01);
    this.dispatchEvent(new Event("volume"));
  }

  /**
   * @param {ArrayBuffer} bytes a whole file; they are gone afterwards
   * @param {{loop?: boolean, rate?: number | null}} [how] `rate`: what is known of a file whose head does not say
   * @returns {Promise<Clip>}
   */
  async decode(bytes, { loop = false, rate = null } = {}) {
    const own = rateOf(bytes) ?? rate ?? 48_000;
    const buffer = await new OfflineAudioContext(1, 1, own).decodeAudioData(bytes);
    return new Clip(buffer, loop);
  }

  /** Within a click: a browser lets a page sound only after one. */
  unlock() {
    if (!this.#context) void this.#contextOf(44_100).resume();
  }

  /**
   * Play it from `at`, or from where it was left.
   * @param {Clip} clip
   * @param {{at?: number, since?: number}} [how] `since`: when it was there, on the clock of what played until now; time
   *   that passes until it begins counts.
   */
  async play(clip, { at = clip.at, since } = {}) {
    const former = this.#context;
    this.#leave();
    const context = this.#contextOf(clip.buffer.sampleRate);
    if (context.state !== "running") await Promise.race([context.resume(), new Promise((later) => setTimeout(later, RESUME_MS))]);
    if (context !== this.#context || !this.#output) return; // another one was asked for meanwhile
    if (context.state !== "running") {
      this.dispatchEvent(new Event("change")); // the browser lets it sound after a click only
      return;
    }
    this.#leave();
    const now = context.currentTime;
    const gone = since === undefined || context !== former ? at : at + (now - since);
    const place = clip.loop ? gone % clip.duration : gone;
    const from = place >= clip.duration - 0.01 ? 0 : Math.max(0, place);
    const wired = wire(context, clip, { at: from, into: this.#output, when: now });
    this.#wired = wired;
    this.#startedAt = now;
    this.#startedFrom = from;
    this.current = clip;
    this.playing = true;
    wired.source.onended = () => {
      if (this.#wired === wired) this.#end();
    };
    this.dispatchEvent(new Event("change"));
  }

  /** Play another clip from the same place. @param {Clip} clip */
  async swap(clip) {
    const since = this.playing ? this.#context?.currentTime : undefined;
    const at = this.current ? this.position(this.current, since) : 0;
    await this.play(clip, { at, since });
  }

  /** @param {Clip} clip */
  async toggle(clip) {
    if (this.isPlaying(clip)) this.pause();
    else await this.play(clip);
  }

  pause() {
    this.#leave();
    this.dispatchEvent(new Event("change"));
  }

  stop() {
    const clip = this.current;
    this.#leave();
    if (clip) clip.at = 0;
    this.dispatchEvent(new Event("change"));
  }

  /** @param {Clip} clip @param {number} at seconds */
  seek(clip, at) {
    clip.at = Math.min(Math.max(0, at), clip.duration);
    if (this.isPlaying(clip)) void this.play(clip);
    else this.dispatchEvent(new Event("change"));
  }

  /** @param {Clip} clip @param {boolean} loop */
  setLoop(clip, loop) {
    clip.loop = loop;
    if (this.isPlaying(clip)) void this.play(clip, { at: this.position(clip) });
  }

  /** @param {Clip | null | undefined} clip */
  isPlaying(clip) {
    return this.playing && clip !== null && clip !== undefined && this.current === clip;
  }

  /** Seconds within a clip. @param {Clip} clip @param {number} [time] on its context's clock; now */
  position(clip, time = this.#context?.currentTime) {
    if (!this.isPlaying(clip) || time === undefined) return clip.at;
    const since = time - this.#startedAt + this.#startedFrom;
    return clip.loop ? since % clip.duration : Math.min(since, clip.duration);
  }

  /** Stop what plays, and remember where it was. */
  #leave() {
    const wired = this.#wired;
    if (!wired || !this.current || !this.#context) return;
    this.current.at = this.position(this.current);
    this.#wired = null;
    this.playing = false;
    const now = this.#context.currentTime;
    wired.fade.gain.cancelScheduledValues(now);
    wired.fade.gain.setTargetAtTime(0, now, RAMP_S / 3);
    wired.source.stop(now + 2 * RAMP_S);
  }

  #end() {
    this.#wired = null;
    this.playing = false;
    if (this.current) this.current.at = 0;
    this.dispatchEvent(new Event("change"));
  }

  /** @param {number} rate @returns {AudioContext} */
  #contextOf(rate) {
    if (this.#context && this.#context.sampleRate === rate) return this.#context;
    void this.#context?.close();
    const context = new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
    const output = context.createGain();
    output.gain.value = gainOf(this.#volume);
    output.connect(context.destination);
    this.#context = context;
    this.#output = output;
    return context;
  }
}

/** A fader's place as a factor: the square follows the ear. @param {number} volume */
function gainOf(volume) {
  return volume * volume;
}

/** Rates of MPEG-1, by the header's two bits. */
const MPEG_RATES = [44_100, 48_000, 32_000];

/**
 * @param {ArrayBuffer} bytes
 * @returns {number | null}
 */
export function rateOf(bytes) {
  const view = new DataView(bytes);
  const name = (/** @type {number} */ at, /** @type {number} */ length) =>
    at + length <= bytes.byteLength ? String.fromCharCode(...new Uint8Array(bytes, at, length)) : "";
  if (name(0, 4) === "RIFF" && name(8, 4) === "WAVE") {
    for (let at = 12; at + 16 <= bytes.byteLength; at += 8 + view.getUint32(at + 4, true) + (view.getUint32(at + 4, true) % 2)) {
      if (name(at, 4) === "fmt ") return view.getUint32(at + 12, true);
    }
    return null;
  }
  if (name(0, 4) === "fLaC" && bytes.byteLength > 21) return view.getUint32(18) >>> 12;
  if (name(0, 4) === "OggS") {
    if (name(28, 8) === "OpusHead") return 48_000;
    if (name(29, 6) === "vorbis" && bytes.byteLength > 44) return view.getUint32(40, true);
    return null;
  }
  let at = 0;
  if (name(0, 3) === "ID3" && bytes.byteLength > 14) {
    at = 10 + [6, 7, 8, 9].reduce((sum, place) => sum * 128 + view.getUint8(place), 0);
  }
  if (at + 4 <= bytes.byteLength && view.getUint16(at) >>> 5 === 0x7ff) {
    const version = (view.getUint8(at + 1) >> 3) & 3;
    const rate = MPEG_RATES[(view.getUint8(at + 2) >> 2) & 3];
    return rate === undefined || version === 1 ? null : rate / [4, 0, 2, 1][version];
  }
  return null;
}

export const player = new Player();
