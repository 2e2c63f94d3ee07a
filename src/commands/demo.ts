// `zonebench demo`: the whole story in one terminal, on a simulated bench of its own: own ports, own data, gone afterwards.

import { Command, Option } from "commander";
import { join } from "node:path";
import { addressesOf } from "./network.ts";
import { createLogger, describeError } from "../log.ts";
import { routes } from "../contract/routes.ts";
import {
  asOperator,
  type CommonOptions,
  configOf,
  foldersOf,
  interruption,
  type OperatorOptions,
} from "./common.ts";
import { MovingNetwork } from "./demo_network.ts";
import { keyPressed, NotAsShown, type RunCommand, Stage } from "./demo_stage.ts";
import { type DemoImage, storySteps, tellStory, until } from "./demo_story.ts";
import { CommandFailed, examples, formatSize, print, printNote, UsageError } from "./output.ts";
import { makeDataFolder, type ServeOptions, startParts } from "./serve.ts";

interface DemoOptions {
  data?: string;
  fast?: boolean;
  pause?: boolean;
  set: string[];
}

/** Networks of simulated gateways that are tried, one after the other, for one that nobody uses. */
const networks = Array.from({ length: 40 }, (_, at) => `127.0.${20 + at}.0/24`);

/** Where the vehicle is, and where it goes. */
const addresses = ["127.0.78.11", "127.0.79.22"] as const;

/** Sizes of the two images, bytes: flashing them takes long enough to move in the middle. */
const sizes = { doip: 768 * 1024, can: 256 * 1024 } as const;

/** @param run runs another command of the program and gives its exit code */
export function demoCommand(run: RunCommand): Command {
  const command = new Command("demo")
    .description(
      "shows catalogue, update over DoIP and CAN, a change of address, diagnosis and fault memory on a bench of its own",
    )
    .addOption(
      new Option("--data <dir>", "new folder for its data, kept afterwards (default: a temporary one)"),
    )
    .addOption(new Option("--fast", "without the times that erasing, programming and the CAN bus take"))
    .addOption(new Option("--pause", "waits for a key before each step"))
    .addOption(
      new Option("--set <a.b.c=value>", "overrides one setting; may be given again").default([], "none")
        .argParser((value: string, before: string[]) => [...before, value]),
    )
    .action((options: DemoOptions) => demo(options, run));
  return examples(command, [
    "zonebench demo",
    "zonebench demo --pause             step by step, with time to try the commands in a second terminal",
    "zonebench demo --fast              as a quick check that all works: exit code 0 only if it did",
  ]);
}

async function demo(options: DemoOptions, run: RunCommand): Promise<void> {
  if (options.pause && !Deno.stdin.isTerminal()) {
    throw new UsageError("--pause: expected a terminal to read a key from, standard input is none");
  }
  const began = performance.now();
  using stop = interruption();
  await using cleanUp = new AsyncDisposableStack();
  const folder = await makeFolder(options, cleanUp);
  const logFile = join(folder, "demo.log");
  try {
    const verified = await show(options, run, folder, logFile, stop.signal, cleanUp);
    // What ends may still fail: it is part of what is shown.
    await cleanUp.disposeAsync();
    const seconds = ((performance.now() - began) / 1000).toFixed(0);
    print("");
    print(
      `All ${storySteps} steps done, ${verified} checks held, in ${seconds} s. Your own bench: zonebench serve --help`,
    );
  } catch (error) {
    if (stop.signal.aborted) throw stop.signal.reason;
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    await tellLog(logFile);
    if (error instanceof NotAsShown) throw error;
    throw new CommandFailed(`the demo could not go on: ${describeError(error)}`, { cause: error });
  }
}

/** The demo's folder: new and gone afterwards, or new and kept where the user names it. */
async function makeFolder({ data }: DemoOptions, cleanUp: AsyncDisposableStack): Promise<string> {
  if (data === undefined) {
    const folder = await Deno.makeTempDir({ prefix: "zonebench-demo-" });
    cleanUp.defer(() => Deno.remove(folder, { recursive: true }));
    return folder;
  }
  await makeDataFolder(data);
  for await (const _ of Deno.readDir(data)) {
    throw new UsageError(`--data ${data}: expected a folder that is new or empty, something is in it`);
  }
  return data;
}

