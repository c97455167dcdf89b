// @ts-check
/** A list whose entries stay the same elements while their items change: what has the focus keeps it. */

/** @typedef {{element: HTMLElement, update: (item: any) => void}} Shown */

export class Keyed {
  /** @type {Map<string, Shown>} */
  #shown = new Map();

  /**
   * @param {HTMLElement} element
   * @param {string} key
   * @param {(item: any) => Shown} make
   */
  constructor(element, key, make) {
    this.element = element;
    this.key = key;
    this.make = make;
  }

  /** @param {any[]} items */
  show(items) {
    const keys = new Set(items.map((item) => item[this.key]));
    for (const [key, one] of this.#shown) {
      if (keys.has(key)) continue;
      one.element.remove();
      this.#shown.delete(key);
    }
    items.forEach((item, number) => {
      let one = this.#shown.get(item[this.key]);
      if (!one) this.#shown.set(item[this.key], (one = this.make(item)));
      one.update(item);
      const there = this.element.children[number];
      if (there !== one.element) this.element.insertBefore(one.element, there ?? null);
    });
  }
}
