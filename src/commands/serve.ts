// `zonebench serve`: the server, the vehicles' gateways and the simulated bench, together or one of them.

import { type Command, Option } from "commander";
import { join } from "node:path";
import { SimulatedBench } from "../../hardware/sim/bench.ts";
import type { BusTrace } from "../../hardware/trace/trace.ts";
import { CodecPool } from "../codec/pool.ts";
import type { Config } from "../config/schema.ts";
import { describeError, type Logger } from "../log.ts";
import {
  initAuthority,
  issueOperator,
  issueServer,
  issueServerClient,
  issueTester,
  issueVehicle,
} from "../pqc/authority.ts";
import { CredentialsMissing } from "../pqc/errors.ts";
import { type Profile, profileById } from "../pqc/profiles.ts";
import { importVerifyKey } from "../pqc/signature.ts";
import { ListenFailed } from "../server/errors.ts";
import { type RunningServer, startServer } from "../server/mod.ts";
import {
  type HttpsTarget,
  type Network,
  type RunningVmg,
  startVmg,
  type UpdateCondition,
} from "../vmg/mod.ts";
import { simulationOf, vehicleOf } from "./bench_description.ts";
import {
  type CommonOptions,
  configOf,
  type DataFolders,
  foldersOf,
  interruption,
  localTarget,
  loggerOf,
  makeCommand,
} from "./common.ts";
import { ecuTrust, testerAlgorithms } from "./ecu_authentication.ts";
import { serveGatewayTls } from "./gateway_tls.ts";
import { CommandFailed, examples, UsageError } from "./output.ts";
import { watchKeys } from "./key_watch.ts";
import { programName } from "./program_name.ts";
import { refuseUnfinished } from "./restore_place.ts";
import { openTrace, type TraceOptions, withTrace } from "./trace.ts";
import { clientCredentials, clientProfile, serverProfiles, vehicleMqttProfile } from "./tls.ts";
import { knownKeys, vehicleUptane } from "./vehicle_trust.ts";
import { serverOptions } from "./server_options.ts";
import { simulatedSignals } from "./simulated_signals.ts";

const parts = ["server", "vmg", "bench"] as const;
type Part = typeof parts[number];

export interface ServeOptions extends CommonOptions, TraceOptions {
  only?: Part;
}

const banner = `
╔═══════════════════════════════════════════════════════════╗
║                         Zonebench                         ║
║         OTA server · vehicle gateway · test bench         ║
╚═══════════════════════════════════════════════════════════╝
`;

export function serveCommand(): Command {
  const command = withTrace(
    makeCommand(
      "serve",
      "runs the OTA server, the gateways of the bench's vehicles and, where the bench is simulated, the bench",
    ),
  )
    .addOption(new Option("--only <part>", "only one of them").choices(parts))
    .action(run);
  return examples(command, [
    "zonebench serve",
    "zonebench serve --bench config/bench-100.yaml",
    "zonebench serve --only server --set database.url=postgres://user:password@localhost/zonebench",
    "zonebench serve --set server.tls.profiles=[12]",
    "zonebench serve --set bench.timing=none --set server.https.port=9443",
  ]);
}

async function run(options: ServeOptions): Promise<void> {
  const config = await configOf(options);
  const log = loggerOf(options, config);
  const folders = foldersOf(options.data);
  if (options.only === "bench" && !config.bench.simulated) {
    throw new UsageError("--only bench: the bench file says simulated: false, so there is none to bring");
  }
  if (options.log === "text") Deno.stderr.writeSync(new TextEncoder().encode(banner));
  await makeDataFolder(folders.root);
  using stop = interruption();
  await using running = new AsyncDisposableStack();
  try {
    await startParts(config, options, folders, log, running, stop.signal);
    await aborted(stop.signal);
  } catch (error) {
    // Ctrl+C before all was up is a stop like any other.
    if (!stop.signal.aborted) throw error;
  }
  log.info("Stopping...");
  // What ends first is what stands on the rest: gateways, server, bench.
  await running.disposeAsync();
  log.info("Stopped");
}

/** What of {@link startParts} is up. */
export interface RunningParts {
  server: RunningServer | undefined;
  vmgs: RunningVmg[];
}

/**
 * Starts the parts that are wanted; `running` holds what is up and how it ends.
 * @param network what the vehicles' gateways see of the network, and leave from; by default the machine's
 */
