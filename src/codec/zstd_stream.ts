// Zstandard frames (RFC 8878) made and read step by step in the caller's thread, with or without a base for
// deltas. It is zstd's own code in WebAssembly; memory, output and window are limited by what the caller allows.

import { ZstdError } from "./zstd_errors.ts";
import { FrameHeaderReader } from "./zstd_frame.ts";
import { ZstdInstance } from "./zstd_instance.ts";
import { checkLevel } from "./zstd_levels.ts";

/** What every decoder's window must reach, RFC 8878, section 3.1.1.1.2: 1 KiB; and what 32-bit code can address. */
const windowLogs = { lowest: 10, highest: 30 } as const;

/** Largest base and largest target of a delta, in bytes: both lie in memory while it is made and while it is applied. */
export const maxDeltaSize = 256 * 2 ** 20;

/** The base of a delta: what `zstd --patch-from` is given. */
export interface ZstdBase {
  /** Bytes, 1 to {@linkcode maxDeltaSize}. */
  size: number;
  /** Writes the base to where it is needed, all of it. */
  fill: (room: Uint8Array<ArrayBuffer>) => void;
}

/** What both directions have in common: an instance, and how far the input has been read. */
class ZstdStream implements Disposable {
  readonly #instance = ZstdInstance.take();
  #disposed = false;
  /** Bytes of input before the current piece. */
  protected position = 0;

