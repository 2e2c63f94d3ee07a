// The server's store: opens the database, brings its schema up to date, and gives the repositories, one a subject.
import { Anomalies } from "./anomalies.ts";
import { BrokerClients } from "./broker_clients.ts";
import { Campaigns } from "./campaigns.ts";
import { Commands } from "./commands.ts";
import type { Context } from "./context.ts";
import type { Database, TransactionOptions } from "./database.ts";
import { dumpBeside, type DumpOptions } from "./dump.ts";
import { Diagnostics } from "./diagnostics.ts";
import { DirectorStore } from "./director.ts";
import { EcuKeys } from "./ecu_keys.ts";
import { Images } from "./images.ts";
import { Inbound } from "./inbound.ts";
import { migrate } from "./migrate.ts";
import { migrations } from "./migrations/mod.ts";
import { MqttSessions } from "./mqtt_sessions.ts";
import { Packages } from "./packages.ts";
import { openPglite } from "./pglite.ts";
import { openPostgres } from "./postgres.ts";
import { Retention } from "./retention.ts";
import { StatisticsStore } from "./statistics.ts";
import { TelemetryStore } from "./telemetry.ts";
import { Updates } from "./updates.ts";
import { Vci } from "./vci.ts";
import { Vehicles } from "./vehicles.ts";

export * from "./errors.ts";
export type * from "./anomalies.ts";
export type * from "./broker_clients.ts";
export type * from "./commands.ts";
export type { DumpOptions } from "./dump.ts";
export type { Database, Param, Sql, TransactionOptions } from "./database.ts";
export type * from "./diagnostics.ts";
export type * from "./director.ts";
export type * from "./ecu_keys.ts";
export type * from "./images.ts";
export { targetKey } from "./images.ts";
export type * from "./inbound.ts";
export type * from "./mqtt_sessions.ts";
export type * from "./packages.ts";
export type { Page, PageRequest } from "./page.ts";
export type * from "./retention.ts";
export type * from "./statistics.ts";
export type * from "./telemetry.ts";
export type * from "./update_rows.ts";
export { isFinal } from "./update_rows.ts";
export type * from "./vci.ts";
export type * from "./vehicles.ts";

/** Every query of the server, by subject. */
export interface Repositories {
  readonly vehicles: Vehicles;
  readonly vci: Vci;
  readonly images: Images;
  readonly packages: Packages;
  readonly updates: Updates;
  readonly campaigns: Campaigns;
  readonly commands: Commands;
  readonly diagnostics: Diagnostics;
  readonly telemetry: TelemetryStore;
  readonly anomalies: Anomalies;
  readonly director: DirectorStore;
  readonly ecuKeys: EcuKeys;
  readonly inbound: Inbound;
  readonly mqttSessions: MqttSessions;
  readonly brokerClients: BrokerClients;
  readonly statistics: StatisticsStore;
  readonly retention: Retention;
}

export interface Store extends Repositories {
  readonly kind: Database["kind"];
  /**
   * Runs `fn` with repositories that share one transaction: all of it is committed when `fn` resolves, none when it rejects.
   * Inside, only `tx` may be used: the embedded database has one connection, a call beside it would wait for itself.
   */
  transaction<T>(fn: (tx: Repositories) => Promise<T>, options?: TransactionOptions): Promise<T>;
  /** A new identifier. */
  newId(): string;
  /** @throws StoreError when the database does not answer */
  ping(): Promise<void>;
  /** Gives space back and refreshes the planner's figures where the database does not do that by itself. */
  tidy(): Promise<void>;
  /** Writes the whole database down as it is at one moment, as lines of dump_lines.ts; work goes on meanwhile. */
  dump(options: DumpOptions): Promise<void>;
  /** Waits for what runs (a few seconds at most), then closes. */
  close(): Promise<void>;
}

export interface StoreOptions {
  /** postgresql://…; the embedded database when absent or empty. */
  url?: string;
  /** Where the embedded database lives. */
  directory: string;
  /** Connections to a PostgreSQL server, at most. @default 10 */
  maxConnections?: number;
  /** @default the system's clock */
  now?: () => Date;
  /** @default crypto.randomUUID */
  newId?: () => string;
  /** Ends the wait for the database to open. */
  signal?: AbortSignal;
}

/**
 * Opens the store and brings its schema up to date.
 * @throws DatabaseUnavailableError, DatabaseLockedError, SchemaVersionError with what to do about it
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  const { url, directory, maxConnections, signal } = options;
  const database = url
    ? await openPostgres({ url, connections: maxConnections, signal })
    : await openPglite({ directory, signal });
  try {
    await migrate(database, migrations, signal);
  } catch (error) {
    await database.close();
    throw error;
  }
  return createStore(database, options);
}

/** The store on an open database whose schema is up to date; `directory` is where the embedded one lives. */
export function createStore(
  database: Database,
  options: Pick<StoreOptions, "now" | "newId"> & { directory?: string } = {},
): Store {
  const { now = () => new Date(), newId = () => crypto.randomUUID(), directory = "" } = options;
  return {
    ...repositories({ sql: database, now, newId }),
    kind: database.kind,
    transaction: (fn, limits) => database.transaction((sql) => fn(repositories({ sql, now, newId })), limits),
    newId,
    ping: async () => {
      await database.query("select 1");
    },
    tidy: async () => {
      // A PostgreSQL server has autovacuum; the embedded one has no background processes.
      if (database.kind === "pglite") await database.query("vacuum (analyze)");
    },
    dump: (options) => dumpBeside(database, directory, options),
    close: () => database.close(),
  };
}

function repositories(context: Context): Repositories {
  return {
    vehicles: new Vehicles(context),
    vci: new Vci(context),
    images: new Images(context),
    packages: new Packages(context),
    updates: new Updates(context),
    campaigns: new Campaigns(context),
    commands: new Commands(context),
    diagnostics: new Diagnostics(context),
    telemetry: new TelemetryStore(context),
    anomalies: new Anomalies(context),
    director: new DirectorStore(context),
    ecuKeys: new EcuKeys(context),
    inbound: new Inbound(context),
    mqttSessions: new MqttSessions(context),
    brokerClients: new BrokerClients(context),
    statistics: new StatisticsStore(context),
    retention: new Retention(context),
  };
}
