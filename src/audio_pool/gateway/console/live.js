// @ts-check
/**
 * The view *Live*: what the pool does, second by second, and a sound of anybody's stopped.
 *
 * It reads `/v1/live/events`, whose first event has every field of a look, and whose others have those that changed. It
 * listens while the page is seen, begins anew where the connection breaks, and where nothing has come for SILENT_MS.
 */
import { aborted, api, paused, told } from "./api.js";
import { Columns } from "./chart.js";
import { h, icon, pending, replace, uid } from "./dom.js";
import { ago, count, percent, seconds, size } from "./figures.js";
import { Keyed } from "./keyed.js";
import { CACHE, STAGES, cardsList, errorList, hitsTable, loadTable, round, timesTable, workLine } from "./live_tables.js";
import { announce, toast } from "./notice.js";

/** @typedef {import("./keyed.js").Shown} Shown */
/** @typedef {Record<string, any>} Look a PoolLook of the gateway (docs/http.md) */

const SILENT_MS = 10_000;
const DRAIN_MS = 300_000;
const PLACES = 120;
const STATES = /** @type {Record<string, string>} */ ({ ready: "good", degraded: "warn", starting: "warn", draining: "warn", loading: "warn", half_open: "warn", drained: "warn", leaving: "warn", lent: "accent", loaded: "good", failed: "bad", down: "bad", broken: "bad" });
const FOUND = ["exact", "canonical", "semantic", "global", "joined"];

/**
 * @param {HTMLElement} root
 * @param {import("./app.js").Context} context
 * @returns {import("./app.js").View}
 */
export function view(root, context) {
  const left = new AbortController();
  const shown = new Live(root, left.signal);
  void shown.watch().catch((error) => {
    if (!aborted(error)) shown.refused(error);
  });
  return { close: () => left.abort() };
}

class Live {
  /** @type {Look} */
  #look = {};
  /** Whether figures are of the last minute, or of all since the pool was started. */
  #lately = true;
  /** @type {{at: number, answers: Record<string, number>, waiting: number, started: number}[]} */
  #past = [];
  /** @type {string | null} */
  #state = null;

