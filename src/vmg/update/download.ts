// Fetches a package over HTTPS into a file that bears its name only when it is whole. A cut link goes on where it stopped
// (RFC 9110 clauses 13.1.5 If-Range and 14 Range).

import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { AnswerError, ProblemError, type RestClient } from "../../contract/client.ts";
import { routes } from "../../contract/routes.ts";
import type { Logger } from "../../log.ts";
import { DownloadError, explain } from "../errors.ts";
import { Backoff, delay } from "../../wait.ts";

/** Options of {@link downloadPackage}. Times in milliseconds. */
export interface DownloadOptions {
  rest: RestClient;
  packageId: string;
  /** Folder of the file. */
  directory: string;
  /** Entity tag and length that an earlier run noted. */
  known?: { etag: string | null; size: number };
  /** Bytes that the package may have. */
  maxSize: number;
  /** Bytes that stay free on the disk. */
  minFree: number;
  /** How long to try without a new byte. */
  patience: number;
  retryDelay: number;
  maxRetryDelay: number;
  /** Called before the first byte of a new download is written: noted on disk when it returns. */
  onBegin: (etag: string | null, size: number) => void;
  onProgress: (done: number, total: number) => void;
  signal: AbortSignal;
  log: Logger;
}

/** Statuses of the 4xx class that say "later", not "no" (RFC 9110 clause 15.5.9, RFC 6585 clause 4). */
const later = new Set([408, 429]);

/** The server's answer is used up or useless, the next one may do. */
class TryAgain extends Error {}

/** Where the whole file lies. */
export function packagePath(directory: string, packageId: string): string {
  return join(directory, `${packageId}.otap`);
}

