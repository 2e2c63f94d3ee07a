// What the server is started with. Times are in milliseconds, sizes in bytes.

import type { InventoryEntry } from "../contract/uptane.ts";
import type { Logger } from "../log.ts";
import type { Profile } from "../pqc/profiles.ts";
import type { SigningKey } from "../pqc/signature.ts";
import type { Credentials, Offer, TlsEngine } from "../tls/types.ts";
import type { RepositoryName } from "../uptane/models.ts";
import type { AnomalyRule } from "./telemetry/rules.ts";
import type { RoleSetting, RootRole, Validity } from "./uptane/roles.ts";

export interface HttpsOptions {
  /** @default "0.0.0.0" */
  hostname?: string;
  /** 0 for any free port. @default 8443 */
  port?: number;
  /** Largest JSON body. @default 1048576 */
  maxBody?: number;
  /** Largest firmware file. @default 8589934592 */
  maxFirmware?: number;
  /** Longest time from a connection's begin, or the end of the answer before, to a whole request head. @default 10000 */
  headerTimeout?: number;
  /** Longest silence within a request's body, or within an answer that is not being read. @default 60000 */
  idleTimeout?: number;
  /** How long a connection is kept open without a request. @default 65000 */
  keepAliveTimeout?: number;
  /** @default 2000 */
  maxConnections?: number;
}

export interface MqttOptions {
  /** @default "0.0.0.0" */
  hostname?: string;
  /** 0 for any free port. @default 8883 */
  port?: number;
  /** Largest payload. @default 262144 */
  maxPayload?: number;
  /** @default 2000 */
  maxConnections?: number;
  /** Longest time from the TLS handshake to CONNECT. @default 10000 */
  connectTimeout?: number;
  /** Longest silence of a client that asked for no keep-alive. @default 3600000 */
  maxSilence?: number;
  /** Messages that wait for one client's session at most; the oldest goes first. @default 1000 */
  maxQueued?: number;
  /** Bytes of topics and payloads that wait for one client's session at most. @default 16777216 */
  maxQueuedBytes?: number;
  /** How long a message waits in a session at most. @default 604800000 */
  maxQueuedAge?: number;
}

/** A broker that is there already, MQTT 5.0 with shared subscriptions. The server is its client. */
export interface ExternalBrokerOptions {
  hostname: string;
  port: number;
  /** Name that the broker's certificate must carry. @default hostname */
  serverName?: string;
  /** What the server shows as a client. */
  credentials: Credentials;
  /** The one profile that is offered to the broker. @default the default profile, 2 */
  profile?: Profile;
  /** Certificates, PEM, that the broker's chain must end in. */
  trust: string;
  /** For brokers that want them besides the certificate. */
  username?: string;
  password?: string;
  /** Beginning of the servers' client ids: a number and random digits follow. @default "zonebench-server" */
  clientId?: string;
  /** All servers on one database have the same. @default a random name that they keep in the database */
  shareGroup?: string;
  /** Under which of a vehicle's names it is sent to. @default ["vmg_id"] */
  names?: readonly ("vmg_id" | "vin")[];
  /** Seconds. @default 30 */
  keepalive?: number;
  /** Longest TCP connect with handshake, and longest wait for an answer. @default 10000 */
  connectTimeout?: number;
  /** First upper bound of the wait before another try; it doubles. @default 1000 */
  reconnectDelay?: number;
  /** Largest upper bound. @default 60000 */
  maxReconnectDelay?: number;
  /** Messages from the broker that are not stored yet, at most. @default 1000 */
  inFlight?: number;
  /** Largest payload. @default 262144 */
  maxPayload?: number;
}

export interface LocalOptions {
  /** Port of the plain listener on 127.0.0.1; 0 for any free one. @default 8080 */
  port?: number;
  /** Address of the plain listener; it must be a loopback address. @default "127.0.0.1" */
  hostname?: string;
}

export interface UpdateOptions {
  /** How long a vehicle may be silent in mid-update before the update has failed. @default 1800000 */
  timeout?: number;
  /** How long a command waits for its vehicle before it has expired. @default 86400000 */
  commandTimeout?: number;
  /** First wait before a failed update is tried again; it doubles. @default 30000 */
  retryDelay?: number;
  /** Longest such wait. @default 3600000 */
  maxRetryDelay?: number;
  /** How long a vehicle may be silent once an update's time has run out. @default 300000 */
  deadlineGrace?: number;
}

