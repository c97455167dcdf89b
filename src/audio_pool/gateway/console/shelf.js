// @ts-check
/**
 * The kept sounds that a search finds, page after page, as far as somebody has looked.
 *
 *   const shelf = new Shelf();
 *   shelf.look({text: "rain", loop: true});     // what was asked before is given up
 *   shelf.reach(400);                           // so many are to be there; await shelf.all(): every one
 *   shelf.addEventListener("change", …);        // shelf.sounds, shelf.whole, shelf.busy, shelf.error, shelf.byMeaning
 *   shelf.put(sound);  shelf.take([7, 9]);      // one has changed; some are gone
 */
import { api, aborted, told } from "./api.js";

/**
 * @typedef {object} Sound a kept sound, as the server tells it
 * @property {number} id
 * @property {string} prompt
 * @property {string} namespace
 * @property {string} engine
 * @property {string} model
 * @property {number} duration_s
 * @property {number} sample_rate
 * @property {boolean} is_loop
 * @property {boolean} commercial_use
 * @property {number} created_at
 * @property {number} size_bytes
 * @property {number | null} quality
 * @property {number | null} clap_similarity
 * @property {string[]} tags
 * @property {number | null} rating
 * @property {boolean} favourite
 * @property {boolean} pinned
 * @property {number} hits
 * @property {number | null} last_used
 * @property {number} [score]
 * @property {Record<string, any>} [metadata]
 */

/** @typedef {Record<string, string | number | boolean | string[] | null | undefined>} Wishes */

const PAGE = 200;
const FIRST_PAGE = 60;

export class Shelf extends EventTarget {
  /** @type {Sound[]} */
  sounds = [];
  /** True once the last page is there. */
  whole = false;
  busy = false;
  /** @type {string | null} */
  error = null;
  /** Of a search by text: whether meaning was compared, too. @type {boolean | null} */
  byMeaning = null;
  /** @type {Wishes} */
  #wishes = {};
  #next = "";
  #reach = 0;
  #asked = new AbortController();

  /** @param {Wishes} wishes @returns {Promise<void>} */
  async look(wishes) {
    this.#asked.abort();
    this.#asked = new AbortController();
    this.#wishes = wishes;
    this.#next = "";
    this.#reach = FIRST_PAGE;
    await this.#page(this.#asked.signal, true);
  }

  /** @param {number} count */
  reach(count) {
    this.#reach = Math.max(this.#reach, count);
    if (!this.busy && !this.whole && !this.error && this.sounds.length < this.#reach) void this.#page(this.#asked.signal, false);
  }

  /** Have all of them there. @returns {Promise<void>} resolves when they are, or cannot be */
  all() {
    return new Promise((resolve) => {
      const look = () => {
        if (!this.whole && !this.error) return;
        this.removeEventListener("change", look);
        resolve();
      };
      this.addEventListener("change", look);
      this.reach(Infinity);
      look();
    });
  }

  /** @param {Sound} sound */
  put(sound) {
    const at = this.sounds.findIndex((one) => one.id === sound.id);
    if (at < 0) return;
    this.sounds[at] = { ...sound, score: this.sounds[at].score };
    this.dispatchEvent(new CustomEvent("put", { detail: at }));
  }

  /** @param {number} id @param {(now: Sound) => Sound} how */
  change(id, how) {
    const now = this.sounds.find((one) => one.id === id);
    if (now) this.put(how(now));
  }

  /** @param {Iterable<number>} ids */
  take(ids) {
    const gone = new Set(ids);
    this.sounds = this.sounds.filter((one) => !gone.has(one.id));
    this.#changed();
    this.reach(this.#reach);
  }

  close() {
    this.#asked.abort();
  }

  /** @param {AbortSignal} signal @param {boolean} anew */
  async #page(signal, anew) {
    this.busy = true;
    this.error = null;
    if (!anew) this.#changed();
    try {
      const page = await api.get(`/v1/sounds?${this.#query(anew ? FIRST_PAGE : PAGE)}`, { signal });
      this.busy = false;
      this.sounds = anew ? page.sounds : [...this.sounds, ...page.sounds];
      this.#next = page.next ?? "";
      this.whole = !this.#next;
      this.byMeaning = page.by_meaning ?? null;
    } catch (error) {
      if (aborted(error) || signal.aborted) return;
      this.busy = false;
      this.error = told(error);
      if (anew) this.sounds = [];
    }
    this.#changed(anew);
    this.reach(this.#reach);
  }

  /** @param {number} limit */
  #query(limit) {
    const query = new URLSearchParams({ limit: String(limit) });
    for (const [name, value] of Object.entries(this.#wishes)) {
      if (Array.isArray(value)) value.forEach((one) => query.append(name, one));
      else if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
    }
    if (this.#next) query.set("after", this.#next);
    return query;
  }

  #changed(anew = false) {
    this.dispatchEvent(new CustomEvent("change", { detail: { anew } }));
  }
}
