// What a DoIP entity is told about itself: options with defaults, checked when the entity is made.

import type { DiagnosticEndpoint } from "../uds/transport.ts";
import {
  activationTypes,
  addressRanges,
  type DiagnosticNackCode,
  doipPort,
  furtherActions,
  nodeTypes,
  powerModes,
  protocolVersions,
  routingActivationCodes,
  syncStatus,
  timing,
} from "./constants.ts";
import { streamVersions } from "./framer.ts";
import { checkUint, checkVin } from "./message.ts";
import { checkMilliseconds, type Clock, systemClock } from "../clock.ts";
import type { NetworkTap } from "../trace/tap.ts";

/** Where a UDP message goes. */
export interface UdpDestination {
  hostname: string;
  port: number;
}

/** A tester that asks for routing. */
export interface ActivationRequest {
  sourceAddress: number;
  activationType: number;
  /** Four bytes for the vehicle manufacturer. */
  oem?: number;
  /** Whether the connection is TLS. */
  secure: boolean;
}

/** What authentication and confirmation come to (Table 49). */
export type ActivationVerdict =
  | { code: typeof routingActivationCodes.success }
  | { code: typeof routingActivationCodes.missingAuthentication }
  | { code: typeof routingActivationCodes.rejectedConfirmation }
  /** Somebody has to confirm at the vehicle: a second response follows, 0x10 for true, 0x05 for false. */
  | { code: typeof routingActivationCodes.confirmationRequired; confirmed: Promise<boolean> };

/** Who may activate routing. */
export interface ActivationRules {
  /** Source addresses known to the entity. @default {[{ first: 0x0E00, last: 0x0FFF }]} */
  testers?: readonly { first: number; last: number }[];
  /** Activation types supported. @default {[0x00, 0x01]} */
  types?: readonly number[];
  /** Activation types that need TLS. @default {[]} */
  tlsTypes?: readonly number[];
  /** Authentication and confirmation. @default success */
  authorize?: (request: ActivationRequest) => ActivationVerdict | Promise<ActivationVerdict>;
}

/** Times in milliseconds. */
export interface EntityTimers {
  /** T_TCP_Initial_Inactivity. @default {2000} */
  initialInactivity?: number;
  /** T_TCP_General_Inactivity. @default {300000} */
  generalInactivity?: number;
  /** T_TCP_Alive_Check. @default {500} */
  aliveCheck?: number;
  /** A_DoIP_Announce_Wait: identification responses and the first announcement wait 0 to this. @default {500} */
  announceWait?: number;
  /** A_DoIP_Announce_Interval. @default {500} */
  announceInterval?: number;
  /** How long a peer may take no bytes while more than a quarter of the limit waits for it. @default {10000} */
  send?: number;
  /** How long a refused connection may take to read the refusal. @default {1000} */
  linger?: number;
}

