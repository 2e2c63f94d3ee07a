// zstd in WebAssembly beside the `zstd` command, one thread each, and beside node:zlib: plain files, and deltas between two
// versions of real images.
//
// The images are Debian's qemu-system-x86_64, 18 MB, and its libjvm.so of openjdk-17, 24 MB, in the two newest versions that apt
// offers; ZSTD_BENCH_OLD and ZSTD_BENCH_NEW name other files. Plain files are measured with the last one.

import { createHash } from "node:crypto";
import zlib from "node:zlib";
import { applyDelta, makeDelta } from "../../src/codec/delta.ts";
import { compressFile, extractRange } from "../../src/codec/zstd.ts";
import type { CompressedFile, CompressedRange } from "../../src/codec/zstd_files.ts";
import { ZstdInstance } from "../../src/codec/zstd_instance.ts";
import { ZstdCompressor, ZstdDecompressor } from "../../src/codec/zstd_stream.ts";
import { peers, present } from "../support/peers.ts";
import type { BenchRow } from "./row.ts";

/** Debian's packages, and what is taken of each. */
const images = [
  { debianPackage: "qemu-system-x86", path: "*/bin/qemu-system-x86_64" },
  { debianPackage: "openjdk-17-jre-headless", path: "*/server/libjvm.so" },
] as const;
const levels = [1, 3, 9, 19];

