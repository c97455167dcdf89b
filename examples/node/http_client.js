"use strict";
// @ts-check
// A client of an audio-pool gateway in Node.js, over HTTP and without any package: the types are those of the
// gateway's OpenAPI document (api.d.ts).
//
//   node http_client.js http://127.0.0.1:8080 "rain on a tin roof" --duration 2 --loop --out rain.wav
//
// As a module: const { GatewayClient } = require("./http_client.js")

const { writeFile } = require("node:fs/promises");

/** @typedef {import("./api").components["schemas"]} Schemas */
/** @typedef {Schemas["SoundRequest"]} SoundRequest */
/** @typedef {Schemas["Job"]} Job */
/** @typedef {NonNullable<import("./api").paths["/v1/sounds"]["get"]["parameters"]["query"]>} Search */

const ENDED = ["done", "failed", "cancelled", "expired"];

/** What the gateway answered instead. */
class GatewayError extends Error {
  /** @param {Partial<Schemas["Problem"]>} problem */
  constructor({ detail = "", code = "internal", hint = "", retryable = false, status = 0 }) {
    super(detail || code);
    this.code = code;
    this.hint = hint;
    this.retryable = retryable;
    this.status = status;
  }
}

class GatewayClient {
  /**
   * @param {string} address e.g. http://127.0.0.1:8080
   * @param {{key?: string}} [options] a key, for a gateway that has them
   */
  constructor(address, { key } = {}) {
    this.address = address.replace(/\/$/, "");
    /** @type {Record<string, string>} */
    this.headers = key ? { authorization: `Bearer ${key}` } : {};
  }

  /**
   * Make or find a sound, and follow it meanwhile; who aborts cancels it.
   *
   * @param {SoundRequest} request
   * @param {{onProgress?: (progress: Schemas["Progress"]) => void, signal?: AbortSignal}} [options]
   * @returns {Promise<{sound: Schemas["SoundReport"], data: Buffer}>}
   */
  async make(request, { onProgress, signal } = {}) {
    /** @type {Job} */
    let job = await this.#json("POST", "/v1/sounds", { body: request, prefer: "respond-async" });
    while (!ENDED.includes(job.state)) {
      if (signal?.aborted) {
        await this.#send("DELETE", job.url);
        throw new GatewayError({ code: "cancelled", detail: "cancelled by its caller" });
      }
      if (job.progress) onProgress?.(job.progress);
      job = await this.#json("GET", job.url, { prefer: "wait=1" });
    }
    if (!job.sound) throw new GatewayError({ ...job.error, detail: job.error?.message ?? `the job is ${job.state}` });
    const answer = await this.#send("GET", `${job.url}/audio`);
    return { sound: job.sound, data: Buffer.from(await answer.arrayBuffer()) };
  }

  /**
   * A page of kept sounds.
   *
   * @param {Search} search
   * @returns {Promise<Schemas["KeptSounds"]>}
   */
  search(search) {
    const given = Object.entries(search).flatMap(([name, value]) =>
      (Array.isArray(value) ? value : [value]).map((one) => [name, String(one)]),
    );
    return this.#json("GET", `/v1/sounds?${new URLSearchParams(given)}`);
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {{body?: object, prefer?: string}} [options]
   * @returns {Promise<any>} what the document says of that route; the callers name it
   */
  async #json(method, path, options) {
    return (await this.#send(method, path, options)).json();
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {{body?: object, prefer?: string}} [options]
   */
  async #send(method, path, { body, prefer } = {}) {
    const headers = { ...this.headers, ...(body && { "content-type": "application/json" }), ...(prefer && { prefer }) };
    const answer = await fetch(this.address + path, { method, headers, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new GatewayError(/** @type {Schemas["Problem"]} */ (await answer.json()));
    return answer;
  }
}

/** @param {string[]} given of the command line */
async function main([address, prompt, ...rest]) {
  if (!address || !prompt) {
    console.error('usage: node http_client.js ADDRESS "PROMPT" [--duration S] [--loop] [--out FILE]');
    return 2;
  }
  /** @param {string} name */
  const value = (name) => (rest.includes(name) ? rest[rest.indexOf(name) + 1] : undefined);
  const client = new GatewayClient(address, { key: process.env.AUDIO_POOL_KEY });
  try {
    const duration = value("--duration");
    const request = { prompt, loop: rest.includes("--loop"), ...(duration && { duration_s: Number(duration) }) };
    const { sound, data } = await client.make(request, { onProgress: (told) => console.error(JSON.stringify(told)) });
    const out = value("--out");
    if (out) await writeFile(out, data);
    console.log(JSON.stringify({ ...sound, bytes: data.length }));
    return 0;
  } catch (error) {
    console.error(error instanceof GatewayError ? `${error.code}: ${error.message} ${error.hint}` : error);
    return 1;
  }
}

module.exports = { GatewayClient, GatewayError };
if (require.main === module) main(process.argv.slice(2)).then((code) => (process.exitCode = code));