/** What an entity is and may be asked. */
export interface DoipEntityOptions {
  /** Address to listen on. */
  hostname: string;
  /** TCP port; 0 takes a free one. @default {13400} */
  port?: number;
  /** UDP port; false for no UDP. @default the TCP port */
  udpPort?: number | false;
  /** 17 characters, or "" for a vehicle without. */
  vin: string;
  /** The entity's own logical address. It is no ECU unless `nodes` has it too. */
  logicalAddress: number;
  /** 6 bytes, usually the MAC address. */
  eid: Uint8Array;
  /** 6 bytes. */
  gid: Uint8Array;
  /** The ECUs by logical address. */
  nodes: ReadonlyMap<number, DiagnosticEndpoint>;
  /** Functional addresses, each with the logical addresses of the ECUs that listen to it. @default none */
  functional?: ReadonlyMap<number, readonly number[]>;
  /** 0 gateway, 1 node (Table 11). @default {0} */
  nodeType?: number;
  /** Concurrently activated TCP sockets, 1 to 254 (MCTS); one more may be open for the alive check. @default {32} */
  maxTcpConnections?: number;
  /** Longest payload taken in bytes (MDS). @default {1048576} */
  maxDataSize?: number;
  /** Bytes that may wait for one peer before its connection is closed. @default {4 × maxDataSize, at least 4 MiB} */
  maxPendingBytes?: number;
  activation?: ActivationRules;
  /** Where to announce the entity when it starts (0x0004). @default nowhere */
  announce?: { destinations: readonly UdpDestination[]; /** @default {3} */ count?: number };
  /** Diagnostic power mode (Table 9). @default {1} */
  powerMode?: number | (() => number);
  /** Further action of the announcement (Table 6). @default {0x00} */
  furtherAction?: number;
  /** VIN/GID synchronization status (Table 7); "absent" sends 32 bytes. @default {0x00} */
  syncStatus?: number | "absent";
  /**
   * Asked before a diagnostic message is acknowledged; a code of Table 26 refuses it, e.g. 0x06 for an ECU that is
   * off or 0x04 for one that takes no message of this length. @default every message is taken
   */
  admit?: (target: number, request: Uint8Array, tester: number) => DiagnosticNackCode | undefined;
  /**
   * Bytes of memory that there are for one more message; a message with a longer payload gets header NACK 0x03 and is
   * skipped (Table 19). @default messages up to maxDataSize always find room
   */
  availableMemory?: () => number;
  timers?: EntityTimers;
  /** Version of announcements, of answers to 0xFF and to broken headers. @default {0x02} */
  protocolVersion?: number;
  /** Versions that the entity speaks; it answers in the one in which it was asked. @default {[1, 2, 3, 4]} */
  versions?: readonly number[];
  /** Told what went wrong without anybody to throw at. @default {console.warn} */
  warn?: (message: string) => void;
  /** Records what the entity's own listeners receive and send; not streams given to `accept`. @default nothing is recorded */
  tap?: NetworkTap;
  /** @default the machine's time */
  clock?: Clock;
  /** 0 ≤ x < 1, for the announcement delay. @default {Math.random} */
  random?: () => number;
}

/** Options with every default in place. */
export interface EntitySettings {
  hostname: string;
  port: number;
  udpPort: number | false | undefined;
  vin: string;
  logicalAddress: number;
  eid: Uint8Array;
  gid: Uint8Array;
  nodes: ReadonlyMap<number, DiagnosticEndpoint>;
  functional: ReadonlyMap<number, readonly number[]>;
  nodeType: number;
  maxTcpConnections: number;
  maxDataSize: number;
  maxPendingBytes: number;
  activation: Required<ActivationRules>;
  announce: { destinations: readonly UdpDestination[]; count: number };
  powerMode: () => number;
  furtherAction: number;
  syncStatus: number | undefined;
  admit:
    | ((target: number, request: Uint8Array, tester: number) => DiagnosticNackCode | undefined)
    | undefined;
  availableMemory: () => number;
  timers: Required<EntityTimers>;
  protocolVersion: number;
  versions: ReadonlySet<number>;
  warn: (message: string) => void;
  tap: NetworkTap | undefined;
  clock: Clock;
  random: () => number;
}

/**
 * Checks the options and fills in the defaults.
 *
 * @throws {RangeError} when one is out of range; the message quotes it
 */
