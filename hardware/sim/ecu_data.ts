// Data of a simulated ECU: identifiers (22, 24, 2E, 2F) and memory (23, 3D), ISO 14229-1:2020 clauses 11 and 13.
import { Buffer } from "node:buffer";
import type { Clock } from "../clock.ts";
import { readMemoryByAddress, writeDataByIdentifier, writeMemoryByAddress } from "../uds/codec/data.ts";
import { inputOutputControlByIdentifier, IoControl } from "../uds/codec/io.ts";
import { Nrc } from "../uds/nrc.ts";
import { Refusal, type ServiceConditions, type ServiceDefinition } from "../uds/server_service.ts";
import { positiveOffset, Sid } from "../uds/services.ts";
import { ram } from "./ecu_defaults.ts";
import { memoryRange } from "./memory_request.ts";
import type { SimulatedDataIdentifier } from "./options.ts";
import type { ProgrammingRules } from "./programming.ts";

/** A data identifier of the ECU. */
export interface DataIdentifier {
  /** Its data now. @throws {Refusal} when it cannot be given */
  read?: () => Uint8Array;
  /** Takes new data. @throws {Refusal} */
  write?: (data: Uint8Array) => void;
  /** Scaling bytes with their extensions (24). */
  scaling?: Uint8Array;
  /** Controls it (2F). */
  control?: IoPoint;
}

/** Something that 0x2F takes over from the ECU. */
export interface IoPoint {
  /** Bytes of its state. */
  readonly length: number;
  /** @param mask as long as the state, bit by bit; undefined: all of it */
  adjust(control: number, state: Uint8Array | undefined, mask: Uint8Array | undefined): Uint8Array;
}

/** An identifier as configuration gives it. */
export function configuredIdentifier(
  { did, data, counting = false, writable = false, controllable = false, scaling }: SimulatedDataIdentifier,
  clock: Clock,
): DataIdentifier & { reset(): void } {
  for (const [what, text] of [["data", data], ["scaling", scaling ?? "00"]]) {
    if (!/^([0-9a-fA-F]{2})+$/.test(text)) {
      throw new RangeError(
        `data identifier ${did} ${what}: expected pairs of hexadecimal digits, got ${JSON.stringify(text)}`,
      );
    }
  }
  const initial = new Uint8Array(Buffer.from(data, "hex"));
  const began = clock.now();
  let own: Uint8Array = initial;
  let adjusted: Uint8Array | undefined;
  const current = () => adjusted ?? (counting ? count(initial, clock.now() - began) : own);
  return {
    read: current,
    write: writable
      ? (bytes) => {
        if (bytes.length !== initial.length) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
        own = bytes;
      }
      : undefined,
    scaling: scaling === undefined ? undefined : new Uint8Array(Buffer.from(scaling, "hex")),
    control: controllable
      ? {
        length: initial.length,
        adjust(control, state, mask) {
          const before = current();
          if (control === IoControl.returnControlToEcu) adjusted = undefined;
          else {
            const target = control === IoControl.resetToDefault ? initial : state ?? before;
            adjusted = before.map((byte, at) => {
              const bits = mask?.[at] ?? 0xff;
              return byte & ~bits | target[at] & bits;
            });
          }
          return current();
        },
      }
      : undefined,
    reset: () => {
      adjusted = undefined;
    },
  };
}

/** The number that `data` is, one more for each 100 ms. */
function count(data: Uint8Array, elapsed: number): Uint8Array {
  let value = BigInt(`0x${Buffer.from(data).toString("hex")}`) + BigInt(Math.floor(elapsed / 100));
  const bytes = new Uint8Array(data.length);
  for (let at = bytes.length - 1; at >= 0; at--, value >>= 8n) bytes[at] = Number(value & 0xffn);
  return bytes;
}

/** What the services of this file work on. */
export interface DataParts {
  readonly dids: ReadonlyMap<number, DataIdentifier>;
  readonly programming: ProgrammingRules;
  /** What programming, and writing memory, needs. */
  readonly programmingAccess: ServiceConditions;
  readonly readMemoryAccess: ServiceConditions;
  /** Data of any identifier, dynamic ones too; undefined: not supported. */
  readIdentifier(did: number): Uint8Array | undefined;
  readMemory(address: number, size: number): Uint8Array | undefined;
  writeRam(offset: number, data: Uint8Array): void;
}

