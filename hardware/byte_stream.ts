// A connected stream of bytes, as the stacks need it: what TCP, TLS and a serial line have in common.

/** A connected byte stream: Deno.Conn is one. */
export interface ByteStream {
  /** Reads at least one byte; null at the end of the stream. */
  read(into: Uint8Array): Promise<number | null>;
  /** Writes at least one byte and says how many it took. */
  write(bytes: Uint8Array): Promise<number>;
  /** Ends the sending direction, so that what was sent last still reaches the peer. */
  closeWrite?(): Promise<void>;
  close(): void;
}

/** Closes a stream that may be closed already. */
export function closeQuietly(stream: ByteStream): void {
  try {
    stream.close();
  } catch (error) {
    // Closing twice is what both ends of a broken connection do; the stream is gone either way.
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}
