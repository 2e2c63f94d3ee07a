// Vehicles that are nothing but their link: queue, commands taken once and connection of src/vmg, several in one process that
// a test may kill. Each counts what it queues and what it acts on in the same transactions, so that a test can hold the
// server's database against it. Argument: LinkVehicles as JSON.

import { DatabaseSync } from "node:sqlite";
import { RestClient } from "../../src/contract/client.ts";
import { topicOf } from "../../src/contract/mqtt.ts";
import { createLogger } from "../../src/log.ts";
import { loadCredentials } from "../../src/pqc/pki_directory.ts";
import { httpsAgent } from "../../src/tls/https_agent.ts";
import { profileById } from "../../src/pqc/profiles.ts";
import { CommunicationManager } from "../../src/vmg/link/communication.ts";
import { type AcknowledgedBy, Confirmations } from "../../src/vmg/link/confirmations.ts";
import { Inbox } from "../../src/vmg/link/inbox.ts";
import { Link } from "../../src/vmg/link/link.ts";
import { systemNetwork } from "../../src/vmg/link/network.ts";
import { Outbox } from "../../src/vmg/link/outbox.ts";
import { CommandLog } from "../../src/vmg/state/command_log.ts";
import { StateDatabase } from "../../src/vmg/state/database.ts";

/** What the process is given. */
export interface LinkVehicles {
  /** Folder with a folder for each vehicle. */
  directory: string;
  pki: string;
  vehicles: { vin: string; vmgId: string }[];
  https: { hostname: string; port: number };
  /** `serverName`: what the broker's certificate says. */
  mqtt: { hostname: string; port: number; serverName: string };
  /** `server`: the broker is an external one, and an OpenSSL of before ML-KEM. */
  acknowledgedBy: AcknowledgedBy;
  /** Milliseconds between two messages of a vehicle; 0: none are made. */
  interval: number;
  /** Milliseconds until HTTPS takes MQTT's place. */
  fallbackAfter: number;
  keepalive: number;
}

/** What a vehicle's database says. */
export interface VehicleCount {
  /** Telemetry that was queued: `count` 0 … made - 1. */
  made: number;
  /** Requests that were acted on, in order; one twice if it was acted on twice. */
  acted: string[];
  /** Messages that wait. */
  waiting: number;
}

/** Where a vehicle's database is. */
export function vehicleDirectory(directory: string, vin: string): string {
  return `${directory}/${vin}`;
}

/** Reads a vehicle's database, beside the process that has it. */
export function countOf(directory: string, vin: string): VehicleCount {
  const sqlite = new DatabaseSync(`${vehicleDirectory(directory, vin)}/vmg.db`, { readOnly: true });
  try {
    const one = (sql: string) => Number(Object.values(sqlite.prepare(sql).get() ?? {})[0]);
    return {
      made: one("SELECT made FROM test_made"),
      acted: sqlite.prepare("SELECT request_id FROM test_acted ORDER BY rowid").all()
        .map(({ request_id }) => String(request_id)),
      waiting: one("SELECT count(*) FROM outbox"),
    };
  } finally {
    sqlite.close();
  }
}

async function start(options: LinkVehicles, vehicle: { vin: string; vmgId: string }): Promise<void> {
  const { vin, vmgId } = vehicle;
  const { trust, ...credentials } = await loadCredentials(options.pki, `vehicle-${vin}`);
  const log = createLogger({
    level: Deno.env.get("LINK_VEHICLES_LOG") === "debug" ? "debug" : "warn",
    write: (line) => console.error(`${vmgId} ${line}`),
    color: false,
  });
  const state = StateDatabase.open(vehicleDirectory(options.directory, vin));
  state.sqlite.exec(`
    CREATE TABLE IF NOT EXISTS test_made (id INTEGER PRIMARY KEY CHECK (id = 1), made INTEGER NOT NULL);
    INSERT INTO test_made VALUES (1, 0) ON CONFLICT DO NOTHING;
    CREATE TABLE IF NOT EXISTS test_acted (request_id TEXT NOT NULL);
  `);
  const made = state.sqlite.prepare("UPDATE test_made SET made = made + 1 RETURNING made");
  const acted = state.sqlite.prepare("INSERT INTO test_acted VALUES (?)");
  const outbox = new Outbox(state, { maxCount: 1_000_000 });
  const confirmations = new Confirmations({ state, outbox, timeout: 2_000, log });
  confirmations.told(options.acknowledgedBy);
  const commands = new CommandLog(state);
  const inbox = new Inbox({
    vin,
    vmgId,
    commands,
    log,
    onControl: () => {},
    onDiagnostic: ({ message_id, request_id, ecu_id, service_id }) => {
      acted.run(request_id);
      const payload = {
        request_id,
        ecu_id,
        service_id,
        response_data: "62F190",
        timestamp: new Date().toISOString(),
      };
      outbox.add({ topic: topicOf(vmgId, "diagnostics"), payload, kind: "answer" });
      commands.finish(message_id);
    },
    onConfig: () => {},
  });
  const take = (topic: string, payload: Uint8Array) => inbox.take(topic, payload);
  const link: Link = new Link({
    vin,
    vmgId,
    target: options.mqtt,
    credentials,
    profile: options.acknowledgedBy === "server" ? profileById(0) : undefined,
    trust,
    outbox,
    confirmations,
    reconnectDelay: 50,
    maxReconnectDelay: 500,
    keepalive: options.keepalive,
    connectTimeout: 5_000,
    inFlight: 20,
    network: systemNetwork,
    addressInterval: 10_000,
    interfaceInterval: 10_000,
    onMessage: take,
    onConnected: () => communication.linkUp(),
    log,
  });
  const dispatcher = httpsAgent({ credentials, trust, serverName: "127.0.0.1" });
  const communication: CommunicationManager = new CommunicationManager({
    vin,
    rest: new RestClient({
      origin: `https://${options.https.hostname}:${options.https.port}`,
      dispatcher,
      timeout: 5_000,
    }),
    outbox,
    away: () => link.away,
    take,
    fallbackAfter: options.fallbackAfter,
    pollInterval: 500,
    batchInterval: 100,
    holdTime: 500,
    log,
  });
  communication.start();
  link.start();
  if (options.interval === 0) return;
  setInterval(() => {
    state.transaction(() => {
      const count = Number(made.get()?.made) - 1;
      const payload = { count, timestamp: new Date().toISOString() };
      outbox.add({ topic: topicOf(vmgId, "telemetry"), payload, kind: "telemetry" });
    });
  }, options.interval * (0.5 + Math.random()));
}

if (import.meta.main) {
  const options: LinkVehicles = JSON.parse(Deno.args[0]);
  for (const vehicle of options.vehicles) await start(options, vehicle);
  console.log("running");
}
