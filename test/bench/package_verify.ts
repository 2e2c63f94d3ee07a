// How long a package of 256 MiB takes to be verified: in one pass as `package verify` does, and as the vehicle does with the file
// that it has fetched, the images left on the disk. Beside it what the hashes and zstd alone take on the same bytes.

import { createHash } from "node:crypto";
import { buildPackage, type PackageEcuPart } from "../../src/codec/build_package.ts";
import { compressImage } from "../../src/codec/compress_image.ts";
import { openPackage } from "../../src/codec/open_package.ts";
import { CodecPool } from "../../src/codec/pool.ts";
import { readPackage } from "../../src/codec/read_package.ts";
import { generateSigningKey } from "../../src/pqc/signature.ts";
import { peers, present } from "../support/peers.ts";
import { writeImage } from "./package_build.ts";
import type { BenchRow } from "./row.ts";

const vin = "KMHLN4DJ1PU123456";
/** Four images of 128 MiB, each of which compresses to about the half. */
const imageCount = 4;

/** Measures; leaves nothing behind. */
export async function run(): Promise<BenchRow[]> {
  const directory = await Deno.makeTempDir();
  await using pool = new CodecPool({ size: 2 });
  try {
    const signingKey = await generateSigningKey();
    const verifyKeys = new Map([[signingKey.publicKey.keyId, signingKey.publicKey]]);
    const ecus: PackageEcuPart[] = [];
    for (let image = 0; image < imageCount; image++) {
      await writeImage(`${directory}/${image}`, image);
      const path = `${directory}/${image}.zst`;
      const { inputSha256, inputSize, length, sha256 } = await compressImage(`${directory}/${image}`, path, {
        pool,
      });
      ecus.push({
        ecu_id: `ECU_${image}`,
        ecu_type: "BENCH",
        hw_version: "1",
        version: "1.0.0",
        image: {
          image_id: crypto.randomUUID(),
          sha256: inputSha256,
          size: inputSize,
          segments: [{ address: 0, length: inputSize }],
        },
        blob: { path, length, sha256 },
      });
    }
    const output = `${directory}/package.otap`;
    const { size } = await buildPackage({
      package_id: crypto.randomUUID(),
      vehicle_id: vin,
      created: new Date().toISOString(),
      zonal_gateways: [{ zonal_gateway_id: "ZG_BENCH", ecus }],
      signingKey,
      output,
      pool,
    });

    const streamed = await timed(async () => {
      const file = await Deno.open(output);
      await readPackage(file.readable, { verifyKeys, expectVehicle: vin, size });
    });
    const opened = await timed(async () => {
      const bundle = await openPackage(output, { verifyKeys, expectVehicle: vin, pool });
      await Promise.all(
        bundle.manifest.zonal_gateways[0].ecus.map((entry) =>
          bundle.extractImage(entry, `${directory}/${entry.ecu_id}`)
        ),
      );
    });
    const hashes = await timed(async () => {
      for (const path of [output, ...ecus.map((_, image) => `${directory}/${image}`)]) await hash(path);
    });
    const what = `package of ${(size / 2 ** 20).toFixed(0)} MiB verified`;
    return [
      {
        what: `${what} in one pass and one thread`,
        value: seconds(streamed),
        beside: `each byte hashed once ${seconds(hashes)}`,
      },
      {
        what: `${what} in two threads, images written`,
        value: seconds(opened),
        beside: await zstdCommand(ecus),
      },
    ];
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function hash(path: string): Promise<void> {
  using file = await Deno.open(path);
  const sha256 = createHash("sha256");
  const buffer = new Uint8Array(256 * 1024);
  for (let got = await file.read(buffer); got !== null; got = await file.read(buffer)) {
    sha256.update(buffer.subarray(0, got));
  }
  sha256.digest();
}

async function zstdCommand(ecus: readonly PackageEcuPart[]): Promise<string | undefined> {
  if (!present(peers.zstd)) return undefined;
  const took = await timed(async () => {
    for (const { blob: { path } } of ecus) {
      const { success } = await new Deno.Command("zstd", { args: ["-q", "-t", path] }).output();
      if (!success) throw new Error("expected zstd to test the blob, it failed");
    }
  });
  return `zstd -t, decompression alone ${seconds(took)}`;
}

async function timed(work: () => Promise<void>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

function seconds(time: number): string {
  return `${(time / 1000).toFixed(2)} s`;
}