  /**
   * @param {HTMLElement} root
   * @param {AbortSignal} signal
   */
  constructor(root, signal) {
    this.signal = signal;
    this.head = h("div", { class: "row live-head" });
    this.reasons = h("div", { class: "stack" });
    this.figures = h("dl", { class: "figures live-figures" });
    this.answers = new Columns(["found", "new", "none"], PLACES);
    this.waiting = new Columns(["waits"], PLACES);
    this.underWay = new Keyed(h("ul", { class: "live-jobs" }), "request_id", (job) => this.#job(job));
    this.underWayNote = h("p", { class: "soft" });
    this.workers = new Keyed(h("ul", { class: "live-workers" }), "name", (worker) => this.#worker(worker));
    this.load = h("div", null);
    this.cards = h("div", { class: "stack" });
    this.leases = new Keyed(h("ul", { class: "live-jobs" }), "device", (lease) => this.#lease(lease));
    this.hits = h("div", null);
    this.times = h("div", { class: "stack" });
    this.errors = h("div", null);
    this.spans = ["Last minute", "Since the start"].map((text, number) =>
      h("button", { class: "chip", type: "button", "aria-pressed": String(number === 0), onclick: () => this.#choose(number === 0) }, text),
    );
    this.body = h(
      "div", { class: "live-body", hidden: true },
      this.figures,
      h("div", { class: "live-charts" },
        chartCard("Answers", [["found", "found"], ["new", "made"], ["none", "no sound"]], this.answers),
        chartCard("Waiting", [["waits", "sounds in the queue"]], this.waiting)),
      h("div", { class: "live-columns" },
        h("div", { class: "stack" }, section("Workers", this.workers.element), section("Graphics cards and disk", this.cards, this.leases.element)),
        h("div", { class: "stack" }, section("Queue by priority", this.load), section("Under way", this.underWayNote, this.underWay.element))),
      h("div", { class: "row live-spans", role: "group", "aria-label": "Figures below are of" }, this.spans),
      h("div", { class: "live-columns" }, section("Found in the cache", this.hits), section("How long it takes", this.times)),
      section("Last errors", this.errors),
    );
    this.waitingBox = h("div", { class: "stack", "aria-hidden": "true" }, [120, 220, 160].map((high) => h("div", { class: "skeleton", style: { height: `${high}px` } })));
    replace(root, h("div", { class: "row apart" }, h("h1", null, "Live"), this.head), this.reasons, this.waitingBox, this.body);
  }

  /** Listen until the view is left; while the page is not seen nobody listens. Rejects where the gateway refuses. */
  async watch() {
    for (;;) {
      await seen(this.signal);
      const turn = new AbortController();
      const stop = () => turn.abort();
      const hidden = () => document.hidden && stop();
      let silence = window.setTimeout(stop, SILENT_MS);
      this.signal.addEventListener("abort", stop);
      document.addEventListener("visibilitychange", hidden);
      try {
        for await (const { event, data } of api.events("/v1/live/events", { signal: turn.signal })) {
          clearTimeout(silence);
          silence = window.setTimeout(stop, SILENT_MS);
          if (event === "reconnected") this.#look = {};
          else if (event === "look") this.#take(data);
        }
      } catch (error) {
        this.signal.throwIfAborted();
        if (!aborted(error)) throw error;
        this.#look = {};
      } finally {
        clearTimeout(silence);
        this.signal.removeEventListener("abort", stop);
        document.removeEventListener("visibilitychange", hidden);
      }
      await paused(500, this.signal);
    }
  }

  /** @param {unknown} error */
  refused(error) {
    this.waitingBox.remove();
    replace(this.reasons, h("div", { class: "note bad", role: "alert" }, icon("warn"), h("p", null, told(error))));
  }

  /** @param {Look} change */
  #take(change) {
    this.#look = { ...this.#look, ...change };
    const look = this.#look;
    this.waitingBox.remove();
    this.body.hidden = look.status === null;
    this.#showHealth(look);
    if (look.status === null) return;
    this.#remember(look);
    this.#showFigures(look);
    this.#showCharts();
    if (change.under_way || change.load) this.#showUnderWay(look);
    if (change.load) replace(this.load, loadTable(look.load));
    if (change.status || change.worker_bytes) {
      const workers = Object.entries(look.status.workers).map(([name, worker]) => ({ name, ...worker, bytes: look.worker_bytes[name], operator: look.operator }));
      this.workers.show(workers);
      this.leases.show(look.status.leases ?? []);
    }
    if (change.gpus || change.disk) replace(this.cards, cardsList(look.gpus, look.disk));
    this.#showMeasured(look, change);
    if (change.errors) replace(this.errors, errorList(look.errors));
  }

  /** @param {Look} look */
  #showHealth(look) {
    const { state, reasons = [] } = look.health;
    const pool = look.status ? [h("small", null, `audio_pool ${look.status.version}, started ${ago(look.started, look.at)}`)] : [];
    replace(this.head, h("span", { class: `tag ${STATES[state] ?? ""}` }, state), pool);
    replace(this.reasons, reasons.map((/** @type {string} */ text) => h("div", { class: `note ${state === "down" ? "bad" : ""}` }, icon("warn"), h("p", null, text))));
    if (this.#state !== null && this.#state !== state) announce(`The pool is ${state}. ${reasons.join(" ")}`);
    this.#state = state;
  }

  /** @param {Look} look */
  #remember(look) {
    const answers = Object.fromEntries(look.answers.map((/** @type {any} */ one) => [one.cache, one.count]));
    if (this.#past.length && this.#past[0].started !== look.started) this.#past = [];
    this.#past.push({ at: look.at, answers, waiting: look.status.waiting, started: look.started });
    if (this.#past.length > PLACES + 1) this.#past.shift();
  }

  /** @param {Look} look */
  #showFigures(look) {
    const lately = look.answers.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one.lately, 0);
    const found = look.answers.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + (FOUND.includes(one.cache) ? one.lately : 0), 0);
    const made = look.requests.find((/** @type {any} */ one) => one.name === "new_generation");
    const figures = [
      ["Open requests", count(look.status.requests)],
      ["Waiting", count(look.status.waiting)],
      ["Answers, last minute", count(lately)],
      ["Found in the cache", lately ? percent(found / lately) : "–"],
      ["A new sound, half within", seconds(made?.lately.p50_s ?? made?.ever.p50_s)],
    ];
    replace(this.figures, figures.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
  }

  #showCharts() {
    const steps = this.#past.slice(1).map((now, number) => {
      const before = this.#past[number];
      const gone = Math.max(1, Math.round(now.at - before.at));
      const came = (/** @type {string} */ cache) => Math.max(0, (now.answers[cache] ?? 0) - (before.answers[cache] ?? 0)) / gone;
      return [FOUND.reduce((sum, cache) => sum + came(cache), 0), came("new_generation"), came("")];
    });
    const sums = steps.map((values) => values.reduce((sum, value) => sum + value, 0));
    const last = sums.at(-1) ?? 0;
    this.answers.show(steps, `Answers a second: now ${round(last)}, at most ${round(Math.max(0, ...sums))} in the last two minutes`);
    const waits = this.#past.map((one) => one.waiting);
    this.waiting.show(waits.map((one) => [one]), `Sounds in the queue: now ${waits.at(-1) ?? 0}, at most ${Math.max(0, ...waits)} in the last two minutes`);
  }

