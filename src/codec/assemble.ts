// Puts a package's file together: what stands before the parts, then block tables and blobs, each blob checked while it is
// copied. And makes the block tables before.

import { createHash } from "node:crypto";
import { BlockTable } from "./blocks.ts";
import { PackageContentError } from "./errors.ts";
import { writeWhole } from "./whole_file.ts";
import { readWatched, type RunOptions } from "./zstd_files.ts";

/** A compressed image as it lies on the builder's disk. */
export interface BlobFile {
  path: string;
  /** Bytes of the file. */
  length: number;
  /** Of the file, hexadecimal. */
  sha256: string;
}

/** A blob with its block table. */
export interface TabledBlob extends BlobFile {
  table: Uint8Array;
}

/** A package's file as it was written. */
export interface AssembledFile {
  /** Of the whole file, hexadecimal. */
  sha256: string;
  /** Bytes of the whole file. */
  size: number;
}

/**
 * Reads a file and compares it with what it is said to be.
 *
 * @throws {PackageContentError} `blob_hash`, if it is not.
 */
export async function checkFile(file: BlobFile, options: RunOptions = {}): Promise<void> {
  await readBlob(file, options, () => {});
}

/**
 * Makes a blob's block table.
 *
 * @throws {PackageContentError} `blob_hash`, if the file is not what `blob` says.
 */
export async function tabulate(
  blob: BlobFile,
  blockSize: number,
  options: RunOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const table = new BlockTable(blob.length, blockSize);
  await readBlob(blob, options, (chunk) => table.push(chunk));
  return table.finish();
}

/**
 * Writes header, manifest and signature (`front`), and block tables and blobs to `output`.
 *
 * @throws {PackageContentError} `blob_hash`, if a blob's file is not what it was when its hash was taken.
 */
export async function assembleFile(
  front: Uint8Array,
  blobs: readonly TabledBlob[],
  output: string,
  options: RunOptions = {},
): Promise<AssembledFile> {
  const whole = createHash("sha256");
  let size = 0;
  await writeWhole(output, async (write) => {
    const put = (bytes: Uint8Array) => {
      whole.update(bytes);
      write(bytes);
      size += bytes.length;
    };
    put(front);
    for (const blob of blobs) {
      put(blob.table);
      await readBlob(blob, options, put);
    }
  });
  return { sha256: whole.digest("hex"), size };
}

/** Reads a blob's file and compares it with what it is said to be. */
async function readBlob(
  { path, length, sha256 }: BlobFile,
  options: RunOptions,
  take: (chunk: Uint8Array) => void,
): Promise<void> {
  const hash = createHash("sha256");
  let size = 0;
  // One byte more than it should have, to see a file that has grown.
  for await (const chunk of readWatched(path, 0, length + 1, options)) {
    hash.update(chunk);
    size += chunk.length;
    if (size > length) break;
    take(chunk);
  }
  const found = hash.digest("hex");
  if (size !== length || found !== sha256) {
    throw new PackageContentError(
      "blob_hash",
      `${path}: expected ${length} bytes with SHA-256 ${sha256}, got ${
        size > length ? "more" : size
      } with ${found}`,
    );
  }
}
