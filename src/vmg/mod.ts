// The vehicle main gateway: it holds the link to the server, knows the ECUs, updates and diagnoses them.
// This is where its parts are put together.

import { join } from "node:path";
import { RestClient } from "../contract/client.ts";
import type { Control } from "../contract/mqtt.ts";
import type { Logger } from "../log.ts";
import { validityOf } from "../pqc/certificates.ts";
import { httpsAgent } from "../tls/https_agent.ts";
import { VehicleBus } from "./bus/bus.ts";
import { DiagnosticResponder } from "./diagnostics/responder.ts";
import { bareAddress } from "./link/address.ts";
import { Confirmations } from "./link/confirmations.ts";
import { CommunicationManager, type CommunicationMode } from "./link/communication.ts";
import { Inbox } from "./link/inbox.ts";
import { Link } from "./link/link.ts";
import { LinkReport } from "./link/link_report.ts";
import { systemNetwork } from "./link/network.ts";
import { describeStatistics, type LinkStatistics } from "./link/statistics.ts";
import { Outbox } from "./link/outbox.ts";
import { Pulse } from "./link/pulse.ts";
import { QueueLosses } from "./link/queue_losses.ts";
import { RemoteConfig } from "./link/remote_config.ts";
import { VehicleReporter } from "./link/vehicle_report.ts";
import { LocalControl } from "./local_control.ts";
import type { UpdateSettings, VmgOptions } from "./options.ts";
import { CommandLog } from "./state/command_log.ts";
import { StateDatabase } from "./state/database.ts";
import { ImageStore, keptImages } from "./update/image_store.ts";
import { UpdateDirections } from "./update/directions.ts";
import { UpdateTimer } from "./update/deadline.ts";
import { UpdateJournal } from "./update/journal.ts";
import { TermsJournal } from "./update/terms.ts";
import { UpdateRunner } from "./update/runner.ts";
import { SelfUpdate } from "./update/self_update.ts";
import { updateSettings } from "./update/settings.ts";
import { hardwareOf, readVci } from "./vci.ts";
import { LinkClock } from "./uptane/link_clock.ts";
import { openSignedMetadata, type SignedMetadata } from "./uptane/signed_metadata.ts";
import { checkVehicle } from "./vehicle.ts";
import { settledWithin } from "../wait.ts";
import { explain } from "./errors.ts";

export * from "./errors.ts";
export type { LinkStatistics } from "./link/statistics.ts";
export type { Network } from "./link/network.ts";
export { type LinkState, readLinkState } from "./link/link_report.ts";
export { approveLocally, type LocalUpdate, localUpdates } from "./local_control.ts";
export type * from "./options.ts";
export type { ApprovalOutcome } from "./update/approvals.ts";
export { stateVersion } from "./state/database.ts";
export { primaryKey } from "./uptane/primary_key.ts";
export type { InstalledSoftware } from "./uptane/version_reports.ts";
export type { TelemetrySource } from "./telemetry.ts";
export type { VehicleDescription, VehicleEcu, ZonalGateway } from "./vehicle.ts";

/** A gateway that runs. */
export interface RunningVmg extends AsyncDisposable {
  /** What the link did so far. */
  readonly link: LinkStatistics;
  /** Which way messages go. */
  readonly mode: CommunicationMode;
  /** Whether ECUs are being changed. */
  readonly installing: boolean;
  /** The newest remote configuration; version 0 when there was none. */
  readonly remoteConfig: { readonly version: number; readonly config: Readonly<Record<string, unknown>> };
  /** Ends what is under way in a state that the next start goes on from, and closes everything, within 5 s. */
  stop(): Promise<void>;
}

/**
 * Of the 5 s that stopping may take: for the work that is under way, for the goodbyes on both sides, and for what is left of the
 * work when the bus is closed.
 */
const stopTimes = { work: 2_000, goodbye: 2_000, rest: 500 } as const;