  /** @param {Look} look */
  #showUnderWay(look) {
    const all = look.load.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one.running + one.waiting, 0);
    this.underWay.show(look.under_way);
    const text = !all ? "Nothing is being made." : !look.operator || !look.under_way.length ? `${count(all)} sounds. Which they are, operators are told.` : all > look.under_way.length ? `${count(look.under_way.length)} of ${count(all)} sounds.` : "";
    this.underWayNote.textContent = text;
    this.underWayNote.hidden = !text;
  }

  /** @param {Look} look @param {Look} change */
  #showMeasured(look, change) {
    if (change.looked_for || change.answers) replace(this.hits, hitsTable(look, this.#lately));
    if (change.stages || change.requests) {
      replace(this.times, timesTable("New sounds, by stage", look.stages, (name) => STAGES[name] ?? name, this.#lately),
        timesTable("Whole requests", look.requests, (name) => CACHE[name] ?? name, this.#lately));
    }
  }

  /** @param {boolean} lately */
  #choose(lately) {
    this.#lately = lately;
    this.spans.forEach((button, number) => button.setAttribute("aria-pressed", String((number === 0) === lately)));
    this.#showMeasured(this.#look, this.#look);
  }

  /**
   * @param {any} first
   * @returns {Shown}
   */
  #job(first) {
    const title = h("p", { class: "live-prompt prompt-title", id: uid("job") }, first.prompt);
    const facts = h("small", null);
    const bar = h("span", null);
    const progress = h("div", { class: "progress", role: "progressbar", "aria-labelledby": title.id, "aria-valuemin": "0", "aria-valuemax": "100" }, bar);
    const stop = h("button", { class: "button small", type: "button", "aria-label": `Stop ${first.prompt}` }, icon("stop"), "Stop");
    stop.addEventListener("click", () => this.#order(stop, () => api.delete(`/v1/live/${encodeURIComponent(first.request_id)}`, { signal: this.signal }), `Stopped: ${first.prompt}`));
    const element = h("li", { class: "card live-job" }, h("div", { class: "live-job-text" }, title, facts, progress), stop);
    return {
      element,
      update: (job) => {
        const waits = job.stage === "waiting";
        const others = job.callers > 1 ? `, ${job.callers} wait for it` : "";
        facts.textContent = `${waits ? "waits" : job.stage}${job.worker ? ` on ${job.worker}` : ""}, ${job.engine}, ${job.priority}, ${seconds(Math.round(job.age_s))}${others}`;
        progress.classList.toggle("doing", !waits && !job.fraction);
        if (waits || job.fraction) progress.setAttribute("aria-valuenow", String(Math.round(job.fraction * 100)));
        else progress.removeAttribute("aria-valuenow");
        bar.style.setProperty("--part", String(job.fraction));
      },
    };
  }

  /**
   * @param {any} first
   * @returns {Shown}
   */
  #worker(first) {
    const path = `/v1/workers/${encodeURIComponent(first.name)}`;
    const state = h("span", { class: "tag" });
    const facts = h("small", null);
    const error = h("p", { class: "live-error" });
    const work = h("div", { class: "stack live-work" });
    const models = new Keyed(h("ul", { class: "stack" }), "engine", (model) => this.#model(first.name, model));
    const summary = h("summary", null);
    const inMemory = h("details", { class: "live-models" }, summary, models.element);
    let drained = false;
    const button = h("button", { class: "button small", type: "button" });
    button.addEventListener("click", () => {
      const [verb, done] = drained ? ["resume", "takes work again"] : ["drain", "is drained: it gets nothing new"];
      void this.#order(button, () => api.post(`${path}/${verb}`, {}, { signal: this.signal, timeoutMs: DRAIN_MS }), `${first.name} ${done}`);
    });
    const element = h("li", { class: "card stack" }, h("div", { class: "row apart" }, h("h3", null, first.name), h("span", { class: "row" }, state, button)), facts, error, work, inMemory);
    return {
      element,
      update: (worker) => {
        drained = worker.state === "drained";
        button.hidden = !worker.operator || !["ready", "half_open", "drained"].includes(worker.state);
        button.textContent = drained ? "Resume" : "Drain";
        button.setAttribute("aria-label", `${button.textContent} ${first.name}`);
        state.textContent = worker.state;
        state.className = `tag ${STATES[worker.state] ?? ""}`;
        const parts = [worker.device, worker.engines.join(", "), worker.bytes ? size(worker.bytes) : "", `${count(worker.jobs_done)} done`];
        if (worker.incarnation > 1) parts.push(`started ${worker.incarnation} times`);
        facts.textContent = parts.filter(Boolean).join(" · ");
        error.textContent = worker.error ?? "";
        error.hidden = !worker.error;
        const known = worker.models ?? [];
        summary.textContent = `${known.filter((/** @type {any} */ one) => one.state === "loaded").length} of ${known.length} models in memory`;
        models.show(known.map((/** @type {any} */ one) => ({ ...one, operator: worker.operator })));
        inMemory.hidden = !known.length;
        replace(work, worker.at_work.map(workLine));
        work.hidden = !worker.at_work.length;
      },
    };
  }

  /**
   * A model on a worker.
   * @param {string} worker
   * @param {any} first
   * @returns {Shown}
   */
  #model(worker, first) {
    const path = `/v1/workers/${encodeURIComponent(worker)}/models/${encodeURIComponent(first.engine)}`;
    const state = h("span", { class: "tag" });
    const facts = h("small", null);
    const order = (/** @type {string} */ verb) => () => api.post(`${path}/${verb}`, {}, { signal: this.signal });
    /** @type {any} */
    let now = first;
    const load = h("button", { class: "button small", type: "button" });
    load.addEventListener("click", () => void this.#order(load, now.state === "loaded" ? order("unload") : order("load"), `${first.engine}: ${now.state === "loaded" ? "taken out" : "being loaded"}`));
    const pin = h("button", { class: "button small", type: "button", "aria-label": `Keep ${first.engine} in memory` }, icon("pin"), "Keep");
    pin.addEventListener("click", () => void this.#order(pin, now.pinned ? order("unpin") : order("pin"), `${first.engine}: ${now.pinned ? "no longer kept whatever comes" : "kept whatever comes"}`));
    return {
      element: h("li", { class: "row apart" }, h("div", null, h("span", { class: "row" }, first.engine, state), facts), h("span", { class: "row" }, pin, load)),
      update: (model) => {
        now = model;
        state.textContent = model.state;
        state.className = `tag ${STATES[model.state] ?? ""}`;
        const idle = model.idle_s !== null && model.idle_s !== undefined ? `asked for ${seconds(Math.round(model.idle_s))} ago` : "";
        facts.textContent = [model.memory_bytes ? size(model.memory_bytes) : "", idle, model.error ?? ""].filter(Boolean).join(" · ");
        load.textContent = model.state === "loaded" ? "Unload" : "Load";
        load.setAttribute("aria-label", `${load.textContent} ${first.engine}`);
        load.hidden = !model.operator || !["loaded", "out", "failed"].includes(model.state) || (model.pinned && model.state === "loaded");
        pin.hidden = !model.operator || model.state === "down";
        pin.setAttribute("aria-pressed", String(model.pinned));
      },
    };
  }

  /**
   * A card that is lent to another program.
   * @param {any} first
   * @returns {Shown}
   */
  #lease(first) {
    const facts = h("small", null);
    const back = h("button", { class: "button small", type: "button", "aria-label": `Take back card ${first.device}` }, "Take back");
    back.addEventListener("click", () => this.#order(back, () => api.delete(`/v1/leases/${encodeURIComponent(first.device)}`, { signal: this.signal }), `Card ${first.device} is taken back`));
    return {
      element: h("li", { class: "card live-job" }, h("div", { class: "live-job-text" }, h("p", { class: "live-prompt" }, `Card ${first.device} is lent`), facts), back),
      update: (lease) => {
        const until = lease.state === "leaving" ? `free in ${seconds(lease.free_in_s)} at most` : lease.left_s === null ? "until it is returned" : `for ${seconds(Math.round(lease.left_s))} more`;
        facts.textContent = `to ${lease.holder}, ${until}`;
      },
    };
  }

  /**
   * Have something done that a button stands for.
   * @param {HTMLButtonElement} button
   * @param {() => Promise<any>} work
   * @param {string} done
   */
  async #order(button, work, done) {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true"); // not disabled: it would lose the focus
    try {
      await pending(button, work());
      toast(done, { kind: "good" });
    } catch (error) {
      if (!aborted(error)) toast(told(error), { kind: "bad" });
    } finally {
      button.removeAttribute("aria-disabled");
    }
  }
}

/**
 * @param {string} title
 * @param {...(Node | string)} body
 */
function section(title, ...body) {
  const id = uid("part");
  return h("section", { class: "stack live-part", "aria-labelledby": id }, h("h2", { id }, title), body);
}

/**
 * @param {string} title
 * @param {string[][]} series class and name of each
 * @param {Columns} chart
 */
function chartCard(title, series, chart) {
  const id = uid("part");
  return h(
    "section", { class: "card live-chart", "aria-labelledby": id },
    h("div", { class: "row apart" },
      h("h2", { id }, title),
      h("div", { class: "row legend-row", "aria-hidden": "true" }, series.map(([kind, name]) => h("small", { class: `key ${kind}` }, name)))),
    chart.element,
    h("small", { class: "row apart", "aria-hidden": "true" }, h("span", null, "2 min ago"), h("span", null, "now")),
  );
}

/**
 * Resolve once the page is seen.
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function seen(signal) {
  return new Promise((resolve, reject) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      signal.removeEventListener("abort", look);
      if (signal.aborted) reject(new DOMException("it is over", "AbortError"));
      else resolve();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look);
    look();
  });
}