export function entitySettings(options: DoipEntityOptions): EntitySettings {
  const maxDataSize = options.maxDataSize ?? 1_048_576;
  const powerMode = options.powerMode ?? powerModes.ready;
  const settings: EntitySettings = {
    hostname: options.hostname,
    port: options.port ?? doipPort,
    udpPort: options.udpPort,
    vin: options.vin,
    logicalAddress: options.logicalAddress,
    eid: new Uint8Array(options.eid),
    gid: new Uint8Array(options.gid),
    nodes: options.nodes,
    functional: options.functional ?? new Map(),
    nodeType: options.nodeType ?? nodeTypes.gateway,
    maxTcpConnections: options.maxTcpConnections ?? 32,
    maxDataSize,
    maxPendingBytes: options.maxPendingBytes ?? Math.max(4_194_304, 4 * maxDataSize),
    activation: {
      testers: options.activation?.testers ?? [addressRanges.tester],
      types: options.activation?.types ?? [activationTypes.default, activationTypes.wwhObd],
      tlsTypes: options.activation?.tlsTypes ?? [],
      authorize: options.activation?.authorize ?? (() => ({ code: routingActivationCodes.success })),
    },
    announce: {
      destinations: options.announce?.destinations ?? [],
      count: options.announce?.count ?? timing.announceCount,
    },
    powerMode: typeof powerMode === "function" ? powerMode : () => powerMode,
    furtherAction: options.furtherAction ?? furtherActions.none,
    syncStatus: options.syncStatus === "absent" ? undefined : options.syncStatus ?? syncStatus.synchronized,
    admit: options.admit,
    availableMemory: options.availableMemory ?? (() => Infinity),
    timers: {
      initialInactivity: options.timers?.initialInactivity ?? timing.initialInactivity,
      generalInactivity: options.timers?.generalInactivity ?? timing.generalInactivity,
      aliveCheck: options.timers?.aliveCheck ?? timing.aliveCheck,
      announceWait: options.timers?.announceWait ?? timing.announceWait,
      announceInterval: options.timers?.announceInterval ?? timing.announceInterval,
      send: options.timers?.send ?? 10_000,
      linger: options.timers?.linger ?? 1_000,
    },
    protocolVersion: options.protocolVersion ?? protocolVersions.iso2012,
    versions: new Set(options.versions ?? streamVersions),
    warn: options.warn ?? console.warn,
    tap: options.tap,
    clock: options.clock ?? systemClock,
    random: options.random ?? Math.random,
  };
  check(settings);
  return settings;
}

function check(settings: EntitySettings): void {
  checkUint(settings.port, 0xffff, "port");
  if (typeof settings.udpPort === "number") checkUint(settings.udpPort, 0xffff, "udpPort");
  if (settings.vin !== "") checkVin(settings.vin);
  checkUint(settings.logicalAddress, 0xffff, "logicalAddress");
  for (const [what, id] of [["eid", settings.eid], ["gid", settings.gid]] as const) {
    if (id.length !== 6) throw new RangeError(`${what} must have 6 bytes, has ${id.length}`);
  }
  for (const address of settings.nodes.keys()) checkUint(address, 0xffff, "address of a node");
  for (const [address, members] of settings.functional) {
    checkUint(address, 0xffff, "functional address");
    if (settings.nodes.has(address)) {
      throw new RangeError(`functional address ${address} is a node's as well`);
    }
    for (const member of members) {
      if (!settings.nodes.has(member)) {
        throw new RangeError(`functional address ${address} names node ${member}, which does not exist`);
      }
    }
  }
  checkUint(settings.nodeType, 0xff, "nodeType");
  checkUint(settings.maxTcpConnections, 254, "maxTcpConnections");
  if (settings.maxTcpConnections === 0) throw new RangeError("maxTcpConnections must be 1 to 254, is 0");
  checkUint(settings.maxDataSize, 0xffff_ffff, "maxDataSize");
  checkUint(settings.maxPendingBytes, Number.MAX_SAFE_INTEGER, "maxPendingBytes");
  checkUint(settings.announce.count, 0xff, "announce.count");
  checkUint(settings.furtherAction, 0xff, "furtherAction");
  if (settings.syncStatus !== undefined) checkUint(settings.syncStatus, 0xff, "syncStatus");
  for (const [name, value] of Object.entries(settings.timers)) checkMilliseconds(value, `timers.${name}`);
  for (const version of [settings.protocolVersion, ...settings.versions]) {
    if (!streamVersions.has(version)) throw new RangeError(`a DoIP version must be 1 to 4, is ${version}`);
  }
}
