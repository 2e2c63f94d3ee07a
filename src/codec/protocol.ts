// What the pool and its workers say to each other.

import { z } from "zod";
import type { BlobFile, TabledBlob } from "./assemble.ts";
import type { DeltaBase } from "./delta.ts";
import { DeltaBaseError, PackageError, packageError, type PackageErrorCode } from "./errors.ts";
import type { CompressedRange } from "./zstd_files.ts";

/** Work for a worker. */
export type Job =
  | { kind: "compress"; input: string; output: string; level: number }
  | { kind: "extract"; range: CompressedRange; output: string | undefined }
  | { kind: "make_delta"; base: DeltaBase; target: string; output: string; level: number }
  | { kind: "apply_delta"; base: DeltaBase; range: CompressedRange; output: string | undefined }
  | { kind: "check"; blob: BlobFile }
  | { kind: "tabulate"; blob: BlobFile; blockSize: number }
  | { kind: "assemble"; front: Uint8Array; blobs: readonly TabledBlob[]; output: string };

/** From the pool to a worker. A worker has one job at a time. */
export type ToWorker = { type: "run"; id: number; job: Job } | { type: "abort"; id: number };

/** From a worker to the pool. */
export type FromWorker =
  /** `bytes` more went in. */
  | { type: "progress"; id: number; bytes: number }
  | { type: "done"; id: number; result: unknown }
  | { type: "failed"; id: number; error: WireError };

/** An error as plain data: classes do not survive the way between threads. */
export interface WireError {
  name: string;
  message: string;
  /** Of a package. */
  packageCode?: PackageErrorCode;
  /** Of the system, such as `ENOSPC`. */
  systemCode?: string;
}

/** Work that failed for another reason than the package: the disk, the system. */
export class CodecJobError extends Error {
  override readonly name = "CodecJobError";
  /** The system's code, such as `ENOSPC` or `ENOENT`, where there is one. */
  readonly code: string | undefined;

  constructor(message: string, code: string | undefined, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

const compressed = z.object({
  sha256: z.string(),
  length: z.number(),
  inputSha256: z.string(),
  inputSize: z.number(),
});

/** Results by kind of job. */
export const results = {
  compress: compressed,
  extract: z.undefined(),
  make_delta: compressed,
  apply_delta: z.undefined(),
  check: z.undefined(),
  tabulate: z.instanceof(Uint8Array),
  assemble: z.object({ sha256: z.string(), size: z.number() }),
} satisfies Record<Job["kind"], z.ZodType>;

/** An error made ready to be sent. */
export function toWire(error: unknown): WireError {
  if (!(error instanceof Error)) return { name: "Error", message: String(error) };
  const wire: WireError = { name: error.name, message: error.message };
  if (error instanceof PackageError) wire.packageCode = error.code;
  else if ("code" in error && typeof error.code === "string") wire.systemCode = error.code;
  return wire;
}

/** The error that was sent, in its class. */
export function fromWire(wire: WireError): Error {
  if (wire.packageCode !== undefined) return packageError(wire.packageCode, wire.message);
  if (wire.name === "DeltaBaseError") return new DeltaBaseError(wire.message);
  return new CodecJobError(`${wire.name}: ${wire.message}`, wire.systemCode);
}
