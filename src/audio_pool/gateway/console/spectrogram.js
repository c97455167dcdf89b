// @ts-check
/**
 * What is in a sound, by time and frequency: a mel spectrogram drawn here, of samples that are here anyway.
 *
 *   const spectrogram = new Spectrogram();
 *   root.append(spectrogram.element);
 *   await spectrogram.show(buffer, signal);
 *   spectrogram.playhead(0.25);
 *
 * Kept sounds that are not played have a picture of the server's: GET /v1/sounds/{id}/spectrogram.png.
 */
import { h } from "./dom.js";
import { isDark } from "./theme.js";

const FRAME = 2048;
const ROWS = 96;
const COLUMNS = 720;
const FLOOR_DB = -90;
const LOWEST_HZ = 40;
const MARKS_HZ = [500, 2000, 5000, 10000];
const TURN_MS = 12;

/** Stops of the two palettes from nothing to full: red, green, blue. @type {Record<"dark" | "light", number[][]>} */
const PALETTES = {
  dark: [[16, 18, 22], [43, 26, 54], [112, 36, 72], [186, 66, 48], [245, 148, 42], [255, 226, 150], [255, 250, 235]],
  light: [[252, 250, 246], [250, 228, 196], [240, 178, 104], [206, 104, 40], [140, 44, 44], [66, 18, 48], [20, 8, 24]],
};

export class Spectrogram {
  constructor() {
    this.canvas = h("canvas", { class: "spectrogram-canvas" });
    this.head = h("div", { class: "playhead", hidden: true });
    this.marks = h("div", { class: "spectrogram-marks", "aria-hidden": "true" });
    this.element = h("div", { class: "spectrogram", role: "img", "aria-label": "Spectrogram" }, this.canvas, this.marks, this.head);
    /** 0..255 by column and row, from below. @type {Uint8Array} */
    this.levels = new Uint8Array(0);
    this.columns = 0;
    this.themed = () => this.draw();
    document.addEventListener("theme", this.themed);
  }

  /**
   * @param {AudioBuffer} buffer
   * @param {AbortSignal} [signal]
   */
  async show(buffer, signal) {
    const samples = mono(buffer);
    const { columns, levels } = await levelsOf(samples, buffer.sampleRate, signal);
    this.columns = columns;
    this.levels = levels;
    this.draw();
    const highest = buffer.sampleRate / 2;
    this.marks.replaceChildren(
      ...MARKS_HZ.filter((hz) => hz < highest * 0.9).map((hz) =>
        h("span", { style: { bottom: `${(rowOf(hz, highest) / ROWS) * 100}%` } }, hz >= 1000 ? `${hz / 1000}k` : String(hz)),
      ),
    );
  }

  draw() {
    if (!this.columns) return;
    const ink = this.canvas.getContext("2d");
    if (!ink) return;
    this.canvas.width = this.columns;
    this.canvas.height = ROWS;
    const colours = paletteOf(isDark() ? "dark" : "light");
    const image = ink.createImageData(this.columns, ROWS);
    for (let column = 0; column < this.columns; column += 1) {
      for (let row = 0; row < ROWS; row += 1) {
        const from = 3 * this.levels[column * ROWS + row];
        const to = 4 * ((ROWS - 1 - row) * this.columns + column);
        image.data[to] = colours[from];
        image.data[to + 1] = colours[from + 1];
        image.data[to + 2] = colours[from + 2];
        image.data[to + 3] = 255;
      }
    }
    ink.putImageData(image, 0, 0);
  }

  /** @param {number | null} part */
  playhead(part) {
    this.head.hidden = part === null;
    if (part !== null) this.head.style.setProperty("left", `${part * 100}%`);
  }

  close() {
    document.removeEventListener("theme", this.themed);
  }
}

/** @param {AudioBuffer} buffer */
function mono(buffer) {
  const all = Array.from({ length: buffer.numberOfChannels }, (_, channel) => buffer.getChannelData(channel));
  if (all.length === 1) return all[0];
  return all[0].map((_, at) => all.reduce((sum, samples) => sum + samples[at], 0) / all.length);
}

/** @param {number} hz */
function mel(hz) {
  return 2595 * Math.log10(1 + hz / 700);
}

/** @param {number} hz @param {number} highest @returns {number} from below, in rows */
function rowOf(hz, highest) {
  return (ROWS * (mel(hz) - mel(LOWEST_HZ))) / (mel(highest) - mel(LOWEST_HZ));
}

