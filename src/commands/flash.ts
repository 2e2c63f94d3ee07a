// `zonebench flash`: a firmware file straight into an ECU of the bench.

import type { Command } from "commander";
import { basename, join } from "node:path";
import { parseFirmware } from "../../hardware/flash/format/parse_firmware.ts";
import { fileImage } from "../../hardware/flash/format/file_image.ts";
import { readIdentification } from "../../hardware/flash/identification.ts";
import { flashEcu } from "../../hardware/flash/sequence.ts";
import { findEcu, withEcu } from "./bench_access.ts";
import { flashPlanOf } from "./bench_description.ts";
import {
  address,
  type CommonOptions,
  configOf,
  firmwareFormats,
  foldersOf,
  interruption,
  makeCommand,
  oneOf,
  withJson,
} from "./common.ts";
import { CommandFailed, examples, formatSize, print, printJson, Progress } from "./output.ts";

interface FlashOptions extends CommonOptions {
  vin?: string;
  version?: string;
  format: typeof firmwareFormats[number];
  baseAddress?: number;
}

/** Who flashed, as written to the ECU's fingerprint identifier. */
const fingerprint = new TextEncoder().encode("ZONEBENCH-CLI");

export function flashCommand(): Command {
  const command = withJson(
    makeCommand("flash", "flashes a file into an ECU of the bench, without the server"),
    "{ecu_id, version, bytes, seconds} as JSON",
  )
    .argument("<ECU>", "ECU id in the bench file, e.g. ECU_005")
    .argument("<FILE>", "Intel HEX, S-record or raw binary")
    .option(
      "--version <version>",
      "version that the ECU reports afterwards (default: the one it reports now)",
    )
    .option("--format <format>", "auto, intel-hex, s-record or binary", oneOf(firmwareFormats), "auto")
    .option("--base-address <address>", "first address of a raw binary, e.g. 0x8000", address)
    .option("--vin <vin>", "which vehicle, where several are on the bench")
    .action(run);
  return examples(command, [
    "zonebench flash ECU_005 body.hex --version 1.2.0",
    "zonebench flash ECU_006 door.bin --base-address 0x0 --version 3.1.0",
  ]);
}

async function run(ecuId: string, file: string, options: FlashOptions): Promise<void> {
  const { bench } = await configOf(options);
  const ecu = findEcu(bench, ecuId, options.vin);
  const { temporary } = foldersOf(options.data);
  await Deno.mkdir(temporary, { recursive: true, mode: 0o700 });
  const payload = join(temporary, `flash-${crypto.randomUUID()}.bin`);
  using stop = interruption();
  using progress = new Progress(options.json);
  const started = performance.now();
  try {
    progress.update(0, `reading ${basename(file)}`);
    const parsed = await parse(file, options, payload, stop.signal);
    const image = fileImage(payload, parsed.segments, parsed.payloadSha256);
    const result = await withEcu(bench, ecu, stop.signal, async (client) => {
      const version = options.version ?? (await readIdentification(client)).swVersion;
      if (version === undefined) {
        throw new CommandFailed(`${ecuId} does not report a version now: give the new one with --version`);
      }
      return await flashEcu(client, image, {
        plan: flashPlanOf(ecu.ecuType),
        version,
        fingerprint,
        signal: stop.signal,
        onProgress: (step, done, total) =>
          progress.update(total === 0 ? 0 : done / total, `${ecuId} ${step}, ${formatSize(done)}`),
      });
    });
    progress[Symbol.dispose]();
    const took = (performance.now() - started) / 1000;
    if (options.json) {
      printJson({
        ecu_id: ecuId,
        version: result.version,
        bytes: result.bytes,
        seconds: Number(took.toFixed(3)),
      });
    } else {
      print(
        `${ecuId} runs version ${result.version}: ${formatSize(result.bytes)} flashed and verified in ${
          took.toFixed(1)
        } s`,
      );
    }
  } finally {
    await Deno.remove(payload).catch((error) => {
      // It is not there when the file could not be read.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
}

async function parse(file: string, options: FlashOptions, output: string, signal: AbortSignal) {
  const { format, baseAddress } = options;
  let handle: Deno.FsFile;
  try {
    handle = await Deno.open(file, { read: true });
  } catch (cause) {
    throw new CommandFailed(`${file}: cannot be read: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
  return await parseFirmware(handle.readable, { format, baseAddress, output, signal });
}
