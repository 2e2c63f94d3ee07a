// Messages of the data transmission functional unit, ISO 14229-1:2020 clause 11.
import type { MessageReader, MessageWriter } from "../bytes.ts";
import {
  decodeMemoryRange,
  encodeMemoryRange,
  type MemoryFormat,
  type MemoryRange,
} from "../memory_range.ts";
import { Sid } from "../services.ts";
import { serviceCodec, suppressed, type Suppressible } from "./codec.ts";

/** A range with the widths in which it stands on the wire. */
export interface MemoryField {
  readonly range: MemoryRange;
  readonly format?: MemoryFormat;
}

/** Writes format byte, address and size (Annex H.1). */
export function writeMemory(writer: MessageWriter, { range, format }: MemoryField): void {
  writer.bytes(encodeMemoryRange(range, format));
}

/** Reads format byte, address and size. */
export function readMemory(reader: MessageReader): Required<MemoryField> {
  const widths = reader.u8("addressAndLengthFormatIdentifier");
  const addressBytes = widths & 0x0f;
  const sizeBytes = widths >> 4;
  if (addressBytes < 1 || addressBytes > 5 || sizeBytes < 1 || sizeBytes > 5) {
    reader.fail("widths of address and size of 1 to 5 bytes", `${addressBytes} and ${sizeBytes}`);
  }
  const fields = reader.bytes(addressBytes + sizeBytes, "address and size");
  const decoded = decodeMemoryRange(Uint8Array.of(widths, ...fields), 0);
  if (decoded === undefined) return reader.fail("an address and a size", "none");
  return { range: decoded.range, format: { addressBytes, sizeBytes } };
}

/** 11.2 */
export interface ReadDataRequest {
  readonly dids: readonly number[];
}

/** The answer repeats each identifier before its data; where one ends is the ECU's to say, see {@link splitDataRecords}. */
export interface ReadDataResponse {
  readonly did: number;
  /** All that follows the first identifier. */
  readonly data: Uint8Array;
}

export const readDataByIdentifier = serviceCodec<ReadDataRequest, ReadDataResponse>(
  Sid.readDataByIdentifier,
  {
    writeRequest: (writer, { dids }) => {
      if (dids.length === 0) throw new RangeError("dids: expected at least 1 data identifier, got 0");
      for (const did of dids) writer.u16(did, "data identifier");
    },
    readRequest: (reader) => {
      const first = reader.u16("data identifier");
      return { dids: [first, ...reader.list(2, "data identifiers", () => reader.u16("data identifier"))] };
    },
    writeResponse: (writer, { did, data }) => writer.u16(did, "data identifier").bytes(data),
    readResponse: (reader) => ({ did: reader.u16("data identifier"), data: reader.rest() }),
  },
);

/**
 * Takes an answer with several identifiers apart.
 *
 * @param response the first identifier and all that follows it
 * @param lengthOf bytes of an identifier's data; undefined: it takes what is left
 * @returns undefined when the bytes do not fit the lengths
 */
export function splitDataRecords(
  { did, data }: ReadDataResponse,
  lengthOf: (did: number) => number | undefined,
): { did: number; data: Uint8Array }[] | undefined {
  const records = [];
  for (let at = 0;;) {
    const length = lengthOf(did) ?? data.length - at;
    if (at + length > data.length) return undefined;
    records.push({ did, data: data.slice(at, at + length) });
    at += length;
    if (at === data.length) return records;
    if (at + 2 > data.length) return undefined;
    did = data[at] << 8 | data[at + 1];
    at += 2;
  }
}

/** 11.3 */
export const readMemoryByAddress = serviceCodec<MemoryField, { data: Uint8Array }>(Sid.readMemoryByAddress, {
  writeRequest: writeMemory,
  readRequest: readMemory,
  writeResponse: (writer, { data }) => writer.bytes(data),
  readResponse: (reader) => ({ data: reader.rest() }),
});

/** Types in a scaling byte's high nibble, Annex C.2. */
export const ScalingType = {
  unsignedNumeric: 0x0,
  signedNumeric: 0x1,
  bitMappedReportedWithoutMask: 0x2,
  bitMappedReportedWithMask: 0x3,
  binaryCodedDecimal: 0x4,
  stateEncodedVariable: 0x5,
  ascii: 0x6,
  signedFloatingPoint: 0x7,
  packet: 0x8,
  formula: 0x9,
  unitFormat: 0xa,
  stateAndConnectionType: 0xb,
} as const;

/** Types whose low nibble counts the extension bytes that follow (Annex C.3). */
const extended: readonly number[] = [
  ScalingType.bitMappedReportedWithoutMask,
  ScalingType.formula,
  ScalingType.unitFormat,
  ScalingType.stateAndConnectionType,
];

