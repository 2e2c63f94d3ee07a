// Who talks to whom: the addressing formats of ISO 15765-2:2016, 10.3, and the identifiers and bytes they come to.
// Addresses are written from the tester's side: a request goes to the ECU, a response comes from it.

import { maxBaseId, maxExtendedId } from "../can/frame.ts";
import { externalTester, hex } from "./constants.ts";

/** Identifiers of formats that leave them free. */
interface FreeIdentifiers {
  /** CAN identifier of requests. */
  readonly requestId: number;
  /** CAN identifier of responses. */
  readonly responseId: number;
  /** Length of both identifiers. @default 11 where they fit, else 29 */
  readonly idBits?: 11 | 29;
}

/** Addresses of formats that put them into the 29-bit identifier. */
interface FixedIdentifiers {
  /** The ECU's address, one byte. */
  readonly ecu: number;
  /** The tester's address, one byte. @default a client is 0xF1; a server answers any */
  readonly tester?: number;
  /** Priority bits of what is sent; what is heard may have any. @default 6 */
  readonly priority?: number;
}

/** One tester and one ECU (N_TAtype physical). */
export type IsoTpAddress =
  /** 10.3.2: identifiers alone, 11 or 29 bit. */
  | ({ readonly format: "normal" } & FreeIdentifiers)
  /** 10.3.3: 18DA‹TA›‹SA›. */
  | ({ readonly format: "normal_fixed" } & FixedIdentifiers)
  /** 10.3.4: the target's address in the first data byte. */
  | ({
    readonly format: "extended";
    /** N_TA of requests. */
    readonly ecu: number;
    /** N_TA of responses. @default 0xF1 */
    readonly tester?: number;
  } & FreeIdentifiers)
  /** 10.3.5, 11 bit: N_AE in the first data byte, the same both ways. */
  | ({ readonly format: "mixed_11"; readonly addressExtension: number } & FreeIdentifiers)
  /** 10.3.5, 29 bit: 18CE‹TA›‹SA› and N_AE in the first data byte. */
  | ({ readonly format: "mixed_29"; readonly addressExtension: number } & FixedIdentifiers);

/** One tester and all ECUs that listen to a group (N_TAtype functional): requests alone, single frames alone. */
export type IsoTpFunctionalAddress =
  /** 7DF on legislated OBD. */
  | { readonly format: "normal"; readonly requestId: number; readonly idBits?: 11 | 29 }
  /** 18DB‹group›‹SA›; the group 0x33 is legislated OBD. */
  | {
    readonly format: "normal_fixed";
    readonly group: number;
    /** @default a client is 0xF1; a server answers any */
    readonly tester?: number;
    /** @default 6 */
    readonly priority?: number;
  }
  /** The group in the first data byte. */
  | {
    readonly format: "extended";
    readonly requestId: number;
    readonly group: number;
    /** The tester's address, for who answers. @default 0xF1 */
    readonly tester?: number;
    readonly idBits?: 11 | 29;
  }
  | {
    readonly format: "mixed_11";
    readonly requestId: number;
    readonly addressExtension: number;
    readonly idBits?: 11 | 29;
  }
  /** 18CD‹group›‹SA› and N_AE in the first data byte. */
  | {
    readonly format: "mixed_29";
    readonly group: number;
    readonly tester?: number;
    readonly addressExtension: number;
    readonly priority?: number;
  };

/** What one direction comes to on the bus. */
export interface Route {
  readonly id: number;
  readonly extended: boolean;
  /** Bits of the identifier that a listener compares: fixed formats leave out the priority, and the SA for any tester. */
  readonly mask: number;
  /** First data byte, where the format has one. */
  readonly prefix: number | undefined;
}

/** Both directions between a tester and an ECU. */
export interface Routes {
  readonly request: Route;
  readonly response: Route;
  /** The ECU for whoever collects answers: its N_SA in fixed formats, else its response identifier. */
  readonly ecu: number;
  /** The tester for whoever serves it: its address where the format has one, else undefined. */
  readonly tester: number | undefined;
}

