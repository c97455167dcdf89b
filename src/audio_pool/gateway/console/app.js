// @ts-check
/**
 * The shell: which view is shown, the theme, the volume, the key, and whether the gateway is there.
 *
 * A view is a module that exports `view(root, context)` and returns `{close()}`. Its address is the hash, with what it
 * wants to keep there: `#library?words=rain`. The context:
 *
 *   context.parameters           URLSearchParams of the hash, as the view was opened
 *   context.keep(parameters)     writes them into the hash without opening the view anew
 *   context.go(name, parameters) opens another view
 *   context.engines()            {engines, default}: the generators, asked for once and again when the gateway is back
 *   context.title(text)          what the window is called
 *   context.signal               aborted when the view is left: give it to every request
 */
import { api, told, aborted } from "./api.js";
import { open } from "./dialog.js";
import { h, icon, replace, uid } from "./dom.js";
import { announce, toast } from "./notice.js";
import { player } from "./player.js";
import { setTheme, theme } from "./theme.js";

/**
 * @typedef {object} Context
 * @property {URLSearchParams} parameters
 * @property {(parameters: URLSearchParams) => void} keep
 * @property {(name: string, parameters?: URLSearchParams) => void} go
 * @property {() => Promise<Engines>} engines
 * @property {(text: string) => void} title
 * @property {AbortSignal} signal
 */

/** @typedef {{close: () => void}} View */
/** @typedef {{engines: any[], default: string}} Engines */

/** @type {Record<string, {label: string, icon: string, load: () => Promise<{view: (root: HTMLElement, context: Context) => View}>}>} */
const VIEWS = {
  make: { label: "Make", icon: "make", load: () => import("./make.js") },
  library: { label: "Library", icon: "library", load: () => import("./library.js") },
  presets: { label: "Presets", icon: "tag", load: () => import("./presets.js") },
  live: { label: "Live", icon: "live", load: () => import("./live.js") },
  cache: { label: "Cache", icon: "cache", load: () => import("./cache.js") },
};
const FIRST = "make";

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
/** @type {{name: string, view: View | null, left: AbortController} | null} */
let shown = null;
/** @type {Promise<Engines> | null} */
let engines = null;

/** @returns {{name: string, parameters: URLSearchParams}} */
function place() {
  const [name, query = ""] = location.hash.slice(1).split("?");
  return { name: name in VIEWS ? name : FIRST, parameters: new URLSearchParams(query) };
}

/** @param {string} name @param {URLSearchParams} [parameters] */
function address(name, parameters) {
  const query = parameters?.toString();
  return query ? `#${name}?${query}` : `#${name}`;
}

