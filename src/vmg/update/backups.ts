// What an ECU ran, read back before it is overwritten, as a file that is there whole or not at all. ECUs that keep their old
// software by themselves need none.

import { createHash } from "node:crypto";
import { join } from "node:path";
import { fileImage } from "../../../hardware/flash/format/file_image.ts";
import type { FirmwareImage, Segment } from "../../../hardware/flash/image.ts";
import type { FlashPlan } from "../../../hardware/flash/plan.ts";
import { readMemory } from "../../../hardware/flash/read_memory.ts";
import type { UdsClient } from "../../../hardware/uds/client.ts";
import { NegativeResponseError } from "../../../hardware/uds/errors.ts";
import { BackupError } from "../errors.ts";
import type { Backup } from "./journal.ts";

/** Bytes hashed at once. */
const pieceSize = 65_536;

/**
 * What is saved before an image is flashed: the ranges that are erased and those of the software that runs, up to the ends
 * of their sectors.
 * @param software as {@link readSoftwareRanges} gives it
 * @returns ascending, neither overlapping nor touching
 */
export function rangesToSave(
  { segments, hints }: Pick<FirmwareImage, "segments" | "hints">,
  { erase = "segments", memory = [] }: Pick<FlashPlan, "erase" | "memory">,
  software: readonly Segment[] = [],
): Segment[] {
  let ranges: readonly Segment[] = hints?.erase ?? segments;
  if (hints?.erase === undefined && erase === "range") {
    const [{ address }] = segments;
    ranges = [{ address, length: Math.max(...segments.map((it) => it.address + it.length)) - address }];
  } else if (hints?.erase === undefined && erase === "all" && memory.length > 0) {
    ranges = memory.map(({ address, size }) => ({ address, length: size }));
  }
  const whole = [...ranges, ...software].flatMap((range) => {
    const end = range.address + range.length;
    const areas = memory.filter(({ address, size }) => range.address < address + size && end > address);
    if (areas.length === 0) return [range];
    return areas.map(({ address, size, sectorSize }) => {
      const from = Math.floor((Math.max(range.address, address) - address) / sectorSize) * sectorSize;
      const to = Math.ceil((Math.min(end, address + size) - address) / sectorSize) * sectorSize;
      return { address: address + from, length: Math.min(to, size) - from };
    });
  });
  const merged: { address: number; length: number }[] = [];
  for (const range of whole.toSorted((a, b) => a.address - b.address)) {
    const last = merged.at(-1);
    if (last === undefined || last.address + last.length < range.address) merged.push({ ...range });
    else last.length = Math.max(last.length, range.address + range.length - last.address);
  }
  return merged;
}

/** The ranges that an ECU's software consists of; none where the ECU does not tell. */
export async function readSoftwareRanges(client: UdsClient, did: number): Promise<Segment[]> {
  let record: Uint8Array;
  try {
    record = await client.readDataByIdentifier(did, { step: "read_memory" });
  } catch (error) {
    // An ECU without this identifier says so; what is erased is saved all the same.
    if (error instanceof NegativeResponseError) return [];
    throw error;
  }
  if (record.length === 0 || record.length % 8 !== 0) {
    throw new BackupError(`${client.ecu}: expected ranges of 8 bytes each, got a record of ${record.length}`);
  }
  const view = new DataView(record.buffer, record.byteOffset, record.length);
  return Array.from({ length: record.length / 8 }, (_, at) => {
    const [address, length] = [view.getUint32(8 * at), view.getUint32(8 * at + 4)];
    if (length < 1 || address + length > 2 ** 32) {
      throw new BackupError(
        `${client.ecu}: expected a range within 32 bits, got ${length} bytes at ${address}`,
      );
    }
    return { address, length };
  });
}

/** What {@link saveBackup} needs. */
export interface BackupOptions {
  /** Folder of the backups; made when it is not there. */
  directory: string;
  /** Name of the file in it: the update's id and `_` at its beginning, see {@link removeBackups}. */
  file: string;
  /** What is read, as {@link rangesToSave} gives it. */
  ranges: readonly Segment[];
  /** Widths of addresses and sizes. */
  plan: Pick<FlashPlan, "addressBytes" | "sizeBytes">;
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

/**
 * Reads the ranges out of an ECU whose memory can be read now. What is blank at a range's end is left out.
 * @throws {BackupError} when all of it is blank: there is nothing that could be gone back to
 */
export async function saveBackup(client: UdsClient, options: BackupOptions): Promise<Backup> {
  const { directory, file, ranges, plan, signal, onProgress } = options;
  const { addressBytes = 4, sizeBytes = 4 } = plan;
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, file);
  const total = ranges.reduce((sum, { length }) => sum + length, 0);
  const segments: { address: number; length: number }[] = [];
  let done = 0;
  let size = 0;
  {
    const options = { read: true, write: true, create: true, truncate: true, mode: 0o600 };
    using out = await Deno.open(`${path}.part`, options);
    for (const range of ranges) {
      const begin = size;
      let used = 0;
      await out.seek(begin, Deno.SeekMode.Start);
      const request = { format: { addressBytes, sizeBytes }, step: "read_memory" };
      for await (const { address, data } of readMemory(client, [range], request)) {
        signal?.throwIfAborted();
        for (let at = 0; at < data.length;) at += await out.write(data.subarray(at));
        const last = data.findLastIndex((byte) => byte !== 0xff);
        if (last >= 0) used = address - range.address + last + 1;
        done += data.length;
        onProgress?.(done, total);
      }
      await out.truncate(begin + used);
      size = begin + used;
      if (used > 0) segments.push({ address: range.address, length: used });
    }
    await out.sync();
  }
  if (size === 0) throw new BackupError(`${client.ecu}: expected software to save, found blank memory`);
  const sha256 = await hashFile(`${path}.part`);
  await Deno.rename(`${path}.part`, path);
  await syncDirectory(directory);
  return { file, sha256, segments, erase: ranges.map((range) => ({ ...range })) };
}

/** The saved software as an image. @throws {BackupError} when the file is not what was saved */
export async function openBackup(directory: string, backup: Backup): Promise<FirmwareImage> {
  const path = join(directory, backup.file);
  let sha256: string;
  try {
    sha256 = await hashFile(path);
  } catch (cause) {
    throw new BackupError(`the backup ${path} cannot be read`, { cause });
  }
  if (sha256 !== backup.sha256) {
    throw new BackupError(`the backup ${path}: expected SHA-256 ${backup.sha256}, got ${sha256}`);
  }
  return fileImage(path, backup.segments, Uint8Array.fromHex(sha256), {
    dataFormat: 0,
    erase: backup.erase,
  });
}

/** Deletes the backups of an update, whole or not. */
export async function removeBackups(directory: string, updateId: string): Promise<void> {
  try {
    for await (const { name } of Deno.readDir(directory)) {
      if (name.startsWith(`${updateId}_`)) await Deno.remove(join(directory, name));
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  using file = await Deno.open(path, { read: true });
  const buffer = new Uint8Array(pieceSize);
  for (let got = await file.read(buffer); got !== null; got = await file.read(buffer)) {
    hash.update(buffer.subarray(0, got));
  }
  return hash.digest("hex");
}

/** The name itself is on disk only when the directory is. */
async function syncDirectory(path: string): Promise<void> {
  using directory = await Deno.open(path, { read: true });
  await directory.sync();
}