/** PF of fixed formats (tables 26 to 28). */
const pf = { physical: 0xda, functional: 0xdb, mixedPhysical: 0xce, mixedFunctional: 0xcd } as const;
const withoutPriority = 0x03ff_ffff;
/** Compares all but priority and N_SA. */
const anySource = 0x03ff_ff00;

function checkByte(value: number, what: string): number {
  if (!Number.isInteger(value) || value < 0 || value > 0xff) {
    throw new RangeError(`${what}: expected a byte, got ${value}`);
  }
  return value;
}

function checkPriority(priority = 6): number {
  if (!Number.isInteger(priority) || priority < 0 || priority > 7) {
    throw new RangeError(`priority: expected 0 to 7, got ${priority}`);
  }
  return priority;
}

function free(id: number, extended: boolean, prefix: number | undefined, what: string): Route {
  const max = extended ? maxExtendedId : maxBaseId;
  if (!Number.isInteger(id) || id < 0 || id > max) {
    const got = Number.isInteger(id) && id >= 0 ? hex(id, 3) : id;
    throw new RangeError(`${what}: expected 0 to ${hex(max, 3)}, got ${got}`);
  }
  return { id, extended, mask: maxExtendedId, prefix };
}

function fixed(
  kind: number,
  target: number,
  source: number,
  priority: number | undefined,
  prefix: number | undefined,
  mask = withoutPriority,
): Route {
  const id = checkPriority(priority) << 26 | kind << 16 | checkByte(target, "target address") << 8 |
    checkByte(source, "source address");
  return { id, extended: true, mask, prefix };
}

function isExtended(idBits: 11 | 29 | undefined, ...ids: number[]): boolean {
  if (idBits !== undefined && idBits !== 11 && idBits !== 29) {
    throw new RangeError(`idBits: expected 11 or 29, got ${idBits}`);
  }
  return idBits === undefined ? ids.some((id) => id > maxBaseId) : idBits === 29;
}

/**
 * Identifiers and address bytes of a physical address.
 *
 * @throws {RangeError} for one that cannot be, quoting it
 */
export function resolveAddress(address: IsoTpAddress): Routes {
  switch (address.format) {
    case "normal":
      return freeRoutes(address, undefined, undefined, undefined);
    case "extended": {
      const tester = checkByte(address.tester ?? externalTester, "tester");
      return freeRoutes(address, checkByte(address.ecu, "ecu"), tester, tester);
    }
    case "mixed_11": {
      const extension = checkByte(address.addressExtension, "addressExtension");
      return freeRoutes(address, extension, extension, undefined);
    }
    case "normal_fixed":
      return fixedRoutes(address, pf.physical, undefined);
    case "mixed_29":
      return fixedRoutes(
        address,
        pf.mixedPhysical,
        checkByte(address.addressExtension, "addressExtension"),
      );
    default:
      throw unknownFormat(address);
  }
}

function freeRoutes(
  { requestId, responseId, idBits }: FreeIdentifiers,
  requestPrefix: number | undefined,
  responsePrefix: number | undefined,
  tester: number | undefined,
): Routes {
  const extended = isExtended(idBits, requestId, responseId);
  const request = free(requestId, extended, requestPrefix, "requestId");
  const response = free(responseId, extended, responsePrefix, "responseId");
  if (requestId === responseId && requestPrefix === responsePrefix) {
    throw new RangeError(`responseId: expected another than the requestId ${hex(requestId, 3)}`);
  }
  return { request, response, ecu: responseId, tester };
}

function fixedRoutes(address: FixedIdentifiers, kind: number, prefix: number | undefined): Routes {
  const { ecu, tester = externalTester, priority } = address;
  if (ecu === tester) throw new RangeError(`tester: expected another address than the ECU's ${hex(ecu)}`);
  const request = fixed(kind, ecu, tester, priority, prefix);
  const response = fixed(kind, tester, ecu, priority, prefix);
  return { request, response, ecu, tester };
}

