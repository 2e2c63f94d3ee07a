// DoIP messages as bytes: the generic header and the payload of every type, encoded and decoded.

import { headerLength, hex, payloadRules, payloadTypes, protocolVersions } from "./constants.ts";
import { DoipMessageError } from "./errors.ts";

/** The generic header (ISO 13400-2:2019, Table 16). */
export interface DoipHeader {
  version: number;
  inverseVersion: number;
  payloadType: number;
  payloadLength: number;
}

/** One whole message. */
export interface DoipFrame {
  /** Protocol version of the header. */
  version: number;
  payloadType: number;
  payload: Uint8Array;
}

/** Who a DoIP entity is: vehicle announcement and identification response (Table 5). */
export interface VehicleAnnouncement {
  /** 17 characters, or "" when the entity knows none (all bytes 0x00 or 0xFF on the wire). */
  vin: string;
  logicalAddress: number;
  /** 6 bytes, usually the MAC address. */
  eid: Uint8Array;
  /** 6 bytes. */
  gid: Uint8Array;
  furtherAction: number;
  /** VIN/GID synchronization status (Table 7); absent in a 32-byte message. */
  syncStatus?: number;
}

/** Table 46. In version 0x01 the activation type has two bytes. */
export interface RoutingActivationRequest {
  sourceAddress: number;
  activationType: number;
  /** Four bytes for the vehicle manufacturer. */
  oem?: number;
}

/** Table 48. */
export interface RoutingActivationResponse {
  testerAddress: number;
  entityAddress: number;
  code: number;
  /** Four bytes for the vehicle manufacturer. */
  oem?: number;
}

/** Table 11. */
export interface EntityStatus {
  /** 0 gateway, 1 node. */
  nodeType: number;
  maxSockets: number;
  openSockets: number;
  /** Largest payload that the entity takes, in bytes. */
  maxDataSize?: number;
}

/** Table 21. */
export interface DiagnosticMessage {
  sourceAddress: number;
  targetAddress: number;
  /** A view on the payload, not a copy. */
  userData: Uint8Array;
}

/** Tables 23 and 25: source is the ECU, target the tester. */
export interface DiagnosticAck {
  sourceAddress: number;
  targetAddress: number;
  code: number;
  /** The beginning of the acknowledged message, as far as the entity sends it back. A view. */
  previous: Uint8Array;
}

/** Any message that is not one of 8001–8003, decoded. */
export type DoipMessage =
  | { type: typeof payloadTypes.headerNack; code: number }
  | { type: typeof payloadTypes.identificationRequest }
  | { type: typeof payloadTypes.identificationRequestEid; eid: Uint8Array }
  | { type: typeof payloadTypes.identificationRequestVin; vin: string }
  | { type: typeof payloadTypes.announcement } & VehicleAnnouncement
  | { type: typeof payloadTypes.routingActivationRequest } & RoutingActivationRequest
  | { type: typeof payloadTypes.routingActivationResponse } & RoutingActivationResponse
  | { type: typeof payloadTypes.aliveCheckRequest }
  | { type: typeof payloadTypes.aliveCheckResponse; sourceAddress: number }
  | { type: typeof payloadTypes.entityStatusRequest }
  | { type: typeof payloadTypes.entityStatusResponse } & EntityStatus
  | { type: typeof payloadTypes.powerModeRequest }
  | { type: typeof payloadTypes.powerModeResponse; mode: number }
  | { type: typeof payloadTypes.diagnosticMessage } & DiagnosticMessage
  | { type: typeof payloadTypes.diagnosticAck } & DiagnosticAck
  | { type: typeof payloadTypes.diagnosticNack } & DiagnosticAck;

const vinLength = 17;
const idLength = 6;

/** Writes the generic header (Table 16) at `offset`. */
export function writeHeader(
  into: Uint8Array,
  offset: number,
  version: number,
  payloadType: number,
  payloadLength: number,
): void {
  into[offset] = version;
  into[offset + 1] = version ^ 0xff;
  into[offset + 2] = payloadType >>> 8;
  into[offset + 3] = payloadType;
  writeU32(into, offset + 4, payloadLength);
}

/**
 * Reads the generic header (Table 16) at `offset`; checks nothing but that eight bytes are there.
 *
 * @throws {RangeError} when fewer than eight bytes are left
 */
export function readHeader(bytes: Uint8Array, offset = 0): DoipHeader {
  if (bytes.length - offset < headerLength) {
    throw new RangeError(`a DoIP header has ${headerLength} bytes, ${bytes.length - offset} are left`);
  }
  return {
    version: bytes[offset],
    inverseVersion: bytes[offset + 1],
    payloadType: readU16(bytes, offset + 2),
    payloadLength: readU32(bytes, offset + 4),
  };
}

/** Whether a payload of this type may have this length (table of the type, see {@link payloadRules}). */
export function isLengthAllowed(version: number, payloadType: number, length: number): boolean {
  const rule = payloadRules.get(payloadType);
  if (rule === undefined) return false;
  if ("atLeast" in rule.lengths) return length >= rule.lengths.atLeast;
  // The 2010 edition's activation type is one byte longer.
  if (payloadType === payloadTypes.routingActivationRequest && version === protocolVersions.iso2010) {
    length -= 1;
  }
  return rule.lengths.includes(length);
}

