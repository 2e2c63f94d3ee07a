// How fast packages are built and firmware files read, beside the `zstd` command on the same data, and what it costs in
// memory: 1 GiB of images must not raise it by more than 64 MiB.

import { buildPackage, type PackageEcuPart } from "../../src/codec/build_package.ts";
import { compressImage } from "../../src/codec/compress_image.ts";
import { openPackage } from "../../src/codec/open_package.ts";
import { CodecPool } from "../../src/codec/pool.ts";
import { generateSigningKey } from "../../src/pqc/signature.ts";
import { parseFirmware } from "../../hardware/flash/format/parse_firmware.ts";
import { peers, present } from "../support/peers.ts";
import type { BenchRow } from "./row.ts";

const vin = "KMHLN4DJ1PU123456";
const imageCount = 8;
const imageSize = 128 * 2 ** 20;

/** Measures; leaves nothing behind. */
export async function run(): Promise<BenchRow[]> {
  const directory = await Deno.makeTempDir();
  try {
    return [...await packages(directory), ...await hexFiles(directory)];
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function packages(directory: string): Promise<BenchRow[]> {
  const total = imageCount * imageSize;
  for (let image = 0; image < imageCount; image++) await writeImage(`${directory}/${image}`, image);
  const signingKey = await generateSigningKey();
  await using pool = new CodecPool();
  // Threads and code are there before memory is counted: what grows then is what the images cost.
  await Deno.writeTextFile(`${directory}/warm`, "warm");
  await compressImage(`${directory}/warm`, `${directory}/warm.zst`, { pool });
  const memory = watchMemory();

  let began = performance.now();
  const parts: PackageEcuPart[] = [];
  for (let image = 0; image < imageCount; image++) {
    const path = `${directory}/${image}.zst`;
    const compressed = await compressImage(`${directory}/${image}`, path, { pool });
    parts.push({
      ecu_id: `ECU_${image}`,
      ecu_type: "BENCH",
      hw_version: "1",
      version: "1.0.0",
      image: {
        image_id: crypto.randomUUID(),
        sha256: compressed.inputSha256,
        size: compressed.inputSize,
        segments: [{ address: 0, length: imageSize }],
      },
      blob: { path, length: compressed.length, sha256: compressed.sha256 },
    });
  }
  const output = `${directory}/package.otap`;
  const built = await buildPackage({
    package_id: crypto.randomUUID(),
    vehicle_id: vin,
    created: new Date().toISOString(),
    zonal_gateways: [{ zonal_gateway_id: "ZG_BENCH", ecus: parts }],
    signingKey,
    output,
    pool,
  });
  const build = rate(total, began);
  const growth = memory.stop();

  began = performance.now();
  const opened = await openPackage(output, {
    verifyKeys: new Map([[signingKey.publicKey.keyId, signingKey.publicKey]]),
    expectVehicle: vin,
    pool,
  });
  for (const entry of opened.manifest.zonal_gateways[0].ecus) await opened.extractImage(entry, undefined);
  const verify = rate(total, began);

  return [
    {
      what: `package build, ${megabytes(total)} of images to ${
        megabytes(built.size)
      }: compress, hash, sign, write`,
      value: build,
      beside: await zstdCommand(directory, total),
    },
    {
      what: "package build: resident memory above the idle process, at its peak",
      value: `${(growth / 2 ** 20).toFixed(1)} MiB`,
      beside: "64 MiB allowed",
    },
    { what: "package verify: signature, hashes, decompression", value: verify },
  ];
}

/** The command on the same files, one thread, level 3, to files; then `cp` and `sha256sum` are not counted. */
async function zstdCommand(directory: string, total: number): Promise<string | undefined> {
  if (!present(peers.zstd)) return undefined;
  const began = performance.now();
  for (let image = 0; image < imageCount; image++) {
    const { success } = await new Deno.Command("zstd", {
      args: ["-q", "-f", "-3", "--single-thread", `${directory}/${image}`, "-o", `${directory}/peer.zst`],
    }).output();
    if (!success) throw new Error("expected zstd to compress the image, it failed");
  }
  return `zstd -3, compression alone: ${rate(total, began)}`;
}

async function hexFiles(directory: string): Promise<BenchRow[]> {
  const path = `${directory}/firmware.hex`;
  const size = await writeHex(path, 48 * 2 ** 20);
  const file = await Deno.open(path);
  const began = performance.now();
  await parseFirmware(file.readable, { output: `${directory}/payload` });
  return [{
    what: `Intel HEX of ${megabytes(size)}: read, checked, hashed, written`,
    value: rate(size, began),
  }];
}

/** 128 MiB, half of which repeats in short, half does not: it compresses to about the half, as executables do. */
export async function writeImage(path: string, seed: number): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true });
  const block = new Uint8Array(2 ** 20);
  for (let at = 0; at < imageSize; at += block.length) {
    for (let part = 0; part < block.length; part += 65536) {
      crypto.getRandomValues(block.subarray(part, part + 32768));
      block.copyWithin(part + 32768, part, part + 64 + seed);
    }
    await file.write(block);
  }
}

/** Records of 16 bytes, the common form; returns the file's size. */
async function writeHex(path: string, payload: number): Promise<number> {
  using file = await Deno.open(path, { write: true, createNew: true });
  const encoder = new TextEncoder();
  const record = (type: number, address: number, data: Uint8Array) => {
    const bytes = Uint8Array.of(data.length, address >> 8, address & 0xff, type, ...data, 0);
    bytes[bytes.length - 1] = -bytes.reduce((sum, byte) => sum + byte, 0);
    return `:${bytes.toHex().toUpperCase()}\n`;
  };
  let size = 0;
  const lines = async (text: string) => void (size += await file.write(encoder.encode(text)));
  const data = new Uint8Array(16);
  for (let upper = 0; upper < payload / 65536; upper++) {
    let text = record(4, 0, Uint8Array.of(upper >> 8, upper & 0xff));
    for (let address = 0; address < 65536; address += 16) {
      data.fill(upper * 31 + address / 16);
      text += record(0, address, data);
    }
    await lines(text);
  }
  await lines(":00000001FF\n");
  return size;
}

/** Watches resident memory, ten times a second. */
function watchMemory(): { stop: () => number } {
  const before = Deno.memoryUsage().rss;
  let peak = before;
  const look = () => peak = Math.max(peak, Deno.memoryUsage().rss);
  const timer = setInterval(look, 100);
  return {
    stop: () => {
      clearInterval(timer);
      look();
      return peak - before;
    },
  };
}

function rate(bytes: number, began: number): string {
  return `${(bytes / 1e3 / (performance.now() - began)).toFixed(0)} MB/s`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}
