// @ts-check
/**
 * The gateway, as this page asks it: every request goes through here, with the key, a deadline and one kind of error.
 *
 *   const {engines} = await api.get("/v1/engines", {signal});
 *   const sound = await api.post("/v1/sounds", {prompt: "rain"}, {headers: {prefer: "respond-async"}});
 *   const picture = await api.objectUrl("/v1/sounds/7/spectrogram.png");     // revoke it when it is no longer shown
 *   for await (const {event, data} of api.events("/v1/jobs/ID/events", {signal})) …
 *
 * api.tagged     JSON, and its ETag.
 * api.get, post, put, patch, delete   JSON there and back; reject with Problem or Unreachable, or AbortError.
 * api.bytes, api.blob, api.objectUrl  a file; api.file  one made of what is posted, with its name.
 * api.events     server-sent events, read over fetch so that they carry the key. It begins anew when the connection
 *                breaks, after pauses that grow to 15 s, and ends when `signal` says so, the stream says `last`, or the
 *                gateway refuses. Where it began anew it says so first, as the event "reconnected".
 * api.key, api.useKey(key, remember), api.forgetKey()
 * api.addEventListener("state", …)    api.state changed: "online" | "offline".
 * api.addEventListener("key", …)      a key is needed, or another one counts: api.needsKey.
 *
 * Problem       what the gateway says: status, code, detail, hint, retryable, retryAfterS.
 * Unreachable   nobody answered, or not in time.
 * told(error)   any error as a sentence for people.
 */

import { parse, stringify } from "./json.js";

/** @typedef {Record<string, any>} Json */
/** @typedef {{signal?: AbortSignal, timeoutMs?: number, headers?: Record<string, string>}} Asking */

const TIMEOUT_MS = 20_000;
const KEY = "audio-pool.key";
const LONGEST_PAUSE_MS = 15_000;
/** A stream that says nothing for so long, not even that it is there, has gone without a word. */
const SILENT_MS = 60_000;

export class Problem extends Error {
  /**
   * @param {number} status
   * @param {Json} body problem+json
   * @param {number | null} retryAfterS
   */
  constructor(status, body, retryAfterS) {
    super(String(body.detail || body.title || `the gateway answered ${status}`));
    this.name = "Problem";
    this.status = status;
    this.code = String(body.code ?? "");
    // the server speaks to programs of this one
    this.hint = this.code === "unauthenticated" ? "the key button at the top takes one" : String(body.hint ?? "");
    this.retryable = Boolean(body.retryable);
    this.retryAfterS = retryAfterS;
  }
}

export class Unreachable extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "Unreachable";
    this.retryable = true;
  }
}

/**
 * @param {unknown} error
 * @returns {string}
 */
export function told(error) {
  if (error instanceof Problem) return error.hint ? `${sentence(error.message)} ${sentence(error.hint)}` : sentence(error.message);
  return error instanceof Error ? sentence(error.message) : String(error);
}

/** @param {string} text */
function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}

