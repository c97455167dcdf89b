// @ts-check
/**
 * One sound on its way: asked for as a job, which outlives this page, and followed until its end.
 *
 *   const making = new Making({prompt: "rain", loop: true});
 *   making.addEventListener("change", …);  making.start();  making.cancel();
 *
 * state     sending, waiting, running; and for good: done (`making.sound`), failed (`making.error`), cancelled
 * lost      true while the server cannot be asked: it goes on by itself when it is back
 * better    where its sound stands in for what was asked for, the making of that, followed likewise; its changes are told
 *           as changes of this one
 *
 * Its key makes asking safe to repeat: the same request under the same key is the same job, whatever went down meanwhile.
 */
import { Problem, Unreachable, aborted, api, paused, told } from "./api.js";

/** @typedef {"sending" | "waiting" | "running" | "done" | "failed" | "cancelled"} State */
/** @typedef {{key: string, request: import("./api.js").Json, jobId: string, at: number}} Saved */

/** What a stage is called while it goes on, and how much of the bar it has. @type {Record<string, {label: string, from: number, to: number}>} */
const STAGES = {
  loading: { label: "Loading the model", from: 0, to: 0.1 },
  generate: { label: "Generating", from: 0.1, to: 0.85 },
  embed: { label: "Looking it up", from: 0, to: 0.1 },
  score: { label: "Judging the candidates", from: 0.85, to: 0.92 },
  master: { label: "Mastering", from: 0.92, to: 1 },
};
const LONGEST_PAUSE_S = 30;
const MOST_STREAMS = 2;
const LOOK_MS = 1500;
/** Events that end a job's: the second, of a sound that is better than an earlier answer. */
const LAST = ["done", "upgraded"];
/** Of all sounds together, at present. */
let streams = 0;
/** Codes of refusals that may pass by themselves. */
const PASSING = new Set(["disconnected", "busy", "server_restarted", "too_many", "closed", "client_gone"]);

export class Making extends EventTarget {
  /** @param {import("./api.js").Json} request @param {Partial<Saved>} [saved] */
  constructor(request, saved = {}) {
    super();
    this.request = request;
    this.key = saved.key ?? freshKey();
    this.jobId = saved.jobId ?? "";
    this.at = saved.at ?? Date.now() / 1000;
    /** @type {State} */
    this.state = "sending";
    this.lost = false;
    /** Why it waits to be asked for. */
    this.waits = "";
    /** Sounds that go before it; null: not known. @type {number | null} */
    this.place = null;
    /** @type {{stage: string, done: number, total: number, fraction: number, eta_s?: number, note?: string} | null} */
    this.progress = null;
    /** The answer: {id, url, metadata}. @type {import("./api.js").Json | null} */
    this.sound = null;
    this.error = "";
    this.retryable = false;
    /** @type {Making | null} */
    this.better = null;
    this.left = new AbortController();
  }

  get over() {
    return this.state === "done" || this.state === "failed" || this.state === "cancelled";
  }

  /** @returns {Saved} */
  get saved() {
    return { key: this.key, request: this.request, jobId: this.jobId, at: this.at };
  }

  /** What it is at, in words. */
  get says() {
    if (this.lost) return this.waits || "Waiting for the server";
    if (this.state === "sending") return "Asking";
    if (this.progress) {
      const { stage, done, total, eta_s: left, note } = this.progress;
      const label = STAGES[stage]?.label ?? stage;
      if (note) return `${label}, ${note}`;
      if (stage === "loading" && left) return `${label}, about ${Math.ceil(left)} s`;
      return total > 1 ? `${label}, ${Math.min(done + 1, total)} of ${total}` : label;
    }
    if (this.place === null) return "Waiting";
    return this.place === 0 ? "Up next" : `${this.place} ${this.place === 1 ? "sound goes" : "sounds go"} first`;
  }

  /** How far it is, 0..1; null where that cannot be said. */
  get part() {
    const stage = this.progress && STAGES[this.progress.stage];
    return stage && this.progress ? stage.from + (stage.to - stage.from) * Math.min(1, this.progress.fraction) : null;
  }

  /** Ask for it, if that has not been done, and follow it to its end. */
  async start() {
    const { signal } = this.left;
    try {
      if (!this.jobId) await this.#ask(signal);
      await this.#follow(signal);
    } catch (error) {
      if (!aborted(error)) this.#fail(told(error), error instanceof Problem || error instanceof Unreachable ? error.retryable : false);
    }
  }

