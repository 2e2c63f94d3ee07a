// What a DoIP connection needs of the world: a byte stream and a clock. Both come in as arguments, so that TLS on
// port 3496 can be handed in from outside and tests can rule the time.

/** A connected byte stream: what Deno.Conn and a TLS stream have in common. */
export interface ByteStream {
  /** Reads at least one byte; null at the end of the stream. */
  read(into: Uint8Array): Promise<number | null>;
  /** Writes at least one byte and says how many it took. */
  write(bytes: Uint8Array): Promise<number>;
  /** Ends the sending direction, so that what was sent last still reaches the peer. */
  closeWrite?(): Promise<void>;
  close(): void;
}

/** Time as a connection sees it. */
export interface Clock {
  /** Milliseconds, monotonic. */
  now(): number;
  /** Runs something once, later; what it gives back cancels that. */
  after(milliseconds: number, run: () => void): () => void;
}

/** The machine's own time. Looked up at each call, so that fake timers installed later take effect. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after: (milliseconds, run) => {
    const timer = setTimeout(run, milliseconds);
    return () => clearTimeout(timer);
  },
};

/** Closes a stream that may be closed already. */
export function closeQuietly(stream: ByteStream): void {
  try {
    stream.close();
  } catch (error) {
    // Closing twice is what both ends of a broken connection do; the stream is gone either way.
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

/** Throws a RangeError that quotes the value unless it is a usable number of milliseconds. */
export function checkMilliseconds(value: number, what: string): void {
  if (!Number.isFinite(value) || value < 0 || value > 0x7fff_ffff) {
    throw new RangeError(`${what} must be milliseconds from 0 to 2147483647, is ${value}`);
  }
}
