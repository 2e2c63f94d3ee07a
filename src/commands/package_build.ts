// `zonebench package build`: a signed package from firmware files, for a vehicle of the bench file.

import { type Command, InvalidArgumentError, Option } from "commander";
import { join } from "node:path";
import { buildPackage, type PackageBlobFile, type PackageEcuPart } from "../codec/build_package.ts";
import { compressImage } from "../codec/compress_image.ts";
import { PackageError } from "../codec/errors.ts";
import { makeImageDelta } from "../codec/image_delta.ts";
import { CodecPool } from "../codec/pool.ts";
import type { BenchVehicle } from "../config/schema.ts";
import { blockSizes, type PackageCondition, type PackageImage } from "../contract/package.ts";
import { parseCondition } from "../contract/requirements.ts";
import { importSigningKey, type SigningKey } from "../pqc/signature.ts";
import { toDownload } from "../server/ota/catalogue.ts";
import { type CommonOptions, configOf, foldersOf, interruption, makeCommand, withJson } from "./common.ts";
import { type FirmwareFileOptions, readFirmware, releaseNumber, withFirmwareFile } from "./firmware_file.ts";
import { CommandFailed, examples, formatSize, print, printJson, Progress, UsageError } from "./output.ts";

interface BuildOptions extends CommonOptions, FirmwareFileOptions {
  out: string;
  vin?: string;
  key?: string;
  base: Map<string, string>;
  release: Map<string, number>;
  dependsOn: Map<string, string>;
  condition: PackageCondition[];
  level: number;
  blockSize: number;
}

/** What is to be installed where, as the command line says it. */
interface Wanted {
  ecuId: string;
  file: string;
  version: string;
}

export function packageBuildCommand(): Command {
  const command = withFirmwareFile(withJson(
    makeCommand("build", "builds and signs a package for a vehicle of the bench file"),
    "{package_id, sha256, size, path} as JSON",
  ))
    .argument("<ECU=FILE@VERSION...>", "firmware for an ECU: Intel HEX, S-record, VBF or raw binary")
    .requiredOption("--out <file>", "where the package goes")
    .option("--vin <vin>", "the vehicle (default: the bench file's only one)")
    .option("--key <file>", "private key that signs, PEM (default: signing.key in the pki folder)")
    .addOption(
      perEcu(
        "--base <ecu=file>",
        "makes a delta to this firmware, which the vehicle must keep a copy of",
        String,
      ),
    )
    .addOption(perEcu("--release <ecu=number>", "release counter of an ECU's image", releaseNumber))
    .addOption(
      perEcu(
        "--depends-on <ecu=ecus>",
        "ECUs, with commas between, that are activated before this one",
        String,
      ),
    )
    .addOption(
      new Option(
        "--condition <condition>",
        'what must hold before ECUs are changed, e.g. "speed<=0"; may be given again',
      )
        .default([], "none").argParser(condition),
    )
    .option("--level <level>", "zstd level of images and deltas, 1 to 19", whole(1, 19), 3)
    .option(
      "--block-size <bytes>",
      "bytes of a block, a power of two from 4096 to 1048576",
      whole(blockSizes.lowest, blockSizes.highest),
      blockSizes.default,
    )
    .action(build);
  return examples(command, [
    "zonebench package build --out body.otap ECU_005=body.hex@1.2.0",
    "zonebench package build --out two.otap ECU_005=body.hex@1.2.0 ECU_006=door.s37@2.0.0 --depends-on ECU_006=ECU_005",
    "zonebench package build --out delta.otap ECU_005=new.hex@1.3.0 --base ECU_005=body.hex",
  ]);
}

