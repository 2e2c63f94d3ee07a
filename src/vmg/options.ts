// What a gateway is started with.

import type { CodecPool } from "../codec/pool.ts";
import type { VerifyKey } from "../pqc/signature.ts";
import type { Profile } from "../pqc/profiles.ts";
import type { Credentials, TlsEngine } from "../tls/types.ts";
import type { Logger } from "../log.ts";
import type { SignatureAlgorithm } from "../uptane/keys.ts";
import type { RepositoryName } from "../uptane/models.ts";
import type { Limits } from "../uptane/store.ts";
import type { Network } from "./link/network.ts";
import type { TelemetrySource } from "./telemetry.ts";
import type { InstalledSoftware } from "./uptane/version_reports.ts";
import type { VehicleDescription } from "./vehicle.ts";

/** Options of `startVmg()`. */
export interface VmgOptions {
  vehicle: VehicleDescription;
  /** Folder of this vehicle's state, e.g. `data/vmg/{VIN}`; made when it is not there. One gateway at a time uses it. */
  directory: string;
  /** The vehicle's certificate and key: the common name is `vehicle-{VIN}`. */
  credentials: Credentials;
  /** The profile of its links. @default the default profile, 2 */
  profile?: Profile;
  /** The profile of its MQTT link, where that is another one. @default as `profile` */
  mqttProfile?: Profile;
  /** What carries TLS. @default "wasm" */
  tlsEngine?: TlsEngine;
  /** The machine's clock, ms since 1970, by which the server's certificate is good or not. @default Date.now */
  machineClock?: () => number;
  /** Certificates, PEM, that the server's chain must end in. */
  trust: string;
  /** Public keys whose signature on a package is accepted. At least one. */
  packageKeys: readonly VerifyKey[];
  /** Signed metadata of updates, and version reports. */
  uptane: UptaneOptions;
  /** Threads that verify and decompress packages; the caller closes them after the gateway. */
  pool: CodecPool;
  /** Where the REST interface is. */
  https: HttpsTarget;
  /** Where the broker is. */
  mqtt: MqttTarget;
  log: Logger;
  /** Measured values. @default no telemetry is sent */
  telemetry?: TelemetrySource;
  /** Starts updates itself when the server says that ECUs are outdated. @default false */
  autoUpdate?: boolean;
  bus?: BusSettings;
  link?: LinkSettings;
  update?: UpdateSettings;
  diagnostics?: DiagnosticSettings;
}

/** Signed metadata of updates, and version reports. */
export interface UptaneOptions {
  /** The first root of each repository, as it was handed over; used until there are trusted ones in the state. */
  roots: Readonly<Record<RepositoryName, Uint8Array>>;
  /** What the gateway itself runs. */
  software: InstalledSoftware;
  /** Algorithm of the gateway's own key, should there be none yet. @default "ml-dsa-65" */
  keyAlgorithm?: SignatureAlgorithm;
  /** Bounds of metadata. @default `defaultLimits` of src/uptane/store.ts */
  limits?: Partial<Limits>;
}

/** The REST interface. */
export interface HttpsTarget {
  hostname: string;
  port: number;
  /** Name that the server's certificate must carry. @default hostname */
  serverName?: string;
}

/** The MQTT broker. */
export type MqttTarget = HttpsTarget;

/** Paths to the ECUs. Times in milliseconds. */
export interface BusSettings {
  /** The gateway's own DoIP address as a tester. @default 0x0E00 */
  sourceAddress?: number;
  /** Longest TCP connect to a zonal gateway. @default 2000 */
  connectTimeout?: number;
  /** Tries to connect before a request fails. @default 3 */
  connectAttempts?: number;
  /** Wait before the second try; it doubles. @default 250 */
  retryDelay?: number;
  /** How long an adapter that does not open is answered for without another try. @default 2000 */
  downFor?: number;
  /** First wait between the tries in the background that follow; it doubles. @default 1000 */
  gatewayRetryDelay?: number;
  /** Largest such wait. @default 30000 */
  maxGatewayRetryDelay?: number;
  /** First wait before an adapter that was unplugged is looked for; it doubles. @default 1000 */
  adapterRetryDelay?: number;
  /** Largest such wait. @default 30000 */
  maxAdapterRetryDelay?: number;
  /** How long a diagnostic session is held after the last request. @default 10000 */
  sessionHold?: number;
  /** Longest wait for the ECU's turn when another request to it is under way. @default 30000 */
  turnTimeout?: number;
  /** Requests to one zonal gateway's ECUs at once while the configuration is read. @default 4 */
  parallelReads?: number;
  /** Added to P2 and P2* for the way there and back. @default 1000 */
  latency?: number;
}