export async function startParts(
  config: Config,
  options: ServeOptions,
  folders: DataFolders,
  log: Logger,
  running: AsyncDisposableStack,
  signal: AbortSignal,
  network?: Network,
): Promise<RunningParts> {
  const wants = (part: Part) => options.only === undefined || options.only === part;
  const trace = await openTrace(options, log);
  if (trace !== undefined) running.use(trace);
  if (wants("server")) await preparePki(config, folders, log);
  let bench: SimulatedBench | undefined;
  if (config.bench.simulated && wants("bench")) {
    // With the vehicle's gateway in this program its own side is recorded: once is enough.
    const recorded = wants("vmg") ? undefined : trace?.bus;
    const simulated = await SimulatedBench.start({
      ...simulationOf(config.bench, folders.bench, await ecuTrust(config.bench, folders.pki)),
      log: (message) => log.debug(`[BENCH] ${message}`),
      ...recorded === undefined ? {} : { tap: (gateway) => recorded.network(gateway) },
    }).catch((cause) => {
      throw benchFailure(cause);
    });
    bench = simulated;
    running.defer(() => simulated.close());
    running.use(await serveGatewayTls(simulated, config, folders.pki, log, recorded));
    log.info(
      `Simulated bench: ${simulated.gateways.length} gateways, ${simulated.ecus.length} ECUs, timing ${config.bench.timing}`,
    );
  }
  let server: RunningServer | undefined;
  if (wants("server")) {
    const known = await knownKeys(config, folders, bench, wants("vmg"));
    const alone = options.only === "server";
    const keys = alone ? { foundKeys: known } : { inventory: known };
    server = await startServer({ ...await serverOptions(config, folders, keys, log), signal }).catch(
      (cause) => {
        throw serverFailure(cause);
      },
    );
    const { stop, addFoundKeys } = server;
    running.defer(() => stop());
    if (alone) {
      const read = () => knownKeys(config, folders, undefined, false);
      running.use(watchKeys({ known, read, add: addFoundKeys, log }));
    }
  }
  const vmgs: RunningVmg[] = [];
  if (wants("vmg")) {
    const pool = running.use(new CodecPool());
    for (const { vin } of config.bench.vehicles) {
      const vmg = await startVehicle(vin, config, folders, log, pool, server, trace?.bus, network);
      vmgs.push(vmg);
      running.defer(() => vmg.stop());
    }
  }
  if (server && options.only === undefined) tellNext(config, server.local.port, log);
  if (options.only === "bench") log.info("Bench running, press Ctrl+C to stop");
  return { server, vmgs };
}

/** What to do about an address of the simulated bench that is taken, or none of this machine's. */
function serverFailure(cause: unknown): unknown {
  // Wherever it was noticed: the system's word for an address that another program has.
  if (!(cause instanceof ListenFailed) || !/address already in use|EADDRINUSE/i.test(cause.message)) {
    return cause;
  }
  return new CommandFailed(
    `${cause.message}: stop the program that has the port ("ss -ltnp" names it), or take others with ` +
      "--set server.https.port=N, --set server.mqtt.port=N, --set server.local.port=N",
    { cause },
  );
}

function benchFailure(cause: unknown): unknown {
  const place = cause instanceof Error ? cause.message : "";
  if (cause instanceof Deno.errors.AddrInUse) {
    return new CommandFailed(
      `the simulated bench does not start: ${place}, maybe by another bench: stop that, or take other addresses with ` +
        "--set bench.network=127.0.N.0/24",
      { cause },
    );
  }
  if (cause instanceof Deno.errors.AddrNotAvailable) {
    return new CommandFailed(
      `the simulated bench does not start: ${place}: choose such with --set bench.network=127.0.N.0/24`,
      { cause },
    );
  }
  return cause;
}

export async function makeDataFolder(directory: string): Promise<void> {
  try {
    await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new CommandFailed(`data folder ${directory}: cannot be made: ${describeError(cause)}`, { cause });
  }
  await refuseUnfinished(directory);
}

/** Makes the authority and what the bench needs of it, as far as it is not there. */
async function preparePki(config: Config, folders: DataFolders, log: Logger): Promise<void> {
  const directory = folders.pki;
  const algorithms = new Set(serverProfiles(config).map((profile) => profile.certificateAlgorithm));
  const { certificateAlgorithm: algorithm } = clientProfile(config);
  const { created } = await initAuthority({ directory, algorithms: [...algorithms, algorithm] });
  if (created) log.info(`Certificate authority made in ${directory}`);
  const issued = [];
  for (const of of algorithms) {
    issued.push(await issueServer({ directory, names: config.server.names, algorithm: of }));
  }
  issued.push(await issueOperator("bench", { directory, algorithm }));
  for (const { vin } of config.bench.vehicles) issued.push(await issueVehicle(vin, { directory, algorithm }));
  const { mode, external } = config.mqtt;
  if (mode === "external" && external.certificate === "server-client") {
    const { certificateAlgorithm } = profileById(external.profile);
    issued.push(await issueServerClient({ directory, algorithm: certificateAlgorithm }));
  }
  for (const of of testerAlgorithms(config.bench)) {
    issued.push(await issueTester({ directory, algorithm: of }));
  }
  for (const it of issued) if (it.issued) log.info(`Certificate issued: ${it.certificateFile}`);
}

