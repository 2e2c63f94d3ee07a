// The OTA server: opens the store and the listeners in the order of the design, and stops them again.

import { join } from "node:path";
import { getRequestListener } from "@hono/node-server";
import { Hono } from "hono";
import { CodecPool } from "../codec/pool.ts";
import { routes } from "../contract/routes.ts";
import type { InventoryEntry } from "../contract/uptane.ts";
import { describeError } from "../log.ts";
import { nativeEngineReport } from "../pqc/native_engine.ts";
import { describeProfile, profileLogLines } from "../pqc/profiles.ts";
import { DiagnosticsService } from "./diagnostics/service.ts";
import { ListenFailed } from "./errors.ts";
import { Events } from "./events.ts";
import { openDataFiles } from "./files.ts";
import { dashboardPaths, mountDashboard } from "./http/dashboard.ts";
import { mountDatabase } from "./http/database.ts";
import { mountDiagnostics } from "./http/diagnostics.ts";
import { mountFirmware } from "./http/firmware.ts";
import { HttpsServer } from "./http/https_server.ts";
import { malformed, startLocalServer } from "./http/local_server.ts";
import { answerTheRest, type App, type Bindings, mounter } from "./http/mount.ts";
import { mountOta } from "./http/ota.ts";
import { mountOpenApi, mountSystem, openApiPath, systemPaths } from "./http/system.ts";
import { mountUptane } from "./http/uptane.ts";
import { mountVehicles } from "./http/vehicles.ts";
import { identityOf } from "./identity.ts";
import { Inbox } from "./inbox.ts";
import { Maintenance } from "./maintenance/maintenance.ts";
import { createMetrics } from "./metrics.ts";
import { startBroker } from "./mqtt/broker.ts";
import { startExternalBroker } from "./mqtt/external/client.ts";
import type { ServerOptions } from "./options.ts";
import { whileTold } from "./opening.ts";
import { CampaignService } from "./ota/campaigns.ts";
import { Catalogue } from "./ota/catalogue.ts";
import { Deltas } from "./ota/deltas.ts";
import { PackageService } from "./ota/packages.ts";
import { UpdateTargets } from "./ota/targets.ts";
import { UpdateReports } from "./ota/update_reports.ts";
import { UpdateService } from "./ota/updates.ts";
import { Outbox } from "./outbox.ts";
import { Registry } from "./registry.ts";
import { ServerState } from "./state.ts";
import { openStore } from "./store/mod.ts";
import { AnomalyDetector } from "./telemetry/anomalies.ts";
import { TelemetryBatcher } from "./telemetry/batcher.ts";
import { openSignedMetadata } from "./uptane/open.ts";
import { type Undo, windUp } from "./wind_up.ts";

export * from "./errors.ts";
export type * from "./options.ts";

/** Where a listener is bound. */
export interface Bound {
  readonly hostname: string;
  readonly port: number;
}

export interface RunningServer {
  readonly https: Bound;
  /** With an external broker: where that is. */
  readonly mqtt: Bound;
  readonly local: Bound;
  /** Enters keys of ECUs that were found since the start: as `uptane.foundKeys` in the options. */
  addFoundKeys(entries: readonly InventoryEntry[]): Promise<void>;
  /** Stops accepting, lets work under way end within the limit, and closes the store. Calling it again waits too. */
  stop(): Promise<void>;
}

/** Version of the REST interface in its description. */
const interfaceVersion = "1.0.0";

