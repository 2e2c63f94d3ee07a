// Puts a package's file together: what stands before the blobs, then the blobs, each checked while it is copied.

import { createHash } from "node:crypto";
import { PackageContentError } from "./errors.ts";
import { readRange, writeWhole } from "./whole_file.ts";
import type { RunOptions } from "./zstd_files.ts";

const chunkSize = 256 * 1024;

/** A compressed image as it lies on the builder's disk. */
export interface BlobFile {
  path: string;
  /** Bytes of the file. */
  length: number;
  /** Of the file, hexadecimal. */
  sha256: string;
}

/** A package's file as it was written. */
export interface AssembledFile {
  /** Of the whole file, hexadecimal. */
  sha256: string;
  /** Bytes of the whole file. */
  size: number;
}

/**
 * Writes header, manifest and signature (`front`) and the blobs to `output`.
 *
 * @throws {PackageContentError} `blob_hash`, if a blob's file is not what it was when its hash was taken.
 */
export async function assembleFile(
  front: Uint8Array,
  blobs: readonly BlobFile[],
  output: string,
  { signal, onProgress }: RunOptions = {},
): Promise<AssembledFile> {
  const whole = createHash("sha256");
  let size = 0;
  await writeWhole(output, async (write) => {
    whole.update(front);
    write(front);
    size += front.length;
    for (const blob of blobs) {
      const hash = createHash("sha256");
      let length = 0;
      // One byte more than it should have, to see a file that has grown.
      for await (const chunk of readRange(blob.path, 0, blob.length + 1, chunkSize)) {
        signal?.throwIfAborted();
        hash.update(chunk);
        whole.update(chunk);
        write(chunk);
        length += chunk.length;
        onProgress?.(chunk.length);
      }
      const found = hash.digest("hex");
      if (length !== blob.length || found !== blob.sha256) {
        throw new PackageContentError(
          "blob_hash",
          `${blob.path}: expected ${blob.length} bytes with SHA-256 ${blob.sha256}, got ${length} with ${found}`,
        );
      }
      size += length;
    }
  });
  return { sha256: whole.digest("hex"), size };
}