/** The link to the server. Times in milliseconds. */
export interface LinkSettings {
  /** First upper bound of the wait before another try; it doubles. @default 1000 */
  reconnectDelay?: number;
  /** Largest upper bound. @default 60000 */
  maxReconnectDelay?: number;
  /** MQTT keep-alive in seconds. @default 30 */
  keepalive?: number;
  /** Longest TCP connect, TLS handshake and MQTT connect, each. @default 10000 */
  connectTimeout?: number;
  /** Messages sent and not yet acknowledged. @default 20 */
  inFlight?: number;
  /** Time between heartbeats. @default 30000 */
  heartbeatInterval?: number;
  /** Time between telemetry messages. @default 10000 */
  telemetryInterval?: number;
  /** Messages that wait at most. @default 10000 */
  queueCount?: number;
  /** Bytes of payload that wait at most. @default 33554432 (32 MiB) */
  queueBytes?: number;
  /** How long a message waits at most; how an update ended waits for ever. @default 604800000 (7 days) */
  queueAge?: number;
  /** Time between two looks at interfaces and route. @default 10000 */
  addressInterval?: number;
  /** Time between two looks at the interfaces alone. @default 500 */
  interfaceInterval?: number;
  /** @default the machine's */
  network?: Network;
  /** With an external broker: how long a message waits for the server's word before it is sent again. @default 10000 */
  acknowledgeTimeout?: number;
  /** How long MQTT may be away before HTTPS takes its place. @default 30000 */
  fallbackAfter?: number;
  /** Time between two questions for commands over HTTPS. @default 60000 */
  pollInterval?: number;
  /** Least time between two batches of messages over HTTPS. @default 1000 */
  batchInterval?: number;
  /** How long MQTT must be up until it counts again. @default 5000 */
  holdTime?: number;
  /** Longest wait for an HTTPS answer. @default 30000 */
  requestTimeout?: number;
}

/** Updates. Times in milliseconds. */
export interface UpdateSettings {
  /** Largest package in bytes. @default 8589934592 (8 GiB) */
  maxPackageSize?: number;
  /** Bytes that stay free on the disk. @default 67108864 (64 MiB) */
  minFreeDisk?: number;
  /** How long a download that gets no new byte is tried again. @default 3600000 */
  downloadPatience?: number;
  /**
   * Bytes a second: a download that is slower for as long as `downloadPatience`, times without an answer not counted, is given up. 0:
   * none is.
   * @default 256
   */
  minDownloadRate?: number;
  /** First wait before a download is tried again; it doubles. @default 1000 */
  retryDelay?: number;
  /** Largest wait before a download is tried again. @default 60000 */
  maxRetryDelay?: number;
  /** Least time between two reports of progress alone. @default 1000 */
  reportInterval?: number;
  /** ECUs of one zonal gateway whose images are transferred at once. @default 1 */
  parallelFlash?: number;
  /** Longest time for all ECUs together to confirm their new software. @default 60000 */
  confirmTimeout?: number;
  /** How long an ECU that does not go back to its old software is tried again. @default 600000 */
  rollBackPatience?: number;
  /** What must hold in the vehicle before ECUs are changed, beside what a package asks for. @default nothing */
  conditions?: readonly UpdateCondition[];
  /** How long it is waited for that. @default 3600000 */
  conditionTimeout?: number;
  /**
   * What a parked vehicle is, for updates that wait for one. @default speed is 0, and ignition and gear are where they are
   * measured
   */
  parked?: readonly UpdateCondition[];
  /** How long it is waited until the vehicle is parked. @default 86400000 (a day) */
  parkedTimeout?: number;
  /** How long it is waited for an approval. @default 604800000 (7 days) */
  approvalTimeout?: number;
  /** Time between two reports while the vehicle waits. @default 60000 */
  waitReportInterval?: number;
  /** Time between two looks at it. @default 1000 */
  conditionInterval?: number;
  /**
   * Bytes of installed images that are kept, the newest: the next update can then be a delta to them. 0 keeps none.
   * @default 1073741824 (1 GiB)
   */
  keepImages?: number;
  /** Bytes that are written to the ECUs' fingerprint identifier: who flashed. @default the gateway's id in ASCII, at most 16 bytes */
  fingerprint?: Uint8Array;
}

/** A measured value within limits. */
export interface UpdateCondition {
  /** Name as in telemetry, e.g. `speed`. */
  readonly signal: string;
  /** @default none */
  readonly min?: number | undefined;
  /** @default none */
  readonly max?: number | undefined;
  /** Holds where the signal is not measured. @default false */
  readonly ifMeasured?: boolean | undefined;
}

/** Remote diagnosis. Times in milliseconds. */
export interface DiagnosticSettings {
  /** Requests under way at once. @default 16 */
  parallel?: number;
  /** Requests that wait at most; a further one is refused. @default 1000 */
  waiting?: number;
  /** Longest time from the request's arrival to its answer. @default 20000 */
  timeout?: number;
}
