// `zonebench package diff`: what differs between two packages; or the delta between two firmware files.

import type { Command } from "commander";
import { join } from "node:path";
import { compressImage } from "../codec/compress_image.ts";
import { CodecJobError } from "../codec/protocol.ts";
import { makeImageDelta } from "../codec/image_delta.ts";
import { CodecPool } from "../codec/pool.ts";
import { maxDeltaSize } from "../codec/zstd_stream.ts";
import type { PackageEcu, PackageManifest } from "../contract/package.ts";
import { type CommonOptions, interruption, makeCommand, withJson } from "./common.ts";
import { type FirmwareFileOptions, withFirmwareFile } from "./firmware_file.ts";
import {
  CommandFailed,
  examples,
  formatSize,
  print,
  printJson,
  printNote,
  printTable,
  UsageError,
} from "./output.ts";
import { readImage } from "./package_build.ts";
import { inspectPackage, isPackage, verifyKeysOf } from "./package_file.ts";

interface DiffOptions extends CommonOptions, FirmwareFileOptions {
  out?: string;
}

export function packageDiffCommand(): Command {
  const command = withFirmwareFile(withJson(
    makeCommand(
      "diff",
      "two packages: what differs for each ECU, and what a vehicle that has the first's images would fetch of the second; " +
        "two firmware files: the delta from the first to the second, as zstd --patch-from makes it",
    ),
    "{ecus, fetch_bytes} of packages, {base, target, whole_bytes, delta_bytes} of firmware, as JSON",
  ))
    .argument("<OLD>")
    .argument("<NEW>")
    .option("--out <file>", "of firmware: keeps the delta, which zstd -d --patch-from applies to the payload")
    .action(diff);
  return examples(command, [
    "zonebench package diff monday.otap tuesday.otap",
    "zonebench package diff body-1.2.0.hex body-1.3.0.hex --out body.delta",
  ]);
}

async function diff(older: string, newer: string, options: DiffOptions): Promise<void> {
  const kinds = await Promise.all([older, newer].map(isPackage));
  if (kinds[0] !== kinds[1]) {
    throw new CommandFailed(
      `expected two packages or two firmware files: ${
        kinds[0] ? older : newer
      } is a package, the other is none`,
    );
  }
  if (!kinds[0]) return await diffImages(older, newer, options);
  if (options.out !== undefined) {
    throw new UsageError("--out: packages have no delta, only firmware files have");
  }
  const keys = await verifyKeysOf(options);
  const manifests: PackageManifest[] = [];
  for (const path of [older, newer]) {
    const { manifest, signature } = await inspectPackage(path, keys);
    if (signature !== "good") printNote(`${path}: its signature is not verified (${signature})`);
    manifests.push(manifest);
  }
  showDifference(manifests[0], manifests[1], options);
}

type Change = "same" | "changed" | "added" | "removed";

interface EcuDifference {
  ecu_id: string;
  change: Change;
  from: { version: string; sha256: string; size: number } | null;
  to: { version: string; sha256: string; size: number } | null;
  /** Bytes that a vehicle with the old package's images fetches for it. */
  fetch_bytes: number;
}

/** ECU by ECU. An image that the old package has for any ECU is there already. */
export function compare(older: PackageManifest, newer: PackageManifest): EcuDifference[] {
  const [before, after] = [older, newer].map((manifest) =>
    new Map(manifest.zonal_gateways.flatMap(({ ecus }) => ecus.map((ecu) => [ecu.ecu_id, ecu] as const)))
  );
  const there = new Set([...before.values()].map(({ image }) => image.sha256));
  const differences: EcuDifference[] = [];
  for (const ecu_id of [...new Set([...before.keys(), ...after.keys()])].sort()) {
    const [from, to] = [before.get(ecu_id), after.get(ecu_id)];
    const change = from === undefined
      ? "added"
      : to === undefined
      ? "removed"
      : from.version === to.version && from.image.sha256 === to.image.sha256
      ? "same"
      : "changed";
    const fetched = to !== undefined && !there.has(to.image.sha256);
    // ECUs that get the same image share what is fetched.
    if (fetched) there.add(to.image.sha256);
    differences.push({
      ecu_id,
      change,
      from: side(from),
      to: side(to),
      fetch_bytes: fetched ? to.blob.length : 0,
    });
  }
  return differences;
}

function side(ecu: PackageEcu | undefined) {
  return ecu === undefined ? null : { version: ecu.version, sha256: ecu.image.sha256, size: ecu.image.size };
}

function showDifference(older: PackageManifest, newer: PackageManifest, { json }: DiffOptions): void {
  const ecus = compare(older, newer);
  const fetch_bytes = ecus.reduce((sum, it) => sum + it.fetch_bytes, 0);
  if (json) {
    printJson({ ecus, fetch_bytes });
    return;
  }
  printTable(
    ["ECU", "CHANGE", "FROM", "TO", "IMAGE", "TO FETCH"],
    ecus.map(({ ecu_id, change, from, to, fetch_bytes }) => [
      ecu_id,
      change === "changed" && from?.sha256 === to?.sha256 ? "version only" : change,
      from?.version ?? "",
      to?.version ?? "",
      to === null ? "" : formatSize(to.size),
      formatSize(fetch_bytes),
    ]),
  );
  print(
    `A vehicle that has the images of the first package fetches ${formatSize(fetch_bytes)} of the second.`,
  );
}

async function diffImages(older: string, newer: string, options: DiffOptions): Promise<void> {
  using stop = interruption();
  const { signal } = stop;
  await using pool = new CodecPool();
  const directory = await Deno.makeTempDir({ prefix: "zonebench-diff-" });
  try {
    const [basePath, path] = ["base", "target"].map((name) => join(directory, name));
    const base = await readImage(older, basePath, options, signal);
    const target = await readImage(newer, path, options, signal);
    for (const [file, { size }] of [[older, base], [newer, target]] as const) {
      if (size <= maxDeltaSize) continue;
      throw new CommandFailed(
        `${file}: a delta's images have at most ${formatSize(maxDeltaSize)}, this has ${formatSize(size)}`,
      );
    }
    const whole = await compressImage(path, join(directory, "whole"), { pool, signal });
    const output = options.out ?? join(directory, "delta");
    const delta = await makeImageDelta(
      { path: basePath, sha256: base.sha256, size: base.size },
      path,
      output,
      {
        pool,
        signal,
      },
    );
    if (options.json) {
      printJson({
        base: { sha256: base.sha256, size: base.size },
        target: { sha256: target.sha256, size: target.size },
        whole_bytes: whole.length,
        delta_bytes: delta.length,
        delta_sha256: delta.sha256,
      });
      return;
    }
    const share = (100 * delta.length / whole.length).toFixed(1);
    print(
      `Delta of ${formatSize(delta.length)}: ${share} % of the whole image's ${
        formatSize(whole.length)
      } in a package`,
    );
    print(`  from ${formatSize(base.size)}, SHA-256 ${base.sha256}`);
    print(`  to   ${formatSize(target.size)}, SHA-256 ${target.sha256}`);
    if (options.out !== undefined) print(`  kept in ${options.out}`);
  } catch (error) {
    if (error instanceof CodecJobError) throw new CommandFailed(error.message, { cause: error });
    throw error;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
