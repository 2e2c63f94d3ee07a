// What a simulated bench is made of, as configuration gives it.
import type { NetworkTap } from "../trace/tap.ts";
import type { Acknowledgement } from "../can/slcan_device.ts";
import type { FlashPlan } from "../flash/plan.ts";
import type { ReportAlgorithm } from "../flash/version_report.ts";
import type { IsoTpAddress, IsoTpFunctionalAddress } from "../isotp/address.ts";
import type { IsoTpOptions } from "../isotp/settings.ts";
import type { AuthenticationIdentity } from "../uds/authentication.ts";
import type { SecuritySublayer } from "../uds/secured.ts";
import type { SeedKeyOptions } from "../uds/seed_key.ts";
import type { CanFault } from "./can_faults.ts";

/** Whether erasing, programming and booting take the time they take on hardware. */
export type SimulatedTiming = "realistic" | "none";

/** One region of flash memory. */
export interface FlashRegionOptions {
  /** Name for messages and files: lower-case letters, digits, `_`. */
  name: string;
  /** First address. */
  address: number;
  /** Bytes, a multiple of the sector size. */
  size: number;
  /** Bytes that are erased at once. @default 16384 */
  sectorSize?: number;
  /** Time to erase one sector, ms. @default 25 */
  eraseTime?: number;
  /** Time to program 1,024 bytes, ms. @default 0.8 */
  programTime?: number;
}

/** SecurityAccess of a simulated ECU. */
export interface SimulatedSecurityOptions {
  /** Odd level that unlocks programming. @default 0x01 */
  level?: number;
  /** Algorithm of the key. */
  seedKey: SeedKeyOptions;
  /** Bytes of a seed. @default 16; 4 for the linear algorithm */
  seedLength?: number;
  /** Wrong keys until the delay begins. @default 3 */
  attempts?: number;
  /** Delay after too many wrong keys, ms. @default 10000 */
  delay?: number;
}

/** A DTC that a simulated ECU has stored. */
export interface SimulatedDtcOptions {
  /** Three bytes. */
  code: number;
  /** Status bits, see `DtcStatus`. @default 0x09, failed and confirmed */
  status?: number;
  /** Snapshot records (19 04); data: count of identifiers, then identifiers with their data. @default none */
  snapshots?: SimulatedDtcRecord[];
  /** Extended data records (19 06). @default none */
  extendedData?: SimulatedDtcRecord[];
  /** Bits of `DtcSeverity`. @default no class information */
  severity?: number;
  /** @default 0 */
  functionalUnit?: number;
  /** Functional group, e.g. 0x33 emissions. @default none */
  functionalGroup?: number;
  /** Number of a user defined memory (19 17). @default the primary memory */
  memory?: number;
  /** Whether it has permanent status (19 15). @default false */
  permanent?: boolean;
  /** Fault detection counter. @default 127 when the test failed, else 0 */
  counter?: number;
}

/** A data identifier of a simulated ECU beside those by which it identifies itself. */
export interface SimulatedDataIdentifier {
  did: number;
  /** Hexadecimal; what it is when the ECU leaves the factory. */
  data: string;
  /** Counts up every 100 ms, as a big-endian number as long as `data`. @default false */
  counting?: boolean;
  /** Whether 0x2E writes it, in a session other than the default one. @default false */
  writable?: boolean;
  /** Whether 0x2F controls it, in the extended session. @default false */
  controllable?: boolean;
  /** Scaling bytes for 0x24, hexadecimal, each with its extension behind it. @default none: 0x24 is refused */
  scaling?: string;
}

/** Authentication (0x29) of a simulated ECU. */
export interface SimulatedAuthenticationOptions {
  /** Certificates of the authorities whose testers it takes, X.509 in DER. @default none: no certificate exchange */
  trustAnchors?: readonly Uint8Array[];
  /** Certificates of testers that it knows, for challenge-response. @default none */
  knownClients?: readonly Uint8Array[];
  /** The ECU's own, for the bidirectional tasks. @default none */
  identity?: AuthenticationIdentity;
  /** Whether programming needs 0x29. @default false */
  forProgramming?: boolean;
}

