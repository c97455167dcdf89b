// @ts-check
/**
 * What is told below a sound that stands in for what was asked for: how far that is, how to do without it, how it ended.
 *
 *   const note = new BetterNote(making);   body.append(note.element);   note.show();   at every change of `making`
 *
 * How it ends is read out.
 */
import { told } from "./api.js";
import { h, icon, replace } from "./dom.js";
import { announce, toast } from "./notice.js";

/** @typedef {import("./making.js").Making} Making */

export class BetterNote {
  /** @param {Making} making the one whose sound stands in */
  constructor(making) {
    this.making = making;
    this.says = h("p", null);
    this.far = h("span", { class: "soft" });
    this.stop = h("button", { class: "button small", type: "button", onclick: () => void this.#stop() }, icon("close"), "Keep this one");
    this.element = h("div", { class: "note better", hidden: true });
  }

  /** Tell how it stands. */
  show() {
    const { better } = this.making;
    this.element.hidden = !better;
    if (!better) return;
    if (!better.over) {
      this.#say("It stands in. The sound as it was asked for is being made, and takes its place when it is there.", "make");
      this.far.textContent = better.says;
      if (!this.stop.parentNode) this.element.append(this.far, this.stop);
      return;
    }
    this.far.remove();
    this.stop.remove();
    if (better.state === "done") this.#say("This is the sound as it was asked for; what stood in for it is kept, too.", "check");
    else if (better.state === "cancelled") this.#say("It stands in. The sound as it was asked for is not made any more.", "no");
    else this.#say(`It stands in, and stays: the sound as it was asked for was not made. ${better.error}`, "warn");
  }

  /** @param {string} text @param {string} picture */
  #say(text, picture) {
    if (this.says.textContent === text) return;
    replace(this.element, icon(picture), this.says);
    this.says.textContent = text;
    if (this.making.better?.over) announce(`${this.making.request.prompt}: ${text}`); // at first the card has told it
  }

  async #stop() {
    this.stop.disabled = true;
    try {
      await this.making.cancel();
    } catch (error) {
      toast(`It could not be cancelled: ${told(error)}`, { kind: "bad" });
    } finally {
      this.stop.disabled = false;
    }
  }
}
