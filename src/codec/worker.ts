/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
// The thread that compresses, decompresses and hashes, so that no other thing waits for it.

import { assembleFile, checkFile, tabulate } from "./assemble.ts";
import { applyDelta, makeDelta } from "./delta.ts";
import { type FromWorker, type Job, toWire, type ToWorker } from "./protocol.ts";
import { compressFile, extractRange } from "./zstd.ts";
import type { RunOptions } from "./zstd_files.ts";

declare const self: DedicatedWorkerGlobalScope;

const running = new Map<number, AbortController>();

self.onmessage = (event: MessageEvent<ToWorker>) => {
  const message = event.data;
  if (message.type === "abort") running.get(message.id)?.abort();
  else void work(message.id, message.job);
};

async function work(id: number, job: Job): Promise<void> {
  const controller = new AbortController();
  running.set(id, controller);
  try {
    const result = await execute(job, {
      signal: controller.signal,
      onProgress: (bytes) => send({ type: "progress", id, bytes }),
    });
    send({ type: "done", id, result });
  } catch (error) {
    send({ type: "failed", id, error: toWire(error) });
  } finally {
    running.delete(id);
  }
}

function execute(job: Job, options: RunOptions): Promise<unknown> {
  switch (job.kind) {
    case "compress":
      return compressFile(job.input, job.output, job.level, options);
    case "extract":
      return extractRange(job.range, job.output, options);
    case "make_delta":
      return makeDelta(job.base, job.target, job.output, job.level, options);
    case "apply_delta":
      return applyDelta(job.base, job.range, job.output, options);
    case "check":
      return checkFile(job.blob, options);
    case "tabulate":
      return tabulate(job.blob, job.blockSize, options);
    case "assemble":
      return assembleFile(job.front, job.blobs, job.output, options);
  }
}

function send(message: FromWorker): void {
  self.postMessage(message);
}