/** A record that is stored beside a DTC. */
export interface SimulatedDtcRecord {
  /** Record number, 0x01 … 0xFE. */
  record: number;
  /** Hexadecimal. */
  data: string;
}

/** A fault, by configuration or by a call. Counting begins at 1 when the fault is set. */
export type SimulatedFault =
  /** The n-th request of a service is refused. */
  | { kind: "negative_response"; service: number; occurrence: number; nrc: number }
  /** From the n-th request of a service on, the ECU is silent until its power is cut or the fault is cleared. */
  | { kind: "silence"; service: number; occurrence: number }
  /** The n-th request of a service is carried out and its answer lost. */
  | { kind: "lost_answer"; service: number; occurrence: number }
  /** The n-th request of a service is answered that many ms late. */
  | { kind: "late_answer"; service: number; occurrence: number; delay: number }
  /** The n-th block (0x36) is taken and acknowledged with the counter of the block after it. */
  | { kind: "wrong_block_counter"; occurrence: number }
  /** At the n-th request of a service the gateway closes the tester's connection. */
  | { kind: "close_connection"; service: number; occurrence: number }
  /** Power fails in the n-th flash operation (an erased sector, a programmed run, a boot record written). */
  | { kind: "power_cut"; operation: number };

/** One simulated ECU. */
export interface SimulatedEcuOptions {
  /** e.g. `ECU_001`; also the name of its folder. */
  ecuId: string;
  /** e.g. `BCM`. */
  ecuType: string;
  /** DoIP logical address. */
  logicalAddress: number;
  /** The ECU answers over CAN, not over DoIP. @default it answers over DoIP */
  can?: SimulatedCanOptions;
  /** Hardware version, F193. */
  hwVersion: string;
  /** Version of the software that it comes with, F189 and F195. */
  swVersion: string;
  /** F18C. */
  serialNumber: string;
  /** F187. */
  partNumber: string;
  /** F18A. */
  supplier: string;
  /** F191. @default the part number */
  hardwareNumber?: string;
  /** Banks of flash: 2 writes the inactive one and switches at the reset, 1 erases in place. @default 2 */
  banks?: 1 | 2;
  /** Flash regions. @default `main` 2 MiB at 0x00000000, `config` 4 KiB at 0x10001000, `pflash` 4 MiB at 0x80000000 */
  memory?: FlashRegionOptions[];
  /** @default level 0x01 with HMAC-SHA-256 and a key that is derived from the ECU type, see `defaultSecurity` */
  securityAccess?: SimulatedSecurityOptions;
  /** maxNumberOfBlockLength of RequestDownload, service byte and counter included. @default 4095 */
  maxBlockLength?: number;
  /**
   * How it wants to be flashed, as whoever flashes it is told: sessions, routines, identifiers, checks, compression, resuming.
   * Widths of addresses and sizes are free unless they stand here. An ECU that is not told the version of new software finds
   * it in the image's first bytes: `TYPE HARDWARE VERSION` and 00, in ASCII. @default the usual way
   */
  flash?: FlashPlan;
  /** Whether 0x23 needs the security level. @default false */
  readMemorySecured?: boolean;
  /** Time from power-on or reset to the first answer, ms. @default 400 */
  bootTime?: number;
  /** Shortest time from a request to its answer, ms; none with timing `none`. @default 2 */
  responseTime?: number;
  /** DTCs stored when new. @default none */
  dtcs?: SimulatedDtcOptions[];
  /** Further data identifiers. @default a counter F201 and an output 0100, see `defaultDataIdentifiers` */
  dataIdentifiers?: SimulatedDataIdentifier[];
  /** Files for 0x38: path and contents, hexadecimal. @default none are there; the service is */
  files?: Readonly<Record<string, string>>;
  /** @default no service 0x29 */
  authentication?: SimulatedAuthenticationOptions;
  /** Protects messages inside 0x84. @default no service 0x84 */
  secured?: SecuritySublayer;
  /** Whether it signs version reports, and how. @default no such routine */
  versionReport?: SimulatedReportOptions;
  /** Longest time that new software may run on trial before the ECU restarts, ms; 0: it is not watched. @default 0 */
  trialTime?: number;
  /** Bytes of the factory image. @default 32768 */
  factoryImageSize?: number;
  /** Faults set from the start. @default none */
  faults?: SimulatedFault[];
}