/**
 * Starts a gateway. It does not wait for the server: the link comes up, and comes back, by itself.
 *
 * @throws {RangeError} for options that cannot be
 * @throws {StateLockedError} when another gateway uses the folder
 * @throws {StateError} when its state cannot be read
 * @throws {UptaneError} when a first root is none
 */
export async function startVmg(options: VmgOptions): Promise<RunningVmg> {
  checkVehicle(options.vehicle);
  if (options.packageKeys.length === 0) {
    throw new RangeError("packageKeys: expected at least one key, got none");
  }
  const state = StateDatabase.open(options.directory);
  try {
    const { uptane, vehicle, directory, log } = options;
    const settings = updateSettings(options.update ?? {}, vehicle.vmgId);
    const { downloadPatience: patience, retryDelay, maxRetryDelay } = settings;
    const signed = await openSignedMetadata({
      uptane,
      vehicle,
      directory,
      state,
      patience,
      retryDelay,
      maxRetryDelay,
      log,
    });
    return assemble(options, settings, state, signed);
  } catch (error) {
    state.close();
    throw error;
  }
}

function assemble(
  options: VmgOptions,
  settings: Required<UpdateSettings>,
  state: StateDatabase,
  signed: SignedMetadata,
): RunningVmg {
  const { vehicle, log, credentials, profile, tlsEngine, trust, https, telemetry: source } = options;
  const { vin, vmgId } = vehicle;
  const link = options.link ?? {};
  const parallelReads = options.bus?.parallelReads ?? 4;
  const retry = { retryDelay: link.reconnectDelay ?? 1_000, maxRetryDelay: link.maxReconnectDelay ?? 60_000 };

  const network = link.network ?? systemNetwork;
  let httpsAddress: string | null = null;
  const httpsLink = {
    credentials,
    profile,
    engine: tlsEngine,
    trust,
    serverName: https.serverName,
    timeout: link.connectTimeout,
    localAddress: () => network.bindAddress,
  };
  const dispatcher = httpsAgent({
    ...httpsLink,
    clock: () => linkClock?.clock,
    onFailed: (error) => linkClock?.failed(error),
    onConnected: ({ localAddress }) => httpsAddress = bareAddress(localAddress),
  });
  const leaveHttps = () => {
    httpsAddress = null;
    dispatcher.renew(new Error("the address of this side has changed"));
  };
  const host = https.hostname.includes(":") ? `[${https.hostname}]` : https.hostname;
  const origin = `https://${host}:${https.port}`;
  const rest = new RestClient({ origin, dispatcher, timeout: link.requestTimeout });

  const commands = new CommandLog(state);
  const journal = new UpdateJournal(state);
  const remoteConfig = new RemoteConfig(state, log);
  const losses = new QueueLosses(log.child("Link"));
  const outbox = new Outbox(state, {
    maxCount: link.queueCount,
    maxBytes: link.queueBytes,
    maxAge: link.queueAge,
    onGivenUp: (kind, reason) => losses.note(kind, reason),
    onFault: (error) =>
      log.child("Link").warn(`Messages that the server has stay on the disk: ${explain(error)}`),
  });
  const confirmations = new Confirmations({
    state,
    outbox,
    timeout: link.acknowledgeTimeout ?? 10_000,
    log: log.child("MQTT"),
  });
  const bus = new VehicleBus(vehicle, options.bus ?? {}, log.child("Bus"));

  const responder = new DiagnosticResponder({
    vmgId,
    bus,
    commands,
    outbox,
    parallel: options.diagnostics?.parallel ?? 16,
    waiting: options.diagnostics?.waiting ?? 1_000,
    timeout: options.diagnostics?.timeout ?? 20_000,
    log,
  });
  const images = new ImageStore({
    directory: join(options.directory, "images"),
    keep: settings.keepImages,
    pool: options.pool,
  });
  const hardware = new Map<string, string>();
  const metadata = signed.metadata(rest);
  // The runtime's own stack goes by the machine's clock, whatever that says.
  const linkClock = tlsEngine === "native" ? undefined : new LinkClock({
    validity: validityOf(credentials.certificateChain),
    latest: () => signed.clock.latest,
    attest: async (clock, signal) => {
      const agent = httpsAgent({ ...httpsLink, clock: () => clock });
      try {
        const once = new RestClient({ origin, dispatcher: agent, timeout: link.requestTimeout });
        return await metadata.attest(signal, once);
      } finally {
        await agent.destroy();
      }
    },
    machine: options.machineClock,
    log: log.child("Link"),
  });
  const reports = signed.reports(metadata, (ecuId) => {
    const target = journal.lastInstalled(ecuId);
    return target && { ...target, sha256: target.hashes.sha256 };
  });
  const runner = new UpdateRunner({
    directions: new UpdateDirections({
      vehicle,
      bus,
      journal,
      metadata,
      attacks: signed.attacks,
      hardware,
      parallelReads,
    }),
    vehicle,
    bus,
    journal,
    outbox,
    rest,
    origin,
    verifyKeys: new Map(options.packageKeys.map((key) => [key.keyId, key])),
    pool: options.pool,
    directory: join(options.directory, "packages"),
    images,
    backups: join(options.directory, "backups"),
    source,
    settings,
    parallelReads,
    terms: new TermsJournal(state),
    timer: new UpdateTimer({ trusted: signed?.clock }),
    onEnded: () => reporter.request("update"),
    log,
  });
  const selfUpdate = new SelfUpdate({ vin, rest, journal, runner, log });
  const reporter = new VehicleReporter({
    vehicle,
    rest,
    read: async (trigger, signal) => {
      const round = await reports.begin(signal);
      const vci = await readVci({
        vehicle,
        bus,
        trigger,
        parallel: parallelReads,
        kept: () => keptImages(journal, images),
        also: async (ecu, identification, client, signal) => {
          const found = hardwareOf(identification);
          if (found !== undefined) hardware.set(ecu.ecuId, found);
          return await round.add(ecu, identification, client, signal);
        },
        log,
        signal,
      });
      const finished = await round.finish();
      return {
        vci: { ...vci, version_manifest: finished.manifest },
        delivered: () => reports.delivered(finished),
      };
    },
    changing: () => runner.installing,
    onRegistered: (acknowledgedBy) => confirmations.told(acknowledgedBy),
    onAnswer: (outdated) => {
      if (options.autoUpdate) selfUpdate.consider(outdated);
    },
    ...retry,
    log: log.child("HTTPS"),
  });
  // The log says which way a message came.
  const [inbox, polled] = ["MQTT", "HTTPS"].map((way) =>
    new Inbox({
      vin,
      vmgId,
      commands,
      log: log.child(way),
      onControl: (command) => act(command, runner, reporter),
      onDiagnostic: (request) => responder.accept(request),
      onConfig: (version, config) => remoteConfig.take(version, config),
    })
  );
  const mqtt = new Link({
    vin,
    vmgId,
    target: options.mqtt,
    credentials,
    profile: options.mqttProfile ?? profile,
    engine: tlsEngine,
    trust,
    outbox,
    confirmations,
    reconnectDelay: retry.retryDelay,
    maxReconnectDelay: retry.maxRetryDelay,
    holdTime: link.holdTime,
    keepalive: link.keepalive ?? 30,
    connectTimeout: link.connectTimeout ?? 10_000,
    inFlight: link.inFlight ?? 20,
    network,
    addressInterval: link.addressInterval ?? 10_000,
    interfaceInterval: link.interfaceInterval ?? 500,
    clock: () => linkClock?.clock,
    onFailed: (error) => linkClock?.failed(error),
    onMessage: (topic, payload) => inbox.take(topic, payload),
    onConnected: async ({ forgotten }) => {
      // Its database may be another one.
      if (forgotten) reporter.registerAgain();
      await communication.linkUp();
      pulse.beat();
      report.write();
    },
    onMoved: leaveHttps,
    // Also where MQTT is away: what is under way from an address that is gone would end by silence alone.
    onAddresses: () => {
      if (httpsAddress !== null && !network.addresses().has(httpsAddress)) leaveHttps();
    },
    onLost: () => report.write(),
    log,
  });
  const communication = new CommunicationManager({
    vin,
    rest,
    outbox,
    away: () => mqtt.away,
    take: (topic, payload) => polled.take(topic, payload),
    fallbackAfter: link.fallbackAfter ?? 30_000,
    pollInterval: link.pollInterval ?? 60_000,
    batchInterval: link.batchInterval ?? 1_000,
    holdTime: link.holdTime ?? 5_000,
    log: log.child("CommMgr"),
  });
  const report = new LinkReport({
    directory: options.directory,
    vin,
    state: () => ({ mode: communication.mode, ...mqtt.statistics }),
    log: log.child("Link"),
  });
  const pulse = new Pulse({
    vin,
    vmgId,
    link: mqtt,
    rest,
    outbox,
    remoteConfig,
    ...(source === undefined ? {} : { source }),
    heartbeatInterval: link.heartbeatInterval ?? 30_000,
    telemetryInterval: link.telemetryInterval ?? 10_000,
    httpsAddress: () => httpsAddress,
    mode: () => communication.mode,
    onBeat: () => {
      outbox.expire();
      losses.tell();
      report.write();
      log.child("Link").debug(describeStatistics(mqtt.statistics));
    },
    log: log.child("Heartbeat"),
  });
  if (source !== undefined) log.info(`Telemetry comes from ${source.name}`);
  const workers = [
    responder,
    runner,
    reporter,
    selfUpdate,
    pulse,
    communication,
    ...linkClock === undefined ? [] : [linkClock],
  ];
  responder.start();
  runner.start();
  reporter.start();
  pulse.start();
  communication.start();
  mqtt.start(reporter.firstTry);

  const control = LocalControl.open({
    directory: options.directory,
    updates: () => runner.open(),
    approve: (updateId) => state.transaction(() => runner.approve(updateId, "vehicle")),
    log,
  });

  let stopped: Promise<void> | undefined;
  const stop = async () => {
    control?.close();
    const work = settle(workers.map((worker) => worker.stop()), log);
    await settledWithin(work, stopTimes.work);
    // What still hangs in a wait on the bus ends with its connections.
    await settledWithin(settle([bus.close(), mqtt.stop()], log), stopTimes.goodbye);
    await settledWithin(work, stopTimes.rest);
    await dispatcher.destroy();
    report.close();
    log.child("Link").info(`Stopped: ${describeStatistics(mqtt.statistics)}`);
    try {
      outbox.flush();
    } catch (error) {
      // They are sent again by the next start, and the server knows them by their ids.
      log.error(`While stopping: ${explain(error)}`);
    }
    state.close();
  };
  return {
    get link() {
      return mqtt.statistics;
    },
    get mode() {
      return communication.mode;
    },
    get installing() {
      return runner.installing;
    },
    get remoteConfig() {
      return { version: remoteConfig.version, config: remoteConfig.config };
    },
    stop: () => stopped ??= stop(),
    [Symbol.asyncDispose]: () => stopped ??= stop(),
  };
}

/** Acts on a command, within the transaction that notes it. */
function act(command: Control, runner: UpdateRunner, reporter: VehicleReporter): void {
  switch (command.command) {
    case "START_OTA_UPDATE":
      runner.accept({
        updateId: command.update_id,
        packageId: command.package_id,
        downloadUrl: command.download_url,
        targetEcus: command.target_ecus,
      }, command);
      break;
    case "CANCEL_OTA_UPDATE":
      runner.cancel(command.update_id, command.reason);
      break;
    case "APPROVE_OTA_UPDATE":
      runner.approve(command.update_id, "operator");
      break;
    case "REPORT_VCI":
      reporter.request("command");
      break;
  }
}

/** Waits for all; what one of them failed with is said, and the others end all the same. */
async function settle(ends: Promise<unknown>[], log: Logger): Promise<void> {
  for (const outcome of await Promise.allSettled(ends)) {
    if (outcome.status === "rejected") log.error(`While stopping: ${explain(outcome.reason)}`);
  }
}
