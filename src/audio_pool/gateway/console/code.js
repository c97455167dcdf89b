// @ts-check
/** A request as one writes it elsewhere: curl, Python, the command line. */
import { stringify } from "./json.js";

/** @typedef {Record<string, any>} Json */

/** Files that a kept sound can be had as. */
export const FILES = [
  { label: "WAV, 24 bits", query: "format=wav&bit_depth=24", end: "wav" },
  { label: "WAV, 16 bits", query: "format=wav&bit_depth=16", end: "wav" },
  { label: "FLAC", query: "format=flac", end: "flac" },
  { label: "Ogg Vorbis", query: "format=ogg", end: "ogg" },
  { label: "Opus", query: "format=opus", end: "opus" },
  { label: "MP3", query: "format=mp3", end: "mp3" },
];
/** Options of `audio-pool generate` by the request's field. @type {Record<string, string>} */
const OPTIONS = {
  duration_s: "--duration",
  engine: "--engine",
  seed: "--seed",
  candidates: "--candidates",
  steps: "--steps",
  guidance_scale: "--guidance",
  negative_prompt: "--negative",
  voice: "--voice",
  namespace: "--namespace",
  format: "--format",
  bit_depth: "--bit-depth",
  target_lufs: "--lufs",
  loudness_profile: "--loudness",
};
/** @type {Record<string, string[]>} */
const SWITCHES = { loop: ["--loop", "--no-loop"], force: ["--force", ""], keep_candidates: ["--keep-candidates", ""], best_by_deadline: ["--best-by-deadline", ""], upgrade: ["--upgrade", ""], stand_in: ["--stand-in", ""] };

/** @param {string} text for a POSIX shell */
function quoted(text) {
  return /^[\w.,:/@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** @param {unknown} value @returns {string} as Python writes it */
function python(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null || value === undefined) return "None";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, one]) => `${python(name)}: ${python(one)}`).join(", ")}}`;
  return typeof value === "number" ? String(value) : JSON.stringify(value);
}

/** @param {string} prompt @param {string} format */
export function fileName(prompt, format) {
  const stem = prompt.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "_").replace(/^_+|_+$/g, "").slice(0, 60);
  return `${stem || "sound"}.${format === "opus" ? "opus" : format}`;
}

/** @param {Json} request @param {boolean} hasKey */
export function asCurl(request, hasKey) {
  const key = hasKey ? " -H \"Authorization: Bearer $AUDIO_POOL_KEY\"" : "";
  return `curl -H 'Accept: audio/*'${key} -d ${quoted(stringify(request))} -o ${quoted(fileName(request.prompt, request.format ?? "wav"))} ${location.origin}/v1/sounds`;
}

/** @param {Json} request */
export function asPython(request) {
  const { prompt, ...rest } = request;
  const fields = Object.entries(rest).map(([name, value]) => `, ${name}=${name === "seed" ? value : python(value)}`).join("");
  return [
    "from audio_pool import AudioClient", "",
    "with AudioClient() as client:",
    `    sound = client.generate(${python(prompt)}${fields})`,
    "    print(sound.path, sound.metadata.loudness_lufs)",
  ].join("\n");
}

/** @param {Json} request */
export function asCommand(request) {
  const prompt = quoted(request.prompt);
  const dashed = request.prompt.startsWith("-"); // it would be taken for an option
  const words = ["audio-pool generate", dashed ? "" : prompt];
  for (const [name, value] of Object.entries(request)) {
    if (name in OPTIONS) words.push(OPTIONS[name], quoted(String(value)));
    else if (name === "deadline_ms") words.push("--deadline", String(value / 1000));
    else if (name in SWITCHES) words.push(SWITCHES[name][value ? 0 : 1]);
    else if (name === "presets") for (const one of value) words.push("--preset", quoted(one));
    else if (name === "options") for (const [option, one] of Object.entries(value)) words.push("--option", quoted(`${option}=${typeof one === "string" ? one : JSON.stringify(one)}`));
  }
  words.push("-o", quoted(fileName(request.prompt, request.format ?? "wav")), dashed ? `-- ${prompt}` : "");
  return words.filter(Boolean).join(" ");
}

/** Put text on the clipboard, which browsers keep for pages they trust. @param {string} text @returns {Promise<boolean>} */
export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // it is shown, to be copied by hand
  }
}