/**
 * Levels in the loudest bin of each mel row, the loudest of all as full. Other work gets its turn every few milliseconds.
 * @param {Float32Array} samples
 * @param {number} rate
 * @param {AbortSignal} [signal]
 */
async function levelsOf(samples, rate, signal) {
  const columns = Math.max(1, Math.min(COLUMNS, Math.ceil(samples.length / (FRAME / 8))));
  const highest = rate / 2;
  const rows = new Int16Array(FRAME / 2).map((_, bin) => Math.floor(rowOf((bin * rate) / FRAME, highest)));
  const window_ = new Float32Array(FRAME).map((_, at) => 0.5 - 0.5 * Math.cos((2 * Math.PI * at) / FRAME));
  const fourier = new Fourier(FRAME);
  const real = new Float32Array(FRAME);
  const imaginary = new Float32Array(FRAME);
  const powers = new Float32Array(columns * ROWS);
  let turn = performance.now();
  for (let column = 0; column < columns; column += 1) {
    const start = Math.round(((column + 0.5) * samples.length) / columns - FRAME / 2);
    for (let at = 0; at < FRAME; at += 1) real[at] = (samples[start + at] ?? 0) * window_[at];
    imaginary.fill(0);
    fourier.transform(real, imaginary);
    const base = column * ROWS;
    for (let bin = 1; bin < FRAME / 2; bin += 1) {
      const row = rows[bin];
      const power = real[bin] ** 2 + imaginary[bin] ** 2;
      if (row >= 0 && row < ROWS && power > powers[base + row]) powers[base + row] = power;
    }
    for (let row = 1; row < ROWS; row += 1) {
      if (!powers[base + row]) powers[base + row] = powers[base + row - 1]; // low rows are narrower than a bin
    }
    if (performance.now() - turn > TURN_MS) {
      await new Promise((later) => setTimeout(later));
      signal?.throwIfAborted();
      turn = performance.now();
    }
  }
  const top = powers.reduce((most, power) => Math.max(most, power), 1e-12);
  const levels = new Uint8Array(powers.length);
  powers.forEach((power, at) => {
    const db = 10 * Math.log10(power / top + 1e-12);
    levels[at] = Math.max(0, Math.round(255 * (1 - db / FLOOR_DB)));
  });
  return { columns, levels };
}

/** @param {"dark" | "light"} theme @returns {Uint8ClampedArray} 256 colours */
function paletteOf(theme) {
  const stops = PALETTES[theme];
  const colours = new Uint8ClampedArray(3 * 256);
  for (let level = 0; level < 256; level += 1) {
    const place = (level / 255) * (stops.length - 1);
    const below = Math.min(Math.floor(place), stops.length - 2);
    for (let part = 0; part < 3; part += 1) {
      colours[3 * level + part] = stops[below][part] + (place - below) * (stops[below + 1][part] - stops[below][part]);
    }
  }
  return colours;
}

/** The fast Fourier transform in place, of one power of two. */
class Fourier {
  /** @param {number} size */
  constructor(size) {
    this.size = size;
    this.cosines = new Float32Array(size / 2).map((_, at) => Math.cos((2 * Math.PI * at) / size));
    this.sines = new Float32Array(size / 2).map((_, at) => Math.sin((2 * Math.PI * at) / size));
    this.order = new Uint32Array(size);
    for (let at = 1; at < size; at += 1) this.order[at] = (this.order[at >> 1] >> 1) | (at & 1 ? size >> 1 : 0);
  }

  /** @param {Float32Array} real @param {Float32Array} imaginary */
  transform(real, imaginary) {
    const { size, order, cosines, sines } = this;
    for (let at = 0; at < size; at += 1) {
      const other = order[at];
      if (other > at) {
        [real[at], real[other]] = [real[other], real[at]];
        [imaginary[at], imaginary[other]] = [imaginary[other], imaginary[at]];
      }
    }
    for (let half = 1; half < size; half *= 2) {
      const step = size / (2 * half);
      for (let block = 0; block < size; block += 2 * half) {
        for (let at = 0; at < half; at += 1) {
          const cosine = cosines[at * step];
          const sine = sines[at * step];
          const one = block + at;
          const two = one + half;
          const x = real[two] * cosine + imaginary[two] * sine;
          const y = imaginary[two] * cosine - real[two] * sine;
          real[two] = real[one] - x;
          imaginary[two] = imaginary[one] - y;
          real[one] += x;
          imaginary[one] += y;
        }
      }
    }
  }
}