  /** Stop it; where it is there already, what would be better. */
  async cancel() {
    if (this.over) {
      await this.better?.cancel();
      return;
    }
    if (!this.jobId) {
      this.left.abort();
      this.#be("cancelled");
      return;
    }
    try {
      this.#take(await api.delete(`/v1/jobs/${this.jobId}`));
    } catch (error) {
      if (!(error instanceof Problem && error.code === "conflict")) throw error; // it has ended: its end is told
    }
  }

  /** Follow it no longer; it goes on. */
  close() {
    this.left.abort();
    this.better?.close();
  }

  /** @param {AbortSignal} signal */
  async #ask(signal) {
    const headers = { prefer: "respond-async", "idempotency-key": this.key };
    for (let failures = 0; ; failures += 1) {
      try {
        const job = await api.post("/v1/sounds", this.request, { signal, headers });
        this.jobId = job.id;
        this.#take(job);
        return;
      } catch (error) {
        const passing = error instanceof Unreachable || (error instanceof Problem && PASSING.has(error.code));
        if (!passing) throw error;
        const pause_s = error instanceof Problem && error.retryAfterS ? error.retryAfterS : Math.min(LONGEST_PAUSE_S, 0.5 * 2 ** failures);
        this.waits = error instanceof Problem && error.code !== "disconnected" ? `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}` : "";
        this.#lose(true);
        await paused(pause_s * 1000, signal);
      }
    }
  }

  /** @param {AbortSignal} signal */
  async #follow(signal) {
    while (!this.over) {
      if (streams < MOST_STREAMS) await this.#hear(signal);
      else await this.#look(signal);
    }
  }

  /** Ask how it stands, now and then: a browser has few connections to one server, and streams keep theirs. @param {AbortSignal} signal */
  async #look(signal) {
    try {
      this.#take(await api.get(`/v1/jobs/${this.jobId}`, { signal }));
    } catch (error) {
      if (!(error instanceof Unreachable || (error instanceof Problem && error.status >= 500))) throw error;
      this.#lose(true);
    }
    if (!this.over) await paused(LOOK_MS, signal);
  }

  /** @param {AbortSignal} signal */
  async #hear(signal) {
    streams += 1;
    try {
      const heard = api.events(`/v1/jobs/${this.jobId}/events`, { signal, last: LAST, lost: () => this.#lose(true) });
      for await (const { event, data } of heard) {
        this.lost = false;
        if (event === "accepted") {
          this.place = data.queue_position;
          this.#be("waiting");
        } else if (event === "progress") {
          this.progress = data;
          this.#be("running");
        } else if (LAST.includes(event)) this.#take(data);
        else this.#tell();
      }
    } finally {
      streams -= 1;
    }
  }

  /** Take what is said of the job. @param {import("./api.js").Json} job */
  #take(job) {
    this.lost = false;
    this.waits = "";
    if (job.progress) this.progress = job.progress;
    if (job.queue_position !== null) this.place = job.queue_position;
    if (job.state === "done") {
      this.sound = job.sound;
      if (job.upgrade_url) this.#followBetter(job.upgrade_url);
      this.#be("done");
    } else if (job.state === "cancelled") this.#be("cancelled");
    else if (job.state === "failed" || job.state === "expired") {
      const error = job.error ?? { message: "it took longer than it was to take" };
      this.#fail(error.hint ? `${error.message}: ${error.hint}` : error.message, Boolean(error.retryable));
    } else this.#be(this.progress ? "running" : "waiting");
  }

  /** @param {string} url of the job that makes the sound as it was asked for */
  #followBetter(url) {
    if (this.better) return;
    this.better = new Making(this.request, { jobId: url.slice(url.lastIndexOf("/") + 1) });
    this.better.addEventListener("change", () => this.#tell());
    void this.better.start();
  }

  /** @param {string} error @param {boolean} retryable */
  #fail(error, retryable) {
    this.error = error.charAt(0).toUpperCase() + error.slice(1);
    this.retryable = retryable;
    this.#be("failed");
  }

  /** @param {boolean} lost */
  #lose(lost) {
    if (this.lost === lost) return;
    this.lost = lost;
    this.#tell();
  }

  /** @param {State} state */
  #be(state) {
    this.state = state;
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}

function freshKey() {
  return `console-${Array.from(crypto.getRandomValues(new Uint8Array(16)), (one) => one.toString(16).padStart(2, "0")).join("")}`;
}
