// `zonebench flash`: firmware files straight into ECUs of the bench.

import type { Command } from "commander";
import { basename, join } from "node:path";
import { fileImage } from "../../hardware/flash/format/file_image.ts";
import { readIdentification } from "../../hardware/flash/identification.ts";
import { flashEcu } from "../../hardware/flash/sequence.ts";
import { type BenchEcu, findEcu, withEcu } from "./bench_access.ts";
import { flashPlanOf } from "./flash_plan.ts";
import { type CommonOptions, foldersOf, interruption, makeCommand, withJson } from "./common.ts";
import { type FirmwareFileOptions, readFirmware, withFirmwareFile } from "./firmware_file.ts";
import { type BenchWiring, openWiring } from "./gateway_links.ts";
import { type TraceOptions, withTrace } from "./trace.ts";
import { CommandFailed, examples, formatSize, print, printJson, Progress, UsageError } from "./output.ts";

interface FlashOptions extends CommonOptions, TraceOptions, FirmwareFileOptions {
  vin?: string;
  version?: string;
}

/** One file into one ECU. */
interface Job {
  ecu: BenchEcu;
  file: string;
}

interface Flashed {
  ecuId: string;
  version: string;
  bytes: number;
  seconds: number;
}

/** Who flashed, as written to the ECU's fingerprint identifier where the bench file does not lay it out. */
const fingerprint = new TextEncoder().encode("ZONEBENCH-CLI");

export function flashCommand(): Command {
  const command = withFirmwareFile(withJson(
    withTrace(makeCommand("flash", "flashes files into ECUs of the bench, without the server")),
    "{ecu_id, version, bytes, seconds} as JSON, one line an ECU",
  ))
    .argument("<ECU>", "ECU id in the bench file, e.g. ECU_005")
    .argument("<FILE>", "Intel HEX, S-record, VBF or raw binary")
    .argument("[ECU_FILE...]", "further pairs of ECU and FILE; the ECUs are flashed side by side")
    .option(
      "--version <version>",
      "version that the ECU reports afterwards (default: the one it reports now)",
    )
    .option("--vin <vin>", "which vehicle, where several are on the bench")
    .action((ecuId: string, file: string, more: string[], options: FlashOptions) =>
      run([ecuId, file, ...more], options)
    );
  return examples(command, [
    "zonebench flash ECU_005 body.hex --version 1.2.0",
    "zonebench flash ECU_006 door.bin --base-address 0x0 --version 3.1.0",
    "zonebench flash ECU_001 engine.vbf ECU_003 brake.vbf --version 2.0.0",
  ]);
}

async function run(pairs: string[], options: FlashOptions): Promise<void> {
  await using wiring = await openWiring(options);
  const { bench } = wiring.config;
  const jobs = jobsOf(pairs, (ecuId) => findEcu(bench, ecuId, options.vin));
  const { temporary } = foldersOf(options.data);
  await Deno.mkdir(temporary, { recursive: true, mode: 0o700 });
  using stop = interruption();
  using progress = new Progress(options.json);
  const shown = new Map(jobs.map(({ ecu }) => [ecu.ecuId, { share: 0, text: "" }]));
  const show = (ecuId: string, share: number, text: string) => {
    shown.set(ecuId, { share, text: `${ecuId} ${text}` });
    const all = [...shown.values()];
    const texts = all.map((it) => it.text).filter((it) => it !== "");
    progress.update(all.reduce((sum, it) => sum + it.share, 0) / all.length, texts.join(" · "));
  };
  const outcomes = await inLanes(jobs, (job) => flashOne(wiring, job, options, temporary, stop.signal, show));
  progress[Symbol.dispose]();
  for (const { ecuId, version, bytes, seconds } of outcomes.done) {
    if (options.json) printJson({ ecu_id: ecuId, version, bytes, seconds });
    else {
      print(
        `${ecuId} runs version ${version}: ${formatSize(bytes)} flashed and verified in ${
          seconds.toFixed(1)
        } s`,
      );
    }
  }
  const [failure, ...others] = outcomes.failed;
  if (failure === undefined) return;
  if (others.length === 0) throw failure;
  throw new CommandFailed(
    outcomes.failed.map((it) => it instanceof Error ? it.message : String(it)).join("\n"),
    { cause: failure },
  );
}

/** ECU and file, again and again. @throws {UsageError} */
function jobsOf(pairs: readonly string[], find: (ecuId: string) => BenchEcu): Job[] {
  if (pairs.length % 2 !== 0) {
    throw new UsageError(`expected pairs of ECU and FILE, got ${pairs.at(-1)} without a file`);
  }
  const jobs: Job[] = [];
  for (let at = 0; at < pairs.length; at += 2) {
    if (jobs.some(({ ecu }) => ecu.ecuId === pairs[at])) {
      throw new UsageError(`expected each ECU once, got ${pairs[at]} twice`);
    }
    jobs.push({ ecu: find(pairs[at]), file: pairs[at + 1] });
  }
  return jobs;
}

/** Side by side, but for ECUs behind one CAN adapter: a port is opened once at a time. A failure leaves the others. */
async function inLanes(
  jobs: readonly Job[],
  flash: (job: Job) => Promise<Flashed>,
): Promise<{ done: Flashed[]; failed: unknown[] }> {
  const done: Flashed[] = [];
  const failed: unknown[] = [];
  const lanes = Map.groupBy(jobs, ({ ecu }) => ecu.can?.adapter.adapterId ?? ecu.ecuId);
  await Promise.all([...lanes.values()].map(async (lane) => {
    for (const job of lane) {
      try {
        done.push(await flash(job));
      } catch (error) {
        failed.push(error);
      }
    }
  }));
  return { done, failed };
}

async function flashOne(
  wiring: BenchWiring,
  { ecu, file }: Job,
  options: FlashOptions,
  temporary: string,
  signal: AbortSignal,
  show: (ecuId: string, share: number, text: string) => void,
): Promise<Flashed> {
  const { ecuId } = ecu;
  const payload = join(temporary, `flash-${crypto.randomUUID()}.bin`);
  const started = performance.now();
  try {
    show(ecuId, 0, `reading ${basename(file)}`);
    const parsed = await readFirmware(file, payload, options, signal);
    const image = fileImage(payload, parsed.segments, parsed.payloadSha256, parsed.hints);
    const result = await withEcu(wiring, ecu, signal, async (client, reconnect) => {
      const version = options.version ?? (await readIdentification(client)).swVersion;
      if (version === undefined) {
        throw new CommandFailed(`${ecuId} does not report a version now: give the new one with --version`);
      }
      return await flashEcu(client, image, {
        plan: flashPlanOf(ecu.ecuType, wiring.pki),
        version,
        fingerprint,
        reconnect,
        signal,
        onProgress: (step, done, total) =>
          show(ecuId, total === 0 ? 0 : done / total, `${step}, ${formatSize(done)}`),
      });
    });
    const seconds = Number(((performance.now() - started) / 1000).toFixed(3));
    return { ecuId, version: result.version, bytes: result.bytes, seconds };
  } finally {
    await Deno.remove(payload).catch((error) => {
      // It is not there when the file could not be read.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
}
