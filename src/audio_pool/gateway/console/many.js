// @ts-check
/**
 * What is done to several kept sounds at once: marked, packed, removed. Each says what it came to, and what it did not.
 *
 *   const many = new Many(shelf, listening, signal);
 *   await many.mark(sounds, {pinned: true}, "Pinned");
 *   await many.remove(sounds);               // asks first, and says what is pinned
 *   await many.download(sounds, "wav");
 *   many.pack(sounds);  many.tag(sounds);    // a dialog
 */
import { api, aborted, told } from "./api.js";
import { ask, open } from "./dialog.js";
import { field, h, pending } from "./dom.js";
import { count, size } from "./figures.js";
import { toast } from "./notice.js";

/** @typedef {import("./shelf.js").Sound} Sound */

/** The most that one question may name. */
export const MOST = 1000;
const MAKING_MS = 15 * 60_000;
export const FORMATS = /** @type {const} */ ([
  ["wav", "WAV"], ["flac", "FLAC"], ["ogg", "Ogg Vorbis"], ["opus", "Opus"], ["mp3", "MP3"],
]);

export class Many {
  /** @param {import("./shelf.js").Shelf} shelf @param {import("./listening.js").Listening} listening @param {AbortSignal} signal */
  constructor(shelf, listening, signal) {
    this.shelf = shelf;
    this.listening = listening;
    this.signal = signal;
  }

  /**
   * @param {Sound[]} sounds
   * @param {Record<string, unknown>} marks
   * @param {string} done what is said then, before how many
   */
  async mark(sounds, marks, done) {
    const { changed, failed, missing } = await this.#each(sounds, "/v1/sounds/mark", { marks });
    this.gone(sounds.filter((one) => missing.includes(one.id)));
    for (const id of changed) this.shelf.change(id, (now) => marked(now, marks)); // as it is now: others may be under way
    this.#tell(`${done} ${soundCount(changed.length)}.`, failed);
  }

  /** @param {Sound[]} sounds @returns {Promise<boolean>} whether they are gone */
  async remove(sounds) {
    if (!sounds.length) return false;
    const pinned = sounds.filter((one) => one.pinned).length;
    const sum = sounds.reduce((all, one) => all + one.size_bytes, 0);
    const which = sounds.length === 1 ? `“${sounds[0].prompt}”` : soundCount(sounds.length);
    const text =
      pinned === 0
        ? `${which} (${size(sum)}) will be offered to nobody any more.`
        : `${which} (${size(sum)}) will be offered to nobody any more. ${pinned === sounds.length ? (pinned === 1 ? "It is" : "All of them are") : `${count(pinned)} of them ${pinned === 1 ? "is" : "are"}`} pinned.`;
    if (!(await ask({ title: sounds.length === 1 ? "Remove this sound?" : `Remove ${soundCount(sounds.length)}?`, text, yes: pinned ? "Remove, pinned too" : "Remove", danger: true }))) return false;
    this.listening.hush(sounds.map((one) => one.id));
    const { changed, failed, missing } = await this.#each(sounds, "/v1/sounds/remove", {});
    changed.push(...missing); // gone is what they are to be
    const gone = new Set(changed);
    this.listening.unhush(sounds.map((one) => one.id).filter((id) => !gone.has(id)));
    this.shelf.take(changed);
    this.#tell(`Removed ${soundCount(changed.length)}.`, failed);
    return changed.length > 0;
  }

  /** Somebody else has removed them. @param {Sound[]} sounds */
  gone(sounds) {
    const listed = sounds.filter((one) => this.shelf.sounds.some((other) => other.id === one.id));
    if (!listed.length) return;
    this.shelf.take(listed.map((one) => one.id));
    toast(listed.length === 1 ? `“${listed[0].prompt.slice(0, 80)}” has been removed meanwhile.` : `${soundCount(listed.length)} have been removed meanwhile.`);
  }

  /** @param {Sound[]} sounds @param {string} format */
  async download(sounds, format) {
    await this.#archive(sounds, { format, name: "sounds" });
  }

