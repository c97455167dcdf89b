// @ts-check
/**
 * Light or dark: the system's, or the one that was chosen. `document` hears the event "theme" when it has changed, for
 * what is drawn rather than styled.
 */

/** @typedef {"auto" | "light" | "dark"} Theme */

const CHOSEN = "audio-pool.theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");

/** @returns {Theme} */
export function theme() {
  const chosen = document.documentElement.dataset.theme;
  return chosen === "light" || chosen === "dark" ? chosen : "auto";
}

/** @param {Theme} chosen */
export function setTheme(chosen) {
  document.documentElement.dataset.theme = chosen;
  localStorage.setItem(CHOSEN, chosen);
  document.dispatchEvent(new Event("theme"));
}

export function isDark() {
  return theme() === "dark" || (theme() === "auto" && system.matches);
}

system.addEventListener("change", () => document.dispatchEvent(new Event("theme")));
