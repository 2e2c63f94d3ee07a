// What the tests of the firmware readers share: files made of text or bytes, read in pieces of a chosen size.

import assert from "node:assert/strict";
import { FirmwareFormatError } from "../../../../hardware/flash/format/errors.ts";
import {
  type ParsedFirmware,
  parseFirmware,
  type ParseFirmwareOptions,
} from "../../../../hardware/flash/format/parse_firmware.ts";

export interface Read {
  parsed: ParsedFirmware;
  payload: Uint8Array;
}

/** Reads a file given as text or bytes, in pieces of `split` bytes, and sees that it leaves the payload and nothing else. */
export async function read(
  content: string | Uint8Array,
  options: Omit<ParseFirmwareOptions, "output"> & { split?: number } = {},
): Promise<Read> {
  const { split = 65536, ...rest } = options;
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const directory = await Deno.makeTempDir();
  try {
    const output = `${directory}/payload`;
    let parsed: ParsedFirmware;
    try {
      parsed = await parseFirmware(pieces(bytes, split), { ...rest, output });
    } catch (error) {
      assert.deepEqual(names(directory), [], "a refused file leaves nothing behind");
      throw error;
    }
    assert.deepEqual(names(directory), ["payload"]);
    return { parsed, payload: await Deno.readFile(output) };
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** The error with which a file is refused. */
export async function refusal(
  content: string | Uint8Array,
  options: Omit<ParseFirmwareOptions, "output"> & { split?: number } = {},
): Promise<FirmwareFormatError> {
  try {
    await read(content, options);
  } catch (error) {
    if (error instanceof FirmwareFormatError) return error;
    throw error;
  }
  assert.fail("the file was accepted");
}

/** The bytes, a chunk at a time. */
export async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size);
}

/** An Intel HEX record. */
export function hexRecord(type: number, address: number, data: number[]): string {
  const bytes = [data.length, address >> 8, address & 0xff, type, ...data];
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  return ":" + digits([...bytes, (256 - sum % 256) % 256]);
}

/** An S-record; `address` as its bytes. */
export function sRecord(type: number, address: number[], data: number[]): string {
  const bytes = [address.length + data.length + 1, ...address, ...data];
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  return `S${type}` + digits([...bytes, 255 - sum % 256]);
}

/** A block of a VBF file: CRC-16/CCITT-FALSE written out bit by bit. */
export function vbfBlock(address: number, data: number[]): number[] {
  let crc = 0xffff;
  for (const byte of data) {
    for (let bit = 7; bit >= 0; bit--) {
      const top = (crc >> 15 ^ byte >> bit) & 1;
      crc = (crc << 1 & 0xffff) ^ (top === 1 ? 0x1021 : 0);
    }
  }
  return [...word(address), ...word(data.length), ...data, crc >> 8, crc & 0xff];
}

/** A VBF file of such blocks: CRC-32 written out bit by bit. */
export function vbfFile(fields: string, blocks: number[][]): Uint8Array {
  const bytes = blocks.flat();
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc >>> 1 ^ (crc & 1 ? 0xedb8_8320 : 0);
  }
  const checksum = (~crc >>> 0).toString(16).padStart(8, "0");
  const head = `vbf_version = 2.6;\r\nheader { // made here\n${fields} file_checksum = 0x${checksum}; }`;
  return Uint8Array.from([...new TextEncoder().encode(head), ...bytes]);
}

function word(value: number): number[] {
  return [value >>> 24, value >>> 16 & 0xff, value >>> 8 & 0xff, value & 0xff];
}

export function hex(bytes: Uint8Array): string {
  return digits([...bytes]);
}

function digits(bytes: number[]): string {
  return bytes.map((byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join("");
}

function names(directory: string): string[] {
  return [...Deno.readDirSync(directory)].map(({ name }) => name);
}
