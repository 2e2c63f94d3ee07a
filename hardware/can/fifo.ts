// A queue whose ends are cheap, however long it is.

/** First in, first out. */
export class Fifo<T> {
  #items: (T | undefined)[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  get first(): T | undefined {
    return this.#items[this.#head];
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#items.length) {
      this.#items.length = 0;
      this.#head = 0;
    } else if (this.#head >= 1024 && 2 * this.#head >= this.#items.length) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
    return item;
  }

  some(matches: (item: T) => boolean): boolean {
    return this.#items.some((item) => item !== undefined && matches(item));
  }

  /** Takes the first that matches out of the middle. */
  take(matches: (item: T) => boolean): T | undefined {
    for (let at = this.#head; at < this.#items.length; at++) {
      const item = this.#items[at];
      if (item !== undefined && matches(item)) return this.#items.splice(at, 1)[0];
    }
    return undefined;
  }

  remove(matches: (item: T) => boolean): void {
    this.#items = this.#items.filter((item) => item !== undefined && !matches(item));
    this.#head = 0;
  }
}
