// @ts-check
/**
 * The view *Presets*: named sets of words and settings, listed, written and removed. For whoever runs the pool.
 */
import { Problem, aborted, api, told } from "./api.js";
import { ask, open } from "./dialog.js";
import { field, h, icon, pending, replace, uid } from "./dom.js";
import { toast } from "./notice.js";

/** @typedef {import("./api.js").Json} Json */

const ASPECTS = ["place", "space", "mood", "time", "weather", "period", "distance"];
const PAGE = 500;
/** @type {Record<string, string>} */
const SOURCES = { "built-in": "comes with the program", config: "of the configuration", user: "kept" };

/**
 * @param {HTMLElement} root
 * @param {import("./app.js").Context} context
 * @returns {import("./app.js").View}
 */
export function view(root, context) {
  const { signal } = context;
  const body = h("div", { class: "stack" }, h("div", { class: "skeleton", style: { height: "96px" } }));
  const words = h("input", { type: "search", placeholder: "Search", "aria-label": "Search presets", oninput: () => show() });
  const add = h("button", { class: "button primary", type: "button", onclick: () => write(null) }, icon("tag"), "New preset");
  replace(root, h("h1", null, "Presets"), h("section", { class: "card stack" }, h("div", { class: "row" }, words, add), body));
  /** @type {Json[]} */
  let presets = [];

  async function load() {
    /** @type {Json[]} */
    const found = [];
    try {
      for (let after = /** @type {string | null} */ (null), first = true; first || after; first = false) {
        const query = new URLSearchParams({ limit: String(PAGE) });
        if (after) query.set("after", after);
        const page = await api.get(`/v1/presets?${query}`, { signal });
        found.push(...page.presets);
        after = page.following;
      }
    } catch (error) {
      if (aborted(error)) return;
      replace(body, h("p", { class: "note bad" }, icon("warn"), told(error)), h("button", { class: "button", type: "button", onclick: () => void load() }, "Try again"));
      return;
    }
    presets = found;
    show();
  }

  function show() {
    const wanted = words.value.trim().toLowerCase();
    const fit = presets.filter((one) => !wanted || `${one.id} ${said(one)}`.toLowerCase().includes(wanted));
    replace(
      body,
      h("p", { class: "hint" }, "A sound is made with those that it names: under Make, or as “presets” in a request. Of two that say something about the same thing the higher priority counts."),
      fit.length ? h("ul", { class: "leavers" }, fit.map(row)) : h("p", { class: "soft" }, "There is none of these words."),
    );
  }

  /** @param {Json} preset */
  function row(preset) {
    const source = preset.metadata.source;
    const use = h("button", { class: "button small", type: "button", "aria-label": `Use ${preset.id}`, onclick: () => context.go("make", new URLSearchParams({ presets: JSON.stringify([preset.id]) })) }, icon("make"), "Use");
    const edit = h("button", { class: "button small", type: "button", "aria-label": `Change ${preset.id}`, onclick: () => void pending(edit, write(preset)) }, "Change");
    const remove = h("button", { class: "button small danger", type: "button", "aria-label": `Remove ${preset.id}`, onclick: () => void pending(remove, removed(preset)) }, icon("trash"), "Remove");
    return h(
      "li", { class: "leaver" },
      h("div", { class: "leaver-what" },
        h("p", { class: "leaver-prompt" }, preset.id),
        h("p", { class: "soft" }, said(preset)),
        h("p", { class: "soft" }, [preset.type === "prompt" ? "words" : "settings", `priority ${preset.metadata.priority}`, SOURCES[source] ?? source, preset.engines.length ? `for ${preset.engines.join(", ")}` : null].filter(Boolean).join(" · "))),
      use, edit,
      source === "user" ? remove : null,
    );
  }

  /** @param {Json} preset */
  async function removed(preset) {
    const agreed = await ask({ title: `Remove “${preset.id}”?`, text: "Requests that name it are refused from then on, unless one that comes with the program has its name.", yes: "Remove", danger: true });
    if (!agreed) return;
    try {
      await api.delete(addressOf(preset.id));
      toast(`“${preset.id}” is removed.`, { kind: "good" });
    } catch (error) {
      toast(refused(error), { kind: "bad" });
    }
    await load();
  }

  /** A dialog in which a preset is written. @param {Json | null} listed the one that is changed */
  async function write(listed) {
    /** @type {Json | null} */
    let preset = listed;
    let tag = "";
    if (listed) {
      try {
        ({ body: preset, tag } = await api.tagged(addressOf(listed.id), { signal }));
      } catch (error) {
        if (!aborted(error)) toast(told(error), { kind: "bad" });
        return;
      }
    }
    const content = preset?.content ?? {};
    const text = (/** @type {string} */ value, /** @type {Json} */ more = {}) => h("input", { type: "text", maxLength: 500, value, autocomplete: "off", ...more });
    const name = text(preset?.id ?? "", { maxLength: 64, required: true, disabled: preset !== null });
    const type = h("select", { disabled: preset !== null, onchange: () => fit() }, h("option", { value: "prompt" }, "Words"), h("option", { value: "generation_parameters" }, "Settings"));
    type.value = preset?.type ?? "prompt";
    const before = text(content.before ?? "", { placeholder: "old" });
    const after = text(content.after ?? "", { placeholder: "in a cellar" });
    const negative = text(content.negative ?? "", { placeholder: "music" });
    const scene = Object.fromEntries(ASPECTS.map((aspect) => [aspect, text(content.scene?.[aspect] ?? "", { maxLength: 100 })]));
    const settings = h("textarea", { rows: 5, spellcheck: false, value: preset?.type === "generation_parameters" ? linesOf(content) : "", placeholder: "duration_s = 2\nloop = true\noptions.space = hall" });
    const engines = text((preset?.engines ?? []).join(", "), { placeholder: "all" });
    const priority = h("input", { type: "number", min: "0", max: "100", step: "1", value: String(preset?.metadata.priority ?? 50), required: true });
    const wrong = h("p", { class: "note bad", role: "alert", hidden: true });
    const ofWords = h("div", { class: "stack" },
      h("div", { class: "fields" }, field("Before the words", before), field("After them", after), field("Not in it", negative)),
      h("h3", null, "Scene"),
      h("div", { class: "fields" }, ASPECTS.map((aspect) => field(aspect.charAt(0).toUpperCase() + aspect.slice(1), scene[aspect]))));
    const ofSettings = field("Settings, one a line", settings, "Fields of a request that decide what a sound is, each with its value.");
    const fit = () => {
      ofWords.hidden = type.value !== "prompt";
      ofSettings.hidden = type.value === "prompt";
    };
    fit();
    const save = h("button", { class: "button primary", type: "submit" }, "Keep");
    const form = h(
      "form",
      { class: "stack", id: uid("preset"), onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        void pending(save, kept());
      } },
      h("div", { class: "fields" }, field("Name", name), field("Type", type), field("Priority", priority), field("Only for", engines, "Engines, or kind:NAME, with commas between.")),
      ofWords, ofSettings, wrong, h("div", { class: "row" }, save),
    );
    const dialog = open(preset ? `Change “${preset.id}”` : "New preset", [form]);

    async function kept() {
      /** @type {Json} */
      let said;
      if (type.value === "prompt") {
        const around = Object.fromEntries(Object.entries({ before, after, negative }).map(([key, one]) => [key, one.value.trim()]).filter(([, one]) => one));
        const told_ = Object.fromEntries(ASPECTS.map((aspect) => [aspect, scene[aspect].value.trim()]).filter(([, one]) => one));
        said = Object.keys(told_).length ? { ...around, scene: told_ } : around;
      } else said = ofLines(settings.value);
      const written = { type: type.value, content: said, engines: engines.value.split(",").map((one) => one.trim()).filter(Boolean), priority: Number(priority.value) };
      /** @type {Record<string, string>} */
      const headers = tag ? { "if-match": tag } : { "if-none-match": "*" };
      try {
        await api.put(addressOf(name.value.trim()), written, { headers });
      } catch (error) {
        wrong.textContent = error instanceof Problem && error.status === 412 ? (tag ? "Somebody has changed it meanwhile. Close this, and look at what it says now." : "There is one of this name already.") : refused(error);
        wrong.hidden = false;
        return;
      }
      dialog.close();
      toast(`“${name.value.trim()}” is kept. It counts from the next sound on.`, { kind: "good" });
      await load();
    }
  }

  void load();
  document.addEventListener("back", load);
  return { close: () => document.removeEventListener("back", load) };
}

