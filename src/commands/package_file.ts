// A package's file as the commands look at it: its front, and what its manifest says in words.

import { join } from "node:path";
import { partsStart, resolveLimits } from "../codec/container.ts";
import { PackageError } from "../codec/errors.ts";
import { FrontReader } from "../codec/front.ts";
import { parseManifest, verifyEntries, verifyLayout, verifySignature } from "../codec/manifest.ts";
import type { PackageManifest } from "../contract/package.ts";
import { importVerifyKey, type VerifyKey } from "../pqc/signature.ts";
import { type CommonOptions, foldersOf } from "./common.ts";
import { openFile } from "./files.ts";
import { CommandFailed, formatSize } from "./output.ts";

/** What stands before a package's parts. */
export interface InspectedPackage {
  manifest: PackageManifest;
  /** Bytes of header, manifest and signature. */
  front: number;
  /** Bytes of the file. */
  size: number;
  /** `unknown_key`: it is by a key that was not given. */
  signature: "good" | "unknown_key" | "bad_signature";
}

const magic = new TextEncoder().encode("OTAP");

/** Whether a file begins as packages do. */
export async function isPackage(path: string): Promise<boolean> {
  using file = await openFile(path);
  const bytes = new Uint8Array(magic.length);
  await file.read(bytes);
  return bytes.every((byte, at) => byte === magic[at]);
}

/** The keys in files, or the one of the pki folder. @throws {CommandFailed} when one cannot be read */
export async function verifyKeysOf(
  options: CommonOptions & { key?: string[] },
): Promise<Map<string, VerifyKey>> {
  const files = options.key ?? [join(foldersOf(options.data).pki, "signing.pub")];
  const keys = new Map<string, VerifyKey>();
  for (const path of files) {
    try {
      const key = await importVerifyKey(await Deno.readTextFile(path));
      keys.set(key.keyId, key);
    } catch (cause) {
      // Without a key that was asked for, a package can still be looked at.
      if (options.key === undefined && cause instanceof Deno.errors.NotFound) continue;
      throw new CommandFailed(`${path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
    }
  }
  return keys;
}

/**
 * Reads a package up to its parts, and checks all of that but whom it is from.
 * @throws {CommandFailed} naming the check that failed
 */
export async function inspectPackage(
  path: string,
  keys: ReadonlyMap<string, VerifyKey>,
): Promise<InspectedPackage> {
  using file = await openFile(path);
  const { size } = await file.stat();
  const limits = resolveLimits();
  try {
    const reader = new FrontReader(size, limits);
    const buffer = new Uint8Array(64 * 1024);
    while (reader.front === undefined) {
      const got = await file.read(buffer);
      if (got === null) break;
      reader.push(buffer.subarray(0, got));
    }
    reader.finish();
    const { front } = reader;
    if (front === undefined) throw new CommandFailed(`${path}: it ends before its manifest does`);
    const start = partsStart(front.header);
    const manifest = parseManifest(front.manifestBytes);
    verifyEntries(manifest, limits);
    verifyLayout(manifest, size - start, limits);
    let signature: InspectedPackage["signature"] = "good";
    try {
      await verifySignature(manifest, front.manifestBytes, front.signature, keys);
    } catch (error) {
      if (!(error instanceof PackageError)) throw error;
      signature = error.code === "unknown_key" ? "unknown_key" : "bad_signature";
    }
    return { manifest, front: start, size, signature };
  } catch (error) {
    if (error instanceof PackageError) {
      throw new CommandFailed(`${path}: ${error.code}: ${error.message}`, { cause: error });
    }
    throw error;
  }
}

/** What a package saves, in a line. */
export function describePackage(manifest: PackageManifest): string {
  const { ecus, deltas, images, parts } = totals(manifest);
  const how = deltas === 0
    ? "whole images"
    : deltas === ecus
    ? "deltas alone"
    : `${deltas} of them as deltas`;
  return `package of ${formatSize(parts)} for ${ecus} ECU${ecus === 1 ? "" : "s"} with ${
    formatSize(images)
  } of software, ${how}`;
}

/** Sums of a manifest. */
export function totals({ zonal_gateways }: PackageManifest): {
  ecus: number;
  deltas: number;
  /** Bytes of all images, as the ECUs get them. */
  images: number;
  /** Bytes of all parts. */
  parts: number;
} {
  const ecus = zonal_gateways.flatMap((zone) => zone.ecus);
  return {
    ecus: ecus.length,
    deltas: ecus.filter(({ blob }) => blob.encoding === "zstd-delta").length,
    images: ecus.reduce((sum, { image }) => sum + image.size, 0),
    parts: zonal_gateways.reduce((sum, { length }) => sum + length, 0),
  };
}
