// The compressed form of a backup: Zstandard (RFC 8878) in frames that each stand alone, as pzstd writes them. Before each frame
// stands a skippable one (section 3.1.2) of 12 bytes that says how many bytes the frame has, so that a reader needs no more
// memory than one frame, whatever the file claims. zstd -d and tar --zstd read it as any other.

import { ZstdError } from "../codec/zstd_errors.ts";
import { ZstdCompressor, ZstdDecompressor } from "../codec/zstd_stream.ts";
import { BadBackup } from "./errors.ts";

/** First skippable magic number, section 3.1.2, and the size of what pzstd puts into such a frame. */
const skippable = { magic: 0x184d2a50, size: 4, length: 12 } as const;
/** Bytes of content in a frame, at most. */
const frameContent = 2 * 1024 * 1024;
/** Compressed size at most: zstd's ZSTD_compressBound() is content + content / 256 from 128 KiB on, and header and checksum. */
const frameLength = frameContent + frameContent / 256 + 64;

/** Collects bytes into frames. */
export class FrameWriter {
  readonly #content = new Uint8Array(frameContent);
  #filled = 0;

  /**
   * @param sink takes the compressed bytes, which are its own
   * @param level of zstd, 1 to 19
   */
  constructor(readonly sink: (bytes: Uint8Array) => Promise<void>, readonly level: number) {}

  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const part = bytes.subarray(at, at + frameContent - this.#filled);
      this.#content.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled === frameContent) await this.#frame();
    }
  }

  /** Writes what is left. */
  async finish(): Promise<void> {
    if (this.#filled > 0) await this.#frame();
  }

  async #frame(): Promise<void> {
    const content = this.#content.subarray(0, this.#filled);
    using zstd = new ZstdCompressor({ level: this.level, size: content.length });
    const parts: Uint8Array[] = [];
    // Each piece is valid until the next.
    for (const part of zstd.push(content)) parts.push(part.slice());
    for (const part of zstd.finish()) parts.push(part.slice());
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    const whole = new Uint8Array(skippable.length + length);
    const view = new DataView(whole.buffer);
    view.setUint32(0, skippable.magic, true);
    view.setUint32(4, skippable.size, true);
    view.setUint32(8, length, true);
    let at: number = skippable.length;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    this.#filled = 0;
    await this.sink(whole);
  }
}

/**
 * The content of a backup file from its beginning, piece by piece; each piece is valid until the next.
 *
 * @param maxContent bytes that may come out altogether
 * @param onRead is told how many bytes of the file were read
 * @throws {BadBackup} for what is not such a file, is cut off, or gives more
 */
export async function* framesContent(
  file: Deno.FsFile,
  maxContent: number,
  onRead: (bytes: number) => void = () => {},
): AsyncGenerator<Uint8Array, void, void> {
  await file.seek(0, Deno.SeekMode.Start);
  const head = new Uint8Array(skippable.length);
  const view = new DataView(head.buffer);
  const room = new Uint8Array(frameLength);
  let content = 0;
  for (let position = 0;;) {
    const got = await fill(file, head);
    if (got === 0 && position > 0) return;
    const length = view.getUint32(8, true);
    if (
      got < head.length || view.getUint32(0, true) !== skippable.magic ||
      view.getUint32(4, true) !== skippable.size
    ) {
      throw new BadBackup(
        position === 0
          ? "expected a backup of zonebench, got another kind of file"
          : `byte ${position}: expected a frame's length, got ${
            got < head.length ? "the end" : "something else"
          }: ` +
            `the file is cut off or damaged`,
      );
    }
    if (length > frameLength) {
      throw new BadBackup(
        `byte ${position}: expected a frame of ${frameLength} bytes at most, got ${length}`,
      );
    }
    const frame = room.subarray(0, length);
    const read = await fill(file, frame);
    if (read < length) {
      throw new BadBackup(`the file is cut off: expected ${length} bytes from byte ${position}, got ${read}`);
    }
    onRead(head.length + length);
    try {
      using zstd = new ZstdDecompressor({ maxWindow: frameContent, maxOutput: frameContent });
      for (const piece of zstd.push(frame)) {
        content += piece.length;
        if (content > maxContent) {
          throw new BadBackup(
            `expected ${maxContent} bytes of content at most: there is room for no more, got more`,
          );
        }
        yield piece;
      }
      zstd.finish();
    } catch (cause) {
      if (!(cause instanceof ZstdError)) throw cause;
      throw new BadBackup(`byte ${position}: the file is damaged: ${cause.message}`, { cause });
    }
    position += head.length + length;
  }
}

/** Reads until the buffer is full or the file ends. */
async function fill(file: Deno.FsFile, buffer: Uint8Array): Promise<number> {
  let filled = 0;
  while (filled < buffer.length) {
    const got = await file.read(buffer.subarray(filled));
    if (got === null) break;
    filled += got;
  }
  return filled;
}
