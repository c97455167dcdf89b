// @ts-check
/**
 * Small pictures of kept sounds, fetched as they come into sight: a few at a time, those asked for last first.
 *
 *   const tiles = new Tiles();
 *   tiles.show(sound, image);    // `image` gets its source when the picture is there
 *   tiles.forget(image);         // it is out of sight: what has not begun is not fetched
 *   tiles.close();
 */
import { api, aborted, Problem } from "./api.js";
import { addressOf } from "./listening.js";

/** @typedef {import("./listening.js").Kept} Kept */

const AT_ONCE = 6;
const HELD = 800;
const AGAIN_MS = 1500;

export class Tiles {
  /** By the sound's id. @type {Map<number, string>} */
  #urls = new Map();
  /** @type {Map<HTMLImageElement, Kept>} */
  #wanted = new Map();
  #underWay = 0;
  #left = new AbortController();

  /** @param {Kept} sound @param {HTMLImageElement} image */
  show(sound, image) {
    this.#wanted.delete(image);
    const url = this.#urls.get(sound.id);
    if (url) {
      image.src = url;
      return;
    }
    image.removeAttribute("src");
    this.#wanted.set(image, sound);
    this.#next();
  }

  /** @param {HTMLImageElement} image */
  forget(image) {
    this.#wanted.delete(image);
  }

  close() {
    this.#left.abort();
    this.#wanted.clear();
    for (const url of this.#urls.values()) URL.revokeObjectURL(url);
    this.#urls.clear();
  }

  #next() {
    while (this.#underWay < AT_ONCE && this.#wanted.size) {
      const last = [...this.#wanted].at(-1);
      if (!last) return;
      this.#wanted.delete(last[0]);
      void this.#fetch(...last);
    }
  }

  /** @param {HTMLImageElement} image @param {Kept} sound */
  async #fetch(image, sound) {
    this.#underWay += 1;
    try {
      const fetched = await api.blob(addressOf(sound, "/tile.png"), { signal: this.#left.signal });
      if (this.#left.signal.aborted) return;
      // a grid that was laid out anew meanwhile has asked for it twice
      const url = this.#urls.get(sound.id) ?? this.#keep(sound.id, URL.createObjectURL(fetched));
      if (image.dataset.sound === String(sound.id)) image.src = url;
    } catch (error) {
      if (!aborted(error) && error instanceof Problem && error.retryable) {
        // the server has more to draw than it takes now; what is still in sight then is asked for again
        const pause = (error.retryAfterS ?? 0) * 1000 || AGAIN_MS;
        setTimeout(() => image.isConnected && image.dataset.sound === String(sound.id) && this.show(sound, image), pause);
      }
    } finally {
      this.#underWay -= 1;
      if (!this.#left.signal.aborted) this.#next();
    }
  }

  /** @param {number} id @param {string} url @returns {string} */
  #keep(id, url) {
    this.#urls.set(id, url);
    for (const [old, its] of this.#urls) {
      if (this.#urls.size <= HELD) break;
      URL.revokeObjectURL(its);
      this.#urls.delete(old);
    }
    return url;
  }
}
