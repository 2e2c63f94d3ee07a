// Fetches what is wanted of a package over HTTPS into a file that bears its name only when all of that is there. A cut link goes
// on where it stopped, and what came corrupted is fetched again by itself (RFC 9110 clauses 13.1.5 If-Range and 14 Range).

import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { AnswerError, ProblemError, type RestClient } from "../../contract/client.ts";
import { routes } from "../../contract/routes.ts";
import type { Logger } from "../../log.ts";
import { PackageError } from "../../codec/errors.ts";
import {
  DownloadError,
  DownloadSizeError,
  DownloadSlowError,
  DownloadWithheldError,
  explain,
} from "../errors.ts";
import { Backoff, delay } from "../../wait.ts";
import { type PackageExpectations, PackageFile } from "./package_file.ts";

/** Options of {@link downloadPackage}. Times in milliseconds. */
export interface DownloadOptions extends PackageExpectations {
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
  /** Bytes a second: what comes more slowly for `patience`, the waits between answers not counted, is given up. 0: nothing is. */
  minRate: number;
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

/** Bytes that are read and thrown away rather than asking anew for what comes behind them. */
const longestSkip = 1024 * 1024;

/** The server's answer is used up or useless, the next one may do. */
class TryAgain extends Error {}

/** The package is not accepted; `cause` says why. */
class NotAccepted extends Error {}

/** Where the file lies once all that is wanted is there. */
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
 * Fetches what is wanted of the package. What is there already is not fetched again.
 *
 * @returns the file's path; it has the package's size, and gaps where nothing was wanted
 * @throws {PackageError} for a package that is refused, also for bytes that come corrupted time and again
 * @throws {DownloadError} at once for a 4xx, a package that is too large ({@link DownloadSizeError}), a full disk; after `patience`
 *   for the rest ({@link DownloadWithheldError}, {@link DownloadSlowError})
 * @throws what `accept` throws, and the signal's reason
 */
export async function downloadPackage(options: DownloadOptions): Promise<string> {
  try {
    return await download(options);
  } catch (error) {
    throw error instanceof NotAccepted ? error.cause : error;
  }
}

async function download(options: DownloadOptions): Promise<string> {
  const { directory, packageId, signal, patience, log } = options;
  const path = packagePath(directory, packageId);
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  try {
    // Whole or not, it is looked at again: the disk may have lost some of it, and more may be wanted than was.
    await Deno.rename(path, `${path}.part`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }

  const backoff = new Backoff({ initial: options.retryDelay, max: options.maxRetryDelay });
  using part = await PackageFile.open(`${path}.part`, {
    ...options,
    known: options.known,
    accept: async (manifest, blobs) => {
      try {
        return await options.accept(manifest, blobs);
      } catch (cause) {
        throw new NotAccepted("the package is not accepted", { cause });
      }
    },
  });
  const pace = new Pace(options);
  let lastByte = performance.now();
  for (;;) {
    const before = part.done;
    let failure: unknown;
    try {
      await fetchWanted(part, pace, options);
      if (part.isWhole) {
        await part.finish(path);
        return path;
      }
      if (part.done > before) continue;
      // Asked again at once, the server would say the same again.
      throw new TryAgain("the answer brought nothing of what is missing");
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof PackageError && part.inherited && !part.isVerified) {
        log.warn(
          `Package ${packageId}, whose beginning an earlier run fetched, is refused: ${explain(error)}`,
        );
        await part.restart();
        continue;
      }
      if (!mayTryAgain(error)) throw error;
      failure = error;
    }
    if (part.done > before) {
      lastByte = performance.now();
      backoff.reset();
    } else if (performance.now() - lastByte >= patience) {
      throw new DownloadWithheldError(
        `package ${packageId}: no new byte within ${patience} ms at ${part.done} of ${
          part.total ?? "an unknown number of"
        } bytes: ${explain(failure)}`,
        { cause: failure },
      );
    }
    const wait = backoff.next();
    log.warn(`Download interrupted at ${part.done} bytes: ${explain(failure)}. Resuming in ${wait}ms`);
    await delay(wait, signal);
  }
}

/** Whether what failed may work later. */
export function mayTryAgain(error: unknown): boolean {
  if (error instanceof DownloadError || error instanceof PackageError) return false;
  if (error instanceof NotAccepted) return false;
  // A missing permission does not come by waiting.
  if (error instanceof Deno.errors.NotCapable) return false;
  const status = error instanceof ProblemError || error instanceof AnswerError ? error.status : undefined;
  return status === undefined || status >= 500 || later.has(status);
}

/** Sees that what comes does not trickle: a few bytes now and then would keep an update waiting for ever. */
class Pace {
  readonly #options: Pick<DownloadOptions, "packageId" | "patience" | "minRate">;
  /** Time spent on answers, ms, and bytes that came, since the last look. */
  #time = 0;
  #bytes = 0;
  #last = 0;

  constructor(options: Pick<DownloadOptions, "packageId" | "patience" | "minRate">) {
    this.#options = options;
  }

  /** An answer begins. */
  begin(): void {
    this.#last = performance.now();
  }

