// Which format a firmware file has, from its first bytes. What begins like a text of records is one, however broken:
// taking it for a raw binary would flash the text itself.

import { digitValues } from "./digits.ts";
import { FirmwareFormatError } from "./errors.ts";

/** Formats of firmware files. */
export type FirmwareFormat = "intel-hex" | "s-record" | "vbf" | "binary";

/** Bytes of the file's beginning that {@linkcode detectFormat} wants to see, unless the file is shorter. */
export const detectionSize = 4096;

/** Digits behind a mark that make a line look like a record: those of the shortest one. */
const recordDigits = 8;

/** Containers that hold an image among other things: flashed as they are they would be wrong. */
const containers: readonly { name: string; magic: readonly number[] }[] = [
  { name: "an ELF file", magic: [0x7f, 0x45, 0x4c, 0x46] },
  { name: "a gzip archive", magic: [0x1f, 0x8b, 0x08] },
  { name: "a zip archive", magic: [0x50, 0x4b, 0x03, 0x04] },
  { name: "an xz archive", magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] },
  { name: "a Zstandard frame", magic: [0x28, 0xb5, 0x2f, 0xfd] },
  { name: "a UF2 file", magic: [0x55, 0x46, 0x32, 0x0a] },
  { name: "Intel HEX in UTF-16", magic: [0xff, 0xfe, 0x3a, 0x00] },
  { name: "Intel HEX in UTF-16", magic: [0xfe, 0xff, 0x00, 0x3a] },
  { name: "S-records in UTF-16", magic: [0xff, 0xfe, 0x53, 0x00] },
  { name: "S-records in UTF-16", magic: [0xfe, 0xff, 0x00, 0x53] },
  { name: "a zonebench package", magic: [0x4f, 0x54, 0x41, 0x50] },
];

/**
 * Says which format a file has.
 *
 * @param head The file's first {@linkcode detectionSize} bytes, or all of it.
 * @throws {FirmwareFormatError} `unknown_format`, where the content is neither a format of records nor clearly a raw
 *   image: the caller must then name the format.
 */
export function detectFormat(head: Uint8Array): FirmwareFormat {
  if (head.length === 0) {
    throw new FirmwareFormatError("empty_image", { expected: "a firmware file", found: "an empty file" });
  }
  let first = startOfText(head);
  while (first < head.length && isBlank(head[first])) first++;
  if (isVbf(head, first)) return "vbf";
  if (head[first] === 0x3a) return "intel-hex";
  if (isSRecordMark(head, first)) return "s-record";
  for (const { name, magic } of containers) {
    if (magic.every((byte, at) => head[at] === byte)) throw unknown(name);
  }
  for (let at = 1; at < head.length; at++) {
    if (head[at - 1] !== 0x0a && head[at - 1] !== 0x0d) continue;
    if (head[at] === 0x3a && areDigits(head, at + 1)) {
      throw unknown("Intel HEX records behind something else");
    }
    if (isSRecordMark(head, at) && areDigits(head, at + 2)) throw unknown("S-records behind something else");
  }
  if (head.subarray(startOfText(head)).every((byte) => isBlank(byte) || (byte >= 0x20 && byte < 0x7f))) {
    throw unknown("a text that begins with neither ':' nor 'S' nor 'vbf_version'");
  }
  return "binary";
}

/** Offset behind a UTF-8 byte order mark, which some editors put before the text. */
export function startOfText(head: Uint8Array): number {
  return head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf ? 3 : 0;
}

/** The first words of a VBF file; comments may stand before them. */
function isVbf(head: Uint8Array, first: number): boolean {
  const text = new TextDecoder("latin1").decode(head.subarray(first));
  return /^(?:\s|\/\/[^\n]*\n|\/\*[^]*?\*\/)*vbf_version\s*=/i.test(text);
}

function isSRecordMark(head: Uint8Array, at: number): boolean {
  return (head[at] === 0x53 || head[at] === 0x73) && head[at + 1] >= 0x30 && head[at + 1] <= 0x39;
}

function areDigits(head: Uint8Array, from: number): boolean {
  for (let at = from; at < from + recordDigits; at++) {
    if (at >= head.length || digitValues[head[at]] < 0) return false;
  }
  return true;
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;
}

function unknown(found: string): FirmwareFormatError {
  return new FirmwareFormatError("unknown_format", {
    expected: "Intel HEX, S-records, VBF or a raw image (name the format if it is one)",
    found,
  });
}