/**
 * One message as bytes, header included.
 *
 * @throws {RangeError} when a field does not fit its place on the wire; the message quotes the value
 */
export function encodeMessage(version: number, message: DoipMessage): Uint8Array {
  checkUint(version, 0xff, "protocol version");
  switch (message.type) {
    case payloadTypes.headerNack:
      return frame(version, message.type, [u8(message.code, "NACK code")]);
    case payloadTypes.identificationRequest:
    case payloadTypes.aliveCheckRequest:
    case payloadTypes.entityStatusRequest:
    case payloadTypes.powerModeRequest:
      return frame(version, message.type, []);
    case payloadTypes.identificationRequestEid:
      return frame(version, message.type, [id(message.eid, "EID")]);
    case payloadTypes.identificationRequestVin:
      return frame(version, message.type, [vinBytes(message.vin)]);
    case payloadTypes.announcement:
      return frame(version, message.type, [
        vinBytes(message.vin),
        u16(message.logicalAddress, "logical address"),
        id(message.eid, "EID"),
        id(message.gid, "GID"),
        u8(message.furtherAction, "further action"),
        ...(message.syncStatus === undefined ? [] : [u8(message.syncStatus, "sync status")]),
      ]);
    case payloadTypes.routingActivationRequest:
      return frame(version, message.type, [
        u16(message.sourceAddress, "source address"),
        version === protocolVersions.iso2010
          ? u16(message.activationType, "activation type")
          : u8(message.activationType, "activation type"),
        u32(0, "reserved"),
        ...(message.oem === undefined ? [] : [u32(message.oem, "OEM field")]),
      ]);
    case payloadTypes.routingActivationResponse:
      return frame(version, message.type, [
        u16(message.testerAddress, "tester address"),
        u16(message.entityAddress, "entity address"),
        u8(message.code, "response code"),
        u32(0, "reserved"),
        ...(message.oem === undefined ? [] : [u32(message.oem, "OEM field")]),
      ]);
    case payloadTypes.aliveCheckResponse:
      return frame(version, message.type, [u16(message.sourceAddress, "source address")]);
    case payloadTypes.entityStatusResponse:
      return frame(version, message.type, [
        u8(message.nodeType, "node type"),
        u8(message.maxSockets, "maximum of sockets"),
        u8(message.openSockets, "open sockets"),
        ...(message.maxDataSize === undefined ? [] : [u32(message.maxDataSize, "maximum data size")]),
      ]);
    case payloadTypes.powerModeResponse:
      return frame(version, message.type, [u8(message.mode, "power mode")]);
    case payloadTypes.diagnosticMessage:
      return frame(version, message.type, [
        u16(message.sourceAddress, "source address"),
        u16(message.targetAddress, "target address"),
        message.userData,
      ]);
    case payloadTypes.diagnosticAck:
    case payloadTypes.diagnosticNack:
      return frame(version, message.type, [
        u16(message.sourceAddress, "source address"),
        u16(message.targetAddress, "target address"),
        u8(message.code, "acknowledge code"),
        message.previous,
      ]);
  }
}

/**
 * The fields of a message. `userData` and `previous` are views on the payload; EIDs and GIDs are copies.
 *
 * @throws {DoipMessageError} when the payload type is unknown or the length is wrong for it
 */
