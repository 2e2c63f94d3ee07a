// Cyclic redundancy checks that firmware files and boot loaders use, piece by piece.

import { crc32 as zlibCrc32 } from "node:zlib";

/** CRC-16 of no bytes (CRC-16/CCITT-FALSE, also called CRC-16/IBM-3740): what the first {@linkcode crc16} goes on from. */
export const crc16Start = 0xffff;

/** Polynomial 0x1021, most significant bit first, no reflection, no final exclusive-or. Check value 0x29B1. */
const crc16Table: Uint16Array = Uint16Array.from({ length: 256 }, (_, index) => {
  let crc = index << 8;
  for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0);
  return crc & 0xffff;
});

/** Goes on with a CRC-16/CCITT-FALSE. */
export function crc16(bytes: Uint8Array, crc: number = crc16Start): number {
  let value = crc;
  for (let at = 0; at < bytes.length; at++) {
    value = (value << 8 & 0xffff) ^ crc16Table[value >> 8 ^ bytes[at]];
  }
  return value;
}

/** Goes on with the CRC-32 of ISO-HDLC (zlib, PNG, IEEE 802.3). Check value 0xCBF43926. */
export function crc32(bytes: Uint8Array, crc = 0): number {
  return zlibCrc32(bytes, crc);
}