// More identifiers than any ECU takes in one request; the answer must stay of a length that a bus carries.
const maxDids = 32;
const longestAnswer = 0xffff;

/** 0x22 */
export function readService(ecu: DataParts): ServiceDefinition {
  return {
    minLength: 3,
    maxLength: 1 + 2 * maxDids,
    handle: ({ bytes }) => {
      if (bytes.length % 2 === 0) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
      const answer: number[] = [Sid.readDataByIdentifier + positiveOffset];
      for (let at = 1; at < bytes.length; at += 2) {
        const data = ecu.readIdentifier(bytes[at] << 8 | bytes[at + 1]);
        // Of several, those that are not supported are left out; none of them supported is 31 (11.2.4).
        if (data !== undefined) answer.push(bytes[at], bytes[at + 1], ...data);
      }
      if (answer.length === 1) throw new Refusal(Nrc.requestOutOfRange);
      return Uint8Array.from(answer);
    },
  };
}

/** 0x24 */
export function scalingService(ecu: DataParts): ServiceDefinition {
  return {
    minLength: 3,
    maxLength: 3,
    handle: ({ bytes }) => {
      const scaling = ecu.dids.get(bytes[1] << 8 | bytes[2])?.scaling;
      if (scaling === undefined) throw new Refusal(Nrc.requestOutOfRange);
      const sid = Sid.readScalingDataByIdentifier + positiveOffset;
      return Uint8Array.of(sid, bytes[1], bytes[2], ...scaling);
    },
  };
}

/** 0x2E */
export function writeService(ecu: DataParts): ServiceDefinition {
  return {
    sessions: ecu.programming.nonDefault,
    minLength: 4,
    handle: ({ bytes }) => {
      const { did, data } = writeDataByIdentifier.request.decode(bytes);
      const identifier = ecu.dids.get(did);
      if (identifier?.write === undefined) throw new Refusal(Nrc.requestOutOfRange);
      identifier.write(data);
      return writeDataByIdentifier.response.encode({ did });
    },
  };
}

/** 0x2F */
export function ioControlService(ecu: DataParts): ServiceDefinition {
  return {
    sessions: ecu.programming.extended,
    minLength: 4,
    handle: ({ bytes }) => {
      const { did, control, record } = inputOutputControlByIdentifier.request.decode(bytes);
      const point = ecu.dids.get(did)?.control;
      if (point === undefined || !Object.values(IoControl).some((it) => it === control)) {
        throw new Refusal(Nrc.requestOutOfRange);
      }
      const states = control === IoControl.shortTermAdjustment ? point.length : 0;
      // State, then a mask as long as it, or none.
      if (record.length !== states && record.length !== states + point.length) {
        throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
      }
      const state = states === 0 ? undefined : record.subarray(0, states);
      const mask = record.length === states ? undefined : record.subarray(states);
      return inputOutputControlByIdentifier.response.encode({
        did,
        control,
        state: point.adjust(control, state, mask),
      });
    },
  };
}

/** 0x23 */
export function readMemoryService(ecu: DataParts): ServiceDefinition {
  return {
    ...ecu.readMemoryAccess,
    minLength: 4,
    handle: ({ bytes }) => {
      const { address, size } = memoryRange(bytes, 1);
      const data = size > longestAnswer - 1 ? undefined : ecu.readMemory(address, size);
      if (data === undefined) throw new Refusal(Nrc.requestOutOfRange);
      return readMemoryByAddress.response.encode({ data });
    },
  };
}

/** 0x3D, into RAM only: flash takes programming. */
export function writeMemoryService(ecu: DataParts): ServiceDefinition {
  return {
    sessions: ecu.programming.nonDefault,
    ...ecu.programmingAccess,
    minLength: 5,
    handle: ({ bytes }) => {
      const { range, format, data } = writeMemoryByAddress.request.decode(bytes);
      const { address, size } = range;
      if (size < 1 || address < ram.address || address + size > ram.address + ram.size) {
        throw new Refusal(Nrc.requestOutOfRange);
      }
      ecu.writeRam(address - ram.address, data);
      return writeMemoryByAddress.response.encode({ range, format });
    },
  };
}
