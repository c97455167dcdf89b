// @ts-check
/**
 * A sound's outline, on which one sees and sets the place that is heard.
 *
 *   const waveform = new Waveform({label: "Position in rain", onSeek: (part) => …});   // part: 0..1
 *   root.append(waveform.element);
 *   waveform.show(lanesOf(buffer));  or  waveform.show(lanesOfOutline(json))           // waveform.json of a kept sound
 *   waveform.playhead(0.25);                                                           // null: none
 *
 * It is drawn as high as there is room, whatever its level; figures say that.
 *
 * It is a slider to the keyboard and to screen readers. Each lane is one channel: pairs of least and greatest, -1..1.
 */
import { h } from "./dom.js";
import { clock } from "./figures.js";

/** @typedef {Float32Array[]} Lanes */

const BUCKETS = 1600;

/** @param {AudioBuffer} buffer @returns {Lanes} */
export function lanesOf(buffer) {
  const buckets = Math.min(BUCKETS, buffer.length);
  return Array.from({ length: Math.min(2, buffer.numberOfChannels) }, (_, channel) => {
    const samples = buffer.getChannelData(channel);
    const lane = new Float32Array(2 * buckets);
    for (let bucket = 0; bucket < buckets; bucket += 1) {
      const end = Math.floor(((bucket + 1) * samples.length) / buckets);
      let low = 1;
      let high = -1;
      for (let at = Math.floor((bucket * samples.length) / buckets); at < end; at += 1) {
        const sample = samples[at];
        if (sample < low) low = sample;
        if (sample > high) high = sample;
      }
      lane[2 * bucket] = low;
      lane[2 * bucket + 1] = high;
    }
    return lane;
  });
}

/** @param {{data: number[], bits: number, channels?: number}} outline as audiowaveform writes it @returns {Lanes} */
export function lanesOfOutline({ data, bits, channels = 1 }) {
  const full = 2 ** (bits - 1);
  return Array.from({ length: Math.min(2, channels) }, (_, channel) => {
    const lane = new Float32Array(data.length / channels);
    for (let at = 0; 2 * at < lane.length; at += 1) {
      lane[2 * at] = data[2 * (at * channels + channel)] / full;
      lane[2 * at + 1] = data[2 * (at * channels + channel) + 1] / full;
    }
    return lane;
  });
}

export class Waveform {
  /** @param {{label: string, onSeek: (part: number) => void, duration?: number}} given */
  constructor({ label, onSeek, duration = 0 }) {
    this.duration = duration;
    this.onSeek = onSeek;
    /** @type {Lanes} */
    this.lanes = [];
    /** @type {number | null} */
    this.part = null;
    this.canvas = h("canvas", { class: "waveform-canvas" });
    this.head = h("div", { class: "playhead", hidden: true });
    this.element = h(
      "div",
      {
        class: "waveform",
        role: "slider",
        tabIndex: 0,
        "aria-label": label,
        "aria-valuemin": 0,
        "aria-valuemax": 100,
        "aria-valuenow": 0,
        onpointerdown: (/** @type {PointerEvent} */ event) => this.#grab(event),
        onpointermove: (/** @type {PointerEvent} */ event) => event.buttons & 1 && this.#seek(event),
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event),
      },
      this.canvas,
      this.head,
    );
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.element);
    this.themed = () => this.draw();
    document.addEventListener("theme", this.themed);
  }

  /** @param {Lanes} lanes @param {number} [duration] seconds */
  show(lanes, duration = this.duration) {
    this.lanes = lanes;
    this.duration = duration;
    this.draw();
  }

  /** @param {number | null} part */
  playhead(part) {
    if (part === this.part) return;
    this.part = part;
    this.head.hidden = part === null;
    if (part === null) return;
    this.head.style.setProperty("left", `${part * 100}%`);
    const now = String(Math.round(part * 100));
    if (this.element.getAttribute("aria-valuenow") !== now) {
      this.element.setAttribute("aria-valuenow", now);
      this.element.setAttribute("aria-valuetext", `${clock(part * this.duration)} of ${clock(this.duration)}`);
    }
  }

  draw() {
    const scale = window.devicePixelRatio || 1;
    const width = Math.round(this.element.clientWidth * scale);
    const height = Math.round(this.element.clientHeight * scale);
    const ink = this.canvas.getContext("2d");
    if (!ink || !width || !height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    const style = getComputedStyle(this.canvas);
    const tall = height / Math.max(1, this.lanes.length);
    const peak = this.lanes.reduce((most, lane) => lane.reduce((peak, value) => Math.max(peak, Math.abs(value)), most), 1e-4);
    const zoom = (0.46 * tall) / peak;
    this.lanes.forEach((lane, number) => {
      const middle = tall * (number + 0.5);
      ink.fillStyle = style.outlineColor;
      ink.fillRect(0, Math.round(middle), width, Math.max(1, Math.round(scale / 2)));
      ink.fillStyle = style.color;
      const buckets = lane.length / 2;
      for (let x = 0; x < width; x += 1) {
        let low = 1;
        let high = -1;
        const end = Math.max(Math.floor((x * buckets) / width) + 1, Math.floor(((x + 1) * buckets) / width));
        for (let at = Math.floor((x * buckets) / width); at < end && at < buckets; at += 1) {
          low = Math.min(low, lane[2 * at]);
          high = Math.max(high, lane[2 * at + 1]);
        }
        if (low > high) continue;
        ink.fillRect(x, middle - high * zoom, 1, Math.max(scale, (high - low) * zoom));
      }
    });
  }

  close() {
    this.resized.disconnect();
    document.removeEventListener("theme", this.themed);
  }

  /** @param {PointerEvent} event */
  #grab(event) {
    if (event.button !== 0) return;
    this.element.setPointerCapture(event.pointerId);
    this.#seek(event);
  }

  /** @param {PointerEvent} event */
  #seek(event) {
    const box = this.element.getBoundingClientRect();
    this.onSeek(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const now = this.part ?? 0;
    /** @type {Record<string, number>} */
    const places = {
      ArrowLeft: now - 0.02,
      ArrowDown: now - 0.02,
      ArrowRight: now + 0.02,
      ArrowUp: now + 0.02,
      PageDown: now - 0.1,
      PageUp: now + 0.1,
      Home: 0,
      End: 1,
    };
    const to = places[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.onSeek(Math.min(1, Math.max(0, to)));
  }
}
