// Undoes the compression of a download while its blocks come in (RFC 1950, RFC 1951).
import { createInflate, createInflateRaw } from "node:zlib";
import type { CompressionMethod } from "../flash/compression.ts";

/** The bytes are not what the method makes, or there are more of them than were announced. */
export class InflateError extends Error {
  override readonly name = "InflateError";
}

/** One stream. Bytes come out as soon as the decompressor has them. */
export class Inflater {
  readonly #engine: ReturnType<typeof createInflate> | ReturnType<typeof createInflateRaw>;
  #pieces: Uint8Array[] = [];
  #length = 0;
  #failure: InflateError | undefined;
  readonly #ended: Promise<void>;

  /** @param limit most bytes that may come out */
  constructor(method: Exclude<CompressionMethod, "none">, limit: number) {
    const engine = method === "zlib" ? createInflate() : createInflateRaw();
    this.#engine = engine;
    engine.on("data", (piece: Uint8Array) => {
      this.#length += piece.length;
      if (this.#length <= limit) this.#pieces.push(piece);
      else engine.destroy(new InflateError(`expected at most ${limit} bytes, got more`));
    });
    this.#ended = new Promise((resolve, reject) => {
      engine.on("end", resolve);
      engine.on("error", (cause) => {
        this.#failure = cause instanceof InflateError
          ? cause
          : new InflateError(`expected ${method} data: ${cause.message}`, { cause });
        reject(this.#failure);
      });
      engine.on("close", () => reject(new InflateError("closed")));
    });
    // Whoever pushes or ends hears of it; nobody may be there.
    this.#ended.catch(() => {});
  }

  /** Takes compressed bytes. @returns what has come out since the last call. @throws {InflateError} */
  async push(data: Uint8Array): Promise<Uint8Array[]> {
    if (this.#failure !== undefined) throw this.#failure;
    const written = new Promise<void>((resolve, reject) => {
      this.#engine.write(data, (error) => error ? reject(error) : resolve());
    });
    await Promise.race([written, this.#ended]);
    if (this.#failure !== undefined) throw this.#failure;
    return this.#take();
  }

  /** No more bytes follow. @returns the rest of what comes out. @throws {InflateError} when the stream is cut short */
  async end(): Promise<Uint8Array[]> {
    this.#engine.end();
    await this.#ended;
    return this.#take();
  }

  /** Ends it wherever it is. */
  close(): void {
    this.#engine.destroy();
  }

  #take(): Uint8Array[] {
    const pieces = this.#pieces;
    this.#pieces = [];
    return pieces;
  }
}