/** @param {unknown} error */
function refused(error) {
  return error instanceof Problem && error.code === "refused" ? "Presets are everybody's: an operator's key sets them." : told(error);
}

/** @param {string} name */
function addressOf(name) {
  return `/v1/presets/${encodeURIComponent(name)}`;
}

/** What a preset says, in a line. @param {Json} preset @returns {string} */
function said(preset) {
  return Object.entries(preset.content)
    .flatMap(([name, value]) => (value !== null && typeof value === "object" ? Object.entries(value).map(([part, one]) => `${part}: ${one}`) : [`${name}: ${value}`]))
    .join(", ");
}

/** @param {Json} content @returns {string} */
function linesOf(content) {
  const { options, ...rest } = content;
  const pairs = [...Object.entries(rest), ...Object.entries(options ?? {}).map(([name, value]) => [`options.${name}`, value])];
  return pairs.map(([name, value]) => `${name} = ${typeof value === "string" ? value : JSON.stringify(value)}`).join("\n");
}

/** @param {string} text @returns {Json} */
function ofLines(text) {
  /** @type {Json} */
  const content = {};
  for (const line of text.split("\n")) {
    const at = line.indexOf("=");
    const [name, value] = at < 0 ? [line.trim(), ""] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    if (!name) continue;
    if (name.startsWith("options.")) content.options = { ...content.options, [name.slice("options.".length)]: valueOf(value) };
    else content[name] = valueOf(value);
  }
  return content;
}

/** @param {string} text */
function valueOf(text) {
  if (text === "true" || text === "false") return text === "true";
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}
