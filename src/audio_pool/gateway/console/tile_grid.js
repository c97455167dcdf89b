// @ts-check
/**
 * A grid of sounds, however many: only the rows in sight are in the page.
 *
 *   const grid = new TileGrid({label: "Sounds", listening, tiles});
 *   root.append(grid.element);
 *   grid.show(sounds, {whole: true});          // all that are known; `whole`: there are no more
 *   grid.redraw(at);                           // that one has changed
 *   grid.chosen                                // ids of those selected, a Set
 *   grid.addEventListener("choose" | "open" | "near-end" | "all" | "mark", …)   // "all": then grid.went(detail)
 *
 * One tile at a time can be tabbed to; arrow keys, Home, End, Page Up and Page Down go on from it, with Shift they
 * select what they pass; Space selects, Ctrl+A all that are there, Enter opens. Digits, F, P and Delete are told as
 * "mark", for the tile that has the focus or, where some are selected, for those.
 */
import { h, icon } from "./dom.js";
import { seconds } from "./figures.js";

/** @typedef {import("./shelf.js").Sound} Sound */
/** @typedef {import("./listening.js").Listening} Listening */
/** @typedef {import("./tiles.js").Tiles} Tiles */
/** @typedef {{cell: HTMLDivElement, image: HTMLImageElement, head: HTMLDivElement, text: HTMLElement, facts: HTMLElement, said: HTMLElement, at: number}} Cell */

const LEAST_PX = 176;
const NARROW_PX = 132;
const GAP_PX = 10;
const BEYOND_PX = 600;
/** @type {Record<string, string>} */
const MARKS = { f: "favourite", p: "pin", Delete: "remove", Backspace: "remove" };

export class TileGrid extends EventTarget {
  /** @type {Set<number>} */
  chosen = new Set();
  /** @type {Sound[]} */
  sounds = [];
  /** Whether pointing at a tile plays it. */
  plays = true;
  #columns = 1;
  #rowPx = 170;
  #at = 0;
  #anchor = 0;
  #whole = true;
  /** By row. @type {Map<number, {row: HTMLDivElement, cells: Cell[]}>} */
  #rows = new Map();
  #frame = 0;
  #ticking = 0;

