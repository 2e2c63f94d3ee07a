// `zonebench package inspect` and `verify`: what a package says of itself, and whether all of it is so.

import { type Command, Option } from "commander";
import { zstdBase } from "../codec/delta.ts";
import { PackageError } from "../codec/errors.ts";
import { readPackage } from "../codec/read_package.ts";
import { hashFile } from "../server/files.ts";
import { type CommonOptions, interruption, makeCommand, withJson } from "./common.ts";
import { CommandFailed, examples, formatSize, print, printJson, printTable, Progress } from "./output.ts";
import { openFile } from "./files.ts";
import { type InspectedPackage, inspectPackage, totals, verifyKeysOf } from "./package_file.ts";

interface ReadOptions extends CommonOptions {
  key?: string[];
}

interface VerifyOptions extends ReadOptions {
  vin?: string;
  base: string[];
}

const signatures: Record<InspectedPackage["signature"], string> = {
  good: "good",
  unknown_key: "by a key that is not at hand (--key names others)",
  bad_signature: "WRONG: this is not what was signed",
};

function withKeys(command: Command): Command {
  return command.addOption(
    new Option(
      "--key <file...>",
      "public keys that are trusted, PEM (default: signing.pub in the pki folder)",
    ),
  );
}

export function packageInspectCommand(): Command {
  const command = withKeys(withJson(
    makeCommand("inspect", "shows what a package is for and what lies where; only its front is read"),
    "{signature, size, front, manifest} as JSON",
  )).argument("<FILE>").action(inspect);
  return examples(command, [
    "zonebench package inspect update.otap",
    "zonebench package inspect update.otap --json",
  ]);
}

async function inspect(file: string, options: ReadOptions): Promise<void> {
  const found = await inspectPackage(file, await verifyKeysOf(options));
  const { manifest, front, size, signature } = found;
  if (options.json) {
    printJson({ signature, size, front, manifest });
    return;
  }
  const { ecus, deltas, images } = totals(manifest);
  print(`Package ${manifest.package_id} for ${manifest.vehicle_id}, ${manifest.created}`);
  print(`  signature: ${signatures[signature]}; key ${manifest.key_id}`);
  print(
    `  ${formatSize(size)} for ${ecus} ECUs with ${formatSize(images)} of images, ${deltas} as deltas; ` +
      `blocks of ${formatSize(manifest.block_size)}`,
  );
  for (const { signal, min, max } of manifest.conditions ?? []) {
    print(
      `  condition: ${signal}${min === undefined ? "" : ` >= ${min}`}${
        max === undefined ? "" : ` <= ${max}`
      }`,
    );
  }
  printTable(
    ["GATEWAY", "RANGE", "ECU", "TYPE", "HARDWARE", "VERSION", "RELEASE", "IMAGE", "BLOB", "ENCODING"],
    manifest.zonal_gateways.flatMap((zone) =>
      zone.ecus.map((ecu, index) => [
        index > 0 ? "" : zone.zonal_gateway_id,
        index > 0 ? "" : `${front + zone.offset}-${front + zone.offset + zone.length - 1}`,
        ecu.ecu_id,
        ecu.ecu_type,
        ecu.hw_version,
        ecu.version,
        ecu.release?.toString() ?? "",
        formatSize(ecu.image.size),
        formatSize(ecu.blob.length),
        ecu.blob.encoding === "zstd" ? "zstd" : `delta to ${ecu.blob.base.sha256.slice(0, 16)}`,
      ])
    ),
  );
}

export function packageVerifyCommand(): Command {
  const command = withKeys(withJson(
    makeCommand(
      "verify",
      "checks a whole package as a vehicle does, in one pass; exit code 0 only if all is so",
    ),
    "{passed, …} as JSON, with the failed check's code",
  ))
    .argument("<FILE>", 'the package; "-" reads it from standard input')
    .option("--vin <vin>", "the vehicle that it must be for (default: any)")
    .addOption(
      new Option(
        "--base <file...>",
        "payloads that deltas begin with; a delta without its base is checked as far as its hashes go",
      ).default([], "none"),
    )
    .action(verify);
  return examples(command, [
    "zonebench package verify update.otap --vin KMHZB00BENCH00001",
    "curl … | zonebench package verify - --key signing.pub",
  ]);
}

async function verify(path: string, options: VerifyOptions): Promise<void> {
  const keys = await verifyKeysOf(options);
  if (keys.size === 0) {
    throw new CommandFailed("no key to verify with: make one with zonebench pki init, or name it with --key");
  }
  const bases = new Map<string, string>();
  for (const base of options.base) {
    using _ = await openFile(base);
    bases.set(await hashFile(base), base);
  }
  using stop = interruption();
  using progress = new Progress(options.json);
  const file = path === "-" ? undefined : await openFile(path);
  const size = (await file?.stat())?.size;
  let done = 0;
  try {
    const read = await readPackage((file ?? Deno.stdin).readable, {
      verifyKeys: keys,
      expectVehicle: options.vin,
      size,
      base: ({ sha256, size }) => {
        const path = bases.get(sha256);
        return path === undefined ? undefined : zstdBase({ path, sha256, size });
      },
      onProgress: (bytes) => {
        done += bytes;
        progress.update(size === undefined ? 0 : done / size, `${formatSize(done)} read`);
      },
      signal: stop.signal,
    });
    progress[Symbol.dispose]();
    const { manifest, unmade, sha256 } = read;
    const { ecus } = totals(manifest);
    const unchecked = manifest.zonal_gateways.flatMap((zone) => zone.ecus)
      .filter(({ blob }) => unmade.some((entry) => entry.blob.offset === blob.offset)).map(({ ecu_id }) =>
        ecu_id
      );
    if (options.json) {
      printJson({
        passed: true,
        package_id: manifest.package_id,
        vehicle_id: manifest.vehicle_id,
        sha256,
        size: read.size,
        ecus,
        without_base: unchecked,
      });
      return;
    }
    print(
      `Package ${manifest.package_id} for ${manifest.vehicle_id} is good: ${
        formatSize(read.size)
      }, ${ecus} ECUs`,
    );
    print(`  SHA-256 ${sha256}`);
    if (unchecked.length > 0) {
      print(`  deltas whose base was not given, so that their images were not made: ${unchecked.join(", ")}`);
    }
  } catch (error) {
    if (!(error instanceof PackageError)) throw error;
    progress[Symbol.dispose]();
    if (options.json) printJson({ passed: false, code: error.code, message: error.message });
    throw new CommandFailed(`${path}: ${error.code}: ${error.message}`, { cause: error });
  }
}
