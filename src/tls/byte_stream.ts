// A Duplex as a stream that is read and written by calls, the way a TCP connection of the runtime is.

import type { Duplex } from "node:stream";

/** What `Deno.Conn` and the hardware stacks have in common. */
export interface CalledStream {
  /** Reads at least one byte; null at the end of the stream. One call at a time. */
  read(into: Uint8Array): Promise<number | null>;
  /** Writes all of it. The bytes may be reused once it resolves. */
  write(bytes: Uint8Array): Promise<number>;
  /** Ends the sending direction. */
  closeWrite(): Promise<void>;
  close(): void;
}

/** @throws what the Duplex fails with, from the call that is under way or the next one. */
export function byteStreamOf(stream: Duplex): CalledStream {
  let rest: Uint8Array = new Uint8Array(0);
  /** Something may have changed: bytes came, the stream ended or failed. */
  let wake: () => void = () => {};
  let failure: Error | undefined;
  stream.on("readable", () => wake());
  stream.on("end", () => wake());
  stream.on("close", () => wake());
  stream.on("error", (error) => {
    failure = error;
    wake();
  });
  return {
    async read(into) {
      while (rest.length === 0) {
        const chunk: unknown = stream.read();
        if (chunk instanceof Uint8Array) rest = chunk;
        else if (failure !== undefined) throw failure;
        else if (stream.readableEnded) return null;
        else if (stream.destroyed) throw new Deno.errors.BadResource("the stream was closed");
        else await new Promise<void>((resolve) => wake = resolve);
      }
      const taken = rest.subarray(0, into.length);
      into.set(taken);
      rest = rest.subarray(taken.length);
      return taken.length;
    },
    write: (bytes) =>
      new Promise((resolve, reject) =>
        stream.write(bytes, (error) => error ? reject(error) : resolve(bytes.length))
      ),
    closeWrite: () => new Promise((resolve) => stream.end(() => resolve())),
    close() {
      stream.destroy();
    },
  };
}