  /** @param {{label: string, listening: Listening, tiles: Tiles}} given */
  constructor({ label, listening, tiles }) {
    super();
    this.listening = listening;
    this.tiles = tiles;
    this.room = h("div", { class: "tiles-room", role: "presentation" });
    this.element = h(
      "div",
      { class: "tiles", role: "grid", "aria-label": label, "aria-multiselectable": "true", onkeydown: (/** @type {KeyboardEvent} */ event) => this.#pressed(event) },
      this.room,
    );
    this.looked = () => this.#soon();
    window.addEventListener("scroll", this.looked, { passive: true });
    this.sized = new ResizeObserver(() => this.#soon());
    this.sized.observe(this.element);
    this.heard = () => this.#hear();
    listening.addEventListener("change", this.heard);
  }

  close() {
    window.removeEventListener("scroll", this.looked);
    this.listening.removeEventListener("change", this.heard);
    this.sized.disconnect();
    cancelAnimationFrame(this.#frame);
    cancelAnimationFrame(this.#ticking);
  }

  /** The sound that has, or would get, the focus. @returns {Sound | undefined} */
  get current() {
    return this.sounds[this.#at];
  }

  /** The sounds that a key or a button is meant for. @returns {Sound[]} */
  get meant() {
    if (this.chosen.size) return this.sounds.filter((one) => this.chosen.has(one.id));
    return this.current ? [this.current] : [];
  }

  /** @param {Sound[]} sounds @param {{whole: boolean, anew?: boolean}} how */
  show(sounds, { whole, anew = false }) {
    const held = this.element.contains(document.activeElement);
    this.sounds = sounds;
    this.#whole = whole;
    if (anew) {
      this.#at = this.#anchor = 0;
    }
    this.#at = Math.max(0, Math.min(this.#at, sounds.length - 1));
    const there = new Set(sounds.map((one) => one.id));
    const before = this.chosen.size;
    if (anew || before) this.chosen = new Set([...this.chosen].filter((id) => there.has(id)));
    if (this.chosen.size !== before) this.dispatchEvent(new Event("choose"));
    this.#clear();
    this.#draw();
    if (held && sounds.length) this.focus();
  }

  /** @param {number} at */
  redraw(at) {
    const cell = this.#cellAt(at);
    if (cell) this.#fill(cell, at);
  }

  /** @param {Iterable<number>} ids */
  choose(ids) {
    this.chosen = new Set(ids);
    this.#chose();
  }

  focus() {
    this.#reveal(this.#at);
    this.#cellAt(this.#at)?.cell.focus({ preventScroll: true });
  }

  // -- what is in sight

  #soon() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#draw());
  }

  #clear() {
    for (const { row, cells } of this.#rows.values()) {
      cells.forEach((cell) => this.tiles.forget(cell.image));
      row.remove();
    }
    this.#rows.clear();
  }

  #draw() {
    const width = this.element.clientWidth;
    if (!width) return;
    const least = width < 480 ? NARROW_PX : LEAST_PX;
    const columns = Math.max(1, Math.floor((width + GAP_PX) / (least + GAP_PX)));
    const wide = (width - (columns - 1) * GAP_PX) / columns;
    const tall = Math.round(wide / 2 + 66) + GAP_PX;
    if (columns !== this.#columns || tall !== this.#rowPx) {
      this.#columns = columns;
      this.#rowPx = tall;
      const held = this.element.contains(document.activeElement);
      this.#clear();
      if (held) requestAnimationFrame(() => this.focus());
    }
    const rows = Math.ceil(this.sounds.length / columns);
    this.room.style.setProperty("height", `${rows * tall}px`);
    this.element.setAttribute("aria-colcount", String(columns));
    this.element.setAttribute("aria-rowcount", this.#whole ? String(rows) : "-1");
    const top = -this.element.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor((top - BEYOND_PX) / tall));
    const last = Math.min(rows - 1, Math.ceil((top + window.innerHeight + BEYOND_PX) / tall));
    const focused = Math.floor(this.#at / columns); // stays, so that the focus is never lost by scrolling
    for (const [number, { row, cells }] of this.#rows) {
      if ((number < first || number > last) && number !== focused) {
        cells.forEach((cell) => this.tiles.forget(cell.image));
        row.remove();
        this.#rows.delete(number);
      }
    }
    const wanted = [...Array(Math.max(0, last - first + 1)).keys()].map((n) => first + n);
    if (rows && !wanted.includes(focused)) wanted.push(focused);
    for (const number of wanted) if (!this.#rows.has(number)) this.#add(number, tall);
    if (!this.#whole && last >= rows - 1 - Math.ceil(2000 / tall)) this.dispatchEvent(new Event("near-end"));
  }

  /** @param {number} number @param {number} tall */
  #add(number, tall) {
    const row = h("div", { class: "tiles-row", role: "row", "aria-rowindex": number + 1, style: { top: `${number * tall}px`, height: `${tall - GAP_PX}px`, "--columns": this.#columns } });
    const cells = [];
    for (let at = number * this.#columns; at < Math.min(this.sounds.length, (number + 1) * this.#columns); at += 1) {
      const cell = this.#cell(at);
      cells.push(cell);
      row.append(cell.cell);
    }
    this.#rows.set(number, { row, cells });
    // in the order of reading, for those who read it without seeing
    const after = [...this.#rows.keys()].filter((other) => other > number).sort((a, b) => a - b)[0];
    this.room.insertBefore(row, after === undefined ? null : (this.#rows.get(after)?.row ?? null));
  }

  /** @param {number} at @returns {Cell} */
  #cell(at) {
    const image = h("img", { class: "tile-picture", alt: "", width: 240, height: 120, decoding: "async", draggable: false });
    const head = h("div", { class: "playhead", hidden: true });
    const text = h("span", { class: "tile-prompt" });
    const facts = h("span", { class: "tile-facts", "aria-hidden": "true" });
    const said = h("span", { class: "unseen" });
    const box = h("span", { class: "tile-box", "aria-hidden": "true", title: "Select" }, h("span", null, icon("check")));
    const cell = h(
      "div",
      {
        class: "tile", role: "gridcell", tabIndex: -1, "aria-colindex": (at % this.#columns) + 1,
        onclick: (/** @type {MouseEvent} */ event) => this.#clicked(event, at, box),
        ondblclick: () => this.dispatchEvent(new CustomEvent("open", { detail: this.sounds[at] })),
        onfocus: () => this.#focused(at),
        onblur: () => this.listening.leave(this.sounds[at]),
        onpointerenter: (/** @type {PointerEvent} */ event) => event.pointerType === "mouse" && this.plays && this.sounds[at] && this.listening.point(this.sounds[at]),
        onpointerleave: (/** @type {PointerEvent} */ event) => event.pointerType === "mouse" && this.sounds[at] && this.listening.leave(this.sounds[at]),
      },
      h("span", { class: "tile-frame" }, image, head),
      box, text, facts, said,
    );
    const made = { cell, image, head, text, facts, said, at };
    this.#fill(made, at);
    return made;
  }

  /** @param {Cell} cell @param {number} at */
  #fill(cell, at) {
    const sound = this.sounds[at];
    if (!sound) return;
    const chosen = this.chosen.has(sound.id);
    if (cell.image.dataset.sound !== String(sound.id)) {
      cell.image.dataset.sound = String(sound.id);
      this.tiles.show(sound, cell.image);
    }
    cell.text.textContent = sound.prompt;
    cell.facts.replaceChildren(
      seconds(sound.duration_s),
      ...(sound.is_loop ? [icon("loop")] : []),
      ...(sound.rating ? [h("span", { class: "tile-stars" }, "★".repeat(sound.rating))] : []),
      ...(sound.favourite ? [icon("heart")] : []),
      ...(sound.pinned ? [icon("pin")] : []),
      ...(sound.score === undefined ? [] : [h("span", { class: "tile-score" }, `${Math.round(sound.score * 100)} %`)]),
    );
    cell.said.textContent = spoken(sound);
    cell.cell.setAttribute("aria-selected", String(chosen));
    cell.cell.tabIndex = at === this.#at ? 0 : -1;
    cell.cell.classList.toggle("heard", this.listening.heard?.id === sound.id);
  }

  /** @param {number} at */
  #cellAt(at) {
    return this.#rows.get(Math.floor(at / this.#columns))?.cells[at % this.#columns];
  }

  // -- the focus, and what is selected

  /** @param {number} at */
  #focused(at) {
    const before = this.#cellAt(this.#at);
    if (before) before.cell.tabIndex = -1;
    this.#at = at;
    const cell = this.#cellAt(at);
    if (cell) cell.cell.tabIndex = 0;
    const sound = this.sounds[at];
    if (sound && this.plays && cell?.cell.matches(":focus-visible")) this.listening.point(sound);
    this.dispatchEvent(new CustomEvent("current", { detail: sound }));
  }

  /** @param {MouseEvent} event @param {number} at @param {HTMLElement} box */
  #clicked(event, at, box) {
    const sound = this.sounds[at];
    if (!sound) return;
    this.#cellAt(at)?.cell.focus({ preventScroll: true });
    if (event.shiftKey) {
      this.#range(this.#anchor, at);
    } else if (event.ctrlKey || event.metaKey || box.contains(/** @type {Node} */ (event.target))) {
      this.#toggle(at);
    } else {
      this.#anchor = at;
      if (this.plays) this.listening.point(sound);
      this.dispatchEvent(new CustomEvent("open", { detail: sound }));
    }
  }

  /** @param {number} at */
  #toggle(at) {
    const { id } = this.sounds[at];
    if (!this.chosen.delete(id)) this.chosen.add(id);
    this.#anchor = at;
    this.#chose();
  }

  /** @param {number} from @param {number} to */
  #range(from, to) {
    const [first, last] = from < to ? [from, to] : [to, from];
    for (const one of this.sounds.slice(first, last + 1)) this.chosen.add(one.id);
    this.#chose();
  }

  #chose() {
    for (const { cells } of this.#rows.values()) {
      for (const cell of cells) {
        const sound = this.sounds[cell.at];
        if (sound) cell.cell.setAttribute("aria-selected", String(this.chosen.has(sound.id)));
      }
    }
    this.dispatchEvent(new Event("choose"));
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (event.altKey || !this.sounds.length) return;
    const page = Math.max(1, Math.floor(window.innerHeight / this.#rowPx) - 1) * this.#columns;
    const last = this.sounds.length - 1;
    const rowStart = this.#at - (this.#at % this.#columns);
    const all = event.ctrlKey || event.metaKey;
    /** @type {Record<string, number>} */
    const ways = {
      ArrowRight: this.#at + 1, ArrowLeft: this.#at - 1, ArrowDown: this.#at + this.#columns, ArrowUp: this.#at - this.#columns,
      Home: all ? 0 : rowStart, End: all ? last : Math.min(last, rowStart + this.#columns - 1), PageDown: this.#at + page, PageUp: this.#at - page,
    };
    if (event.key === "End" && all && !this.#whole) {
      this.#everything("end");
    } else if (event.key in ways) {
      const to = ways[event.key];
      if (event.key === "ArrowDown" && to > last && this.#at + this.#columns - (this.#at % this.#columns) > last) return void event.preventDefault();
      this.#go(Math.max(0, Math.min(last, to)), event.shiftKey);
    } else if (event.key === " ") {
      if (event.shiftKey) this.#range(this.#anchor, this.#at);
      else this.#toggle(this.#at);
    } else if (event.key === "Enter") {
      this.dispatchEvent(new CustomEvent("open", { detail: this.current }));
    } else if (all && event.key.toLowerCase() === "a") {
      this.#everything("choose");
    } else if (event.key === "Escape") {
      this.listening.leave();
      if (this.chosen.size) this.choose([]);
      else return;
    } else if (!all && !event.shiftKey && /^[0-5]$/.test(event.key)) {
      this.dispatchEvent(new CustomEvent("mark", { detail: { kind: "rating", value: Number(event.key) } }));
    } else if (!all && !event.shiftKey && (MARKS[event.key] ?? MARKS[event.key.toLowerCase()])) {
      this.dispatchEvent(new CustomEvent("mark", { detail: { kind: MARKS[event.key] ?? MARKS[event.key.toLowerCase()] } }));
    } else {
      return;
    }
    event.preventDefault();
  }

  /** @param {"choose" | "end"} then */
  #everything(then) {
    if (!this.#whole) this.dispatchEvent(new CustomEvent("all", { detail: then }));
    else if (then === "choose") this.choose(this.sounds.map((one) => one.id));
    else this.#go(this.sounds.length - 1, false);
  }

  /** Once all of them are there. @param {"choose" | "end"} then */
  went(then) {
    if (this.#whole && this.sounds.length) this.#everything(then);
  }

  /** @param {number} to @param {boolean} choosing */
  #go(to, choosing) {
    if (choosing) this.#range(this.#anchor, to);
    else this.#anchor = to;
    this.#reveal(to);
    this.#cellAt(to)?.cell.focus({ preventScroll: true });
  }

  /** Bring a tile into sight and into the page. @param {number} at */
  #reveal(at) {
    const row = Math.floor(at / this.#columns);
    const top = this.element.getBoundingClientRect().top + row * this.#rowPx;
    const above = 130;
    const below = window.innerHeight - this.#rowPx - 90;
    if (top < above) window.scrollBy({ top: top - above, behavior: "instant" });
    else if (top > below) window.scrollBy({ top: top - below, behavior: "instant" });
    const before = this.#at;
    this.#at = at;
    this.#draw();
    const left = this.#cellAt(before);
    if (left && before !== at) left.cell.tabIndex = -1;
  }

  // -- what is heard

  #hear() {
    for (const { cells } of this.#rows.values()) {
      for (const cell of cells) {
        const heard = this.sounds[cell.at]?.id === this.listening.heard?.id;
        cell.cell.classList.toggle("heard", heard);
        cell.head.hidden = !heard;
      }
    }
    cancelAnimationFrame(this.#ticking);
    if (this.listening.heard) this.#tick();
  }

  #tick() {
    for (const { cells } of this.#rows.values()) {
      for (const cell of cells) if (!cell.head.hidden) cell.head.style.setProperty("left", `${this.listening.part * 100}%`);
    }
    this.#ticking = requestAnimationFrame(() => this.#tick());
  }
}

/** What a tile's signs say to those who do not see them. @param {Sound} sound */
function spoken(sound) {
  return [
    "",
    seconds(sound.duration_s),
    sound.is_loop ? "loop" : null,
    sound.rating ? (sound.rating === 1 ? "1 star" : `${sound.rating} stars`) : null,
    sound.favourite ? "favourite" : null,
    sound.pinned ? "pinned" : null,
  ].filter((one) => one !== null).join(", ");
}
