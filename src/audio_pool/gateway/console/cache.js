// @ts-check
/**
 * The view *Cache*: how much is kept and since when, what goes next, what is there twice. For whoever looks after it.
 */
import { Problem, aborted, api, told } from "./api.js";
import { bars } from "./bars.js";
import { h, icon, pending, replace } from "./dom.js";
import { ago, count, percent, seconds, size } from "./figures.js";
import { Listening, addressOf } from "./listening.js";
import { Many, soundCount } from "./many.js";
import { announce, toast } from "./notice.js";
import { Shelf } from "./shelf.js";

/** @typedef {import("./shelf.js").Sound} Sound */
/** @typedef {{reason: string, keep: Sound, duplicates: Sound[], more: number}} Group */

const LISTED = 25;
const MORE = 200;
const LOOKING_MS = 120_000;
const AGES = ["under a day", "a day", "a week", "a month", "3 months", "a year"];
/** @type {Record<string, string>} */
const BOUNDS = { max_items: "too many", max_size_gb: "too large", ttl_days: "too old" };

/**
 * @param {HTMLElement} root
 * @param {import("./app.js").Context} context
 * @returns {import("./app.js").View}
 */
export function view(root, context) {
  const { signal } = context;
  const listening = new Listening();
  const shelf = new Shelf();
  const many = new Many(shelf, listening, signal);
  const figures = section("What is kept");
  const next = section("What goes next");
  const twice = section("What is there twice");
  /** What shows on each button whether its sound plays. @type {Map<HTMLElement, () => void>} */
  const buttons = new Map();
  listening.addEventListener("change", () => {
    for (const [button, show] of buttons) {
      if (button.isConnected) show();
      else buttons.delete(button);
    }
  });

  replace(root, h("h1", null, "Cache"), h("div", { class: "stack" }, figures.element, next.element, twice.element));

  /**
   * Fill a section, or say why not.
   * @param {{body: HTMLElement}} place
   * @param {() => Promise<void>} work
   */
  async function filled(place, work) {
    try {
      await work();
    } catch (error) {
      if (aborted(error)) return;
      if (error instanceof Problem && error.code === "refused") {
        replace(place.body, h("p", { class: "soft" }, "This is of everybody's sounds: an operator's key shows it."));
        return;
      }
      replace(place.body, h("p", { class: "note bad" }, icon("warn"), told(error)), h("button", { class: "button", type: "button", onclick: () => void filled(place, work) }, "Try again"));
    }
  }

  // -- how much, since when

  async function showFigures() {
    const stats = await api.get("/v1/cache", { signal, timeoutMs: LOOKING_MS });
    const MB = 1 << 20;
    /** @type {[string, string][]} */
    const shown = [
      ["Sounds", count(stats.total_items)],
      ["Size", size(stats.total_size_mb * MB)],
      ["Of other formats and pictures", size((stats.total_size_mb - stats.masters_size_mb) * MB)],
      ["Playing time", seconds(stats.total_duration_s)],
      ["Different prompts", count(stats.unique_prompts)],
      ["Oldest", ago(stats.oldest_item)],
      ["Found in it", percent(stats.hit_rate)],
      ["Making saved", seconds(stats.saved_generation_s)],
      ["Files missing", count(stats.missing_files)],
      ["Set apart", stats.quarantined ? `${count(stats.quarantined)}, ${size(stats.quarantined_size_mb * MB)}` : "none"],
    ];
    const ages = stats.ages_days.entries.map((/** @type {number} */ n, /** @type {number} */ at) => [AGES[at] ?? `${stats.ages_days.edges[at]} days`, n]);
    replace(
      figures.body,
      h("dl", { class: "figures" }, shown.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))),
      ages.length ? h("div", { class: "ages" }, h("h3", null, "Ages: kept for at least"), bars({ label: "Sounds by age: kept for at least", unit: "Sounds", bars: ages })) : null,
    );
  }

  // -- what goes next

  let listed = LISTED;
  async function showNext() {
    const plan = await api.get(`/v1/cache/eviction?limit=${listed}`, { signal, timeoutMs: LOOKING_MS });
    const bounds = [
      plan.max_items ? `${count(plan.max_items)} sounds` : null,
      plan.max_bytes ? size(plan.max_bytes) : null,
      plan.ttl_s ? `${Number((plan.ttl_s / 86_400).toFixed(1))} days` : null,
    ].filter(Boolean);
    const held = `${soundCount(plan.held_items)}, ${size(plan.held_bytes)} are held`;
    const bound = bounds.length ? `at most ${bounds.join(", ")} may be.` : "there is no bound, so nothing ever goes. With one, these would go first.";
    const due = plan.due_items ? `${soundCount(plan.due_items)} (${size(plan.due_bytes)}) go now, down to ${Math.round(plan.low_water * 100)} % of the bound.` : bounds.length ? "Nothing is too much now; these go first when more is kept." : "";
    const part = plan.max_bytes ? plan.held_bytes / plan.max_bytes : plan.max_items ? plan.held_items / plan.max_items : 0;
    replace(
      next.body,
      h("p", null, `${held}; ${bound} ${due}`),
      part ? h("div", { class: "progress", role: "meter", "aria-label": "Of the bound", "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": Math.round(Math.min(1, part) * 100) }, h("span", { style: { "--part": Math.min(1, part) } })) : null,
      h("p", { class: "hint" }, `Worth is seconds of making × quality × uses for each megabyte. ${plan.pinned === 1 ? "1 pinned sound is" : `${count(plan.pinned)} pinned sounds are`} never taken.`),
      plan.next.length
        ? h(
            "ol",
            { class: "leavers" },
            plan.next.map((/** @type {any} */ one) => leaver(one)),
          )
        : h("p", { class: "soft" }, "Nothing would go."),
      plan.next.length >= listed && listed < MORE
        ? h("button", { class: "button", type: "button", onclick: (/** @type {Event} */ event) => {
            listed = MORE;
            void pending(/** @type {HTMLElement} */ (event.currentTarget), filled(next, showNext));
          } }, `Show ${MORE}`)
        : null,
    );
  }

  /** @param {any} one */
  function leaver(one) {
    /** @type {Sound} */
    const sound = one.sound;
    const pin = h("button", { class: "button small", type: "button", "aria-label": `Pin ${sound.prompt}`, onclick: () => void pending(pin, pinned(sound)) }, icon("pin"), "Pin");
    const why = one.why ? BOUNDS[one.why] ?? one.why : "";
    return h(
      "li",
      { class: "leaver" },
      playButton(sound),
      h("div", { class: "leaver-what" },
        h("p", { class: "leaver-prompt prompt-title" }, sound.prompt),
        h("p", { class: "soft" },
          [`worth ${amount(one.worth)}`, size(sound.size_bytes), sound.hits ? `used ${count(sound.hits)} times` : "never used again", `kept ${ago(sound.created_at)}`, sound.namespace === "default" ? null : sound.namespace].filter(Boolean).join(" · "))),
      why ? h("span", { class: "tag warn" }, why) : null,
      one.delivered_just_now ? h("span", { class: "tag" }, "delivered just now") : null,
      pin,
    );
  }

  /** @param {Sound} sound */
  async function pinned(sound) {
    try {
      await api.put(addressOf(sound, "/pin"));
      toast(`“${sound.prompt}” stays.`, { kind: "good", action: () => void unpinned(sound), label: "Take the pin off" });
      await filled(next, showNext);
    } catch (error) {
      toast(told(error), { kind: "bad" });
    }
  }

  /** @param {Sound} sound */
  async function unpinned(sound) {
    try {
      await api.delete(addressOf(sound, "/pin"));
      await filled(next, showNext);
    } catch (error) {
      toast(told(error), { kind: "bad" });
    }
  }

  // -- what is there twice

  const by = h("select", { "aria-label": "What counts as the same" },
    [["any", "By words or sound"], ["prompt", "By words and settings"], ["sound", "By how they sound"]].map(([value, label]) => h("option", { value }, label)));
  by.addEventListener("change", () => void pending(by, filled(twice, showTwice)));

  async function showTwice() {
    const found = await api.get(`/v1/cache/duplicates?by=${by.value}&limit=${MORE}`, { signal, timeoutMs: LOOKING_MS });
    /** @type {Map<number, Sound>} */
    const doomed = new Map();
    const remove = h("button", { class: "button danger", type: "button", onclick: () => void pending(remove, removed()) }, icon("trash"), h("span", null));
    const counted = () => {
      replace(/** @type {HTMLElement} */ (remove.lastElementChild), `Remove ${soundCount(doomed.size)}`);
      remove.disabled = doomed.size === 0;
    };
    async function removed() {
      const chosen = [...doomed.values()];
      const spaces = new Set(chosen.map((one) => one.namespace));
      let gone = false;
      for (const space of spaces) gone = (await many.remove(chosen.filter((one) => one.namespace === space))) || gone;
      if (!gone) return;
      announce("They are gone.");
      await Promise.all([filled(twice, showTwice), filled(next, showNext), filled(figures, showFigures)]);
    }
    const first = found.groups.length < found.found ? ` The first ${count(found.groups.length)} are listed.` : "";
    const groups = found.found === 1 ? "1 group" : `${count(found.found)} groups`;
    replace(
      twice.body,
      h("div", { class: "row" }, by, found.found ? remove : null),
      found.found
        ? h("p", null, `${groups} with ${soundCount(found.duplicates)} too many, ${size(found.size_bytes)}.${first}`)
        : h("p", { class: "soft" }, "Nothing is there twice."),
      h("ul", { class: "stack" }, found.groups.map((/** @type {Group} */ group) => groupOf(group, doomed, counted))),
    );
    counted();
  }

  /** @param {Group} group @param {Map<number, Sound>} doomed @param {() => void} counted */
  function groupOf(group, doomed, counted) {
    return h(
      "li",
      { class: "twice" },
      h("h3", { class: "prompt-title" }, group.keep.prompt),
      h("p", { class: "hint" }, `${group.reason}${group.keep.namespace === "default" ? "" : ` in ${group.keep.namespace}`}`),
      h("ul", null, [group.keep, ...group.duplicates].map((sound, at) => {
        const goes = at > 0 && !sound.pinned;
        if (goes) doomed.set(sound.id, sound);
        const box = h("input", { type: "checkbox", checked: goes, "aria-label": `Remove ${sound.prompt}, ${sound.id}`, onchange: () => {
          if (box.checked) doomed.set(sound.id, sound);
          else doomed.delete(sound.id);
          counted();
        } });
        return h("li", { class: "leaver" },
          playButton(sound),
          h("div", { class: "leaver-what" },
            h("p", { class: "prompt-title" }, at === 0 ? "The best of them" : sound.prompt === group.keep.prompt ? "One more" : sound.prompt),
            h("p", { class: "soft" }, [sound.quality === null ? null : `quality ${Math.round(sound.quality)}`, sound.clap_similarity === null ? null : `CLAP ${sound.clap_similarity.toFixed(2)}`, seconds(sound.duration_s), size(sound.size_bytes), sound.hits ? `used ${count(sound.hits)} times` : null, `kept ${ago(sound.created_at)}`].filter(Boolean).join(" · "))),
          sound.pinned ? h("span", { class: "tag accent" }, icon("pin"), "pinned") : null,
          h("label", { class: "choice" }, box, "Remove"));
      })),
      group.more ? h("p", { class: "hint" }, `And ${count(group.more)} more, listed when these are gone.`) : null,
    );
  }

  /** @param {Sound} sound */
  function playButton(sound) {
    const button = h("button", { class: "button icon-only", type: "button", onclick: () => void pending(button, listening.toggle(sound)) });
    const show = () => {
      const heard = listening.heard?.id === sound.id;
      if (button.dataset.heard === String(heard)) return;
      button.dataset.heard = String(heard);
      replace(button, icon(heard ? "stop" : "play"));
      button.setAttribute("aria-label", `${heard ? "Stop" : "Play"} ${sound.prompt}, ${sound.id}`);
    };
    show();
    buttons.set(button, show);
    return button;
  }

  const all = () => {
    void filled(figures, showFigures);
    void filled(next, showNext).then(() => filled(twice, showTwice));
  };
  all();
  document.addEventListener("back", all);
  listening.addEventListener("gone", () => {
    toast("It has been removed meanwhile.");
    all();
  });

  return {
    close() {
      document.removeEventListener("back", all);
      listening.close();
      shelf.close();
    },
  };
}

/** @param {string} title @returns {{element: HTMLElement, body: HTMLElement}} */
function section(title) {
  const body = h("div", { class: "stack" }, h("div", { class: "skeleton", style: { height: "96px" } }));
  return { element: h("section", { class: "card stack" }, h("h2", null, title), body), body };
}

/** @param {number} worth */
function amount(worth) {
  return worth >= 100 ? count(Math.round(worth)) : worth >= 0.01 ? worth.toPrecision(2) : worth.toExponential(1);
}
