// Compression of a download on its way: segment by segment, for boot loaders that undo it while they write.
import { Readable } from "node:stream";
import { createDeflate, createDeflateRaw } from "node:zlib";
import type { ImageReader, Segment } from "./image.ts";

/** `zlib`: RFC 1950, with header and Adler-32. `deflate`: RFC 1951, the bare stream. */
export const compressionMethods = ["none", "zlib", "deflate"] as const;

/** Name of a method. */
export type CompressionMethod = typeof compressionMethods[number];

/** Bytes read at once. */
const pieceSize = 65_536;

/** A segment in compressed form. */
export interface CompressedSegment extends AsyncDisposable {
  /** Bytes of the compressed form. */
  readonly length: number;
  /** Reads it from its beginning to its end, each byte once. */
  readonly reader: ImageReader;
}

/**
 * Compresses a segment. It is read twice, once to know the length and once for the bytes: nothing is kept of it.
 * @param offset where the segment's bytes begin in the payload
 */
export async function compressSegment(
  source: ImageReader,
  segment: Segment,
  offset: number,
  method: Exclude<CompressionMethod, "none">,
): Promise<CompressedSegment> {
  const open = () => compressed(source, offset, segment.length, method);
  let length = 0;
  for await (const piece of open()) length += piece.length;
  const reader = new SequentialReader(open());
  return { length, reader, [Symbol.asyncDispose]: () => reader[Symbol.asyncDispose]() };
}

async function* compressed(
  source: ImageReader,
  offset: number,
  length: number,
  method: Exclude<CompressionMethod, "none">,
): AsyncGenerator<Uint8Array, void, undefined> {
  const pieces = Readable.from(readPieces(source, offset, length), { objectMode: true });
  const engine = method === "zlib" ? createDeflate() : createDeflateRaw();
  pieces.on("error", (error) => engine.destroy(error));
  pieces.pipe(engine);
  try {
    for await (const piece of engine) yield piece;
  } finally {
    pieces.destroy();
    engine.destroy();
  }
}

async function* readPieces(
  source: ImageReader,
  offset: number,
  length: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let done = 0; done < length; done += pieceSize) {
    // A buffer each: the engine may hold on to the one before.
    const piece = new Uint8Array(Math.min(pieceSize, length - done));
    await source.read(offset + done, piece);
    yield piece;
  }
}

/** Reads what a generator gives, in order. */
class SequentialReader implements ImageReader {
  readonly #pieces: AsyncGenerator<Uint8Array, void, undefined>;
  #position = 0;
  #rest: Uint8Array = new Uint8Array();

  constructor(pieces: AsyncGenerator<Uint8Array, void, undefined>) {
    this.#pieces = pieces;
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    if (offset !== this.#position) {
      throw new RangeError(`expected to go on at byte ${this.#position}, got ${offset}`);
    }
    for (let at = 0; at < into.length;) {
      if (this.#rest.length === 0) {
        const { value, done } = await this.#pieces.next();
        if (done) throw new RangeError(`expected ${into.length - at} more bytes, got the end`);
        this.#rest = value;
      }
      const taken = this.#rest.subarray(0, into.length - at);
      into.set(taken, at);
      at += taken.length;
      this.#rest = this.#rest.subarray(taken.length);
    }
    this.#position += into.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pieces.return();
  }
}