export interface DiagnosticsOptions {
  /** How long a request waits for its answer. @default 30000 */
  timeout?: number;
}

export interface TelemetryOptions {
  /** Messages that are stored in one transaction at most. @default 500 */
  batchSize?: number;
  /** How long the first message of a batch waits for others. @default 20 */
  batchInterval?: number;
  /** Messages that wait for the database at most; senders are held back above it. @default 20000 */
  maxQueued?: number;
  /** @default none */
  rules?: readonly AnomalyRule[];
}

export interface MaintenanceOptions {
  /** Pause between two runs. @default 10000 */
  interval?: number;
  /** A vehicle is offline after this much silence. @default 90000 */
  offlineAfter?: number;
}

/** How long rows and files are kept. */
export interface RetentionOptions {
  /** @default 30 days */
  telemetry?: number;
  /** @default 90 days */
  anomalies?: number;
  /** @default 90 days */
  diagnostics?: number;
  /** @default 365 days */
  updates?: number;
  /** @default 90 days */
  vci?: number;
  /** @default 90 days */
  addresses?: number;
  /** Packages that no active update needs. @default 7 days */
  packages?: number;
}

/** Signed metadata. */
export interface UptaneOptions {
  /** Folder of the repositories and their keys; servers on one database share it. @default repo in the folder of files */
  directory?: string;
  /** Keys of the roles that a repository is founded with. @default one of ML-DSA-65 for each */
  roles?: Readonly<Record<RepositoryName, Readonly<Record<RootRole, RoleSetting>>>>;
  /** Days that metadata is good. @default root 365, targets 365, snapshot 30, timestamp 7 */
  validity?: Validity;
  /** Whether a report without signatures of ECUs is refused. @default "when_known" */
  versionReports?: "when_known" | "required";
  /** Attested times that one certificate gets in a minute. @default 60 */
  timesPerMinute?: number;
  /** Keys of ECUs that run in this program: they are entered, in place of others. @default none */
  inventory?: readonly InventoryEntry[];
  /** Keys of ECUs that lie where the server runs: entered for vehicles that have none entered otherwise. @default none */
  foundKeys?: readonly InventoryEntry[];
}

export interface ServerOptions {
  /** Directory for everything that the server writes: `db`, and what `filesDirectory` does not take. */
  dataDirectory: string;
  /**
   * Directory for `images`, `packages` and what is being written of them (`tmp`). Servers on one database share it.
   * @default dataDirectory
   */
  filesDirectory?: string;
  /** PostgreSQL at `url`, or the embedded database under the data directory where there is none. */
  database?: { url?: string; maxConnections?: number };
  /** Profiles that are accepted, the preferred one first, each with its own chain. At least one. */
  offers: readonly Offer[];
  /** What carries TLS. @default "wasm" */
  tlsEngine?: TlsEngine;
  /** Certificates, PEM, that a client's chain must end in. */
  trust: string;
  /** Longest TLS handshake. @default 10000 */
  handshakeTimeout?: number;
  /** Whether clients may go on from an earlier connection's session. @default true */
  resumption?: boolean;
  /** Signs the manifests of packages. */
  signingKey: SigningKey;
  https?: HttpsOptions;
  mqtt?: MqttOptions;
  /** Where there is one, no broker is started: `mqtt` counts for its limits alone. */
  externalBroker?: ExternalBrokerOptions;
  local?: LocalOptions;
  /** @default 3 */
  compressionLevel?: number;
  /** Deltas in packages; false: whole images alone. @default deltas of zstd's level 3 */
  deltas?: { level?: number } | false;
  updates?: UpdateOptions;
  diagnostics?: DiagnosticsOptions;
  telemetry?: TelemetryOptions;
  uptane?: UptaneOptions;
  maintenance?: MaintenanceOptions;
  retention?: RetentionOptions;
  /** Longest stop: what is still under way then is cut off. @default 5000 */
  stopTimeout?: number;
  log: Logger;
  /** Ends a start that is under way. */
  signal?: AbortSignal;
}
