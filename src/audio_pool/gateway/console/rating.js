// @ts-check
/**
 * One to five stars, and none.
 *
 *   const rating = new Rating({label: "Rating of rain", value: 3, onRate: async (stars) => …});   // 0: taken back
 *   root.append(rating.element);  rating.show(4);
 *
 * Radio buttons underneath: arrow keys choose, and a click on the star that is chosen takes the rating back.
 */
import { h, icon, uid } from "./dom.js";

export class Rating {
  /** @param {{label: string, value?: number | null, onRate: (stars: number) => void}} given */
  constructor({ label, value = 0, onRate }) {
    this.value = value ?? 0;
    const name = uid("rating");
    this.inputs = [1, 2, 3, 4, 5].map((stars) =>
      h("input", {
        type: "radio", name, value: String(stars), class: "unseen", "aria-label": stars === 1 ? "1 star" : `${stars} stars`,
        onclick: () => {
          const chosen = stars === this.value ? 0 : stars;
          this.show(chosen);
          onRate(chosen);
        },
      }),
    );
    this.element = h(
      "div", { class: "rating", role: "radiogroup", "aria-label": label },
      this.inputs.map((input) => h("label", { title: input.getAttribute("aria-label") }, input, icon("star"))),
    );
    this.show(this.value);
  }

  /** @param {number | null} stars */
  show(stars) {
    this.value = stars ?? 0;
    this.inputs.forEach((input, at) => {
      input.checked = at + 1 === this.value;
      input.parentElement?.classList.toggle("lit", at < this.value);
    });
  }
}
