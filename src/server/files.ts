// Files under the data directory: where they lie, and what can go wrong with them.

import { dirname, join } from "node:path";
import { createHash } from "node:crypto";

/** Where the server's files lie. */
export interface DataFiles {
  /** Payloads and their compressed forms, named by SHA-256. */
  readonly images: string;
  /** Packages, named by SHA-256. */
  readonly packages: string;
  /** Deltas, named by the SHA-256 of their base and of their target. */
  readonly deltas: string;
  /** What is being written. */
  readonly temporary: string;
}

/** Makes the directories. What an earlier run left half written is removed by maintenance, once it is old enough. */
export async function openDataFiles(dataDirectory: string): Promise<DataFiles> {
  const files = {
    images: join(dataDirectory, "images"),
    packages: join(dataDirectory, "packages"),
    deltas: join(dataDirectory, "deltas"),
    temporary: join(dataDirectory, "tmp"),
  };
  for (const directory of Object.values(files)) {
    await Deno.mkdir(directory, { recursive: true, mode: 0o750 });
  }
  return files;
}

/** Path of the payload with this hash. */
export function payloadPath(files: DataFiles, sha256: string): string {
  return join(files.images, `${checkedSha256(sha256)}.bin`);
}

/** Path of the compressed form with this hash. */
export function blobPath(files: DataFiles, sha256: string): string {
  return join(files.images, `${checkedSha256(sha256)}.zst`);
}

/** Path of the package with this hash. */
export function packagePath(files: DataFiles, sha256: string): string {
  return join(files.packages, `${checkedSha256(sha256)}.pkg`);
}

/** A new path for a file that is being written. */
export function temporaryPath(files: DataFiles): string {
  return join(files.temporary, `${crypto.randomUUID()}.tmp`);
}

/** Whether the file is there with this many bytes. */
export async function hasFile(path: string, size: number): Promise<boolean> {
  try {
    const info = await Deno.stat(path);
    return info.isFile && info.size === size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Gives a whole file its name, and has that on the disk when it resolves: only then may a row tell of it. */
export async function settleFile(temporary: string, path: string): Promise<void> {
  await Deno.rename(temporary, path);
  using folder = await Deno.open(dirname(path), { read: true });
  await folder.sync();
}

/** Removes a file; one that is not there is fine. Whether it was there. */
export async function removeFile(path: string): Promise<boolean> {
  try {
    await Deno.remove(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** SHA-256 of a file, as 64 hexadecimal digits. */
export async function hashFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  using file = await Deno.open(path, { read: true });
  const buffer = new Uint8Array(256 * 1024);
  for (;;) {
    signal?.throwIfAborted();
    const got = await file.read(buffer);
    if (got === null) return hash.digest("hex");
    hash.update(buffer.subarray(0, got));
  }
}

/** Whether an error, or what caused it, says that the disk or the quota is full (ENOSPC, EDQUOT) or the file too big (EFBIG). */
export function isFullDisk(error: unknown): boolean {
  return tells(error, ["ENOSPC", "EDQUOT", "EFBIG"], /\(os error (?:28|122|27)\)/);
}

/** Whether an error, or what caused it, says that the disk fails (EIO) or takes nothing any more (EROFS). */
export function isBrokenDisk(error: unknown): boolean {
  return tells(error, ["EIO", "EROFS"], /\(os error (?:5|30)\)/);
}

/** Whether an error or one of its causes has one of the codes, or a message of that kind. */
function tells(error: unknown, codes: readonly string[], message: RegExp): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const code = "code" in at ? at.code : undefined;
    if (typeof code === "string" && codes.includes(code) || message.test(at.message)) return true;
  }
  return false;
}

function checkedSha256(text: string): string {
  // The name becomes a path: nothing else may pass, whoever calls.
  if (!/^[0-9a-f]{64}$/.test(text)) throw new TypeError(`expected a SHA-256 in hexadecimal, got ${text}`);
  return text;
}
