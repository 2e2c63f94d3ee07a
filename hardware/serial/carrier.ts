// Bytes to and from a serial device: what a binding needs of the operating system, however it is had.

/** An open serial device. One read and one write at a time. */
export interface Carrier {
  /** How it is had, for messages. */
  readonly kind: "direct" | "socat";
  /**
   * Reads at least one byte.
   *
   * @throws {UnpluggedError} when the device is gone
   * @throws {PortClosedError} after `close`
   */
  read(into: Uint8Array): Promise<number>;
  /** Writes all of it. @throws as `read` */
  write(bytes: Uint8Array): Promise<void>;
  /** Lets go of the device: afterwards another program may have it, and no read takes a byte from it any more. */
  close(): Promise<void>;
}

/** Waits for a promise, at most so long. @returns whether it came to its end */
export async function within(promise: Promise<unknown>, milliseconds: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => timer = setTimeout(() => resolve(false), milliseconds));
  const done = promise.then(() => true, () => true);
  try {
    return await Promise.race([done, late]);
  } finally {
    clearTimeout(timer);
  }
}
