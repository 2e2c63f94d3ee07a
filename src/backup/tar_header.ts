// Headers of tar archives: ustar (POSIX.1-1988), with pax extended headers (POSIX.1-2001) where a name or a size does not fit.
// Regular files are all that is written, and all that is read.

import { BadBackup, quote } from "./errors.ts";

/** A tar archive is made of blocks of this size. */
export const blockSize = 512;

/** Fields of the ustar header: first byte and length. POSIX.1-2024, pax, "ustar Interchange Format". */
const fields = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  typeflag: [156, 1],
  magic: [257, 6],
  version: [263, 2],
  prefix: [345, 155],
} as const;

/** Largest size that eleven octal digits hold. */
const maxOctalSize = 8 ** 11 - 1;
/** Largest pax header that is read: it holds a path and a size. */
export const maxExtended = 4096;

const encoder = new TextEncoder();

export interface TarEntry {
  path: string;
  /** Bytes. */
  size: number;
  /** Permission bits. */
  mode: number;
  /** Whole seconds since 1970. */
  mtime: number;
}

/** What a header says, before pax records have been applied to it. */
export interface TarHeader extends TarEntry {
  typeflag: "0" | "x";
}

/** How many bytes follow a file of `size` up to the next block. */
export function paddingOf(size: number): number {
  return (blockSize - size % blockSize) % blockSize;
}

/** The blocks that stand before a file's bytes. */
export function encodeHeader(entry: TarEntry): Uint8Array {
  const path = encoder.encode(entry.path);
  const placed = split(path);
  const records = [
    ...placed === undefined ? [["path", entry.path]] : [],
    ...entry.size > maxOctalSize ? [["size", String(entry.size)]] : [],
  ];
  const [prefix, name] = placed ?? [new Uint8Array(), path.subarray(0, fields.name[1])];
  const size = entry.size > maxOctalSize ? 0 : entry.size;
  const header = block({ ...entry, size }, prefix, name, "0");
  if (records.length === 0) return header;
  const extended = encoder.encode(records.map(([key, value]) => record(key, value)).join(""));
  const before = { path: "", size: extended.length, mode: 0o600, mtime: entry.mtime };
  const whole = new Uint8Array(2 * blockSize + extended.length + paddingOf(extended.length));
  whole.set(block(before, new Uint8Array(), encoder.encode("pax"), "x"));
  whole.set(extended, blockSize);
  whole.set(header, whole.length - blockSize);
  return whole;
}

/** A path as prefix and name, parted at a slash; undefined where it does not fit. */
function split(path: Uint8Array): [Uint8Array, Uint8Array] | undefined {
  if (path.length <= fields.name[1]) return [new Uint8Array(), path];
  const least = path.length - fields.name[1] - 1;
  const at = path.indexOf(0x2f, Math.max(1, least));
  if (at < 0 || at > fields.prefix[1] || at === path.length - 1) return undefined;
  return [path.subarray(0, at), path.subarray(at + 1)];
}

/** `"LENGTH KEY=VALUE\n"`, the length counting itself. */
function record(key: string, value: string): string {
  const rest = encoder.encode(` ${key}=${value}\n`).length;
  let length = rest + String(rest).length;
  if (String(length).length > String(rest).length) length++;
  return `${length} ${key}=${value}\n`;
}

function block(entry: TarEntry, prefix: Uint8Array, name: Uint8Array, typeflag: string): Uint8Array {
  const bytes = new Uint8Array(blockSize);
  const put = (field: keyof typeof fields, value: Uint8Array | string) =>
    bytes.set(typeof value === "string" ? encoder.encode(value) : value, fields[field][0]);
  const octal = (field: keyof typeof fields, value: number) =>
    put(field, value.toString(8).padStart(fields[field][1] - 1, "0"));
  put("name", name);
  octal("mode", entry.mode & 0o777);
  octal("uid", 0);
  octal("gid", 0);
  octal("size", entry.size);
  octal("mtime", Math.min(maxOctalSize, Math.max(0, Math.floor(entry.mtime))));
  put("typeflag", typeflag);
  put("magic", "ustar\0");
  put("version", "00");
  put("prefix", prefix);
  put("checksum", `${checksumOf(bytes).toString(8).padStart(6, "0")}\0 `);
  return bytes;
}

/** The sum of the header's bytes, its own field counted as spaces. */
function checksumOf(bytes: Uint8Array): number {
  const [from, length] = fields.checksum;
  return bytes.reduce((sum, byte, at) => sum + (at >= from && at < from + length ? 0x20 : byte), 0);
}

/**
 * Reads a header.
 * @returns undefined for a block of zeros, with which an archive ends
 * @throws {BadBackup} for what is no header, or one of something else than a regular file
 */
export function decodeHeader(bytes: Uint8Array): TarHeader | undefined {
  if (bytes.every((byte) => byte === 0)) return undefined;
  const text = (field: keyof typeof fields) => {
    const [at, length] = fields[field];
    const part = bytes.subarray(at, at + length);
    const end = part.indexOf(0);
    return decode(end < 0 ? part : part.subarray(0, end));
  };
  const octal = (field: keyof typeof fields) => {
    const digits = text(field).trim();
    if (!/^[0-7]{1,11}$/.test(digits)) {
      throw new BadBackup(`tar header: expected ${field} in octal, got ${quote(digits)}`);
    }
    return parseInt(digits, 8);
  };
  if (!text("magic").startsWith("ustar") || octal("checksum") !== checksumOf(bytes)) {
    throw new BadBackup("tar header: expected ustar with its checksum, got something else");
  }
  const name = text("name");
  const path = text("prefix") === "" ? name : `${text("prefix")}/${name}`;
  const typeflag = text("typeflag");
  if (typeflag !== "0" && typeflag !== "x") {
    throw new BadBackup(`tar entry ${quote(path)}: expected a regular file, got type ${quote(typeflag)}`);
  }
  return { path, size: octal("size"), mode: octal("mode"), mtime: octal("mtime"), typeflag };
}

/** Reads the records of a pax header. @throws {BadBackup} for others than are written here */
export function decodeExtended(bytes: Uint8Array): Partial<Pick<TarEntry, "path" | "size">> {
  const found: Partial<Pick<TarEntry, "path" | "size">> = {};
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(0x20, at);
    const digits = decode(bytes.subarray(at, Math.max(at, space)));
    const length = Number(digits);
    const end = at + length;
    if (!/^[1-9]\d{0,3}$/.test(digits) || end > bytes.length || bytes[end - 1] !== 0x0a) {
      throw new BadBackup(`pax record at byte ${at}: expected "LENGTH KEY=VALUE", got something else`);
    }
    const [key, ...rest] = decode(bytes.subarray(space + 1, end - 1)).split("=");
    const value = rest.join("=");
    if (key === "path") found.path = value;
    else if (key === "size" && /^\d{1,15}$/.test(value)) found.size = Number(value);
    else throw new BadBackup(`pax record: expected path or size, got ${quote(key)}`);
    at = end;
  }
  return found;
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new BadBackup("tar header: expected UTF-8, got other bytes", { cause });
  }
}
