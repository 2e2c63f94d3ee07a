// Takes a file in from outside: no longer than its limit, within its time, whatever the other side does.

import type { Checker } from "../checks.ts";
import type { FetchRequest, MetadataFetcher } from "../store.ts";

/** What is fetched, and the longest time for it. */
export interface RetrieveOptions {
  readonly request: Omit<FetchRequest, "signal">;
  /** ms */
  readonly time: number;
  readonly signal: AbortSignal;
  /** What the file is called in checks. */
  readonly subject: string;
  readonly checker: Checker;
}

/**
 * Fetches a file.
 *
 * @returns {Promise} its bytes; undefined if there is no such file
 * @throws {EndlessDataError} when more comes than the limit.
 * @throws {SlowRetrievalError} when it is not there in time, a fetcher that does not end its wait among the causes.
 * @throws what the fetcher throws, and the signal's reason.
 */
export async function retrieve(
  fetcher: MetadataFetcher,
  { request, time, signal, subject, checker }: RetrieveOptions,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  signal.throwIfAborted();
  const tooSlow = Symbol("too slow");
  const ending = new AbortController();
  const end = () => ending.abort(signal.reason);
  const ended = Promise.withResolvers<never>();
  ended.promise.catch(() => {}); // Nobody may be waiting any more when it comes.
  ending.signal.addEventListener("abort", () => ended.reject(ending.signal.reason), { once: true });
  signal.addEventListener("abort", end, { once: true });
  const timer = setTimeout(() => ending.abort(tooSlow), time);
  try {
    const reading = read(fetcher, { ...request, signal: ending.signal }, subject, checker);
    reading.catch(() => {}); // As above, when the wait was over first.
    return await Promise.race([reading, ended.promise]);
  } catch (error) {
    if (ending.signal.reason !== tooSlow) throw error;
    throw checker.failed("metadata_speed", subject, `expected the file within ${time} ms, got a part of it`);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
  }
}

async function read(
  fetcher: MetadataFetcher,
  request: FetchRequest,
  subject: string,
  checker: Checker,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const stream = await fetcher.fetch(request);
  if (stream === undefined) return undefined;
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of stream) {
    request.signal.throwIfAborted();
    length += part.length;
    if (length > request.maxLength) {
      throw checker.failed(
        "metadata_length",
        subject,
        `expected at most ${request.maxLength} bytes, got more`,
      );
    }
    if (part.length > 0) parts.push(Uint8Array.from(part)); // The other side may use its buffer again.
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