/** Deletes what was fetched, whole or not. */
export async function removePackage(directory: string, packageId: string): Promise<void> {
  for (const path of [packagePath(directory, packageId), `${packagePath(directory, packageId)}.part`]) {
    try {
      await Deno.remove(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/**
 * Fetches the package; one that is whole already is not fetched again.
 *
 * @returns the file's path
 * @throws {DownloadError} at once for a 4xx, a package that is too large, a full disk; after `patience` for the rest
 * @throws the signal's reason
 */
export async function downloadPackage(options: DownloadOptions): Promise<string> {
  const { directory, packageId, signal, patience, log } = options;
  const path = packagePath(directory, packageId);
  if (await sizeOf(path) !== undefined) return path;
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });

  const backoff = new Backoff({ initial: options.retryDelay, max: options.maxRetryDelay });
  using part = await PartFile.open(`${path}.part`, options);
  let lastByte = Date.now();
  for (;;) {
    const before = part.length;
    let failure: unknown;
    try {
      await fetchRest(part, options);
      await part.finish(path);
      return path;
    } catch (error) {
      signal.throwIfAborted();
      if (!mayTryAgain(error)) throw error;
      failure = error;
    }
    if (part.length > before) {
      lastByte = Date.now();
      backoff.reset();
    } else if (Date.now() - lastByte >= patience) {
      throw new DownloadError(
        `package ${packageId}: no new byte within ${patience} ms at ${part.length} of ${
          part.total ?? "an unknown number of"
        } bytes: ${explain(failure)}`,
        { cause: failure },
      );
    }
    const wait = backoff.next();
    log.warn(
      `Download interrupted at ${part.length} bytes: ${explain(failure)}. Resuming in ${wait}ms`,
    );
    await delay(wait, signal);
  }
}

function mayTryAgain(error: unknown): boolean {
  if (error instanceof DownloadError) return false;
  // A missing permission does not come by waiting.
  if (error instanceof Deno.errors.NotCapable) return false;
  const status = error instanceof ProblemError || error instanceof AnswerError ? error.status : undefined;
  return status === undefined || status >= 500 || later.has(status);
}

/** Asks for what is missing and writes it. */
async function fetchRest(part: PartFile, options: DownloadOptions): Promise<void> {
  if (part.isWhole) return;
  const { rest, packageId, signal, onProgress } = options;
  const resume = part.length > 0 && part.etag !== null;
  if (!resume) await part.restart();
  const response = await rest.open(routes.downloadPackage, {
    path: { id: packageId },
    headers: resume && part.etag !== null
      ? { range: `bytes=${part.length}-`, "if-range": part.etag }
      : undefined,
    expected: [200, 206, 416],
    signal,
  });
  const { statusCode, headers, body } = response;
  try {
    if (statusCode === 416) {
      // What is here is not a beginning of what is there.
      await part.restart();
      throw new TryAgain(`the server has no byte ${part.length} (416)`);
    }
    if (statusCode === 206) {
      await checkRange(part, first(headers["content-range"]));
    } else {
      await part.begin(
        strongTag(first(headers.etag)),
        contentLength(packageId, first(headers["content-length"])),
      );
    }
    await checkSpace(part, options);
    onProgress(part.length, part.total ?? 0);
    for await (const chunk of body) {
      signal.throwIfAborted();
      await part.append(chunk);
      onProgress(part.length, part.total ?? 0);
    }
  } finally {
    body.on("error", () => {}); // It is being given up, or it failed above.
    body.destroy();
  }
  if (!part.isWhole) throw new TryAgain(`the answer ended at ${part.length} of ${part.total} bytes`);
}

/** A part of another package, or from another place in it, must not be put behind what is here. */
async function checkRange(part: PartFile, range: string | undefined): Promise<void> {
  const match = /^bytes (\d+)-\d+\/(\d+)$/.exec(range ?? "");
  if (match !== null && Number(match[1]) === part.length && Number(match[2]) === part.total) return;
  const expected = `bytes ${part.length}-…/${part.total}`;
  await part.restart();
  throw new TryAgain(`expected Content-Range ${expected}, got ${range ?? "none"}`);
}

async function checkSpace(part: PartFile, { minFree, packageId, directory }: DownloadOptions): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  const free = bavail * bsize;
  const needed = (part.total ?? 0) - part.length;
  if (free - needed < minFree) {
    throw new DownloadError(
      `package ${packageId}: expected ${needed + minFree} free bytes in ${directory} ` +
        `(${needed} to fetch and ${minFree} to keep), there are ${free}`,
    );
  }
}

function contentLength(packageId: string, text: string | undefined): number {
  if (text === undefined || !/^\d{1,15}$/.test(text)) {
    throw new DownloadError(`package ${packageId}: expected a Content-Length, got ${text ?? "none"}`);
  }
  return Number(text);
}

/** RFC 9110 clause 13.1.5: a weak tag does not serve for If-Range. */
function strongTag(tag: string | undefined): string | null {
  return tag !== undefined && tag.startsWith('"') ? tag : null;
}

function first(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await Deno.stat(path)).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** What is here of the package. */
class PartFile implements Disposable {
  readonly #path: string;
  readonly #file: Deno.FsFile;
  readonly #options: DownloadOptions;
  length: number;
  /** Whole length, once known. */
  total: number | undefined;
  etag: string | null;

  private constructor(path: string, file: Deno.FsFile, length: number, options: DownloadOptions) {
    this.#path = path;
    this.#file = file;
    this.#options = options;
    this.length = length;
    this.total = options.known?.size;
    this.etag = options.known?.etag ?? null;
  }

  static async open(path: string, options: DownloadOptions): Promise<PartFile> {
    const file = await Deno.open(path, { read: true, write: true, create: true, mode: 0o600 });
    try {
      const part = new PartFile(path, file, (await file.stat()).size, options);
      // Without the tag and length that belong to it, or longer than the whole, it is of no use.
      if (part.etag === null || part.total === undefined || part.length > part.total) await part.restart();
      await file.seek(part.length, Deno.SeekMode.Start);
      return part;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  get isWhole(): boolean {
    return this.length === this.total;
  }

  async restart(): Promise<void> {
    await this.#file.truncate(0);
    await this.#file.seek(0, Deno.SeekMode.Start);
    this.length = 0;
    this.total = undefined;
    this.etag = null;
  }

  async begin(etag: string | null, total: number): Promise<void> {
    const { packageId, maxSize, onBegin } = this.#options;
    if (total < 1 || total > maxSize) {
      throw new DownloadError(`package ${packageId}: expected 1 to ${maxSize} bytes, got ${total}`);
    }
    await this.restart();
    onBegin(etag, total);
    this.etag = etag;
    this.total = total;
  }

  async append(bytes: Uint8Array): Promise<void> {
    const { packageId } = this.#options;
    if (this.total === undefined || this.length + bytes.length > this.total) {
      await this.restart();
      throw new TryAgain(`package ${packageId}: more bytes came than were announced`);
    }
    try {
      for (let at = 0; at < bytes.length;) at += await this.#file.write(bytes.subarray(at));
    } catch (cause) {
      throw new DownloadError(`package ${packageId}: cannot write ${this.#path}: ${explain(cause)}`, {
        cause,
      });
    }
    this.length += bytes.length;
  }

  /** Makes it the package: on disk first, then under its name. */
  async finish(path: string): Promise<void> {
    await this.#file.sync();
    await Deno.rename(this.#path, path);
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}
