// The numbers of ISO 13400-2, each once, with its place in the 2019 edition beside it.

/** UDP_DISCOVERY and unsecured TCP_DATA port (ISO 13400-2:2019, Tables 41 and 39). */
export const doipPort = 13400;

/** Length of the generic header (Table 16). */
export const headerLength = 8;

/** Protocol versions that the header can carry (Table 16). */
export const protocolVersions = {
  /** ISO/DIS 13400-2:2010. */
  iso2010: 0x01,
  /** ISO 13400-2:2012. */
  iso2012: 0x02,
  /** ISO 13400-2:2019. */
  iso2019: 0x03,
  /** ISO 13400-2:2019/Amd1. */
  iso2019Amd1: 0x04,
  /** "Any": allowed in vehicle identification requests only. */
  identification: 0xff,
} as const;

/** Payload types (Table 17). */
export const payloadTypes = {
  headerNack: 0x0000,
  identificationRequest: 0x0001,
  identificationRequestEid: 0x0002,
  identificationRequestVin: 0x0003,
  announcement: 0x0004,
  routingActivationRequest: 0x0005,
  routingActivationResponse: 0x0006,
  aliveCheckRequest: 0x0007,
  aliveCheckResponse: 0x0008,
  entityStatusRequest: 0x4001,
  entityStatusResponse: 0x4002,
  powerModeRequest: 0x4003,
  powerModeResponse: 0x4004,
  diagnosticMessage: 0x8001,
  diagnosticAck: 0x8002,
  diagnosticNack: 0x8003,
} as const;

/** What the standard says about one payload type. */
export interface PayloadRule {
  readonly name: string;
  /** Table of ISO 13400-2:2019 that lays the payload out. */
  readonly table: string;
  readonly carrier: "udp" | "tcp" | "both";
  /** Payload lengths that are right: a list, or a least length where the rest is user data. */
  readonly lengths: readonly number[] | { readonly atLeast: number };
}

/** All payload types with their layout, carrier and lengths (Table 17 and the table named). */
export const payloadRules: ReadonlyMap<number, PayloadRule> = new Map<number, PayloadRule>([
  [0x0000, { name: "generic header NACK", table: "18", carrier: "both", lengths: [1] }],
  [0x0001, { name: "vehicle identification request", table: "2", carrier: "udp", lengths: [0] }],
  [0x0002, { name: "vehicle identification request with EID", table: "3", carrier: "udp", lengths: [6] }],
  [0x0003, { name: "vehicle identification request with VIN", table: "4", carrier: "udp", lengths: [17] }],
  // The VIN/GID sync status is optional: 32 or 33 bytes.
  [0x0004, { name: "vehicle announcement", table: "5", carrier: "udp", lengths: [32, 33] }],
  // The last four, OEM specific bytes are optional here and in the response.
  [0x0005, { name: "routing activation request", table: "46", carrier: "tcp", lengths: [7, 11] }],
  [0x0006, { name: "routing activation response", table: "48", carrier: "tcp", lengths: [9, 13] }],
  [0x0007, { name: "alive check request", table: "27", carrier: "tcp", lengths: [0] }],
  [0x0008, { name: "alive check response", table: "28", carrier: "tcp", lengths: [2] }],
  [0x4001, { name: "entity status request", table: "10", carrier: "udp", lengths: [0] }],
  // The maximum data size is optional.
  [0x4002, { name: "entity status response", table: "11", carrier: "udp", lengths: [3, 7] }],
  [0x4003, { name: "power mode request", table: "8", carrier: "udp", lengths: [0] }],
  [0x4004, { name: "power mode response", table: "9", carrier: "udp", lengths: [1] }],
  // Two addresses and at least one byte of user data.
  [0x8001, { name: "diagnostic message", table: "21", carrier: "tcp", lengths: { atLeast: 5 } }],
  // What follows the code is the beginning of the acknowledged message, optional.
  [0x8002, { name: "diagnostic message positive ack", table: "23", carrier: "tcp", lengths: { atLeast: 5 } }],
  [0x8003, { name: "diagnostic message negative ack", table: "25", carrier: "tcp", lengths: { atLeast: 5 } }],
]);

/** Generic header NACK codes (Table 19). */
export const headerNackCodes = {
  incorrectPattern: 0x00,
  unknownPayloadType: 0x01,
  messageTooLarge: 0x02,
  outOfMemory: 0x03,
  invalidPayloadLength: 0x04,
} as const;

/** Table 19 in words. */
export const headerNackMeanings: ReadonlyMap<number, string> = new Map([
  [0x00, "incorrect pattern format"],
  [0x01, "unknown payload type"],
  [0x02, "message too large"],
  [0x03, "out of memory"],
  [0x04, "invalid payload length"],
]);

/** Header NACK codes after which the TCP socket is closed (Table 19). */
export const headerNacksThatClose: ReadonlySet<number> = new Set([0x00, 0x04]);

