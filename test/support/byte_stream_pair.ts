// Two ends of a line in memory, for tests that rule what crosses it and when.
import type { ByteStream } from "../../hardware/byte_stream.ts";

/** One end. What is written to it comes out of the other. */
export class PairEnd implements ByteStream {
  /** Everything that was written to this end, in order, one entry a write. */
  readonly writes: Uint8Array[] = [];
  peer: PairEnd | undefined;
  #incoming: Uint8Array[] = [];
  #ended = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  async read(into: Uint8Array): Promise<number | null> {
    for (;;) {
      const first = this.#incoming[0];
      if (first !== undefined) {
        const count = Math.min(first.length, into.length);
        into.set(first.subarray(0, count));
        if (count === first.length) this.#incoming.shift();
        else this.#incoming[0] = first.subarray(count);
        return count;
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return null;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  async write(bytes: Uint8Array): Promise<number> {
    await Promise.resolve();
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#ended) throw new Error("the line is closed");
    this.writes.push(bytes.slice());
    this.peer?.arrive(bytes);
    return bytes.length;
  }

  /** Puts bytes in front of this end's reader. */
  arrive(bytes: Uint8Array | string): void {
    this.#incoming.push(typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes.slice());
    this.#wake?.();
  }

  /** What was written so far, as text. */
  text(): string {
    return this.writes.map((bytes) => new TextDecoder("latin1").decode(bytes)).join("");
  }

  /** Reads and writes fail from now on, as after a plug is pulled. */
  fail(error: Error): void {
    this.#failure = error;
    this.#wake?.();
  }

  close(): void {
    this.#ended = true;
    this.#wake?.();
    const { peer } = this;
    if (peer !== undefined) {
      peer.#ended = true;
      peer.#wake?.();
    }
  }
}

/** A line with two ends. */
export function byteStreamPair(): [PairEnd, PairEnd] {
  const [left, right] = [new PairEnd(), new PairEnd()];
  left.peer = right;
  right.peer = left;
  return [left, right];
}
