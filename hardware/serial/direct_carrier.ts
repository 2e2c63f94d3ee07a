// A serial device opened by this process. Needs all of Deno's permissions: it opens devices for nobody else.
import { type Carrier, within } from "./carrier.ts";
import { errorOfSystem, NotSerialError, PortBusyError, PortClosedError, UnpluggedError } from "./errors.ts";

/**
 * Settings that make a read end by itself after 100 ms without a byte. Deno cannot call a pending read off: closing its
 * file leaves a thread in the system's read, which keeps the device open and locked and takes the next bytes.
 * They must stand behind `raw`, which sets the same two.
 */
export const directRead: readonly string[] = ["min", "0", "time", "1"];

/** Longest wait for what is under way when the port is closed, ms. */
const closeLimit = 1000;

class DirectCarrier implements Carrier {
  readonly kind = "direct";
  readonly #path: string;
  readonly #reader: Deno.FsFile;
  readonly #writer: Deno.FsFile;
  #reading: Promise<unknown> = Promise.resolve();
  #writing: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(path: string, reader: Deno.FsFile, writer: Deno.FsFile) {
    this.#path = path;
    this.#reader = reader;
    this.#writer = writer;
  }

  read(into: Uint8Array): Promise<number> {
    const reading = this.#read(into);
    this.#reading = reading;
    return reading;
  }

  write(bytes: Uint8Array): Promise<void> {
    const writing = this.#write(bytes);
    this.#writing = writing;
    return writing;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await within(this.#reading, closeLimit);
    // A write that an adapter does not take cannot be called off; the handle with the lock is the other one.
    await within(this.#writing, closeLimit);
    this.#reader.close();
    this.#writer.close();
  }

  async #read(into: Uint8Array): Promise<number> {
    for (;;) {
      if (this.#closed) throw new PortClosedError(this.#path, "closed");
      let count: number | null;
      try {
        count = await this.#reader.read(into);
      } catch (error) {
        throw this.#failure(error);
      }
      if (count !== null) return count;
      // Nothing within the time that stty set, or the end: a line that was hung up is no terminal any more.
      if (!this.#closed && !this.#reader.isTerminal()) {
        throw new UnpluggedError(this.#path, "the adapter is gone; unplugged?");
      }
    }
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      if (this.#closed) throw new PortClosedError(this.#path, "closed");
      try {
        at += await this.#writer.write(at === 0 ? bytes : bytes.subarray(at));
      } catch (error) {
        throw this.#failure(error);
      }
    }
  }

  #failure(error: unknown): Error {
    if (this.#closed) return new PortClosedError(this.#path, "closed", { cause: error });
    return new UnpluggedError(
      this.#path,
      `the adapter is gone; unplugged? (${error instanceof Error ? error.message : error})`,
      { cause: error },
    );
  }
}

/**
 * Opens a device for reading and for writing: two handles, since on one a write would wait for the read under way.
 *
 * @param lock locks it against other programs that lock it, as pyserial's `exclusive=True` does
 * @throws {SerialError}
 * @throws {Deno.errors.NotCapable} without all of Deno's permissions
 */
export async function openDirect(path: string, lock: boolean): Promise<Carrier> {
  const reader = await open(path, { read: true });
  try {
    // Before anything is set: the line may be in use.
    if (lock && !await reader.tryLock(true)) throw new PortBusyError(path, "in use by another program");
    if (!reader.isTerminal()) throw new NotSerialError(path, "not a serial line");
    return new DirectCarrier(path, reader, await open(path, { write: true }));
  } catch (error) {
    reader.close();
    throw error;
  }
}

async function open(path: string, options: Deno.OpenOptions): Promise<Deno.FsFile> {
  try {
    return await Deno.open(path, options);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable || !(error instanceof Error)) throw error;
    throw errorOfSystem(path, error.message, error);
  }
}
