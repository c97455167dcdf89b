// @ts-check
/**
 * The view *Make*: say what is wanted, hear what comes. The sounds of this tab's session stand below one another.
 *
 * They are jobs of the server's: going to another view, or loading the page again, loses none.
 */
import { h, icon, replace } from "./dom.js";
import { Making } from "./making.js";
import { player } from "./player.js";
import { SoundCard } from "./sound_card.js";
import { SoundForm } from "./sound_form.js";

/** @typedef {import("./api.js").Json} Json */

const KEPT = "audio-pool.session";
const LINK = "audio-pool.link";
const MOST = 40;
const still = matchMedia("(prefers-reduced-motion: reduce)");
/** What the page hears: lossless, or a loop would have a gap. */
const HEARD_AS = { format: "flac", bit_depth: 24 };
const EXAMPLES = [
  { prompt: "rain on a tin roof", duration_s: 6, loop: true },
  { prompt: "a heavy wooden door creaks open", duration_s: 3, loop: false },
  { prompt: "calm forest with birdsong", duration_s: 8, loop: true },
  { prompt: "laser shot", duration_s: 1, loop: false },
];

/** The newest first; it outlives the view. @type {Making[]} */
let session = [];
let restored = false;

/**
 * @param {HTMLElement} root
 * @param {import("./app.js").Context} context
 * @returns {import("./app.js").View}
 */
export function view(root, context) {
  /** @type {Map<Making, SoundCard>} */
  const cards = new Map();
  restore();

  const form = new SoundForm({ engines: context.engines, onMake: (request) => make(request), signal: context.signal });
  const given = Object.fromEntries(context.parameters);
  if ((given.prompt || given.presets) && sessionStorage.getItem(LINK) !== location.hash) form.fill(given); // else what was typed since counts
  sessionStorage.setItem(LINK, location.hash);

  const list = h("div", { class: "sounds stack" });
  const empty = h(
    "div", { class: "empty card" },
    icon("make"),
    h("h2", null, "Nothing made yet"),
    h("p", null, "Write what you want to hear and press Enter. It is made in a moment, plays at once, and is kept in the library for the next time."),
    h("div", { class: "row chips" }, EXAMPLES.map((example) => h("button", {
      class: "chip", type: "button",
      onclick: () => {
        form.fill(example);
        make(form.request());
      },
    }, icon(example.loop ? "loop" : "play"), example.prompt))),
  );
  const clear = h("button", { class: "button small quiet", type: "button", onclick: () => session.slice().forEach(drop) }, "Clear the list");
  const heading = h("div", { class: "row apart" }, h("h2", { tabIndex: -1 }, "Sounds of this session"), clear);
  replace(
    root,
    h("h1", null, "Make a sound"),
    h("div", { class: "make-columns" }, h("div", { class: "make-form" }, form.element), h("section", { class: "make-sounds stack", "aria-label": "Sounds of this session" }, heading, empty, list)),
  );
  for (const making of session.slice().reverse()) add(making, false);
  fold();
  show();
  const back = () => void form.loadEngines();
  document.addEventListener("back", back);

  /** @param {Json} request */
  function make(request) {
    player.unlock();
    const { options, ...plain } = request;
    context.keep(new URLSearchParams(Object.entries(plain).map(([name, value]) => [name, Array.isArray(value) ? JSON.stringify(value) : String(value)])));
    sessionStorage.setItem(LINK, location.hash);
    const several = Number(request.candidates) > 1 ? { keep_candidates: true } : {};
    const making = new Making({ ...request, ...several, ...HEARD_AS });
    session.unshift(making);
    session.splice(MOST).forEach((old) => forget(old));
    add(making, true);
    fold();
    show();
    making.addEventListener("change", keep);
    keep();
    void making.start();
    if (matchMedia("(max-width: 979px)").matches) cards.get(making)?.element.scrollIntoView({ block: "start", behavior: still.matches ? "auto" : "smooth" });
  }

  /** @param {Making} making @param {boolean} autoplay */
  function add(making, autoplay) {
    const card = new SoundCard(making, {
      onAgain: (request) => make(plain(request)),
      onReuse: (request) => {
        form.fill({ seed: "", force: false, deadline_ms: "", stand_in: false, options: {}, presets: [], ...plain(request) });
        form.focus();
      },
      onDrop: () => drop(making),
      autoplay,
    });
    cards.set(making, card);
    list.prepend(card.element);
  }

  /** @param {Making} making */
  function drop(making) {
    session = session.filter((one) => one !== making);
    forget(making);
    keep();
    show();
    heading.querySelector("h2")?.focus();
  }

  /** @param {Making} making */
  function forget(making) {
    making.close();
    const card = cards.get(making);
    card?.close();
    card?.element.remove();
    cards.delete(making);
  }

  /** Leave the newest open. */
  function fold() {
    session.forEach((making, at) => {
      const card = cards.get(making);
      if (card) card.compact = at > 0;
    });
  }

  function show() {
    empty.hidden = session.length > 0;
    heading.hidden = session.length === 0;
  }

  return {
    close() {
      document.removeEventListener("back", back);
      form.close();
      for (const card of cards.values()) card.close();
    },
  };
}

/** @param {Json} request @returns {Json} without what this page adds */
function plain(request) {
  const { format, bit_depth, keep_candidates, ...rest } = request;
  return rest;
}

function keep() {
  sessionStorage.setItem(KEPT, JSON.stringify(session.map((making) => making.saved)));
}

/** Find the session again after the page was loaded anew. */
function restore() {
  if (restored) return;
  restored = true;
  try {
    /** @type {import("./making.js").Saved[]} */
    const saved = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
    session = saved.map((one) => new Making(one.request, one));
  } catch {
    session = [];
  }
  for (const making of session) {
    making.addEventListener("change", keep);
    void making.start();
  }
}
