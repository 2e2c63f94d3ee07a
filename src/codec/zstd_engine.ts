// One zstd stream, driven step by step by the caller's thread. node:zlib's own streams allocate a buffer for every piece of
// output and go through the event loop for every piece of input: measured, that takes three times the processor time and ten
// times the memory of the steps themselves. So this calls the step that those streams are made of, `writeSync` of their
// handle, which node:zlib does not document: what it is expected to be is checked when a stream is made.

import zlib from "node:zlib";

/** Bytes of output that a step gives at most. */
const outputSize = 128 * 1024;

/** ZSTD_EndDirective. */
const directives = { continue: 0, flush: 1, end: 2 } as const;

/** The part of node:zlib's handle that is used here. */
interface Handle {
  writeSync(
    directive: number,
    input: Uint8Array,
    inputOffset: number,
    inputLength: number,
    output: Uint8Array,
    outputOffset: number,
    outputLength: number,
  ): void;
}

/** Common to both directions. */
class ZstdStream implements Disposable {
  readonly #stream: zlib.ZstdCompress | zlib.ZstdDecompress;
  readonly #handle: Handle;
  /** Filled by each step: room left in the output, bytes left of the input. */
  readonly #state: Uint32Array;
  readonly #output = new Uint8Array(outputSize);

  constructor(stream: zlib.ZstdCompress | zlib.ZstdDecompress) {
    const handle: unknown = Reflect.get(stream, "_handle");
    const state: unknown = Reflect.get(stream, "_writeState");
    if (!isHandle(handle) || !(state instanceof Uint32Array) || state.length < 2) {
      stream.destroy();
      throw new Error("expected node:zlib's streams to have a handle with writeSync, as in Deno 2.9.6");
    }
    this.#stream = stream;
    this.#handle = handle;
    this.#state = state;
  }

  /**
   * Takes one piece of input and gives what comes out, piece by piece; each is valid until the next.
   *
   * @returns Bytes of the input that the stream left over, as its frame has ended.
   */
  protected *step(directive: number, input: Uint8Array): Generator<Uint8Array, number, void> {
    let left = input.length;
    for (;;) {
      this.#handle.writeSync(directive, input, input.length - left, left, this.#output, 0, outputSize);
      const [room, unread] = this.#state;
      left = unread;
      if (room < outputSize) yield this.#output.subarray(0, outputSize - room);
      // Where there is room left, zstd had no more to give.
      if (room > 0) return left;
    }
  }

  [Symbol.dispose](): void {
    this.#stream.destroy();
  }
}

/** What {@linkcode ZstdCompressor} compresses, and how. */
export interface ZstdCompressorOptions {
  /** 1 to 22. */
  level: number;
  /** Bytes that will come: the frame says so, and more or less is an error. */
  size: number;
  /** Largest window as a power of two. */
  maxWindowLog: number;
}

/** Compresses to one frame with its content's size and a checksum, as the `zstd` command does. */
export class ZstdCompressor extends ZstdStream {
  constructor({ level, size, maxWindowLog }: ZstdCompressorOptions) {
    const params: Record<number, number> = {
      [zlib.constants.ZSTD_c_compressionLevel]: level,
      [zlib.constants.ZSTD_c_checksumFlag]: 1,
    };
    // Levels below 20 stay within 8 MiB by themselves, and choose less for small input.
    if (level >= 20) params[zlib.constants.ZSTD_c_windowLog] = maxWindowLog;
    // The types do not know `pledgedSrcSize` yet, so it does not stand in the call.
    const options = { params, pledgedSrcSize: size };
    super(zlib.createZstdCompress(options));
  }

  /** Takes a piece of input. */
  *push(input: Uint8Array): Generator<Uint8Array, void, void> {
    yield* this.step(directives.continue, input);
  }

  /** Ends the frame. */
  *finish(): Generator<Uint8Array, void, void> {
    const nothing = new Uint8Array(0);
    // Flushed first: the end is then a few bytes, so that its step has room left and is not repeated, which would begin a
    // second frame.
    yield* this.step(directives.flush, nothing);
    yield* this.step(directives.end, nothing);
  }
}

/** Decompresses one frame. */
export class ZstdDecompressor extends ZstdStream {
  /** @param maxWindowLog Largest window as a power of two; a frame that wants more is an error. */
  constructor(maxWindowLog: number) {
    super(zlib.createZstdDecompress({ params: { [zlib.constants.ZSTD_d_windowLogMax]: maxWindowLog } }));
  }

  /** Takes a piece of input. @throws {Error} If it is no Zstandard, or goes on behind the frame's end. */
  *push(input: Uint8Array): Generator<Uint8Array, void, void> {
    const left = yield* this.step(directives.continue, input);
    if (left > 0) throw new Error(`${left} bytes or more behind the end of the frame`);
  }
}

function isHandle(value: unknown): value is Handle {
  return typeof value === "object" && value !== null && "writeSync" in value &&
    typeof value.writeSync === "function";
}