/** @param {unknown} error */
export function aborted(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

class Api extends EventTarget {
  /** @type {"online" | "offline"} */
  state = "online";
  /** True once the gateway has asked for a key and none, or a wrong one, was shown. */
  needsKey = false;
  key = sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? "";

  /**
   * @param {string} key
   * @param {boolean} remember beyond this tab's life
   */
  useKey(key, remember) {
    this.key = key;
    this.needsKey = false;
    sessionStorage.setItem(KEY, key);
    if (remember) localStorage.setItem(KEY, key);
    else localStorage.removeItem(KEY);
    this.dispatchEvent(new Event("key"));
  }

  forgetKey() {
    this.key = "";
    sessionStorage.removeItem(KEY);
    localStorage.removeItem(KEY);
    this.dispatchEvent(new Event("key"));
  }

  /** @param {string} path @param {Asking} [asking] @returns {Promise<any>} */
  get(path, asking) {
    return this.#json("GET", path, undefined, asking);
  }

  /** @param {string} path @param {unknown} body @param {Asking} [asking] @returns {Promise<any>} */
  post(path, body, asking) {
    return this.#json("POST", path, body, asking);
  }

  /** @param {string} path @param {unknown} [body] @param {Asking} [asking] @returns {Promise<any>} */
  put(path, body, asking) {
    return this.#json("PUT", path, body, asking);
  }

  /** @param {string} path @param {unknown} body @param {Asking} [asking] @returns {Promise<any>} */
  patch(path, body, asking) {
    return this.#json("PATCH", path, body, asking);
  }

  /** @param {string} path @param {Asking} [asking] @returns {Promise<any>} */
  delete(path, asking) {
    return this.#json("DELETE", path, undefined, asking);
  }

  /** JSON, and the ETag that names it. @param {string} path @param {Asking} [asking] @returns {Promise<{body: any, tag: string}>} */
  async tagged(path, asking) {
    return this.#answered("GET", path, undefined, { accept: "application/json" }, asking, async (answer) => ({
      body: parse(await answer.text()),
      tag: answer.headers.get("etag") ?? "",
    }));
  }

  /** @param {string} path @param {Asking} [asking] @returns {Promise<ArrayBuffer>} */
  async bytes(path, asking) {
    return this.#answered("GET", path, undefined, { accept: "*/*" }, asking, (answer) => answer.arrayBuffer());
  }

  /** @param {string} path @param {Asking} [asking] @returns {Promise<Blob>} */
  async blob(path, asking) {
    return this.#answered("GET", path, undefined, { accept: "*/*" }, asking, (answer) => answer.blob());
  }

  /** @param {string} path @param {Asking} [asking] @returns {Promise<string>} */
  async objectUrl(path, asking) {
    return URL.createObjectURL(await this.blob(path, asking));
  }

  /**
   * A file that is made of what is sent, and the name it is to be saved under.
   * @param {string} path @param {unknown} body @param {Asking} [asking] @returns {Promise<{blob: Blob, name: string}>}
   */
  async file(path, body, asking) {
    const headers = { accept: "*/*", "content-type": "application/json" };
    return this.#answered("POST", path, JSON.stringify(body), headers, asking, async (answer) => ({
      blob: await answer.blob(),
      name: /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") ?? "")?.[1] ?? "",
    }));
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} body
   * @param {Asking} [asking]
   */
  async #json(method, path, body, asking) {
    const sent = body === undefined ? undefined : stringify(body);
    /** @type {Record<string, string>} */
    const headers = sent === undefined ? {} : { "content-type": "application/json" };
    return this.#answered(method, path, sent, { accept: "application/json", ...headers }, asking, async (answer) =>
      answer.status === 204 ? null : parse(await answer.text()),
    );
  }

  /**
   * Ask, and read the answer, within one deadline.
   * @template T
   * @param {string} method
   * @param {string} path
   * @param {string | undefined} body
   * @param {Record<string, string>} headers
   * @param {Asking} asking
   * @param {(answer: Response) => Promise<T>} read
   * @returns {Promise<T>}
   */
  async #answered(method, path, body, headers, asking = {}, read) {
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), asking.timeoutMs ?? TIMEOUT_MS);
    const give = () => deadline.abort();
    asking.signal?.addEventListener("abort", give);
    try {
      asking.signal?.throwIfAborted();
      const answer = await fetch(path, {
        method,
        body,
        headers: this.#headers({ ...headers, ...asking.headers }),
        signal: deadline.signal,
        credentials: "omit",
      });
      await this.#checked(answer);
      return await read(answer);
    } catch (error) {
      throw this.#judged(error, asking.signal);
    } finally {
      clearTimeout(timer);
      asking.signal?.removeEventListener("abort", give);
    }
  }

  /**
   * @param {string} path
   * @param {{signal: AbortSignal, last?: string[], lost?: () => void}} asking `last`: the events after which nothing comes;
   *     `lost` is called when the connection breaks, before it begins anew
   * @returns {AsyncGenerator<{event: string, data: any}>}
   */
  async *events(path, { signal, last, lost }) {
    for (let failures = 0, again = false; ; again = true) {
      try {
        for await (const message of this.#stream(path, signal)) {
          failures = 0;
          if (again) {
            again = false;
            yield { event: "reconnected", data: null };
          }
          if (message.event === "comment") continue;
          yield message;
          if (last?.includes(message.event)) return;
        }
      } catch (error) {
        if (signal.aborted) throw aborted(error) ? error : new DOMException("it is over", "AbortError");
        if (!(error instanceof Unreachable) && !(error instanceof Problem && error.status >= 500)) throw error;
      }
      failures += 1;
      lost?.();
      await paused(Math.min(LONGEST_PAUSE_MS, 500 * 2 ** (failures - 1)) * (0.75 + Math.random() / 2), signal);
    }
  }

  /**
   * @param {string} path
   * @param {AbortSignal} signal
   * @returns {AsyncGenerator<{event: string, data: any}>}
   */
  async *#stream(path, signal) {
    const given = new AbortController();
    const give = () => given.abort();
    signal.addEventListener("abort", give);
    let watch = setTimeout(give, SILENT_MS);
    /** @type {ReadableStreamDefaultReader<string> | null} */
    let reader = null;
    try {
      signal.throwIfAborted();
      const headers = this.#headers({ accept: "text/event-stream" });
      const answer = await fetch(path, { headers, signal: given.signal, credentials: "omit", cache: "no-store" });
      await this.#checked(answer);
      if (!answer.body) return;
      reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        clearTimeout(watch);
        watch = setTimeout(give, SILENT_MS);
        const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
        rest = /** @type {string} */ (blocks.pop());
        for (const block of blocks) yield messageIn(block);
      }
    } catch (error) {
      throw this.#judged(error, signal);
    } finally {
      clearTimeout(watch);
      signal.removeEventListener("abort", give);
      reader?.cancel().catch(() => {});
    }
  }

  /** @param {Record<string, string>} headers */
  #headers(headers) {
    return this.key ? { ...headers, authorization: `Bearer ${this.key}` } : headers;
  }

  /** @param {Response} answer */
  async #checked(answer) {
    if (answer.ok) {
      this.#set("online");
      return;
    }
    const body = await answer.json().catch(() => ({}));
    const wait = Number(answer.headers.get("retry-after"));
    const problem = new Problem(answer.status, body, Number.isFinite(wait) && wait > 0 ? wait : null);
    this.#set(problem.code === "disconnected" ? "offline" : "online");
    if (problem.code === "unauthenticated" && !this.needsKey) {
      this.needsKey = true;
      this.dispatchEvent(new Event("key"));
    }
    throw problem;
  }

  /**
   * Return what to throw: what the network did is told as ours.
   * @param {unknown} error
   * @param {AbortSignal} [signal]
   */
  #judged(error, signal) {
    if (error instanceof Problem || signal?.aborted) return error;
    if (aborted(error)) return new Unreachable("the gateway did not answer in time");
    if (error instanceof TypeError) {
      this.#set("offline");
      return new Unreachable("the gateway cannot be reached");
    }
    return error;
  }

  /** @param {"online" | "offline"} state */
  #set(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}

/**
 * @param {string} block
 * @returns {{event: string, data: any}}
 */
function messageIn(block) {
  let event = "message";
  const data = [];
  for (const line of block.split("\n")) {
    const [name, ...rest] = line.split(":");
    const value = rest.join(":").replace(/^ /, "");
    if (name === "event") event = value;
    else if (name === "data") data.push(value);
  }
  if (!data.length) return { event: "comment", data: null };
  const text = data.join("\n");
  try {
    return { event, data: parse(text) };
  } catch {
    return { event, data: text };
  }
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
export function paused(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException("it is over", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}

export const api = new Api();