/** Measures; leaves nothing behind. */
export async function run(): Promise<BenchRow[]> {
  if (!present(peers.zstd)) throw new Error(`zstd is missing; install it with: ${peers.zstd.install}`);
  const directory = await Deno.makeTempDir();
  try {
    const pairs = await versionPairs(directory);
    const rows: BenchRow[] = [];
    for (const [, newPath] of pairs.slice(-1)) rows.push(...await plain(directory, newPath));
    for (const [oldPath, newPath] of pairs) rows.push(...await deltas(directory, oldPath, newPath));
    return rows;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function plain(directory: string, path: string): Promise<BenchRow[]> {
  const bytes = await Deno.readFile(path);
  const output = `${directory}/plain.zst`;
  const rows: BenchRow[] = [];
  for (const level of levels) {
    const repeats = level > 9 ? 1 : 3;
    let compressed: CompressedFile | undefined;
    const compress = await fastest(repeats, async () => compressed = await compressFile(path, output, level));
    const peer = await commandTimes(level, path);
    rows.push({
      what: `level ${level}, file to file with both hashes`,
      value: `${rate(bytes, compress)}, ${kilobytes(compressed?.length ?? 0)}`,
      beside: `zstd -b in memory ${peer.compress} MB/s, ${kilobytes(peer.size)}`,
    });
    rows.push({
      what: `level ${level}, engines in memory: node:zlib, WebAssembly`,
      value: `${rate(bytes, await fastest(repeats, () => zlibCompress(bytes, level)))}, ${
        rate(bytes, await fastest(repeats, () => wasmCompress(bytes, level)))
      }`,
    });
    if (!compressed) throw new Error("expected a compressed file");
    const range = rangeOf(output, compressed);
    const frame = await Deno.readFile(output);
    rows.push({
      what: `level ${level}, decompress: checked with hashes, WebAssembly in memory, node:zlib in memory`,
      value: `${rate(bytes, await fastest(5, () => extractRange(range, undefined)))}, ${
        rate(bytes, await fastest(5, () => wasmDecompress(frame, bytes.length)))
      }, ${rate(bytes, await fastest(5, () => zlibDecompress(frame)))}`,
      beside: `zstd -b in memory ${peer.decompress} MB/s`,
    });
  }
  return rows;
}

async function deltas(directory: string, oldPath: string, newPath: string): Promise<BenchRow[]> {
  const [old, next] = [await Deno.readFile(oldPath), await Deno.readFile(newPath)];
  const base = { path: oldPath, size: old.length, sha256: sha256(old) };
  const [ours, theirs, back] = ["ours", "theirs", "back"].map((name) => `${directory}/${name}`);
  const rows: BenchRow[] = [];
  for (const level of levels) {
    let made: CompressedFile | undefined;
    const making = await fastest(1, async () => made = await makeDelta(base, newPath, ours, level));
    const peerMaking = await fastest(
      1,
      () =>
        command("-q", "-f", `-${level}`, "--single-thread", "--patch-from", oldPath, newPath, "-o", theirs),
    );
    if (!made) throw new Error("expected a delta");
    const { size } = await Deno.stat(theirs);
    const frame = await Deno.readFile(ours);
    const range = rangeOf(ours, made);
    const applying = await fastest(9, () => {
      using zstd = new ZstdDecompressor({
        maxWindow: 2 ** 28,
        maxOutput: next.length,
        base: { size: old.length, fill: (room) => room.set(old) },
      });
      for (const _ of zstd.push(frame));
      zstd.finish();
    });
    const first = await fastest(9, async () => {
      // What an earlier one left is not there.
      ZstdInstance.take();
      await applyDelta(base, range, undefined);
    });
    const second = await fastest(9, () => applyDelta(base, range, undefined));
    const peerApplying = await fastest(
      5,
      () => command("-d", "-q", "-f", "--patch-from", oldPath, theirs, "-o", back),
    );
    const share = (100 * made.length / size).toFixed(0);
    rows.push({
      what: `delta of ${kilobytes(next.length)}, level ${level}: size, made in`,
      value: `${kilobytes(made.length)}, ${making.toFixed(0)} ms`,
      beside: `zstd --patch-from ${kilobytes(size)}, ${peerMaking.toFixed(0)} ms: ours is ${share} % of it`,
    });
    rows.push({
      what: `delta of ${
        kilobytes(next.length)
      }, level ${level}: applied in memory, with all hashes checked, the next one`,
      value: `${applying.toFixed(0)} ms, ${first.toFixed(0)} ms, ${second.toFixed(0)} ms`,
      beside: `zstd -d --patch-from, file to file ${peerApplying.toFixed(0)} ms`,
    });
  }
  return rows;
}

/** Of each image its two newest versions, the older one first. */
async function versionPairs(directory: string): Promise<[string, string][]> {
  const [givenOld, givenNew] = ["ZSTD_BENCH_OLD", "ZSTD_BENCH_NEW"].map((name) => Deno.env.get(name));
  if (givenOld !== undefined && givenNew !== undefined) return [[givenOld, givenNew]];
  const pairs: [string, string][] = [];
  for (const { debianPackage, path } of images) {
    pairs.push(await twoVersions(`${directory}/${debianPackage}`, debianPackage, path));
  }
  return pairs;
}

async function twoVersions(
  directory: string,
  debianPackage: string,
  path: string,
): Promise<[string, string]> {
  const listed = (await output("apt-cache", ["madison", debianPackage])).split("\n");
  const versions = [
    ...new Set(listed.map((line) => line.split("|")[1]?.trim()).filter((version) => version)),
  ];
  if (versions.length < 2) {
    throw new Error(
      `expected apt to offer two versions of ${debianPackage}, got ${versions.join(", ") || "none"}: ` +
        "name two files with ZSTD_BENCH_OLD and ZSTD_BENCH_NEW",
    );
  }
  const paths: string[] = [];
  for (const version of versions.slice(0, 2)) {
    const folder = `${directory}/${paths.length}`;
    await Deno.mkdir(folder, { recursive: true });
    await output("apt-get", ["download", "-q", `${debianPackage}=${version}`], folder);
    const file = [...Deno.readDirSync(folder)].find(({ name }) => name.endsWith(".deb"));
    if (!file) throw new Error(`expected apt-get to leave a package in ${folder}`);
    await output("dpkg-deb", ["-x", file.name, "files"], folder);
    paths.push(`${folder}/${(await output("find", ["files", "-type", "f", "-path", path], folder)).trim()}`);
  }
  return [paths[1], paths[0]];
}

function zlibCompress(bytes: Uint8Array, level: number): void {
  zlib.zstdCompressSync(bytes, {
    chunkSize: 2 ** 24,
    params: { [zlib.constants.ZSTD_c_compressionLevel]: level, [zlib.constants.ZSTD_c_checksumFlag]: 1 },
  });
}

function zlibDecompress(frame: Uint8Array): void {
  zlib.zstdDecompressSync(frame, { chunkSize: 2 ** 20 });
}

function wasmCompress(bytes: Uint8Array, level: number): void {
  using zstd = new ZstdCompressor({ level, size: bytes.length });
  for (const _ of zstd.push(bytes));
  for (const _ of zstd.finish());
}

function wasmDecompress(frame: Uint8Array, size: number): void {
  using zstd = new ZstdDecompressor({ maxWindow: 2 ** 23, maxOutput: size });
  for (const _ of zstd.push(frame));
  zstd.finish();
}

function rangeOf(path: string, { length, sha256, inputSha256, inputSize }: CompressedFile): CompressedRange {
  return { path, offset: 0, length, sha256, imageSha256: inputSha256, imageSize: inputSize };
}

/** What the command's own benchmark says: its last line holds size and both rates. */
async function commandTimes(level: number, path: string) {
  const text = await output(peers.zstd.command, ["-q", `-b${level}`, "-i1", "--single-thread", path]);
  const found = /(\d+) \(x?[\d.]+\),?\s+([\d.]+) MB\/s,?\s+([\d.]+) MB\/s/.exec(text);
  if (!found) throw new Error(`expected rates from zstd -b, got ${text}`);
  return { size: Number(found[1]), compress: found[2], decompress: found[3] };
}

async function command(...args: string[]): Promise<void> {
  await output(peers.zstd.command, args);
}

async function output(program: string, args: string[], cwd?: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args, cwd }).output();
  const [text, errors] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  if (!success) throw new Error(`${program} ${args.join(" ")} failed: ${errors}`);
  return text;
}

async function fastest(repeats: number, work: () => unknown): Promise<number> {
  let best = Infinity;
  for (let repeat = 0; repeat < repeats; repeat++) {
    const began = performance.now();
    await work();
    best = Math.min(best, performance.now() - began);
  }
  return best;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function rate(bytes: Uint8Array, time: number): string {
  return `${(bytes.length / 1e3 / time).toFixed(time > 2000 ? 1 : 0)} MB/s`;
}

function kilobytes(bytes: number): string {
  return `${(bytes / 1e3).toFixed(0)} kB`;
}
