// Addresses and sizes of variable width: addressAndLengthFormatIdentifier, ISO 14229-1:2020 Annex H.1.
import { hex } from "./services.ts";

/** How many bytes an address and a size take on the wire. */
export interface MemoryFormat {
  /** 1 … 5. @default 4 */
  addressBytes?: number;
  /** 1 … 5. @default 4 */
  sizeBytes?: number;
}

/** A run of memory as services 23, 34, 35 and 3D name it. */
export interface MemoryRange {
  readonly address: number;
  readonly size: number;
}

/**
 * The format byte, the address and the size: high nibble the size's width, low nibble the address's.
 * @throws {RangeError} when a number does not fit its width
 */
export function encodeMemoryRange(range: MemoryRange, format: MemoryFormat = {}): Uint8Array {
  const { addressBytes = 4, sizeBytes = 4 } = format;
  checkWidth(addressBytes, "addressBytes");
  checkWidth(sizeBytes, "sizeBytes");
  const bytes = new Uint8Array(1 + addressBytes + sizeBytes);
  bytes[0] = sizeBytes << 4 | addressBytes;
  putNumber(bytes, 1, addressBytes, range.address, "address");
  putNumber(bytes, 1 + addressBytes, sizeBytes, range.size, "size");
  return bytes;
}

/**
 * Reads a format byte with the address and size behind it.
 * @returns undefined when a width is out of range or the bytes do not suffice; `length` is what was read
 */
export function decodeMemoryRange(
  bytes: Uint8Array,
  at: number,
): { range: MemoryRange; length: number } | undefined {
  if (at >= bytes.length) return undefined;
  const addressBytes = bytes[at] & 0x0f;
  const sizeBytes = bytes[at] >> 4;
  if (addressBytes < 1 || addressBytes > 5 || sizeBytes < 1 || sizeBytes > 5) return undefined;
  const length = 1 + addressBytes + sizeBytes;
  if (at + length > bytes.length) return undefined;
  return {
    range: {
      address: takeNumber(bytes, at + 1, addressBytes),
      size: takeNumber(bytes, at + 1 + addressBytes, sizeBytes),
    },
    length,
  };
}

/** An unsigned big-endian number of up to six bytes. */
export function takeNumber(bytes: Uint8Array, at: number, width: number): number {
  let value = 0;
  for (let index = 0; index < width; index++) value = value * 256 + bytes[at + index];
  return value;
}

function putNumber(bytes: Uint8Array, at: number, width: number, value: number, what: string): void {
  if (!Number.isInteger(value) || value < 0 || value >= 256 ** width) {
    throw new RangeError(`${what}: expected 0 … ${hex(256 ** width - 1, 2)} in ${width} bytes, got ${value}`);
  }
  for (let index = width - 1, rest = value; index >= 0; index--, rest = Math.floor(rest / 256)) {
    bytes[at + index] = rest % 256;
  }
}

function checkWidth(width: number, what: string): void {
  if (!Number.isInteger(width) || width < 1 || width > 5) {
    throw new RangeError(`${what}: expected 1 … 5, got ${width}`);
  }
}
