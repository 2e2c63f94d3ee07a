// Answers with a file, whole or a range of it, read as the client takes it (RFC 9110 sections 13 to 15).

import { decideRange, type RangeRequest } from "./byte_range.ts";
import { HttpProblem } from "./problem.ts";

export interface FileResponseOptions {
  /** Strong entity tag with its quotes. */
  etag: string;
  /** Bytes that the file has. */
  size: number;
  request: RangeRequest;
  /** Name under which a browser stores it. */
  fileName: string;
  /** Aborted when the client goes away. */
  signal: AbortSignal;
  /** Told of bytes that are sent. */
  onBytes(count: number): void;
}

/** Bytes that are read at a time. */
const chunkSize = 256 * 1024;

/**
 * The answer. Its bytes come from one open file, so a file that is replaced meanwhile does not mix with the old one.
 * @throws {HttpProblem} 412, 416
 */
export async function fileResponse(path: string, options: FileResponseOptions): Promise<Response> {
  const { etag, size, request, fileName } = options;
  const decision = decideRange(request, etag, size);
  const common = { etag, "accept-ranges": "bytes", "cache-control": "private, no-transform" };
  if (decision.status === 304) return new Response(null, { status: 304, headers: common });
  if (decision.status === 412) {
    throw new HttpProblem(412, `the package's entity tag is ${etag}`, { code: "precondition_failed" });
  }
  if (decision.status === 416) {
    throw new HttpProblem(416, `the package has ${size} bytes, the range ${request.range} lies beyond`, {
      code: "range_not_satisfiable",
      headers: { "content-range": `bytes */${size}`, "accept-ranges": "bytes" },
    });
  }
  const { first, last } = decision.status === 206 ? decision.range : { first: 0, last: size - 1 };
  const length = last - first + 1;
  const headers: Record<string, string> = {
    ...common,
    "content-type": "application/octet-stream",
    "content-length": String(length),
    "content-disposition": `attachment; filename="${fileName}"`,
    ...(decision.status === 206 ? { "content-range": `bytes ${first}-${last}/${size}` } : {}),
  };
  if (request.method === "HEAD") return new Response(null, { status: decision.status, headers });
  const file = await Deno.open(path, { read: true });
  try {
    await file.seek(first, Deno.SeekMode.Start);
  } catch (error) {
    file.close();
    throw error;
  }
  return new Response(readPart(file, length, options), { status: decision.status, headers });
}

function readPart(
  file: Deno.FsFile,
  length: number,
  { signal, onBytes }: FileResponseOptions,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let left = length;
  let open = true;
  const close = () => {
    if (!open) return;
    open = false;
    signal.removeEventListener("abort", close);
    file.close();
  };
  // A client that goes away before the first byte is asked for would leave the file open.
  if (signal.aborted) close();
  else signal.addEventListener("abort", close, { once: true });
  return new ReadableStream({
    async pull(controller) {
      if (!open) {
        controller.error(signal.reason);
        return;
      }
      const buffer = new Uint8Array(Math.min(chunkSize, left));
      const got = await file.read(buffer);
      if (got === null) {
        close();
        // The length was promised: an answer that ends early must not look whole.
        controller.error(new Error(`the file ended ${left} bytes early`));
        return;
      }
      left -= got;
      onBytes(got);
      controller.enqueue(buffer.subarray(0, got));
      if (left === 0) {
        close();
        controller.close();
      }
    },
    cancel: close,
  }, { highWaterMark: 0 });
}
