// Reads and checks a package in one pass, as it comes: from a file, a pipe or the network, in the thread that calls it. What it
// holds at a time is the manifest, one block table, one block and zstd's window, whatever the package says of itself.

import { createHash } from "node:crypto";
import type { PackageManifest } from "../contract/package.ts";
import type { VerifyKey } from "../pqc/signature.ts";
import { checkTable, isBlock } from "./blocks.ts";
import { type PackageLimits, partsStart, resolveLimits } from "./container.ts";
import { PackageContentError, PackageFormatError } from "./errors.ts";
import { FrontReader, type PackageFront } from "./front.ts";
import { ImageDecoder } from "./image_decoder.ts";
import { type BlobEntry, verifyManifest } from "./manifest.ts";

import type { ZstdBase } from "./zstd_stream.ts";
import { deltaWindow, imageWindow } from "./zstd_windows.ts";

/** Options of {@linkcode readPackage}. */
export interface ReadPackageOptions {
  /** Trusted keys by key id. */
  verifyKeys: ReadonlyMap<string, VerifyKey>;
  /** VIN that the package must be for. @default any */
  expectVehicle?: string;
  /** Bytes of the whole package, where they are known: it is refused earlier then. @default not known */
  size?: number;
  limits?: PackageLimits;
  /**
   * The base of a delta, by SHA-256 and size: a delta without one is checked as far as its blob's hashes go.
   * @default none is there
   */
  base?: (base: { sha256: string; size: number }) => ZstdBase | undefined;
  /** Is called once the manifest is verified, before the first part. */
  onManifest?: (manifest: PackageManifest) => void;
  /** Is told how many bytes more were read. */
  onProgress?: (bytes: number) => void;
  signal?: AbortSignal;
}

/** A package that was read to its end. */
export interface ReadPackage {
  manifest: PackageManifest;
  front: PackageFront;
  /** Blobs in the order in which they lie. */
  blobs: readonly BlobEntry[];
  /** Deltas whose base was not there: their images were not made. */
  unmade: readonly BlobEntry[];
  /** Of the whole package, hexadecimal. */
  sha256: string;
  /** Bytes of the whole package. */
  size: number;
}

/**
 * Checks a package: header, lengths, canonical form, schema, key, signature, vehicle, entries, layout; then for each blob its
 * block table, each block, the blob's hash, and what decompression gives, its size and its hash; and that nothing follows.
 *
 * @throws {PackageError} At the first check that fails.
 * @throws {DeltaBaseError} If a base is not what it is said to be.
 */
export async function readPackage(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: ReadPackageOptions,
): Promise<ReadPackage> {
  const limits = resolveLimits(options.limits);
  const { size, verifyKeys, expectVehicle } = options;
  await using bytes = new ByteSource(source, options);
  const reader = new FrontReader(size, limits);
  while (reader.front === undefined) {
    const chunk = await bytes.next();
    if (chunk === undefined) {
      reader.finish();
      throw new PackageFormatError(
        "truncated",
        `expected a manifest and a signature, the package ends after ${reader.length} bytes`,
      );
    }
    bytes.putBack(chunk.subarray(reader.push(chunk)));
  }
  const { front } = reader;
  const start = partsStart(front.header);
  const { manifest, blobs } = await verifyManifest(front.manifestBytes, front.signature, {
    verifyKeys,
    expectVehicle,
    partBytes: size === undefined ? undefined : size - start,
    limits,
  });
  options.onManifest?.(manifest);
  const unmade: BlobEntry[] = [];
  for (const entry of blobs) {
    if (!await readBlob(entry, manifest.block_size, bytes, options)) unmade.push(entry);
  }
  if (await bytes.next() !== undefined) {
    throw new PackageFormatError("trailing_bytes", `expected the end after ${bytes.taken} bytes, got more`);
  }
  return { manifest, front, blobs, unmade, sha256: bytes.digest(), size: bytes.taken };
}

/** @returns whether the image was made */
async function readBlob(
  { blob, tableLength, imageSha256, imageSize }: BlobEntry,
  blockSize: number,
  source: ByteSource,
  options: ReadPackageOptions,
): Promise<boolean> {
  const what = `blob at ${blob.offset}`;
  const table = new Uint8Array(tableLength);
  await source.fill(table);
  checkTable(table, blob.table_sha256, what);
  const base = blob.encoding === "zstd-delta" ? options.base?.(blob.base) : undefined;
  const made = blob.encoding === "zstd" || base !== undefined;
  const maxWindow = base === undefined ? imageWindow : deltaWindow(imageSize);
  using decoder = made ? new ImageDecoder({ imageSha256, imageSize, maxWindow, base }) : undefined;
  const hash = createHash("sha256");
  const buffer = new Uint8Array(Math.min(blockSize, blob.length));
  for (let at = 0, block = 0; at < blob.length; at += blockSize, block++) {
    const bytes = buffer.subarray(0, Math.min(blockSize, blob.length - at));
    await source.fill(bytes);
    if (!isBlock(bytes, table, block)) {
      throw new PackageContentError(
        "block_hash",
        `${what}: expected block ${block} of ${bytes.length} bytes as its table has it, got another`,
      );
    }
    hash.update(bytes);
    for (const _ of decoder?.push(bytes) ?? []);
  }
  const found = hash.digest("hex");
  if (found !== blob.sha256) {
    throw new PackageContentError("blob_hash", `${what}: expected SHA-256 ${blob.sha256}, got ${found}`);
  }
  decoder?.finish();
  return made;
}

/** A stream that is taken from in pieces of a given length. */
class ByteSource implements AsyncDisposable {
  readonly #iterator: AsyncIterator<Uint8Array> | Iterator<Uint8Array>;
  readonly #options: ReadPackageOptions;
  readonly #hash = createHash("sha256");
  #rest: Uint8Array = new Uint8Array();
  #taken = 0;
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, options: ReadPackageOptions) {
    this.#iterator = Symbol.asyncIterator in source
      ? source[Symbol.asyncIterator]()
      : source[Symbol.iterator]();
    this.#options = options;
  }

  /** Bytes that were taken. */
  get taken(): number {
    return this.#taken;
  }

  /** SHA-256 of what was taken. */
  digest(): string {
    return this.#hash.digest("hex");
  }

  /** The next bytes, at least one; undefined at the end. */
  async next(): Promise<Uint8Array | undefined> {
    let chunk = this.#rest;
    this.#rest = chunk.subarray(chunk.length);
    while (chunk.length === 0) {
      this.#options.signal?.throwIfAborted();
      const { done, value } = await this.#iterator.next();
      if (done === true) {
        this.#ended = true;
        return undefined;
      }
      chunk = value;
      this.#hash.update(chunk);
      this.#taken += chunk.length;
      this.#options.onProgress?.(chunk.length);
    }
    return chunk;
  }

  /** Gives back the end of what `next` gave. */
  putBack(bytes: Uint8Array): void {
    this.#rest = bytes;
  }

  /** @throws {PackageFormatError} `truncated` */
  async fill(into: Uint8Array): Promise<void> {
    for (let at = 0; at < into.length;) {
      const chunk = await this.next();
      if (chunk === undefined) {
        throw new PackageFormatError(
          "truncated",
          `expected ${into.length} bytes at ${this.#taken - at}, got ${at}`,
        );
      }
      const part = chunk.subarray(0, into.length - at);
      into.set(part, at);
      at += part.length;
      this.putBack(chunk.subarray(part.length));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) await this.#iterator.return?.();
  }
}