  protected get instance(): ZstdInstance {
    if (this.#disposed) throw new TypeError("the stream has been disposed of");
    return this.#instance;
  }

  /** Puts a base in its place, with room for so many bytes behind it. */
  protected putBase(base: ZstdBase | undefined, behind = 0): [at: number, length: number] {
    if (!base) return [0, 0];
    checkDeltaSize("base", base.size);
    return [this.#instance.putPrefix(base.size, base.fill, behind), base.size];
  }

  /** One step over input from `from` to `to`. */
  protected step(from: number, to: number, ending: boolean) {
    const left = this.instance.try(() => this.where(from), "step", from, to, ending ? 1 : 0);
    return { left, ...this.instance.progress() };
  }

  protected where(from: number): string {
    return `near byte ${this.position + from} of the input`;
  }

  /** The input in pieces that the instance takes, each put in its place. */
  protected *pieces(input: Uint8Array): Generator<number, void, void> {
    for (let at = 0; at < input.length; at += this.instance.inputSize) {
      const piece = input.subarray(at, at + this.instance.inputSize);
      this.instance.put(piece);
      yield piece.length;
      this.position += piece.length;
    }
  }

  /** Gives the memory back. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#instance.release();
  }
}

/** What a {@linkcode ZstdCompressor} makes. */
export interface ZstdCompressorOptions {
  /** 1 to 22. */
  level: number;
  /** Bytes that will come: the frame says so, and more or less is an error. */
  size: number;
  /**
   * Window as a power of two, 10 to 30; a delta's is its target's size.
   * @default what the level takes: up to 23 below level 20, 27 at level 22
   */
  windowLog?: number;
  /**
   * Makes a delta: what `zstd -d --patch-from` applies to this base.
   * @default none
   */
  base?: ZstdBase;
}

/** Makes one frame with its content's size and a checksum, as the `zstd` command does. */
export class ZstdCompressor extends ZstdStream {
  /** @throws {RangeError} For options out of range. @throws {ZstdError} `no_memory`. */
  constructor({ level, size, windowLog = 0, base }: ZstdCompressorOptions) {
    checkLevel(level);
    const fits = Number.isInteger(windowLog) && windowLog >= windowLogs.lowest &&
      windowLog <= windowLogs.highest;
    if (windowLog !== 0 && !fits) {
      throw new RangeError(
        `windowLog must be ${windowLogs.lowest} to ${windowLogs.highest}, got ${windowLog}`,
      );
    }
    if (!Number.isSafeInteger(size) || size < 0) throw new RangeError(`size must be whole, got ${size}`);
    if (base) checkDeltaSize("target", size);
    super();
    try {
      const where = () => `with level ${level}, ${size} bytes and a base of ${base?.size ?? 0}`;
      const [at, length] = this.putBase(base);
      // As `zstd --patch-from` sets them: the window is the whole target, so that the base can be referred to until the
      // target's end; and where that is beyond what the level searches, long-distance matching helps.
      const deltaLog = Math.max(windowLogs.lowest, 32 - Math.clz32(size));
      const log = base ? deltaLog : windowLog;
      const long = base !== undefined && log > this.instance.call("search_log", level, size, length);
      this.instance.try(where, "compress_begin", level, log, long ? 1 : 0, size, at, length);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** Takes a piece of input and gives what comes out; each piece of it is valid until the next. @throws {ZstdError} */
  *push(input: Uint8Array): Generator<Uint8Array<ArrayBuffer>, void, void> {
    for (const length of this.pieces(input)) {
      for (let from = 0; from < length;) {
        const { taken, made } = this.step(from, length, false);
        from += taken;
        if (made.length > 0) yield made;
      }
    }
  }

  /** Ends the frame. @throws {ZstdError} `bad_data`, if less came than was said. */
  *finish(): Generator<Uint8Array<ArrayBuffer>, void, void> {
    for (;;) {
      const { left, made } = this.step(0, 0, true);
      if (made.length > 0) yield made;
      if (left === 0) return;
    }
  }
}

/** What a {@linkcode ZstdDecompressor} allows. */
export interface ZstdDecompressorOptions {
  /** Largest window in bytes, 2^10 to 2^30: memory. A frame that says less than that of its content needs no more. */
  maxWindow: number;
  /** Most bytes of output. With a base it is memory, and at most {@linkcode maxDeltaSize}. */
  maxOutput: number;
  /**
   * Applies a delta that was made against this base.
   * @default none
   */
  base?: ZstdBase;
}

/** Reads one frame. */
export class ZstdDecompressor extends ZstdStream {
  readonly #maxWindow: number;
  readonly #maxOutput: number;
  readonly #header = new FrameHeaderReader();
  #made = 0;
  #ended = false;

  /** @throws {RangeError} For options out of range. @throws {ZstdError} `no_memory`. */
  constructor({ maxWindow, maxOutput, base }: ZstdDecompressorOptions) {
    const [lowest, highest] = [2 ** windowLogs.lowest, 2 ** windowLogs.highest];
    if (!Number.isSafeInteger(maxWindow) || maxWindow < lowest || maxWindow > highest) {
      throw new RangeError(`maxWindow must be ${lowest} to ${highest}, got ${maxWindow}`);
    }
    if (!Number.isSafeInteger(maxOutput) || maxOutput < 0) {
      throw new RangeError(`maxOutput must be whole, got ${maxOutput}`);
    }
    if (base) checkDeltaSize("target", maxOutput);
    super();
    this.#maxWindow = maxWindow;
    this.#maxOutput = maxOutput;
    try {
      const behind = base ? maxOutput : 0;
      const [at, length] = this.putBase(base, behind);
      this.instance.try(() => "before any input", "decompress_begin", maxWindow, at, length, behind);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Takes a piece of input and gives what comes out; each piece of it is valid until the next.
   *
   * @throws {ZstdError} `bad_data`, also for bytes behind the frame's end and for a wrong checksum, which a wrong base makes;
   * `output_limit` and `window_limit`, as soon as the header says so or the output shows it.
   */
  *push(input: Uint8Array): Generator<Uint8Array<ArrayBuffer>, void, void> {
    // Before the frame costs any memory.
    this.#header.push(input)?.check({ maxWindow: this.#maxWindow, maxContent: this.#maxOutput });
    for (const length of this.pieces(input)) {
      // A step that fills the output may have more to give without more input.
      for (let from = 0, full = false; from < length || full;) {
        if (this.#ended) {
          throw new ZstdError(
            "bad_data",
            `expected the end of the frame to be the last, got more ${this.where(from)}`,
          );
        }
        const { left, taken, made } = this.step(from, length, false);
        from += taken;
        this.#ended = left === 0;
        full = !this.#ended && made.length === this.instance.outputSize;
        this.#made += made.length;
        if (this.#made > this.#maxOutput) {
          throw new ZstdError(
            "output_limit",
            `expected at most ${this.#maxOutput} bytes of output, got more`,
          );
        }
        if (made.length > 0) yield made;
      }
    }
  }

  /** Says that no more input comes. @throws {ZstdError} `truncated`, if the frame has not ended. */
  finish(): void {
    if (this.#ended) return;
    throw new ZstdError(
      "truncated",
      `expected the frame to go on, the input ends after ${this.position} bytes, the output after ${this.#made}`,
    );
  }
}

/** @throws {RangeError} For a base or a target that no delta can have. */
export function checkDeltaSize(what: string, size: number): void {
  if (!Number.isSafeInteger(size) || size < 1 || size > maxDeltaSize) {
    throw new RangeError(`a delta's ${what} must have 1 to ${maxDeltaSize} bytes, got ${size}`);
  }
}