/** One scaling byte with its extension. */
export interface Scaling {
  /** One of {@link ScalingType}. */
  readonly type: number;
  /** Low nibble: bytes of the parameter, or of the extension. */
  readonly length: number;
  /** Mask, formula with constants, unit or state; empty for plain numbers and text. */
  readonly extension: Uint8Array;
}

/** 11.4 */
export const readScalingDataByIdentifier = serviceCodec<
  { did: number },
  { did: number; scaling: readonly Scaling[] }
>(Sid.readScalingDataByIdentifier, {
  writeRequest: (writer, { did }) => writer.u16(did, "data identifier"),
  readRequest: (reader) => ({ did: reader.u16("data identifier") }),
  writeResponse: (writer, { did, scaling }) => {
    writer.u16(did, "data identifier");
    for (const { type, length, extension } of scaling) {
      if (type > 0xf || length > 0xf) {
        throw new RangeError(`scaling: expected type and length of 4 bits, got ${type} and ${length}`);
      }
      if (extension.length !== (extended.includes(type) ? length : 0)) {
        throw new RangeError(
          `scaling type ${type}: got an extension of ${extension.length} bytes, length ${length}`,
        );
      }
      writer.u8(type << 4 | length, "scaling byte").bytes(extension);
    }
  },
  readResponse: (reader) => {
    const did = reader.u16("data identifier");
    const scaling: Scaling[] = [];
    do {
      const byte = reader.u8("scaling byte");
      const type = byte >> 4;
      const length = byte & 0x0f;
      const extension = reader.bytes(extended.includes(type) ? length : 0, "scaling byte extension");
      scaling.push({ type, length, extension });
    } while (reader.left > 0);
    return { did, scaling };
  },
});

/** Transmission modes, Annex C.4. */
export const TransmissionMode = { slow: 0x01, medium: 0x02, fast: 0x03, stop: 0x04 } as const;

/** 11.5. Identifiers are the low bytes of F2xx. */
export interface PeriodicRequest {
  readonly mode: number;
  /** None with mode stop: all. */
  readonly ids: readonly number[];
}

export const readDataByPeriodicIdentifier = serviceCodec<PeriodicRequest, Record<never, never>>(
  Sid.readDataByPeriodicIdentifier,
  {
    writeRequest: (writer, { mode, ids }) => {
      writer.u8(mode, "transmission mode");
      for (const id of ids) writer.u8(id, "periodic data identifier");
    },
    readRequest: (reader) => {
      const mode = reader.u8("transmission mode");
      const ids = [...reader.rest()];
      if (ids.length === 0 && mode !== TransmissionMode.stop) {
        reader.fail("a periodic data identifier", "none");
      }
      return { mode, ids };
    },
    writeResponse: () => {},
    readResponse: () => ({}),
  },
);

/**
 * How periodic data stand on the wire. `with_sid`: 6A, identifier, data, on the path of the answers. `without_sid`:
 * identifier, data, on a path of their own (ISO 14229-3: UUDT messages with another CAN identifier).
 */
export type PeriodicForm = "with_sid" | "without_sid";

/** One transmission of periodic data. */
export interface PeriodicData {
  readonly id: number;
  readonly data: Uint8Array;
}

/** The message of one transmission. */
export function encodePeriodicData({ id, data }: PeriodicData, form: PeriodicForm): Uint8Array {
  const message = new Uint8Array((form === "with_sid" ? 2 : 1) + data.length);
  if (form === "with_sid") message[0] = Sid.readDataByPeriodicIdentifier + 0x40;
  message[message.length - data.length - 1] = id;
  message.set(data, message.length - data.length);
  return message;
}

/** One transmission of a message. @returns undefined when it is none */
export function decodePeriodicData(message: Uint8Array, form: PeriodicForm): PeriodicData | undefined {
  const at = form === "with_sid" ? 1 : 0;
  if (message.length < at + 2) return undefined;
  if (at === 1 && message[0] !== Sid.readDataByPeriodicIdentifier + 0x40) return undefined;
  return { id: message[at], data: message.slice(at + 1) };
}

/** A part of another identifier's data. */
export interface DataSource {
  readonly did: number;
  /** First byte, counted from 1. */
  readonly position: number;
  /** Bytes. */
  readonly size: number;
}

/** Sub-functions of DynamicallyDefineDataIdentifier, 11.6. */
export const Definition = { byIdentifier: 0x01, byMemoryAddress: 0x02, clear: 0x03 } as const;