/**
 * Starts the server; it serves when the promise resolves. Nothing stays behind when it rejects.
 * @throws {ListenFailed} {@link StoreError} and what else keeps it from starting
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  // Undone in reverse order, when the start fails half-way or the server stops.
  const undo: Undo[] = [];
  try {
    return await start(options, undo);
  } catch (error) {
    await windUp(undo, options);
    throw error;
  }
}

async function start(options: ServerOptions, undo: Undo[]): Promise<RunningServer> {
  const { log, dataDirectory, offers, tlsEngine, trust, handshakeTimeout, resumption, signal } = options;
  const httpsLog = log.child("HTTPS");
  const mqttLog = log.child("MQTT");

  log.info("OTA Server Starting");
  log.info("Initializing PQC Manager...");
  for (const line of profileLogLines()) log.info(`  ${line}`);
  for (const { profile } of offers) {
    log.info(`  Accepted: profile ${profile.id}, ${describeProfile(profile)}`);
  }
  if (tlsEngine === "native") {
    const { lines, warnings } = nativeEngineReport(offers.map(({ profile }) => profile.id));
    for (const line of lines) log.info(`  ${line}`);
    for (const warning of warnings) log.warn(`  ${warning}`);
  }

  signal?.throwIfAborted();
  log.info("Opening database...");
  const store = await whileTold(
    log,
    openStore({
      url: options.database?.url,
      maxConnections: options.database?.maxConnections,
      directory: join(dataDirectory, "db"),
      signal,
    }),
  );
  undo.push({ what: "the store", run: () => store.close() });
  log.info(`Database ready (${store.kind === "pglite" ? "embedded" : "PostgreSQL"})`);

  const files = await openDataFiles(options.filesDirectory ?? dataDirectory);
  const metrics = createMetrics();
  const events = new Events();
  const state = new ServerState(log, (shown) => metrics.showState(shown));
  const stopping = new AbortController();
  // To compress an image or make a delta may take minutes, and memory: one at a time, and no package waits for its turn behind it.
  const compression = new CodecPool();
  const pool = new CodecPool();
  for (const it of [compression, pool]) {
    undo.push({ what: "the codec", run: async () => await it[Symbol.asyncDispose]() });
  }

  signal?.throwIfAborted();
  const { director, images, time, inventory, reports } = await openSignedMetadata({
    ...options.uptane,
    directory: options.uptane?.directory ?? join(options.filesDirectory ?? dataDirectory, "repo"),
    store,
    files,
    events,
    metrics,
    log: log.child("Uptane"),
  });
  const registry = new Registry({ store, events, log });
  const outbox = new Outbox({ store, metrics, log });
  const { compressionLevel, signingKey, deltas = {} } = options;
  const catalogue = new Catalogue({
    store,
    repository: images,
    files,
    pool: compression,
    compressionLevel,
    log,
  });
  const packages = new PackageService({
    store,
    files,
    catalogue,
    pool,
    signingKey,
    ...deltas === false ? {} : {
      deltas: new Deltas({ ...deltas, store, files, pool: compression, metrics, log: log.child("Delta") }),
    },
    metrics,
    log,
    signal: stopping.signal,
  });
  let maintenance: Maintenance | undefined;
  undo.push({
    what: "package builds",
    run: async () => {
      stopping.abort(new DOMException("the server is stopping", "AbortError"));
      await packages.settle();
      await maintenance?.settle();
    },
  });
  const updates = new UpdateService({
    ...options.updates,
    store,
    targets: new UpdateTargets({ store, registry, log }),
    reports: new UpdateReports({ ...options.updates, store, outbox, events, metrics, log }),
    packages,
    director,
    outbox,
    metrics,
    log,
  });
  const campaigns = new CampaignService({ ...options.updates, store, updates, outbox, log });
  const diagnostics = new DiagnosticsService({ ...options.diagnostics, store, outbox, events, log });

  const detector = new AnomalyDetector({
    rules: options.telemetry?.rules ?? [],
    store,
    events,
    metrics,
    log,
  });
  const batcher = new TelemetryBatcher({
    ...options.telemetry,
    log,
    store: (batch) => store.telemetry.add(batch),
    afterCommit: async (stored) => {
      for (const { vin, timestamp, metrics: values } of stored) {
        events.emit({ type: "telemetry", vin, timestamp: timestamp.toISOString(), metrics: { ...values } });
      }
      await detector.examine(stored);
    },
    onBatch: (size) => {
      metrics.telemetryStored.inc(size);
      metrics.telemetryBatchSize.observe(size);
      metrics.telemetryQueue.set(batcher.queued);
    },
  });
  undo.push({
    what: "telemetry",
    run: async () => {
      await batcher.close();
      await detector.close();
    },
  });
  const inboxOptions = { store, registry, updates, diagnostics, outbox, batcher, metrics };
  const httpsInbox = new Inbox({ ...inboxOptions, log: httpsLog });
  const mqttInbox = new Inbox({ ...inboxOptions, log: mqttLog });

  signal?.throwIfAborted();
  const { externalBroker } = options;
  const mqttServices = { store, registry, inbox: mqttInbox, outbox, state, metrics, log: mqttLog };
  const mqtt = externalBroker
    ? await startExternalBroker({ ...externalBroker, tlsEngine, ...mqttServices })
    : await opened("MQTT", () => {
      log.info("Starting MQTT Server...");
      const tls = { offers, tlsEngine, trust, handshakeTimeout, resumption };
      return startBroker({ ...options.mqtt, ...tls, ...mqttServices, updates });
    });
  undo.push({ what: "MQTT", run: (limit) => mqtt.stop(limit) });
  log.info(
    externalBroker
      ? `MQTT client of the broker ${mqtt.hostname}:${mqtt.port} started`
      : `MQTT server started on ${mqtt.hostname}:${mqtt.port}`,
  );

  signal?.throwIfAborted();
  log.info("Starting HTTPS Server...");
  let ready = false;
  const {
    hostname = "0.0.0.0",
    port = 8443,
    maxBody = 1_048_576,
    maxFirmware = 8_589_934_592,
    headerTimeout = 10_000,
    idleTimeout = 60_000,
    keepAliveTimeout = 65_000,
    maxConnections = 2000,
  } = options.https ?? {};
  const app: App = new Hono<{ Bindings: Bindings }>();
  const handle = getRequestListener(app.fetch, { overrideGlobalObjects: false, errorHandler: malformed });
  const https = new HttpsServer({
    hostname,
    port,
    offers,
    tlsEngine,
    trust,
    handshakeTimeout,
    resumption,
    maxConnections,
    headerTimeout,
    idleTimeout,
    keepAliveTimeout,
    handle: (incoming, outgoing) => void handle(incoming, outgoing),
    onConnection: (connection) => {
      const identity = identityOf(connection.peer);
      if (identity.kind !== "vehicle") return;
      registry.linked(identity.vin, "https", connection).catch((error: unknown) =>
        httpsLog.error(`The link of ${identity.vin} is not stored: ${describeError(error)}`)
      );
    },
    metrics,
    log: httpsLog,
  });
  const mount = mounter(app, {
    log: httpsLog,
    metrics,
    state,
    callerOf: (incoming) => {
      const connection = https.connectionOf(incoming);
      return connection ? identityOf(connection.peer) : { kind: "unknown", name: "nobody" };
    },
    findVehicle: (id) => registry.find(id),
    maxBody,
    bodyTimeout: idleTimeout,
  });
  const system = {
    store,
    state,
    metrics,
    folders: [dataDirectory, files.images, files.packages, files.temporary],
    ready: () => ready,
  };
  mountSystem(app, system);
  mountOpenApi(app, Object.values(routes), interfaceVersion);
  mountVehicles(mount, {
    store,
    registry,
    updates,
    outbox,
    inbox: httpsInbox,
    reports,
    log: httpsLog,
    connectionOf: (incoming) => https.connectionOf(incoming),
    externalBroker: externalBroker !== undefined,
    configLifetime: options.updates?.commandTimeout ?? 86_400_000,
  });
  mountOta(mount, { registry, updates, campaigns, packages, inbox: httpsInbox, metrics });
  mountFirmware(mount, { catalogue, maxFirmware, idleTimeout });
  mountDiagnostics(mount, { registry, diagnostics });
  mountUptane(mount, { director, images, time, inventory });
  const dumps = mountDatabase(mount, { store, log: httpsLog });
  answerTheRest(app, [...Object.values(routes), ...systemPaths, openApiPath], httpsLog);
  await opened("HTTPS", () => https.open());
  undo.push({ what: "HTTPS", run: (limit) => https.stop(limit) });
  undo.push({ what: "a dump of the database", run: () => dumps.stop() });
  log.info(`HTTPS server started on ${https.hostname}:${https.port}`);

  const local = await startLocalServer({
    hostname: options.local?.hostname ?? "127.0.0.1",
    port: options.local?.port ?? 8080,
    mount: async (localApp) => {
      mountSystem(localApp, system);
      await mountDashboard(localApp, {
        store,
        registry,
        updates,
        diagnostics,
        events,
        signal: stopping.signal,
      });
    },
    paths: [...systemPaths, ...dashboardPaths],
    log: log.child("Local"),
  });
  undo.push({ what: "the local listener", run: () => local.stop() });
  log.info(`Dashboard on http://${local.hostname}:${local.port}/`);

  const timers = maintenance = new Maintenance({
    ...options.maintenance,
    retention: options.retention ?? {},
    maxQueuedAge: options.mqtt?.maxQueuedAge ?? 604_800_000,
    store,
    files,
    registry,
    updates,
    campaigns,
    diagnostics,
    outbox,
    repository: images,
    state,
    metrics,
    log: log.child("Maintenance"),
  });
  undo.push({ what: "maintenance", run: () => timers.stop() });
  timers.start();

  /** A report from before a vehicle's keys were entered directs no update any more: a new one is asked for. */
  async function askForSigned(entries: readonly InventoryEntry[]): Promise<void> {
    for (const vin of new Set(entries.map((entry) => entry.vin))) {
      if (await registry.directingVci(vin) === null) await updates.reports.askForReport(vin);
    }
  }
  await askForSigned([...options.uptane?.inventory ?? [], ...options.uptane?.foundKeys ?? []]);

  ready = true;
  log.info("OTA Server Running");
  log.info("Active Services: MQTT, HTTPS");
  log.info("Press Ctrl+C to stop");

  let stopped: Promise<void> | undefined;
  return {
    https: { hostname: https.hostname, port: https.port },
    mqtt: { hostname: mqtt.hostname, port: mqtt.port },
    local: { hostname: local.hostname, port: local.port },
    async addFoundKeys(entries) {
      await inventory.addFound(entries);
      await askForSigned(entries);
    },
    stop() {
      stopped ??= (async () => {
        ready = false;
        log.info("OTA Server stopping");
        await windUp(undo, options);
        log.info("OTA Server stopped");
      })();
      return stopped;
    },
  };
}

/** Opens a listener; what goes wrong says which one and where. */
async function opened<T>(what: string, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (cause) {
    throw new ListenFailed(`the ${what} server does not start: ${describeError(cause)}`, { cause });
  }
}
