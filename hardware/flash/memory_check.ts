// Option records of the routine that checks what was written: over the whole image or segment by segment, with the hash or
// CRC that the ECU's boot loader compares.
import { createHash } from "node:crypto";
import { encodeMemoryRange, type MemoryFormat } from "../uds/memory_range.ts";
import { crc16, crc16Start, crc32 } from "./format/crc.ts";
import type { FirmwareImage, ImageReader } from "./image.ts";

/**
 * What the routine is given: SHA-256 (32 bytes), CRC-32 of ISO-HDLC (4), CRC-16/CCITT-FALSE (2), or nothing, for ECUs that
 * carry the value in the image.
 */
export const checkMethods = ["sha256", "crc32", "crc16", "none"] as const;

/** Name of a method. */
export type CheckMethod = typeof checkMethods[number];

/** Bytes read at once. */
const pieceSize = 65_536;

/** Option record over the whole payload. */
export async function imageCheck(
  image: FirmwareImage,
  reader: ImageReader,
  method: CheckMethod,
): Promise<Uint8Array> {
  return method === "sha256" ? image.sha256 : await digest(reader, 0, image.size, method);
}

/** Option records a segment each: address and size in the format of RequestDownload, then the value. */
export async function* segmentChecks(
  image: FirmwareImage,
  reader: ImageReader,
  method: CheckMethod,
  format: MemoryFormat,
): AsyncGenerator<Uint8Array, void, undefined> {
  let offset = 0;
  for (const { address, length } of image.segments) {
    const range = encodeMemoryRange({ address, size: length }, format);
    const value = await digest(reader, offset, length, method);
    const option = new Uint8Array(range.length + value.length);
    option.set(range);
    option.set(value, range.length);
    yield option;
    offset += length;
  }
}

async function digest(
  reader: ImageReader,
  offset: number,
  length: number,
  method: CheckMethod,
): Promise<Uint8Array> {
  if (method === "none") return new Uint8Array();
  const hash = createHash("sha256");
  let crc = method === "crc16" ? crc16Start : 0;
  const buffer = new Uint8Array(Math.min(pieceSize, length));
  for (let done = 0; done < length;) {
    const piece = buffer.subarray(0, Math.min(pieceSize, length - done));
    await reader.read(offset + done, piece);
    if (method === "sha256") hash.update(piece);
    else if (method === "crc32") crc = crc32(piece, crc);
    else crc = crc16(piece, crc);
    done += piece.length;
  }
  if (method === "sha256") return new Uint8Array(hash.digest());
  const value = new Uint8Array(4);
  new DataView(value.buffer).setUint32(0, crc);
  return method === "crc32" ? value : value.subarray(2);
}