  /** @throws {DownloadSlowError} */
  count(bytes: number): void {
    const { packageId, patience, minRate } = this.#options;
    const now = performance.now();
    this.#time += now - this.#last;
    this.#last = now;
    this.#bytes += bytes;
    if (this.#time < patience) return;
    const rate = this.#bytes * 1000 / this.#time;
    if (rate < minRate) {
      throw new DownloadSlowError(
        `package ${packageId}: expected ${minRate} bytes a second, got ${Math.floor(rate)} over ${
          Math.round(this.#time)
        } ms`,
      );
    }
    this.#time = 0;
    this.#bytes = 0;
  }
}

/** Asks for the next run of bytes that is missing, and takes what comes. */
async function fetchWanted(part: PackageFile, pace: Pace, options: DownloadOptions): Promise<void> {
  if (part.isWhole) return;
  const { rest, packageId, signal, onProgress } = options;
  // A beginning that nothing has vouched for yet goes on only under the same entity tag; what has its hash needs none.
  if (!part.isVerified && part.etag === null) await part.restart();
  const { first, last } = part.wanted;
  const resume = part.done > 0;
  const response = await rest.open(routes.downloadPackage, {
    path: { id: packageId },
    headers: resume ? rangeHeaders(part, first, last) : undefined,
    expected: [200, 206, 416],
    signal,
  });
  const { statusCode, headers, body } = response;
  let end: number;
  // A server that sends all of it where a part was asked for does so each time: what lies before that part is passed over.
  let passesOver = false;
  try {
    if (statusCode === 416) {
      // What is here is not a part of what is there.
      await part.restart();
      throw new TryAgain(`the server has no byte ${first} (416)`);
    }
    if (statusCode === 206) {
      await checkRange(part, first, firstOf(headers["content-range"]));
      part.seek(first);
      end = last === undefined ? part.size ?? 0 : last + 1;
    } else {
      end = await wholeComes(part, headers, options);
      passesOver = resume && part.done > 0;
    }
    await checkSpace(part, options);
    onProgress(part.done, part.total ?? 0);
    pace.begin();
    for await (const chunk of body) {
      signal.throwIfAborted();
      pace.count(chunk.length);
      await part.push(chunk);
      onProgress(part.done, part.total ?? 0);
      const distance = part.distance;
      // What is still wanted lies behind this place, or far before it.
      if (distance === undefined || distance > longestSkip && !passesOver) return;
    }
  } finally {
    body.on("error", () => {}); // It is being given up, or it failed above.
    body.destroy();
  }
  if (part.position < end) throw new TryAgain(`the answer ended at ${part.position} of ${end} bytes`);
}

function rangeHeaders(part: PackageFile, first: number, last: number | undefined): Record<string, string> {
  const toEnd = last === undefined || last + 1 === part.size;
  const range = `bytes=${first}-${toEnd ? "" : last}`;
  return part.etag === null ? { range } : { range, "if-range": part.etag };
}

/** The whole package is sent: another one, or the server gives no ranges. @returns where it ends */
async function wholeComes(
  part: PackageFile,
  headers: Record<string, string | string[] | undefined>,
  { packageId, maxSize, onBegin }: DownloadOptions,
): Promise<number> {
  const etag = strongTag(firstOf(headers.etag));
  const size = contentLength(packageId, firstOf(headers["content-length"]));
  if (size === part.size && etag === part.etag && (etag !== null || part.isVerified)) {
    part.seek(0);
    return size;
  }
  await part.restart();
  if (size < 1 || size > maxSize) {
    throw new DownloadSizeError(`package ${packageId}: expected 1 to ${maxSize} bytes, got ${size}`);
  }
  onBegin(etag, size);
  part.begin(etag, size);
  return size;
}

/** A part of another package, or from another place in it, must not be put where something else belongs. */
async function checkRange(part: PackageFile, start: number, range: string | undefined): Promise<void> {
  const match = /^bytes (\d+)-\d+\/(\d+)$/.exec(range ?? "");
  if (match !== null && Number(match[1]) === start && Number(match[2]) === part.size) return;
  const expected = `bytes ${start}-…/${part.size}`;
  await part.restart();
  throw new TryAgain(`expected Content-Range ${expected}, got ${range ?? "none"}`);
}

async function checkSpace(
  part: PackageFile,
  { minFree, packageId, directory }: DownloadOptions,
): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  const free = bavail * bsize;
  const needed = (part.total ?? 0) - part.done;
  if (free - needed < minFree) {
    throw new DownloadError(
      `package ${packageId}: expected ${needed + minFree} free bytes in ${directory} ` +
        `(${needed} to fetch and ${minFree} to keep), there are ${free}`,
    );
  }
}

function contentLength(packageId: string, text: string | undefined): number {
  if (text === undefined || !/^\d{1,15}$/.test(text)) {
    throw new DownloadSizeError(`package ${packageId}: expected a Content-Length, got ${text ?? "none"}`);
  }
  return Number(text);
}

/** RFC 9110 clause 13.1.5: a weak tag does not serve for If-Range. */
function strongTag(tag: string | undefined): string | null {
  return tag !== undefined && tag.startsWith('"') ? tag : null;
}

function firstOf(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}