/** The route by which a server hears requests of every tester; undefined where the address names its tester. */
export function anyTesterRoute(address: IsoTpAddress): Route | undefined {
  if (address.format !== "normal_fixed" && address.format !== "mixed_29") return undefined;
  if (address.tester !== undefined) return undefined;
  // Whichever tester is put in, it is left out of the comparison.
  return { ...resolveAddress({ ...address, tester: address.ecu ^ 1 }).request, mask: anySource };
}

/** The address of the same ECU for one of its testers, in formats that name them. */
export function withTester(address: IsoTpAddress, tester: number): IsoTpAddress {
  return address.format === "normal_fixed" || address.format === "mixed_29"
    ? { ...address, tester }
    : address;
}

/** The physical address of an ECU that listens to a functional group, in fixed formats. @throws {RangeError} in others */
export function responderAddress(group: IsoTpFunctionalAddress, ecu: number): IsoTpAddress {
  switch (group.format) {
    case "normal_fixed":
    case "mixed_29": {
      const { group: _, ...rest } = group;
      return { ...rest, tester: group.tester ?? externalTester, ecu };
    }
    default:
      throw new RangeError(`responders: ${group.format} addresses do not tell who answers`);
  }
}

/** The route by which a tester hears every ECU that may answer, in fixed formats. @throws {RangeError} in others */
export function anyResponderRoute(group: IsoTpFunctionalAddress): Route {
  // Whichever ECU is put in, its address is left out of the comparison.
  const tester = "tester" in group && group.tester !== undefined ? group.tester : externalTester;
  const { response } = resolveAddress(responderAddress(group, tester ^ 1));
  return { ...response, mask: anySource };
}

/**
 * The identifier and address byte of a functional address.
 *
 * @throws {RangeError} for one that cannot be, quoting it
 */
export function resolveFunctional(address: IsoTpFunctionalAddress): Route {
  switch (address.format) {
    case "normal":
      return free(
        address.requestId,
        isExtended(address.idBits, address.requestId),
        undefined,
        "requestId",
      );
    case "extended":
      return free(
        address.requestId,
        isExtended(address.idBits, address.requestId),
        checkByte(address.group, "group"),
        "requestId",
      );
    case "mixed_11":
      return free(
        address.requestId,
        isExtended(address.idBits, address.requestId),
        checkByte(address.addressExtension, "addressExtension"),
        "requestId",
      );
    case "normal_fixed":
      return functionalFixed(address, pf.functional, undefined);
    case "mixed_29":
      return functionalFixed(
        address,
        pf.mixedFunctional,
        checkByte(address.addressExtension, "addressExtension"),
      );
    default:
      throw unknownFormat(address);
  }
}

function functionalFixed(
  address: { group: number; tester?: number; priority?: number },
  kind: number,
  prefix: number | undefined,
): Route {
  const { group, tester, priority } = address;
  const mask = tester === undefined ? anySource : withoutPriority;
  return fixed(kind, group, tester ?? externalTester, priority, prefix, mask);
}

function unknownFormat(address: never): RangeError {
  return new RangeError(`format: expected an addressing format, got ${JSON.stringify(address)}`);
}

/** Whether the two hear the same frames. */
export function sameRoute(a: Route, b: Route): boolean {
  return a.extended === b.extended && a.prefix === b.prefix && (a.id & a.mask) === (b.id & b.mask) &&
    a.mask === b.mask;
}

/** For messages: `0x7E8`, `0x18DAF110`, with the address byte after a slash. */
export function showRoute({ id, extended, prefix }: Route): string {
  return hex(id, extended ? 8 : 3) + (prefix === undefined ? "" : `/${hex(prefix)}`);
}
