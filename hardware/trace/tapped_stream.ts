// A byte stream that shows what passes through it.

import type { ByteStream } from "../byte_stream.ts";
import type { ConnectionTap } from "./tap.ts";

/** The stream with a tap. What is sent is shown when it is handed over, so that no answer is shown before its request. */
export function tappedStream(stream: ByteStream, tap: ConnectionTap): ByteStream {
  /** Bytes that were shown and that the stream has not taken yet: they come again with the next write. */
  let ahead = 0;
  return {
    async read(into) {
      const read = await stream.read(into);
      if (read === null) return null;
      tap.received(into.subarray(0, read));
      return read;
    },
    async write(bytes) {
      if (bytes.length > ahead) tap.sent(bytes.subarray(ahead));
      ahead = Math.max(ahead, bytes.length);
      const written = await stream.write(bytes);
      ahead -= written;
      return written;
    },
    ...(stream.closeWrite === undefined
      ? {}
      : { closeWrite: () => stream.closeWrite?.() ?? Promise.resolve() }),
    close() {
      tap.closed();
      stream.close();
    },
  };
}