/** Routing activation types (Table 47). */
export const activationTypes = {
  default: 0x00,
  wwhObd: 0x01,
  centralSecurity: 0xe0,
} as const;

/** Routing activation response codes (Table 49). */
export const routingActivationCodes = {
  unknownSourceAddress: 0x00,
  allSocketsInUse: 0x01,
  differentSourceAddress: 0x02,
  sourceAddressInUse: 0x03,
  missingAuthentication: 0x04,
  rejectedConfirmation: 0x05,
  unsupportedType: 0x06,
  tlsRequired: 0x07,
  success: 0x10,
  confirmationRequired: 0x11,
} as const;

/** Table 49 in words. */
export const routingActivationMeanings: ReadonlyMap<number, string> = new Map([
  [0x00, "unknown source address"],
  [0x01, "all supported TCP sockets are registered and active"],
  [0x02, "source address differs from the one registered on this socket"],
  [0x03, "source address is registered and active on another socket"],
  [0x04, "missing authentication"],
  [0x05, "confirmation rejected"],
  [0x06, "unsupported routing activation type"],
  [0x07, "activation type requires TLS"],
  [0x10, "routing activated"],
  [0x11, "routing will be activated after confirmation"],
]);

/** Denials after which the TCP socket stays open (Table 49): authentication can follow on it. */
export const denialsThatKeepTheSocket: ReadonlySet<number> = new Set([0x04]);

/** Diagnostic message negative acknowledge codes (Table 26). */
export const diagnosticNackCodes = {
  invalidSourceAddress: 0x02,
  unknownTargetAddress: 0x03,
  messageTooLarge: 0x04,
  outOfMemory: 0x05,
  targetUnreachable: 0x06,
  unknownNetwork: 0x07,
  transportProtocolError: 0x08,
} as const;

/** A code of Table 26. */
export type DiagnosticNackCode = (typeof diagnosticNackCodes)[keyof typeof diagnosticNackCodes];

/** Table 26 in words. */
export const diagnosticNackMeanings: ReadonlyMap<number, string> = new Map([
  [0x02, "invalid source address"],
  [0x03, "unknown target address"],
  [0x04, "diagnostic message too large"],
  [0x05, "out of memory"],
  [0x06, "target unreachable"],
  [0x07, "unknown network"],
  [0x08, "transport protocol error"],
]);

/** VIN/GID synchronization status (Table 7). */
export const syncStatus = { synchronized: 0x00, incomplete: 0x10 } as const;

/** Further action code (Table 6). */
export const furtherActions = { none: 0x00, centralSecurity: 0x10 } as const;

/** Node type of the entity status response (Table 11). */
export const nodeTypes = { gateway: 0x00, node: 0x01 } as const;

/** Diagnostic power mode (Table 9). */
export const powerModes = { notReady: 0x00, ready: 0x01, notSupported: 0x02 } as const;

/** Timing and communication parameters of ISO 13400-2:2019, with its names; milliseconds where nothing else is said. */
export const timing = {
  /** A_DoIP_Ctrl: how long a tester waits for a UDP or routing activation response. */
  control: 2_000,
  /** A_DoIP_Announce_Wait: random delay, 0 to this, before an announcement or identification response. */
  announceWait: 500,
  /** A_DoIP_Announce_Interval: between two announcements. */
  announceInterval: 500,
  /** A_DoIP_Announce_Num: how often an entity announces itself (a count). */
  announceCount: 3,
  /** A_DoIP_Diagnostic_Message: how long a tester waits for the acknowledgement of a diagnostic message. */
  diagnosticMessage: 2_000,
  /** T_TCP_Initial_Inactivity: from connection to routing activation. */
  initialInactivity: 2_000,
  /** T_TCP_General_Inactivity: since anything was received or sent on an activated socket. */
  generalInactivity: 300_000,
  /** T_TCP_Alive_Check: how long an entity waits for an alive check response. */
  aliveCheck: 500,
  /** A_Vehicle_Discovery_Timer: how long a vehicle's entities have to agree on VIN and GID. */
  vehicleDiscovery: 5_000,
} as const;

/** Ranges of logical addresses (Table 13). */
export const addressRanges = {
  /** Client DoIP entities: external testers. */
  tester: { first: 0x0e00, last: 0x0fff },
  /** Functional groups, defined by the vehicle manufacturer. */
  functional: { first: 0xe400, last: 0xefff },
} as const;

/** Whether a logical address means a functional group (Table 13). */
export function isFunctionalAddress(address: number): boolean {
  return address >= addressRanges.functional.first && address <= addressRanges.functional.last;
}

/** A number as messages show it: `0x0E00`. */
export function hex(value: number, digits = 4): string {
  return `0x${value.toString(16).toUpperCase().padStart(digits, "0")}`;
}
