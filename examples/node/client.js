"use strict";
// @ts-check
// A client of `audio-pool serve` in Node.js, made from docs/protocol.md: many requests on one socket.
//
//   npm install
//   node client.js tcp://127.0.0.1:5555 "rain on a tin roof" --duration 2 --loop
//
// As a module: const { AudioClient } = require("./client.js")

const { randomUUID } = require("node:crypto");
const { writeFile } = require("node:fs/promises");
const { encode, decode } = require("@msgpack/msgpack");
const { Dealer } = require("zeromq");

// The vocabulary is the gateway's, whose OpenAPI document api.d.ts is made of; the rest is this protocol's alone.
/** @typedef {import("./api").components["schemas"]} Schemas */
/**
 * @typedef {Partial<Omit<Schemas["SoundRequest"], "prompt">> & {delivery?: "path" | "inline" | "raw", durable?: boolean,
 *   output_path?: string, init_audio?: string}} Options fields of a request, docs/protocol.md, section 4
 */
/** @typedef {{code?: string, message?: string, hint?: string, retryable?: boolean, retry_after_ms?: number}} Failure */
/**
 * @typedef {{type: "accepted", request_id: string, body: {queue_position: number, joined: boolean}}
 *   | {type: "progress", request_id: string, body: Schemas["Progress"]}} Event
 */
/** @typedef {{path: string, metadata: Schemas["SoundMetadata"], data?: Uint8Array}} Sound */
/** @typedef {{type: string, request_id: string, path: string, metadata: Schemas["SoundMetadata"], body: any, error?: Failure}} Reply */
/**
 * @typedef {{status: Schemas["PoolStatus"], health: Schemas["Health"], engines: Schemas["Engines"],
 *   cache_stats: Schemas["CacheStats"]}} Answers
 */
/** @typedef {{onEvent?: (event: Event) => void, signal?: AbortSignal, timeoutMs: number}} Waiting */
/**
 * @typedef {{resolve: (answer: {reply: Reply, data?: Uint8Array}) => void, reject: (error: Error) => void,
 *   onEvent?: (event: Event) => void, timer: NodeJS.Timeout}} Asked
 */

/** What a request came to instead of a result. `code` and what to do: docs/protocol.md, section 5. */
class AudioPoolError extends Error {
  /** @param {Failure} failure */
  constructor({ code = "internal", message = "", hint = "", retryable = false, retry_after_ms } = {}) {
    super(message || code);
    this.code = code;
    this.hint = hint;
    this.retryable = retryable;
    this.retryAfterMs = retry_after_ms;
  }
}

class AudioClient {
  /**
   * @param {string} endpoint what the server printed, e.g. tcp://127.0.0.1:5555
   * @param {{curve?: {publicKey: string, secretKey: string, serverKey: string}}} [options] keys, for a server that has them
   */
  constructor(endpoint, { curve } = {}) {
    this.endpoint = endpoint;
    /** @type {Map<string, Asked>} by request_id */
    this.inFlight = new Map();
    this.closed = false;
    const keys = curve && {
      curvePublicKey: curve.publicKey,
      curveSecretKey: curve.secretKey,
      curveServerKey: curve.serverKey,
    };
    this.socket = new Dealer({ linger: 0, reconnectInterval: 50, reconnectMaxInterval: 2000, ...keys });
    /** @type {Promise<void>} */
    this.sending = Promise.resolve(); // a socket takes one send at a time
    // replies belong to the connection that asked: once it is gone, none can come; zmq itself reconnects
    this.socket.events.on("disconnect", () => {
      const message = `the server at ${this.endpoint} went away before the answer came`;
      this.#failAll({ code: "disconnected", message, hint: "ask again", retryable: true });
    });
    this.socket.connect(endpoint);
    this.#listen();
  }

  /**
   * A finished sound; its data are the file's bytes with delivery "inline", else undefined.
   *
   * @param {string} prompt
   * @param {Options} [options]
   * @param {Partial<Waiting>} [waiting]
   * @returns {Promise<Sound>}
   */
  async generate(prompt, options = {}, { timeoutMs = 300_000, onEvent, signal } = {}) {
    const message = { type: "generate", request: { prompt, ...options }, events: onEvent !== undefined };
    const { reply, data } = await this.#ask(message, { timeoutMs, onEvent, signal });
    return { path: reply.path, metadata: reply.metadata, data };
  }

  /**
   * The body of the answer to status, health, engines, cache_stats, or (with fields) feedback.
   *
   * @template {keyof Answers | "feedback"} T
   * @param {T} type
   * @param {Record<string, unknown>} [fields]
   * @param {{timeoutMs?: number}} [waiting]
   * @returns {Promise<T extends keyof Answers ? Answers[T] : any>}
   */
  async question(type, fields = {}, { timeoutMs = 10_000 } = {}) {
    const { reply } = await this.#ask({ type, ...fields }, { timeoutMs });
    return reply.body;
  }

