// @ts-check
/**
 * The view *Library*: kept sounds by eye and ear. What one types is searched at once; pointing at a tile plays it.
 */
import { h, field, icon, pending, replace, soon } from "./dom.js";
import { announce } from "./notice.js";
import { Listening } from "./listening.js";
import { Many, formats, soundCount, tagsIn } from "./many.js";
import { Shelf } from "./shelf.js";
import { SoundDetail } from "./sound_detail.js";
import { TileGrid } from "./tile_grid.js";
import { Tiles } from "./tiles.js";

/** @typedef {import("./shelf.js").Sound} Sound */

const TYPED_MS = 130;
const PLAYS = "audio-pool.library-plays";
/** Wishes that the address keeps, beside the text. */
const KEPT = ["text", "engine", "kind", "loop", "shortest_s", "longest_s", "tags", "min_rating", "favourite", "pinned", "namespace", "sort"];

/**
 * @param {HTMLElement} root
 * @param {import("./app.js").Context} context
 * @returns {import("./app.js").View}
 */
export function view(root, context) {
  const shelf = new Shelf();
  const listening = new Listening();
  const tiles = new Tiles();
  const many = new Many(shelf, listening, context.signal);
  const grid = new TileGrid({ label: "Kept sounds", listening, tiles });
  grid.plays = localStorage.getItem(PLAYS) !== "no";
  const detail = new SoundDetail({ many, onChange: (sound) => shelf.put(sound), onClose: () => grid.focus(), go: context.go });
  /** @type {Record<string, string[]>} */
  let enginesOf = {};

  // -- what is looked for

  const given = context.parameters;
  const search = h("input", { type: "search", value: given.get("text") ?? "", placeholder: "rain on a tin roof", autocomplete: "off", spellcheck: false, enterKeyHint: "search", maxLength: 200 });
  /** @type {Record<string, HTMLInputElement | HTMLSelectElement>} */
  const wishes = {
    engine: choice([["", "Any engine"]], given.get("engine")),
    kind: choice([["", "Any kind"]], given.get("kind")),
    loop: choice([["", "Both"], ["true", "Loops"], ["false", "One-shots"]], given.get("loop")),
    shortest_s: h("input", { type: "number", min: "0", max: "3600", step: "any", inputMode: "decimal", value: given.get("shortest_s") ?? "", placeholder: "0" }),
    longest_s: h("input", { type: "number", min: "0", max: "3600", step: "any", inputMode: "decimal", value: given.get("longest_s") ?? "", placeholder: "any" }),
    tags: h("input", { type: "text", value: given.get("tags") ?? "", placeholder: "boss, metal", autocapitalize: "none", spellcheck: false }),
    min_rating: choice([["", "Any rating"], ...[1, 2, 3, 4, 5].map((n) => /** @type {[string, string]} */ ([String(n), n === 5 ? "★★★★★" : `${"★".repeat(n)} or more`]))], given.get("min_rating")),
    namespace: h("input", { type: "text", value: given.get("namespace") ?? "", placeholder: "your own", autocapitalize: "none", spellcheck: false, maxLength: 64 }),
    sort: choice([["", "Newest first"], ["oldest", "Oldest first"], ["rating", "Best rated"], ["quality", "Best quality"], ["longest", "Longest"], ["shortest", "Shortest"], ["last_used", "Last used"]], given.get("sort")),
  };
  const only = {
    favourite: chip("Favourites", "heart", given.get("favourite") === "true"),
    pinned: chip("Pinned", "pin", given.get("pinned") === "true"),
  };
  const plays = h("input", { type: "checkbox", class: "switch", role: "switch", checked: grid.plays, onchange: () => {
    grid.plays = plays.checked;
    localStorage.setItem(PLAYS, plays.checked ? "yes" : "no");
    if (!plays.checked) listening.leave();
  } });
  const summary = h("summary", { class: "button" });
  const status = h("p", { class: "soft library-status", role: "status" });
  const reset = h("button", { class: "button quiet", type: "button", onclick: () => clear() }, "Clear filters");
  const filters = h(
    "details",
    { class: "filters" },
    summary,
    h("div", { class: "filter-fields" },
      field("Engine", wishes.engine), field("Kind", wishes.kind), field("Loop", wishes.loop),
      field("At least, in seconds", wishes.shortest_s), field("At most, in seconds", wishes.longest_s),
      field("Tags", wishes.tags), field("Rating", wishes.min_rating), field("Namespace", wishes.namespace),
      h("div", { class: "row filter-chips", role: "group", "aria-label": "Only" }, only.favourite, only.pinned, reset)),
  );

  const look = () => {
    const wanted = asked();
    const kept = new URLSearchParams(Object.entries(written()).filter(([, value]) => value));
    context.keep(kept);
    const set = KEPT.filter((name) => name !== "text" && name !== "sort" && kept.get(name)).length;
    replace(summary, icon("more"), set ? `Filters (${set})` : "Filters");
    reset.hidden = !set;
    wishes.sort.disabled = Boolean(search.value.trim());
    const first = wishes.sort.querySelector("option");
    if (first) first.textContent = wishes.sort.disabled ? "Best match first" : "Newest first";
    if (wishes.sort.disabled) wishes.sort.value = "";
    void pending(grid.element, shelf.look(wanted));
  };
  const typed = soon(TYPED_MS, look);
  search.addEventListener("input", () => typed());
  search.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" && shelf.sounds.length) {
      event.preventDefault();
      grid.focus();
    }
  });
  for (const one of Object.values(wishes)) one.addEventListener(one instanceof HTMLSelectElement ? "change" : "input", one instanceof HTMLSelectElement ? () => look() : () => typed());

  /** As the address keeps it. @returns {Record<string, string>} */
  function written() {
    const values = Object.fromEntries(Object.entries(wishes).map(([name, one]) => [name, one.value.trim()]));
    return {
      text: search.value.trim(), ...values,
      favourite: only.favourite.getAttribute("aria-pressed") === "true" ? "true" : "",
      pinned: only.pinned.getAttribute("aria-pressed") === "true" ? "true" : "",
    };
  }

  /** As the server is asked. @returns {import("./shelf.js").Wishes} */
  function asked() {
    const { kind, tags, sort, text, ...rest } = written();
    return { ...rest, text: search.value.trimStart(), tags: tagsIn(tags), sort: text ? "" : sort, engines: kind ? (enginesOf[kind] ?? [kind]) : [] };
  }

  function clear() {
    for (const [name, one] of Object.entries(wishes)) if (name !== "sort") one.value = "";
    only.favourite.setAttribute("aria-pressed", "false");
    only.pinned.setAttribute("aria-pressed", "false");
    look();
    summary.focus();
  }

  /** @param {string} label @param {string} picture @param {boolean} on */
  function chip(label, picture, on) {
    const button = h("button", { class: "chip", type: "button", "aria-pressed": String(on), onclick: () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      look();
    } }, icon(picture), label);
    return button;
  }

  // -- what is found

  const none = h("div", { class: "empty", hidden: true });
  shelf.addEventListener("change", (event) => {
    const { anew } = /** @type {CustomEvent} */ (event).detail;
    if (anew && detail.sound && !shelf.sounds.some((one) => one.id === detail.sound?.id)) detail.hide();
    grid.show(shelf.sounds, { whole: shelf.whole, anew });
    say();
  });
  shelf.addEventListener("put", (event) => {
    const at = /** @type {CustomEvent} */ (event).detail;
    grid.redraw(at);
    detail.refresh(shelf.sounds[at]);
  });

  function say() {
    const there = shelf.sounds.length;
    none.hidden = there > 0 || shelf.busy;
    grid.element.hidden = there === 0;
    if (shelf.error) {
      replace(none, icon("warn"), h("h2", null, "The library could not be read"), h("p", null, shelf.error), h("button", { class: "button primary", type: "button", onclick: look }, "Try again"));
      status.textContent = "";
      return;
    }
    if (there) {
      const words = shelf.byMeaning === false ? ", by words alone: no encoder compares meanings here" : shelf.byMeaning ? ", by words and meaning" : "";
      status.textContent = `${shelf.whole ? soundCount(there) : `${soundCount(there)}, and more`}${words}`;
    } else if (!shelf.busy) {
      status.textContent = "No sound";
      const looking = Object.values(written()).some(Boolean);
      replace(none, icon("library"),
        h("h2", null, looking ? "Nothing fits" : "No sound is kept yet"),
        h("p", null, looking ? "Fewer words, or fewer filters, find more." : "What you make is kept here, to be found, rated and used again."),
        looking
          ? h("button", { class: "button", type: "button", onclick: () => ((search.value = ""), clear()) }, "Show all")
          : h("a", { class: "button primary", href: "#make" }, "Make a sound"));
    }
  }

  grid.addEventListener("near-end", () => shelf.reach(shelf.sounds.length + 1));
  grid.addEventListener("all", (event) => {
    const { detail: then } = /** @type {CustomEvent} */ (event);
    announce("The rest is read first.");
    void shelf.all().then(() => grid.went(then));
  });
  grid.addEventListener("open", (event) => {
    const { detail: sound } = /** @type {CustomEvent<Sound>} */ (event);
    if (!sound) return;
    void detail.show(sound, { focus: !wide() });
  });
  grid.addEventListener("current", (event) => {
    const { detail: sound } = /** @type {CustomEvent<Sound>} */ (event);
    if (sound && !detail.element.hidden && wide() && detail.sound?.id !== sound.id) soonShown(sound);
  });
  const soonShown = soon(200, (/** @type {Sound} */ sound) => {
    if (!detail.element.hidden) void detail.show(sound);
  });
  grid.addEventListener("mark", (event) => {
    const { kind, value } = /** @type {CustomEvent} */ (event).detail;
    const meant = grid.meant;
    if (!meant.length) return;
    if (kind === "remove") void removed(meant);
    else if (kind === "rating") void many.mark(meant, { rating: value }, value ? `${"★".repeat(value)} for` : "No rating for");
    else if (kind === "favourite") void many.mark(meant, { favourite: !meant.every((one) => one.favourite) }, meant.every((one) => one.favourite) ? "No favourite any more:" : "Favourite:");
    else void pinned(meant);
  });

  /** @param {Sound[]} meant */
  async function removed(meant) {
    if (await many.remove(meant)) grid.focus();
  }

  /** @param {Sound[]} meant */
  function pinned(meant) {
    const all = meant.every((one) => one.pinned);
    return many.mark(meant, { pinned: !all }, all ? "No pin any more:" : "Pinned");
  }

  listening.addEventListener("gone", (event) => many.gone([/** @type {CustomEvent<Sound>} */ (event).detail]));

  // -- what is selected

  const how = formats();
  how.setAttribute("aria-label", "Format");
  const number = h("p", { class: "selection-count" });
  const pinLabel = h("span", null, "Pin");
  /** @param {string} picture @param {string | Node} label @param {(meant: Sound[]) => unknown} does @param {string} [looks] */
  const act = (picture, label, does, looks = "") =>
    h("button", { class: `button small ${looks}`, type: "button", onclick: (/** @type {Event} */ event) => {
      const work = does(grid.meant);
      if (work instanceof Promise) void pending(/** @type {HTMLElement} */ (event.currentTarget), work);
    } }, icon(picture), typeof label === "string" ? h("span", null, label) : label);
  const bar = h(
    "div",
    { class: "selection card", role: "region", "aria-label": "Selection", hidden: true },
    number,
    h("div", { class: "row" },
      how,
      act("download", "Download", (meant) => many.download(meant, how.value)),
      act("pack", "Make a pack", (meant) => many.pack(meant)),
      act("pin", pinLabel, pinned),
      act("tag", "Tag", (meant) => many.tag(meant)),
      act("trash", "Delete", removed, "danger"),
      act("close", "Clear", () => (grid.choose([]), grid.focus()), "quiet")),
  );
  grid.addEventListener("choose", () => {
    const n = grid.chosen.size;
    bar.hidden = n === 0;
    number.textContent = `${soundCount(n)} selected`;
    pinLabel.textContent = n && grid.meant.every((one) => one.pinned) ? "Take pin off" : "Pin";
    said(n);
  });
  const said = soon(300, (/** @type {number} */ n) => announce(n ? `${soundCount(n)} selected` : "Nothing is selected"));

  replace(
    root,
    h("h1", null, "Library"),
    h("div", { class: "library-tools", role: "search" },
      h("div", { class: "library-search" }, field("Search", search)),
      filters,
      h("div", { class: "field library-sort" }, h("span", { class: "legend", "aria-hidden": "true" }, "Order"), wishes.sort),
      h("label", { class: "choice library-plays" }, plays, "Play what is pointed at")),
    h("div", { class: "row apart" }, status,
      h("details", { class: "menu library-keys" }, h("summary", { class: "button quiet small" }, icon("why"), "Keys"), h("div", null, keys()))),
    h("div", { class: "library-body" }, h("div", { class: "library-found" }, grid.element, none), detail.element),
    bar,
  );
  wishes.sort.setAttribute("aria-label", "Order");
  const listen = () => look();
  document.addEventListener("back", listen);

  context.engines().then(({ engines }) => {
    const names = engines.map((one) => String(one.name));
    fill(wishes.engine, names, given.get("engine"));
    enginesOf = {};
    for (const one of engines) for (const kind of one.kinds ?? []) (enginesOf[kind] ??= []).push(one.name);
    fill(wishes.kind, Object.keys(enginesOf).sort(), given.get("kind"));
    if (given.get("kind") || given.get("engine")) look();
  }, () => {});
  look();
  if (KEPT.some((name) => name !== "text" && name !== "sort" && given.get(name))) filters.open = true;

  return {
    close() {
      typed.cancel();
      document.removeEventListener("back", listen);
      shelf.close();
      listening.close();
      detail.close();
      grid.close();
      tiles.close();
    },
  };
}

function wide() {
  return window.matchMedia("(min-width: 1000px)").matches;
}

/** @param {[string, string][]} options @param {string | null} chosen */
function choice(options, chosen) {
  return h("select", null, options.map(([value, label]) => h("option", { value, selected: value === (chosen ?? "") }, label)));
}

/** @param {HTMLInputElement | HTMLSelectElement} select @param {string[]} names @param {string | null} chosen */
function fill(select, names, chosen) {
  select.append(...names.map((name) => h("option", { value: name, selected: name === chosen }, name)));
}

function keys() {
  /** @type {[string, string][]} */
  const told = [
    ["Arrows, Home, End", "go from tile to tile"], ["Space", "selects"], ["Shift + arrows", "selects a range"], ["Ctrl + A", "selects all that are there"],
    ["Enter", "opens"], ["1 to 5, 0", "rates, takes it back"], ["F", "favourite"], ["P", "pin"], ["Delete", "removes, once you agree"], ["Escape", "clears"],
  ];
  return h("dl", { class: "keys" }, told.map(([key, does]) => h("div", null, h("dt", null, key), h("dd", null, does))));
}
