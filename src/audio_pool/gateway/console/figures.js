// @ts-check
/** Numbers as people read them: seconds, bytes, ago, decibels, percent. */

/** @param {number | null | undefined} s */
export function seconds(s) {
  if (s === null || s === undefined || !Number.isFinite(s)) return "–";
  if (s < 0.01) return `${Math.round(s * 1e6) / 1000} ms`;
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 60) return `${Number(s.toFixed(s < 10 ? 2 : 1))} s`;
  const whole = Math.round(s);
  if (whole < 3600) return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")} min`;
  return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
}

/** @param {number | null | undefined} s position in a sound: 0:04.2 */
export function clock(s) {
  if (s === null || s === undefined || !Number.isFinite(s)) return "–";
  const tenths = Math.floor(s * 10 + 1e-6);
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return `${Math.floor(tenths / 600)}:${rest}`;
}

/** @param {number | null | undefined} bytes */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; bytes >= 1000 && unit < 4; unit += 1) bytes /= 1000;
  return `${unit === 0 || bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`;
}

/** @param {number | null | undefined} db @param {string} unit */
export function level(db, unit = "dB") {
  if (db === null || db === undefined || !Number.isFinite(db)) return "–";
  return `${db.toFixed(1).replace("-", "−")} ${unit}`;
}

/** @param {number | null | undefined} part 0..1 */
export function percent(part) {
  return part === null || part === undefined ? "–" : `${Math.round(part * 100)} %`;
}

/** @param {number | null | undefined} n */
export function count(n) {
  return n === null || n === undefined ? "–" : n.toLocaleString("en");
}

/** @param {number | null | undefined} hz */
export function hertz(hz) {
  if (hz === null || hz === undefined) return "–";
  return hz >= 1000 ? `${Number((hz / 1000).toFixed(1))} kHz` : `${Math.round(hz)} Hz`;
}

/** @param {number | null | undefined} at seconds since 1970 @param {number} [now] */
export function ago(at, now = Date.now() / 1000) {
  if (at === null || at === undefined || !at) return "–";
  const s = Math.max(0, now - at);
  if (s < 10) return "just now";
  if (s < 60) return `${Math.round(s)} s ago`;
  if (s < 3600) return `${Math.round(s / 60)} min ago`;
  if (s < 86400) return `${Math.round(s / 3600)} h ago`;
  if (s < 30 * 86400) return `${Math.round(s / 86400)} d ago`;
  return new Date(at * 1000).toLocaleDateString();
}