  /** @param {Sound[]} sounds */
  pack(sounds) {
    const name = h("input", { type: "text", required: true, maxLength: 100, value: "sound pack" });
    const version = h("input", { type: "text", required: true, maxLength: 40, value: "1.0.0" });
    const format = formats();
    const save = h("button", { class: "button primary", type: "submit" }, "Make the pack");
    const form = h(
      "form",
      {
        class: "stack",
        onsubmit: async (/** @type {Event} */ event) => {
          event.preventDefault();
          const asked = { format: format.value, name: name.value.trim(), version: version.value.trim() };
          if (await pending(save, this.#archive(sounds, asked))) dialog.close();
        },
      },
      h("p", null, `A ZIP of ${soundCount(sounds.length)}: files named by their prompts, and pack.json, which says what each is: loop points, loudness, licence, and how to make it again.`),
      field("Name", name), field("Version", version), field("Format", format, "WAV and FLAC keep loops exact."),
      h("div", { class: "row end" }, save),
    );
    const dialog = open("Make a pack", [form]);
    name.select();
  }

  /** @param {Sound[]} sounds */
  tag(sounds) {
    const add = h("input", { type: "text", maxLength: 400, autocapitalize: "none", spellcheck: false });
    const remove = h("input", { type: "text", maxLength: 400, autocapitalize: "none", spellcheck: false });
    const form = h(
      "form",
      {
        class: "stack",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          dialog.close();
          const marks = { add_tags: tagsIn(add.value), remove_tags: tagsIn(remove.value) };
          if (marks.add_tags.length || marks.remove_tags.length) void this.mark(sounds, marks, "Tagged");
        },
      },
      field("Add tags", add, "Parted by commas."), field("Take tags away", remove, "Parted by commas."),
      h("div", { class: "row end" }, h("button", { class: "button primary", type: "submit" }, "Tag")),
    );
    const dialog = open(`Tag ${soundCount(sounds.length)}`, [form]);
    add.focus();
  }

  /**
   * @param {Sound[]} sounds
   * @param {Record<string, string>} how
   * @returns {Promise<boolean>}
   */
  async #archive(sounds, how) {
    if (sounds.length > MOST) {
      toast(`A ZIP holds ${count(MOST)} sounds at the most; ${count(sounds.length)} are selected.`, { kind: "bad" });
      return false;
    }
    try {
      const namespace = namespaceOf(sounds);
      const { blob, name } = await api.file(`/v1/sounds/archive${namespace}`, { ids: sounds.map((one) => one.id), ...how }, { signal: this.signal, timeoutMs: MAKING_MS });
      saveAs(blob, name || "sounds.zip");
      toast(`${soundCount(sounds.length)} in ${name}, ${size(blob.size)}.`, { kind: "good" });
      return true;
    } catch (error) {
      if (!aborted(error)) toast(told(error), { kind: "bad" });
      return false;
    }
  }

  /**
   * Ask for so many at a time as one question may name.
   * @param {Sound[]} sounds
   * @param {string} path
   * @param {Record<string, unknown>} rest
   * @returns {Promise<{changed: number[], failed: {id: number, error: {message: string}}[], missing: number[]}>} `missing`:
   *     those that are kept no more
   */
  async #each(sounds, path, rest) {
    const done = { changed: /** @type {number[]} */ ([]), failed: /** @type {any[]} */ ([]), missing: /** @type {number[]} */ ([]) };
    try {
      for (let at = 0; at < sounds.length; at += MOST) {
        const part = sounds.slice(at, at + MOST);
        const answer = await api.post(path + namespaceOf(part), { ids: part.map((one) => one.id), ...rest }, { signal: this.signal, timeoutMs: 60_000 });
        done.changed.push(...answer.changed);
        for (const one of answer.failed) {
          if (one.error.code === "not_found") done.missing.push(one.id);
          else done.failed.push(one);
        }
      }
    } catch (error) {
      if (!aborted(error)) toast(told(error), { kind: "bad" });
    }
    return done;
  }

  /** @param {string} done @param {{id: number, error: {message: string}}[]} failed */
  #tell(done, failed) {
    if (!failed.length) {
      if (!/ no sounds?\.$/.test(done)) toast(done, { kind: "good" });
    } else toast(`${done} ${soundCount(failed.length)} could not be: ${failed[0].error.message}${failed.length > 1 ? ", …" : ""}`, { kind: "bad" });
  }
}

/** @param {Blob} blob @param {string} name */
export function saveAs(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

export function formats(chosen = "wav") {
  return h("select", null, FORMATS.map(([value, label]) => h("option", { value, selected: value === chosen }, label)));
}

/** @param {string} text */
export function tagsIn(text) {
  return [...new Set(text.split(",").map((one) => one.trim()).filter(Boolean))];
}

/** @param {Sound} sound @param {Record<string, any>} marks @returns {Sound} */
function marked(sound, marks) {
  const { rating = sound.rating, add_tags = [], remove_tags = [], tags = sound.tags, ...rest } = marks;
  const after = new Set([...tags, ...add_tags].filter((one) => !remove_tags.includes(one)));
  return { ...sound, ...rest, rating: rating || null, tags: [...after].sort() };
}

/** @param {number} n */
export function soundCount(n) {
  return n === 0 ? "no sound" : n === 1 ? "1 sound" : `${count(n)} sounds`;
}

/** @param {Sound[]} sounds */
function namespaceOf(sounds) {
  const named = sounds[0]?.namespace ?? "default";
  return named === "default" ? "" : `?${new URLSearchParams({ namespace: named })}`;
}
