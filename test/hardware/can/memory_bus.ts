// A CAN bus in memory without any timing: a frame that one node sends is heard by all others.
import type { CanBus, ReceivedFrame, SendOptions } from "../../../hardware/can/bus.ts";
import { type CanFrame, checkFrame } from "../../../hardware/can/frame.ts";

/** The wire. */
export class MemoryWire {
  readonly nodes = new Set<MemoryNode>();
  /** Everything that was sent, in order. */
  readonly frames: CanFrame[] = [];
  now: () => number = () => performance.now();

  join(name = "node"): MemoryNode {
    const node = new MemoryNode(this, name);
    this.nodes.add(node);
    return node;
  }
}

export class MemoryNode implements CanBus {
  readonly fd = true;
  readonly closed: Promise<Error | undefined>;
  readonly #listeners = new Set<(received: ReceivedFrame) => void>();
  readonly #leave: (reason: undefined) => void;

  constructor(readonly wire: MemoryWire, readonly name: string) {
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    this.closed = promise;
    this.#leave = resolve;
  }

  // deno-lint-ignore require-await -- a rejection, not a throw, is what a bus gives
  async send(frame: CanFrame, _options?: SendOptions): Promise<void> {
    checkFrame(frame);
    this.wire.frames.push({ ...frame, data: frame.data.slice() });
    for (const node of this.wire.nodes) {
      if (node === this) continue;
      for (const listener of node.#listeners) listener({ frame, time: this.wire.now() });
    }
  }

  listen(receive: (received: ReceivedFrame) => void): () => void {
    this.#listeners.add(receive);
    return () => this.#listeners.delete(receive);
  }

  close(): Promise<void> {
    this.wire.nodes.delete(this);
    this.#leave(undefined);
    return Promise.resolve();
  }
}