  close() {
    this.closed = true;
    this.socket.close();
    this.#failAll({ code: "closed", message: "the client was closed before the answer came" });
  }

  async #listen() {
    try {
      for await (const [head, data] of this.socket) this.#heard(head, data);
    } catch (error) {
      if (!this.closed) throw error;
    }
  }

  /** @param {Uint8Array} head @param {Uint8Array} [data] */
  #heard(head, data) {
    /** @type {Reply} */
    let reply;
    try {
      reply = /** @type {Reply} */ (decode(head, { useBigInt64: true })); // seeds go beyond 2^53
    } catch {
      return;
    }
    const asked = this.inFlight.get(reply?.request_id);
    if (asked === undefined) return; // a late answer
    if (reply.type === "accepted" || reply.type === "progress") {
      asked.onEvent?.(/** @type {Event} */ (/** @type {unknown} */ (reply)));
      return;
    }
    this.#forget(reply.request_id);
    if (reply.type === "result") asked.resolve({ reply, data });
    else asked.reject(new AudioPoolError(reply.error ?? { code: reply.type }));
  }

  /**
   * @param {Record<string, unknown>} message
   * @param {Waiting} waiting
   * @returns {Promise<{reply: Reply, data?: Uint8Array}>}
   */
  #ask(message, { timeoutMs, onEvent, signal }) {
    if (this.closed) return Promise.reject(new AudioPoolError({ code: "closed", message: "the client is closed" }));
    const requestId = randomUUID();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#forget(requestId);
        this.#cancel(requestId); // nobody waits for it any more
        reject(new AudioPoolError({ code: "timeout", message: `no answer within ${timeoutMs} ms`, retryable: true }));
      }, timeoutMs);
      this.inFlight.set(requestId, { resolve, reject, onEvent, timer });
      signal?.addEventListener("abort", () => this.inFlight.has(requestId) && this.#cancel(requestId), { once: true });
      this.#send({ v: 1, request_id: requestId, ...message });
    });
  }

  /** @param {string} target */
  #cancel(target) {
    if (!this.closed) this.#send({ v: 1, type: "cancel", request_id: randomUUID(), target });
  }

  /** @param {Record<string, unknown>} message */
  #send(message) {
    const frame = encode(message, { useBigInt64: true, ignoreUndefined: true });
    // a send that fails (socket closed meanwhile) ends by "disconnected", "closed" or the timeout
    this.sending = this.sending.then(() => this.socket.send(frame)).catch(() => {});
  }

  /** @param {string} requestId */
  #forget(requestId) {
    clearTimeout(this.inFlight.get(requestId)?.timer);
    this.inFlight.delete(requestId);
  }

  /** @param {Failure} error */
  #failAll(error) {
    for (const [requestId, asked] of [...this.inFlight]) {
      this.#forget(requestId);
      asked.reject(new AudioPoolError(error));
    }
  }
}

/** @param {string[]} given of the command line */
async function main([endpoint, prompt, ...rest]) {
  if (!endpoint || !prompt) {
    console.error('usage: node client.js ENDPOINT "PROMPT" [--duration S] [--loop] [--out FILE]');
    return 2;
  }
  /** @param {string} name */
  const value = (name) => (rest.includes(name) ? rest[rest.indexOf(name) + 1] : undefined);
  const out = value("--out");
  /** @type {Options} */
  const options = { loop: rest.includes("--loop"), delivery: out ? "inline" : "path" };
  if (value("--duration")) options.duration_s = Number(value("--duration"));
  const client = new AudioClient(endpoint);
  try {
    /** @param {Event} event */
    const onEvent = ({ type, body }) => console.error(type, JSON.stringify(body));
    const { path, metadata, data } = await client.generate(prompt, options, { onEvent });
    if (out && data) await writeFile(out, data);
    /** @param {string} _ @param {unknown} item */
    const plain = (_, item) => (typeof item === "bigint" ? item.toString() : item);
    console.log(JSON.stringify({ path: out ?? path, metadata }, plain));
    return 0;
  } catch (error) {
    if (!(error instanceof AudioPoolError)) throw error;
    console.error(`${error.code}: ${error.message}${error.hint ? ` (${error.hint})` : ""}`);
    return 1;
  } finally {
    client.close();
  }
}

module.exports = { AudioClient, AudioPoolError };
if (require.main === module) main(process.argv.slice(2)).then((code) => (process.exitCode = code));