/** @param {boolean} [focus] */
async function show(focus = true) {
  const { name, parameters } = place();
  shown?.view?.close();
  shown?.left.abort();
  const left = new AbortController();
  const here = { name, view: /** @type {View | null} */ (null), left };
  shown = here;
  for (const tab of document.querySelectorAll("#tabs a")) {
    if (tab.getAttribute("href") === `#${name}`) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  document.title = `${VIEWS[name].label} · audio_pool`;
  const root = h("div", { class: `view view-${name}` });
  try {
    const module = await VIEWS[name].load();
    if (shown !== here) return;
    replace(main, root);
    here.view = module.view(root, {
      parameters,
      keep: (kept) => history.replaceState(null, "", address(name, kept)),
      go: (other, given) => {
        location.hash = address(other, given);
      },
      engines: knownEngines,
      title: (text) => {
        document.title = `${text} · audio_pool`;
      },
      signal: left.signal,
    });
  } catch (error) {
    if (shown !== here) return;
    replace(
      main,
      h("div", { class: "empty" }, h("h1", null, "This view did not load"), h("p", null, told(error)), h("button", { class: "button primary", type: "button", onclick: () => show() }, "Try again")),
    );
  }
  if (focus) {
    main.focus({ preventScroll: true });
    window.scrollTo(0, 0);
    announce(VIEWS[name].label);
  }
}

function knownEngines() {
  engines ??= api.get("/v1/engines").then(
    (told) => ({ ...told, engines: told.engines.filter((/** @type {any} */ engine) => engine.kind === "generator") }),
    (error) => {
      engines = null;
      throw error;
    },
  );
  return engines;
}

// -- the bar

function tabs() {
  const nav = /** @type {HTMLElement} */ (document.getElementById("tabs"));
  replace(nav, Object.entries(VIEWS).map(([name, { label, icon: picture }]) => h("a", { href: `#${name}` }, icon(picture), h("span", null, label))));
}

function tools() {
  const shelf = /** @type {HTMLElement} */ (document.getElementById("tools"));
  const volume = h("input", {
    type: "range", min: "0", max: "1", step: "0.01", value: String(player.volume), id: uid("volume"), "aria-label": "Volume",
    oninput: () => {
      player.volume = Number(volume.value);
    },
  });
  const themes = /** @type {const} */ (["auto", "light", "dark"]);
  const pictures = { auto: "auto", light: "sun", dark: "moon" };
  const button = h("button", {
    class: "button icon-only", type: "button",
    onclick: () => {
      setTheme(themes[(themes.indexOf(theme()) + 1) % themes.length]);
      named();
      announce(`Theme: ${theme()}`);
    },
  });
  const named = () => {
    replace(button, icon(pictures[theme()]));
    button.setAttribute("aria-label", `Theme: ${theme()}`);
    button.title = `Theme: ${theme()}`;
  };
  named();
  const key = h("button", { class: "button icon-only", type: "button", "aria-label": "Key", title: "Key", hidden: true, onclick: askForKey }, icon("key"));
  api.addEventListener("key", () => {
    key.hidden = !api.key && !api.needsKey;
  });
  key.hidden = !api.key;
  replace(shelf, h("label", { class: "volume", title: "Volume" }, icon("volume"), volume), key, button);
}

// -- the key

/** @type {HTMLDialogElement | null} */
let asking = null;

function askForKey() {
  if (asking) return;
  const input = h("input", { type: "password", id: uid("key"), autocomplete: "current-password", required: true, spellcheck: false, value: api.key });
  const remember = h("input", { type: "checkbox", id: uid("remember") });
  const form = h(
    "form",
    {
      class: "stack",
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        api.useKey(input.value.trim(), remember.checked);
        dialog.close();
        engines = null;
        void show(false);
      },
    },
    api.key && api.needsKey && h("div", { class: "note bad", role: "alert" }, icon("warn"), h("p", null, "The key that was shown is not known here.")),
    h("p", null, "This gateway lets in who shows a key: the operator makes one with ", h("code", null, "audio-pool keys http create"), "."),
    h("div", { class: "field" }, h("label", { htmlFor: input.id }, "Key"), input),
    h("label", { class: "choice" }, remember, "Remember it on this device"),
    h("div", { class: "row end" },
      api.key && h("button", { class: "button", type: "button", onclick: () => (api.forgetKey(), dialog.close()) }, "Forget it"),
      h("button", { class: "button primary", type: "submit" }, "Use this key")),
  );
  const dialog = open("A key is needed", [form]);
  asking = dialog;
  dialog.addEventListener("close", () => {
    asking = null;
  });
  input.focus();
}

api.addEventListener("key", () => {
  if (api.needsKey) askForKey();
});

// -- whether the gateway is there

const banner = /** @type {HTMLElement} */ (document.getElementById("banner"));
let watching = false;

api.addEventListener("state", () => {
  if (api.state === "offline") void watch();
});

/** Ask until the gateway is back: what fails tells `api`, which tells us. */
async function watch() {
  if (watching) return;
  watching = true;
  replace(banner, h("div", { class: "banner" }, h("span", { class: "spinner" }), h("p", null, "The server cannot be reached. What you typed is kept; this goes on by itself when it is back.")));
  for (let pause = 500; api.state === "offline"; pause = Math.min(5000, pause * 1.5)) {
    await new Promise((later) => setTimeout(later, pause));
    await api.get("/v1/health", { timeoutMs: 5000 }).catch(() => {});
  }
  replace(banner);
  watching = false;
  engines = null;
  announce("The server is back.");
  document.dispatchEvent(new Event("back"));
}

window.addEventListener("hashchange", () => void show());
window.addEventListener("unhandledrejection", (event) => {
  if (aborted(event.reason)) event.preventDefault(); // a view was left while it asked
  else toast(told(event.reason), { kind: "bad" });
});

tabs();
tools();
void show(false);

// the other views are there before they are wanted: they open at once, and while the server is away
window.addEventListener("load", () => {
  setTimeout(() => Object.values(VIEWS).forEach(({ load }) => load().catch(() => {})), 1000);
});