export function decodeMessage({ version, payloadType, payload }: DoipFrame): DoipMessage {
  if (!isLengthAllowed(version, payloadType, payload.length)) {
    const rule = payloadRules.get(payloadType);
    throw new DoipMessageError(
      payloadType,
      rule === undefined
        ? `unknown DoIP payload type ${hex(payloadType)}`
        : `${rule.name} (${hex(payloadType)}) of ${payload.length} bytes; expected ${
          expectedLength(rule.lengths)
        }`,
    );
  }
  switch (payloadType) {
    case payloadTypes.headerNack:
      return { type: payloadType, code: payload[0] };
    case payloadTypes.identificationRequest:
    case payloadTypes.aliveCheckRequest:
    case payloadTypes.entityStatusRequest:
    case payloadTypes.powerModeRequest:
      return { type: payloadType };
    case payloadTypes.identificationRequestEid:
      return { type: payloadType, eid: new Uint8Array(payload) };
    case payloadTypes.identificationRequestVin:
      return { type: payloadType, vin: readVin(payload, 0) };
    case payloadTypes.announcement:
      return {
        type: payloadType,
        vin: readVin(payload, 0),
        logicalAddress: readU16(payload, 17),
        eid: new Uint8Array(payload.subarray(19, 25)),
        gid: new Uint8Array(payload.subarray(25, 31)),
        furtherAction: payload[31],
        ...(payload.length > 32 ? { syncStatus: payload[32] } : {}),
      };
    case payloadTypes.routingActivationRequest: {
      const is2010 = version === protocolVersions.iso2010;
      const reservedAt = is2010 ? 4 : 3;
      return {
        type: payloadType,
        sourceAddress: readU16(payload, 0),
        activationType: is2010 ? readU16(payload, 2) : payload[2],
        ...(payload.length > reservedAt + 4 ? { oem: readU32(payload, reservedAt + 4) } : {}),
      };
    }
    case payloadTypes.routingActivationResponse:
      return {
        type: payloadType,
        testerAddress: readU16(payload, 0),
        entityAddress: readU16(payload, 2),
        code: payload[4],
        ...(payload.length > 9 ? { oem: readU32(payload, 9) } : {}),
      };
    case payloadTypes.aliveCheckResponse:
      return { type: payloadType, sourceAddress: readU16(payload, 0) };
    case payloadTypes.entityStatusResponse:
      return {
        type: payloadType,
        nodeType: payload[0],
        maxSockets: payload[1],
        openSockets: payload[2],
        ...(payload.length > 3 ? { maxDataSize: readU32(payload, 3) } : {}),
      };
    case payloadTypes.powerModeResponse:
      return { type: payloadType, mode: payload[0] };
    case payloadTypes.diagnosticMessage:
      return {
        type: payloadType,
        sourceAddress: readU16(payload, 0),
        targetAddress: readU16(payload, 2),
        userData: payload.subarray(4),
      };
    case payloadTypes.diagnosticAck:
    case payloadTypes.diagnosticNack:
      return {
        type: payloadType,
        sourceAddress: readU16(payload, 0),
        targetAddress: readU16(payload, 2),
        code: payload[4],
        previous: payload.subarray(5),
      };
    default:
      // The table of rules and this switch name the same types.
      throw new DoipMessageError(payloadType, `unknown DoIP payload type ${hex(payloadType)}`);
  }
}

/** Big-endian u16 at `offset`. */
export function readU16(bytes: Uint8Array, offset: number): number {
  return bytes[offset] << 8 | bytes[offset + 1];
}

/** Big-endian u32 at `offset`. */
export function readU32(bytes: Uint8Array, offset: number): number {
  return (bytes[offset] << 24 | bytes[offset + 1] << 16 | bytes[offset + 2] << 8 | bytes[offset + 3]) >>> 0;
}

/** Writes a big-endian u16 at `offset`. */
export function writeU16(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 8;
  bytes[offset + 1] = value;
}

function writeU32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 24;
  bytes[offset + 1] = value >>> 16;
  bytes[offset + 2] = value >>> 8;
  bytes[offset + 3] = value;
}

/** Throws a RangeError that quotes the value unless it is an integer from 0 to `max`. */
export function checkUint(value: number, max: number, what: string): void {
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new RangeError(`${what} must be an integer from 0 to ${max}, is ${value}`);
  }
}

/** Throws a RangeError that quotes the VIN unless it has 17 characters of ISO 3779 (no I, O, Q). */
export function checkVin(vin: string): void {
  if (!/^[A-HJ-NPR-Z0-9]{17}$/.test(vin)) {
    throw new RangeError(`a VIN has 17 capitals and digits without I, O, Q; is ${JSON.stringify(vin)}`);
  }
}

function expectedLength(lengths: readonly number[] | { readonly atLeast: number }): string {
  return "atLeast" in lengths ? `at least ${lengths.atLeast}` : lengths.join(" or ");
}

function frame(version: number, payloadType: number, parts: Uint8Array[]): Uint8Array {
  const payloadLength = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(headerLength + payloadLength);
  writeHeader(bytes, 0, version, payloadType, payloadLength);
  let offset = headerLength;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

function u8(value: number, what: string): Uint8Array {
  checkUint(value, 0xff, what);
  return Uint8Array.of(value);
}

function u16(value: number, what: string): Uint8Array {
  checkUint(value, 0xffff, what);
  return Uint8Array.of(value >>> 8, value & 0xff);
}

function u32(value: number, what: string): Uint8Array {
  checkUint(value, 0xffff_ffff, what);
  const bytes = new Uint8Array(4);
  writeU32(bytes, 0, value);
  return bytes;
}

function id(value: Uint8Array, what: string): Uint8Array {
  if (value.length !== idLength) {
    throw new RangeError(`${what} has ${idLength} bytes, is ${value.length} long`);
  }
  return value;
}

function vinBytes(vin: string): Uint8Array {
  // Table 5: without a VIN all bytes are 0x00 or 0xFF.
  if (vin === "") return new Uint8Array(vinLength).fill(0xff);
  checkVin(vin);
  return new TextEncoder().encode(vin);
}

/** The VIN as text. A byte that no VIN has shows as U+FFFD: the entity is reported, its VIN matches none. */
function readVin(payload: Uint8Array, offset: number): string {
  const bytes = payload.subarray(offset, offset + vinLength);
  if (bytes.every((byte) => byte === 0x00) || bytes.every((byte) => byte === 0xff)) return "";
  return Array.from(bytes, (byte) => byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "\ufffd").join(
    "",
  );
}