/** Brings up the bench and tells the story. @returns how many checks held */
async function show(
  options: DemoOptions,
  run: RunCommand,
  folder: string,
  logFile: string,
  signal: AbortSignal,
  cleanUp: AsyncDisposableStack,
): Promise<number> {
  const [https, mqtt, local] = freePorts(3);
  const settings = [
    `server.https.hostname=127.0.0.1`,
    `server.https.port=${https}`,
    `server.mqtt.hostname=127.0.0.1`,
    `server.mqtt.port=${mqtt}`,
    `server.local.port=${local}`,
    `bench.network=${freeNetwork()}`,
    `bench.timing=${options.fast ? "none" : "realistic"}`,
    // The vehicle's gateway looks at its address five times as often as by default: the demo is short.
    "vmg.interface_interval=0.1",
    ...options.set,
  ];
  const data = join(folder, "data");
  const common: OperatorOptions & CommonOptions = { data, set: settings, log: "text", operator: "bench" };
  const config = await configOf(common);
  const hidden = ["--data", data, ...settings.flatMap((it) => ["--set", it])];

  print("Zonebench demo: an OTA server, a vehicle's gateway and a simulated bench, in this terminal alone.");
  print("Each command below is really run, and then it is looked whether it did what it says.");
  const ask = options.pause ? () => keyPressed("     any key goes on, q ends ") : undefined;
  if (options.pause) print(`In a second terminal the commands want these options:\n  ${hidden.join(" ")}`);
  print("");
  print("Starting (the first database takes some seconds)...");

  await makeDataFolder(data);
  const log = await Deno.open(logFile, { create: true, append: true, write: true });
  cleanUp.defer(() => log.close());
  const encoder = new TextEncoder();
  const logger = createLogger({
    color: false,
    write: (line) => void log.writeSync(encoder.encode(`${line}\n`)),
  });
  const network = new MovingNetwork(addresses[0]);
  const parts: ServeOptions = { ...common, traceSize: 256, traceFiles: 8 };
  const running = cleanUp.use(new AsyncDisposableStack());
  const { vmgs: [vmg] } = await startParts(config, parts, foldersOf(data), logger, running, signal, network);
  return await asOperator(common, async (rest) => {
    const { vin } = config.bench.vehicles[0];
    await until("the vehicle is connected and has reported", async () => {
      const { vehicles } = await rest.call(routes.listVehicles, { query: { limit: 1 } });
      if (!vmg.link.connected || vehicles.length === 0) return false;
      return (await rest.call(routes.getVehicle, { path: { vin } })).vci !== null;
    }, signal);
    const stage = new Stage({ run, hidden, steps: storySteps, before: ask, signal });
    await tellStory({
      stage,
      config,
      wiring: { config, pki: foldersOf(data).pki, holder: "operator bench" },
      rest,
      vmg,
      network,
      addresses,
      images: await makeImages(folder, options.fast ?? false),
      away: options.fast ? 500 : 3_000,
      signal,
    });
    return stage.verified;
  });
}

/** Writes the two firmware files. */
async function makeImages(folder: string, fast: boolean): Promise<DemoImage[]> {
  // Without the bus' own times more bytes are needed to be in the middle of something.
  const scale = fast ? 4 : 1;
  const images = [
    { ecuId: "ECU_005", ecuType: "BODY_CONTROLLER", path: "DoIP", name: "body.bin", size: sizes.doip },
    { ecuId: "ECU_007", ecuType: "LIGHT_CONTROLLER", path: "CAN", name: "light.bin", size: sizes.can },
  ];
  const made: DemoImage[] = [];
  for (const { name, size, ...image } of images) {
    const bytes = sampleImage(size * scale);
    const file = join(folder, name);
    await Deno.writeFile(file, bytes);
    print(
      `${name}: ${formatSize(bytes.length)} made for ${image.ecuId}, which is reached over ${image.path}`,
    );
    made.push({ ...image, file, bytes });
  }
  return made;
}

/** Bytes that no two images share: random ones between runs of the same, as code and tables are. */
function sampleImage(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 4_096) {
    crypto.getRandomValues(bytes.subarray(at, Math.min(at + 2_048, length)));
  }
  return bytes;
}

/** Ports that were free a moment ago, each another one. */
function freePorts(count: number): number[] {
  // All are held until the last is known: a port that is given back may be given out again.
  using held = new DisposableStack();
  return Array.from({ length: count }, () => {
    return held.use(Deno.listen({ hostname: "127.0.0.1", port: 0 })).addr.port;
  });
}

/** A network on whose first address no gateway answers: a bench of a `serve` that runs keeps its own. */
function freeNetwork(): string {
  for (const network of networks) {
    try {
      using _listener = Deno.listen({ hostname: addressesOf(network)(1), port: 13_400 });
      return network;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
  throw new CommandFailed(`no network for the bench: all of ${networks[0]} to ${networks.at(-1)} are in use`);
}

/** The end of the log, on standard error. */
async function tellLog(file: string): Promise<void> {
  const text = await Deno.readTextFile(file).catch(() => "");
  for (const line of text.trimEnd().split("\n").slice(-20)) printNote(line);
}