async function startVehicle(
  vin: string,
  config: Config,
  folders: DataFolders,
  log: Logger,
  pool: CodecPool,
  server: RunningServer | undefined,
  trace: BusTrace | undefined,
  network: Network | undefined,
): Promise<RunningVmg> {
  const { vmg } = config;
  const profile = clientProfile(config);
  const { certificateChain, privateKey, trust } = await vehicleCredentials(folders.pki, vin, profile);
  const key = await importVerifyKey(await Deno.readTextFile(join(folders.pki, "signing.pub")));
  return await startVmg({
    vehicle: vehicleOf(config.bench, vin, { config, pki: folders.pki, holder: `vehicle ${vin}`, trace }),
    directory: join(folders.vmg, vin),
    credentials: { certificateChain, privateKey },
    profile,
    mqttProfile: vehicleMqttProfile(config),
    tlsEngine: config.tls.engine,
    trust,
    packageKeys: [key],
    uptane: await vehicleUptane(config, folders),
    pool,
    https: targetOf(vmg.https_url, 443, server?.https ?? config.server.https),
    mqtt: targetOf(mqttUrl(config), 8883, server?.mqtt ?? config.server.mqtt),
    log,
    telemetry: config.bench.simulated ? simulatedSignals() : undefined,
    autoUpdate: vmg.auto_update,
    bus: { sourceAddress: config.bench.vmg_address },
    link: {
      reconnectDelay: vmg.reconnect_min * 1000,
      maxReconnectDelay: vmg.reconnect_max * 1000,
      keepalive: vmg.keepalive,
      connectTimeout: vmg.connect_timeout * 1000,
      heartbeatInterval: vmg.heartbeat_interval * 1000,
      telemetryInterval: vmg.telemetry_interval * 1000,
      addressInterval: vmg.address_interval * 1000,
      interfaceInterval: vmg.interface_interval * 1000,
      acknowledgeTimeout: vmg.acknowledge_timeout * 1000,
      fallbackAfter: vmg.fallback_after * 1000,
      pollInterval: vmg.poll_interval * 1000,
      holdTime: vmg.hold_time * 1000,
      queueCount: vmg.queue.max_count,
      queueBytes: vmg.queue.max_bytes,
      queueAge: vmg.queue.max_age * 1000,
      network,
    },
    update: {
      parallelFlash: vmg.update.parallel_flash,
      confirmTimeout: Math.round(vmg.update.confirm_timeout * 1000),
      rollBackPatience: Math.round(vmg.update.roll_back_patience * 1000),
      downloadPatience: Math.round(vmg.update.download_patience * 1000),
      conditions: vmg.update.conditions.map(toCondition),
      keepImages: vmg.update.keep_images,
      conditionTimeout: Math.round(vmg.update.condition_timeout * 1000),
      parked: vmg.update.parked.map(toCondition),
      parkedTimeout: Math.round(vmg.update.parked_timeout * 1000),
      approvalTimeout: Math.round(vmg.update.approval_timeout * 1000),
    },
    diagnostics: { timeout: vmg.diagnostics_timeout * 1000 },
  });
}

function toCondition(
  { if_measured: ifMeasured, ...condition }: Config["vmg"]["update"]["conditions"][number],
): UpdateCondition {
  return { ...condition, ifMeasured };
}

async function vehicleCredentials(directory: string, vin: string, profile: Profile) {
  try {
    return await clientCredentials(directory, `vehicle ${vin}`, profile);
  } catch (cause) {
    if (!(cause instanceof CredentialsMissing)) throw cause;
    throw new CommandFailed(
      `${cause.message}; issue it where the server runs (zonebench pki issue vehicle ${vin} --profile ${profile.id}) and copy ` +
        `vehicle-${vin}.crt, vehicle-${vin}.key, ca.crt and signing.pub to ${directory}; it names the repositories' roots, too`,
      { cause },
    );
  }
}

/** Where vehicles find the broker; empty: where the server is. */
function mqttUrl({ vmg, mqtt }: Config): string {
  return vmg.mqtt_url === "" && mqtt.mode === "external" ? mqtt.external.url : vmg.mqtt_url;
}

/** Where a listener is: at the URL, or on this machine where none is given. */
function targetOf(url: string, defaultPort: number, bound: { hostname: string; port: number }): HttpsTarget {
  if (url === "") return localTarget(bound.hostname, bound.port);
  const { hostname, port } = new URL(url);
  return { hostname: hostname.replace(/^\[(.*)\]$/, "$1"), port: port === "" ? defaultPort : Number(port) };
}

function tellNext(config: Config, localPort: number, log: Logger): void {
  const [vehicle] = config.bench.vehicles;
  const ecu = vehicle.gateways.flatMap((gateway) => gateway.ecus).at(0);
  log.info("Next, in a second terminal:");
  log.info(`  ${programName} discover`);
  if (ecu) log.info(`  ${programName} diag ${ecu.ecu_id} 0x22 F190 --via-server`);
  log.info(`  ${programName} firmware add --help`);
  log.info(`  ${programName} update start --vin ${vehicle.vin}`);
  log.info(`  dashboard: http://127.0.0.1:${localPort}/`);
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