async function build(list: string[], options: BuildOptions): Promise<void> {
  const wanted = list.map(parseWanted);
  const config = await configOf(options);
  const vehicle = vehicleOf(config.bench.vehicles, options.vin);
  const signingKey = await readKey(options.key ?? join(foldersOf(options.data).pki, "signing.key"));
  for (
    const [name, map] of Object.entries({
      base: options.base,
      release: options.release,
      "depends-on": options.dependsOn,
    })
  ) {
    for (const ecuId of map.keys()) {
      if (wanted.some((it) => it.ecuId === ecuId)) continue;
      throw new UsageError(`--${name} ${ecuId}: no firmware is given for this ECU`);
    }
  }
  using stop = interruption();
  using progress = new Progress(options.json);
  await using pool = new CodecPool();
  const directory = await Deno.makeTempDir({ prefix: "zonebench-package-" });
  try {
    const parts = new Map<string, PackageEcuPart[]>();
    for (const [index, one] of wanted.entries()) {
      progress.update(index / (wanted.length + 1), `${one.ecuId}: ${one.file}`);
      const { gateway, ecu } = findEcu(vehicle, one.ecuId);
      const part = await makePart(one, ecu, options, { directory, pool, signal: stop.signal });
      parts.set(gateway, [...parts.get(gateway) ?? [], part]);
    }
    progress.update(wanted.length / (wanted.length + 1), "signing and writing");
    const built = await buildPackage({
      package_id: crypto.randomUUID(),
      vehicle_id: vehicle.vin,
      created: new Date().toISOString(),
      blockSize: options.blockSize,
      ...options.condition.length === 0 ? {} : { conditions: options.condition },
      zonal_gateways: [...parts].map(([zonal_gateway_id, ecus]) => ({ zonal_gateway_id, ecus })),
      signingKey,
      output: options.out,
      pool,
      signal: stop.signal,
    });
    progress[Symbol.dispose]();
    const { manifest: { package_id }, sha256, size } = built;
    if (options.json) printJson({ package_id, sha256, size, path: options.out });
    else {
      print(
        `Package ${package_id} for ${vehicle.vin}: ${
          formatSize(size)
        }, ${wanted.length} ECUs, ${options.out}`,
      );
      print(`  SHA-256 ${sha256}`);
      print(`Next: zonebench package verify ${options.out} --vin ${vehicle.vin}`);
    }
  } catch (error) {
    if (error instanceof PackageError) {
      throw new CommandFailed(`${error.code}: ${error.message}`, { cause: error });
    }
    throw error;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

interface Tools {
  directory: string;
  pool: CodecPool;
  signal: AbortSignal;
}

async function makePart(
  { ecuId, file, version }: Wanted,
  ecu: { ecu_type: string; hw_version: string },
  options: BuildOptions,
  tools: Tools,
): Promise<PackageEcuPart> {
  const { directory, pool, signal } = tools;
  const { level } = options;
  const payload = join(directory, `${ecuId}.bin`);
  const image = await readImage(file, payload, options, signal);
  const path = join(directory, `${ecuId}.zst`);
  const baseFile = options.base.get(ecuId);
  let blob: PackageBlobFile;
  if (baseFile === undefined) {
    const { length, sha256 } = await compressImage(payload, path, { level, pool, signal });
    blob = { path, length, sha256 };
  } else {
    const basePath = join(directory, `${ecuId}.base`);
    const { sha256, size } = await readImage(baseFile, basePath, options, signal);
    const made = await makeImageDelta({ path: basePath, sha256, size }, payload, path, {
      level,
      pool,
      signal,
    });
    blob = { path, length: made.length, sha256: made.sha256, base: { sha256, size } };
  }
  const release = options.release.get(ecuId);
  const dependsOn = options.dependsOn.get(ecuId);
  return {
    ecu_id: ecuId,
    ecu_type: ecu.ecu_type,
    hw_version: ecu.hw_version,
    version,
    ...release === undefined ? {} : { release },
    ...dependsOn === undefined ? {} : { depends_on: dependsOn.split(",") },
    image,
    blob,
  };
}

/** Leaves the payload at `output`. */
export async function readImage(
  file: string,
  output: string,
  options: FirmwareFileOptions,
  signal: AbortSignal,
): Promise<PackageImage> {
  const parsed = await readFirmware(file, output, options, signal);
  return {
    image_id: crypto.randomUUID(),
    sha256: parsed.payloadSha256.toHex(),
    size: parsed.payloadSize,
    segments: [...parsed.segments],
    ...parsed.hints === undefined ? {} : { download: toDownload(parsed.hints) },
  };
}

function vehicleOf(vehicles: readonly BenchVehicle[], vin: string | undefined): BenchVehicle {
  const found = vin === undefined ? vehicles : vehicles.filter((it) => it.vin === vin || it.vmg_id === vin);
  if (found.length === 1) return found[0];
  const known = vehicles.map((it) => it.vin).join(", ");
  throw new CommandFailed(
    vin === undefined ? `--vin: one of ${known} is needed` : `--vin ${vin}: the bench file knows ${known}`,
  );
}

function findEcu(vehicle: BenchVehicle, ecuId: string) {
  for (const { zonal_gateway_id: gateway, ecus } of vehicle.gateways) {
    const ecu = ecus.find((it) => it.ecu_id === ecuId);
    if (ecu !== undefined) return { gateway, ecu };
  }
  const known = vehicle.gateways.flatMap(({ ecus }) => ecus.map(({ ecu_id }) => ecu_id)).slice(0, 20);
  throw new CommandFailed(`${ecuId}: ${vehicle.vin} has no such ECU, but ${known.join(", ")}`);
}

async function readKey(path: string): Promise<SigningKey> {
  try {
    return await importSigningKey(await Deno.readTextFile(path));
  } catch (cause) {
    const why = cause instanceof Deno.errors.NotFound
      ? "it is not there; zonebench pki init makes one"
      : cause instanceof Error
      ? cause.message
      : String(cause);
    throw new CommandFailed(`${path}: ${why}`, { cause });
  }
}

function parseWanted(text: string): Wanted {
  const match = /^([^=]+)=(.+)@([^@]+)$/.exec(text);
  if (match === null) {
    throw new UsageError(`${text}: expected ECU=FILE@VERSION, e.g. ECU_005=body.hex@1.2.0`);
  }
  return { ecuId: match[1], file: match[2], version: match[3] };
}

function perEcu<T>(flags: string, description: string, parse: (text: string) => T): Option {
  return new Option(flags, `${description}; may be given again`).default(new Map<string, T>(), "none")
    .argParser(
      (text: string, before: Map<string, T>) => {
        const at = text.indexOf("=");
        if (at < 1 || at === text.length - 1) throw new InvalidArgumentError("expected ECU=…");
        return new Map([...before, [text.slice(0, at), parse(text.slice(at + 1))]]);
      },
    );
}

function condition(text: string, before: PackageCondition[]): PackageCondition[] {
  try {
    return [...before, parseCondition(text)];
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
}

function whole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least || value > most) {
      throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}`);
    }
    return value;
  };
}
