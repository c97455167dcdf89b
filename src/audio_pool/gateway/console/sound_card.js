// @ts-check
/** A sound to hear, see and judge. */
export {};