/** 11.6. Dynamic identifiers are F200–F3FF. */
export type DefineRequest =
  & Suppressible
  & (
    | {
      readonly definition: typeof Definition.byIdentifier;
      readonly did: number;
      readonly sources: readonly DataSource[];
    }
    | {
      readonly definition: typeof Definition.byMemoryAddress;
      readonly did: number;
      readonly ranges: readonly MemoryRange[];
      readonly format?: MemoryFormat;
    }
    /** Without an identifier: all. */
    | { readonly definition: typeof Definition.clear; readonly did?: number }
  );

export interface DefineResponse {
  readonly definition: number;
  readonly did?: number;
}

export const dynamicallyDefineDataIdentifier = serviceCodec<DefineRequest, DefineResponse>(
  Sid.dynamicallyDefineDataIdentifier,
  {
    writeRequest: (writer, request) => {
      writer.subFunction(request.definition, request.suppress, "definition type");
      switch (request.definition) {
        case Definition.byIdentifier:
          writer.u16(request.did, "data identifier");
          for (const { did, position, size } of request.sources) {
            writer.u16(did, "source data identifier").u8(position, "position").u8(size, "size");
          }
          return;
        case Definition.byMemoryAddress:
          writer.u16(request.did, "data identifier");
          request.ranges.forEach((range, index) => {
            const encoded = encodeMemoryRange(range, request.format);
            // The format byte stands once, before the first address (11.6.2.1).
            writer.bytes(index === 0 ? encoded : encoded.subarray(1));
          });
          return;
        case Definition.clear:
          if (request.did !== undefined) writer.u16(request.did, "data identifier");
      }
    },
    readRequest: (reader) => {
      const { value, suppress } = reader.subFunction("definition type");
      switch (value) {
        case Definition.byIdentifier: {
          const did = reader.u16("data identifier");
          const sources = reader.list(4, "sources", () => ({
            did: reader.u16("source data identifier"),
            position: reader.u8("position"),
            size: reader.u8("size"),
          }));
          if (sources.length === 0) reader.fail("a source", "none");
          return { definition: value, did, sources, ...suppressed(suppress) };
        }
        case Definition.byMemoryAddress: {
          const did = reader.u16("data identifier");
          const { range, format } = readMemory(reader);
          const { addressBytes = 4, sizeBytes = 4 } = format;
          const further = reader.list(addressBytes + sizeBytes, "memory ranges", () => ({
            address: reader.uint(addressBytes, "address"),
            size: reader.uint(sizeBytes, "size"),
          }));
          return { definition: value, did, ranges: [range, ...further], format, ...suppressed(suppress) };
        }
        case Definition.clear:
          return reader.left === 0
            ? { definition: value, ...suppressed(suppress) }
            : { definition: value, did: reader.u16("data identifier"), ...suppressed(suppress) };
      }
      return reader.fail("definition type 0x01 … 0x03", `${value}`);
    },
    writeResponse: (writer, { definition, did }) => {
      writer.subFunction(definition, false, "definition type");
      if (did !== undefined) writer.u16(did, "data identifier");
    },
    readResponse: (reader) => {
      const definition = reader.echo("definition type");
      return reader.left === 0 ? { definition } : { definition, did: reader.u16("data identifier") };
    },
  },
);

/** 11.7 */
export const writeDataByIdentifier = serviceCodec<{ did: number; data: Uint8Array }, { did: number }>(
  Sid.writeDataByIdentifier,
  {
    writeRequest: (writer, { did, data }) => writer.u16(did, "data identifier").bytes(data),
    readRequest: (reader) => {
      const did = reader.u16("data identifier");
      if (reader.left === 0) reader.fail("data", "none");
      return { did, data: reader.rest() };
    },
    writeResponse: (writer, { did }) => writer.u16(did, "data identifier"),
    readResponse: (reader) => ({ did: reader.u16("data identifier") }),
  },
);

/** 11.8. The size is the data's. */
export interface WriteMemoryRequest extends MemoryField {
  readonly data: Uint8Array;
}

export const writeMemoryByAddress = serviceCodec<WriteMemoryRequest, MemoryField>(Sid.writeMemoryByAddress, {
  writeRequest: (writer, { range, format, data }) => {
    if (data.length !== range.size) {
      throw new RangeError(`data: expected ${range.size} bytes as the range says, got ${data.length}`);
    }
    writeMemory(writer, { range, format });
    writer.bytes(data);
  },
  readRequest: (reader) => {
    const { range, format } = readMemory(reader);
    return { range, format, data: reader.bytes(range.size, "data") };
  },
  writeResponse: writeMemory,
  readResponse: readMemory,
});
