// Appends a program to the launcher. The format is that of launcher/src/archive.rs and index.rs.

import { createHash } from "node:crypto";
import { join, relative } from "node:path";
import { compressFile } from "../src/codec/zstd.ts";

const magic = new TextEncoder().encode("zonebench-file 1");
const headerLength = 96;

/** What is appended, and how the launcher starts it. */
export interface ArchiveOptions {
  /** The launcher, an ELF file. */
  launcher: string;
  /** The folder whose files are appended, all of them. */
  folder: string;
  /** The file in it that is started. */
  runtime: string;
  /** Arguments before the user's; `{}/` at the beginning stands for the folder that the files are unpacked into. */
  args: readonly string[];
  /** Set in the environment; `{}/` as above. @default nothing */
  environment?: Readonly<Record<string, string>>;
  /** Of zstd, 1 to 19. @default 9 */
  level?: number;
}

/**
 * Writes the executable to `output`. The same launcher, files and options give the same bytes.
 *
 * @returns the name of the folder that it unpacks into
 */
export async function writeArchive(output: string, options: ArchiveOptions): Promise<string> {
  const { launcher, folder, runtime, args, environment = {}, level = 9 } = options;
  for (const text of [...args, ...Object.entries(environment).flat()]) {
    if (text.includes("\n")) {
      throw new RangeError(`expected text without a line feed, got ${JSON.stringify(text)}`);
    }
  }
  const image = await Deno.readFile(launcher);
  checkImage(launcher, image);
  const names = (await filesBelow(folder)).map((path) => relative(folder, path)).sort();
  const lines = ["zonebench 1", `runtime ${runtime}`];
  for (const [name, value] of Object.entries(environment)) lines.push(`set ${name} ${value}`);
  for (const text of args) lines.push(`argument ${text}`);

  const together = `${output}.contents`;
  const compressed = `${output}.zst`;
  const draft = `${output}.new`;
  try {
    using contents = await Deno.open(together, { write: true, create: true, truncate: true });
    for (const name of names) {
      const bytes = await Deno.readFile(join(folder, name));
      await writeAll(contents, bytes);
      const mode = name === runtime ? "500" : "400";
      lines.push(`file ${mode} ${bytes.length} ${sha256(bytes).toHex()} ${name}`);
    }
    const { length } = await compressFile(together, compressed, level);
    const index = new TextEncoder().encode(`${lines.join("\n")}\n`);
    const header = headerOf(image.length + headerLength + index.length + length, index);

    using file = await Deno.open(draft, { write: true, create: true, truncate: true, mode: 0o755 });
    for (const part of [image, header, index]) await writeAll(file, part);
    using packed = await Deno.open(compressed);
    for await (const chunk of packed.readable) await writeAll(file, chunk);
    await file.sync();
    await Deno.chmod(draft, 0o755);
    await Deno.rename(draft, output);
    return sha256(index).toHex().slice(0, 32);
  } finally {
    for (const path of [together, compressed, draft]) {
      await Deno.remove(path).catch((error) => {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      });
    }
  }
}

function headerOf(length: number, index: Uint8Array): Uint8Array {
  const header = new Uint8Array(headerLength);
  const view = new DataView(header.buffer);
  header.set(magic);
  view.setBigUint64(16, BigInt(length), true);
  view.setBigUint64(24, BigInt(index.length), true);
  header.set(sha256(index), 32);
  header.set(sha256(header.subarray(0, 64)), 64);
  return header;
}

/** The launcher finds what is appended behind its table of section headers: nothing else may stand there. */
function checkImage(path: string, image: Uint8Array): void {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const elf = image.length >= 64 && view.getUint32(0) === 0x7f45_4c46 && view.getUint16(4) === 0x0201;
  if (!elf) throw new Error(`${path}: expected a 64-bit little-endian ELF file, got something else`);
  const end = Number(view.getBigUint64(0x28, true)) + view.getUint16(0x3a, true) * view.getUint16(0x3c, true);
  if (end !== image.length) {
    throw new Error(`${path}: expected its section headers at its end, ${end}, got ${image.length} bytes`);
  }
}

async function filesBelow(folder: string): Promise<string[]> {
  const paths: string[] = [];
  for await (const entry of Deno.readDir(folder)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) paths.push(...await filesBelow(path));
    else paths.push(path);
  }
  return paths;
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}
