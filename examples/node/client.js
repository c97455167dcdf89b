"use strict";
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

/** What a request came to instead of a result. `code` and what to do: docs/protocol.md, section 5. */
class AudioPoolError extends Error {
  constructor({ code = "internal", message = "", hint = "", retryable = false, retry_after_ms } = {}) {
    super(message || code);
    Object.assign(this, { code, hint, retryable, retryAfterMs: retry_after_ms });
  }
}

class AudioClient {
  /**
   * @param {string} endpoint what the server printed, e.g. tcp://127.0.0.1:5555
   * @param {{curve?: {publicKey: string, secretKey: string, serverKey: string}}} options keys, for a server that has them
   */
  constructor(endpoint, { curve } = {}) {
    this.endpoint = endpoint;
    this.inFlight = new Map(); // request_id -> {resolve, reject, onEvent, timer}
    this.closed = false;
    const keys = curve && {
      curvePublicKey: curve.publicKey,
      curveSecretKey: curve.secretKey,
      curveServerKey: curve.serverKey,
    };
    this.socket = new Dealer({ linger: 0, reconnectInterval: 50, reconnectMaxInterval: 2000, ...keys });
    this.sending = Promise.resolve(); // a socket takes one send at a time
    // replies belong to the connection that asked: once it is gone, none can come; zmq itself reconnects
    this.socket.events.on("disconnect", () => {
      const message = `the server at ${this.endpoint} went away before the answer came`;
      this.#failAll({ code: "disconnected", message, hint: "ask again", retryable: true });
    });
    this.socket.connect(endpoint);
    this.#listen();
  }

  /** A finished sound: {path, metadata, data}; data is the file's bytes with delivery "inline", else undefined. */
  async generate(prompt, options = {}, { timeoutMs = 300_000, onEvent, signal } = {}) {
    const message = { type: "generate", request: { prompt, ...options }, events: onEvent !== undefined };
    const { reply, data } = await this.#ask(message, { timeoutMs, onEvent, signal });
    return { path: reply.path, metadata: reply.metadata, data };
  }

  /** The body of the answer to status, health, engines, cache_stats, or (with fields) feedback. */
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

  #heard(head, data) {
    let reply;
    try {
      reply = decode(head, { useBigInt64: true }); // seeds go beyond 2^53
    } catch {
      return;
    }
    const asked = this.inFlight.get(reply?.request_id);
    if (asked === undefined) return; // a late answer
    if (reply.type === "accepted" || reply.type === "progress") {
      asked.onEvent?.(reply);
      return;
    }
    this.#forget(reply.request_id);
    if (reply.type === "result") asked.resolve({ reply, data });
    else asked.reject(new AudioPoolError(reply.error ?? { code: reply.type }));
  }

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

  #cancel(target) {
    if (!this.closed) this.#send({ v: 1, type: "cancel", request_id: randomUUID(), target });
  }

  #send(message) {
    const frame = encode(message, { useBigInt64: true, ignoreUndefined: true });
    // a send that fails (socket closed meanwhile) ends by "disconnected", "closed" or the timeout
    this.sending = this.sending.then(() => this.socket.send(frame)).catch(() => {});
  }

  #forget(requestId) {
    clearTimeout(this.inFlight.get(requestId)?.timer);
    this.inFlight.delete(requestId);
  }

  #failAll(error) {
    for (const [requestId, asked] of [...this.inFlight]) {
      this.#forget(requestId);
      asked.reject(new AudioPoolError(error));
    }
  }
}

async function main([endpoint, prompt, ...rest]) {
  if (!endpoint || !prompt) {
    console.error('usage: node client.js ENDPOINT "PROMPT" [--duration S] [--loop] [--out FILE]');
    return 2;
  }
  const value = (name) => (rest.includes(name) ? rest[rest.indexOf(name) + 1] : undefined);
  const out = value("--out");
  const options = { loop: rest.includes("--loop"), delivery: out ? "inline" : "path" };
  if (value("--duration")) options.duration_s = Number(value("--duration"));
  const client = new AudioClient(endpoint);
  try {
    const onEvent = ({ type, body }) => console.error(type, JSON.stringify(body));
    const { path, metadata, data } = await client.generate(prompt, options, { onEvent });
    if (out) await writeFile(out, data);
    const plain = (_, item) => (typeof item === "bigint" ? item.toString() : item);
    console.log(JSON.stringify({ path: out ?? path, metadata }, plain));
    return 0;
  } catch (error) {
    console.error(`${error.code}: ${error.message}${error.hint ? ` (${error.hint})` : ""}`);
    return 1;
  } finally {
    client.close();
  }
}

module.exports = { AudioClient, AudioPoolError };
if (require.main === module) main(process.argv.slice(2)).then((code) => (process.exitCode = code));