/** Version reports of a simulated ECU, signed by a key of its own that it makes. */
export interface SimulatedReportOptions {
  /** Number of the routine. @default 0x0220, see `versionReportRoutine` */
  routine?: number;
  /** @default "ecdsa-p256" */
  algorithm?: ReportAlgorithm;
}

/** How a simulated ECU answers over CAN. */
export interface SimulatedCanOptions {
  /** `adapterId` of the adapter whose bus it is on. */
  adapterId: string;
  /** Its address, seen from the tester. */
  address: IsoTpAddress;
  /** Address to which it answers as all others of the bus do. @default none */
  functional?: IsoTpFunctionalAddress;
  /** Frames and timing of its ISO-TP. @default classic frames, all defaults */
  isotp?: IsoTpOptions;
}

/** One simulated SLCAN adapter with its CAN bus. */
export interface SimulatedAdapterOptions {
  /** e.g. `CAN_BODY`. */
  adapterId: string;
  /** Address to listen on for SLCAN over TCP. */
  hostname: string;
  /** TCP port; 0: any free one. @default 20107 */
  port?: number;
  /** Bit/s of the bus. @default 500000 */
  bitRate?: number;
  /** Bit/s of the data phase; given, the bus carries FD frames. @default none: classic frames alone */
  dataBitRate?: number;
  /** Bit/s of the serial line, kept with timing `realistic`. @default 1000000 */
  serialBaudRate?: number;
  /** How it acknowledges. @default "z" */
  acknowledgement?: Acknowledgement;
  /** What `S7` means to it, bit/s. @default 800000 */
  s7BitRate?: 750_000 | 800_000;
  /** Path at which a PTY is made that leads to it, by means of socat. @default none */
  pty?: string;
  /** Faults set from the start. @default none */
  faults?: readonly CanFault[];
}

/** One simulated gateway with its ECUs. */
export interface SimulatedGatewayOptions {
  /** e.g. `ZG_BODY`. */
  zonalGatewayId: string;
  /** Address to listen on. */
  hostname: string;
  /** TCP and UDP port; 0: any free one. @default 13400 */
  port?: number;
  /** The gateway's own logical address. */
  logicalAddress: number;
  /** 17 characters. */
  vin: string;
  /** Entity identification, 6 bytes, hexadecimal. @default a locally administered one that follows from the id */
  eid?: string;
  /** Group identification, 6 bytes, hexadecimal. @default one that follows from the VIN */
  gid?: string;
  /** Activates routing only on connections given to `accept()` as secure. @default false */
  tlsRequired?: boolean;
  ecus: SimulatedEcuOptions[];
}

/** A simulated bench. */
export interface SimulatedBenchOptions {
  gateways: SimulatedGatewayOptions[];
  /** @default none */
  adapters?: SimulatedAdapterOptions[];
  /** @default "realistic" */
  timing?: SimulatedTiming;
  /** Where memory and state of the ECUs are kept over a restart. @default nowhere: every start is from the factory */
  directory?: string;
  /** Told what happens: boots, power, faults. @default nothing is said */
  log?: (message: string) => void;
  /** Records what the gateways' own listeners receive and send. @default nothing is recorded */
  tap?: (zonalGatewayId: string) => NetworkTap;
}
