// What the tests of the codec share: a folder that goes away, images, a package made of them.

import { createHash } from "node:crypto";
import { buildPackage, type BuildPackageOptions, type BuiltPackage } from "../../src/codec/build_package.ts";
import { compressImage } from "../../src/codec/compress_image.ts";
import { openPackage, type UpdatePackage } from "../../src/codec/open_package.ts";
import { CodecPool } from "../../src/codec/pool.ts";
import { type ReadPackage, readPackage, type ReadPackageOptions } from "../../src/codec/read_package.ts";
import { generateSigningKey, type SigningKey } from "../../src/pqc/signature.ts";

export const vin = "KMHLN4DJ1PU123456";
export const signingKey: SigningKey = await generateSigningKey();
export const verifyKeys = new Map([[signingKey.publicKey.keyId, signingKey.publicKey]]);

export interface Workbench {
  directory: string;
  pool: CodecPool;
}

/** Runs with a folder and threads that are gone afterwards. */
export async function withWorkbench(run: (bench: Workbench) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  const pool = new CodecPool();
  try {
    await run({ directory, pool });
  } finally {
    await pool[Symbol.asyncDispose]();
    await Deno.remove(directory, { recursive: true });
  }
}

export const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** Bytes that neither repeat nor compress well. */
export function noise(length: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let state = seed * 2 + 1;
  for (let at = 0; at < length; at++) {
    // Marsaglia's xorshift32.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[at] = state;
  }
  return bytes;
}

/** Compresses an image and gives what an ECU's entry needs of it. */
export async function part(bench: Workbench, ecuId: string, payload: Uint8Array) {
  const input = `${bench.directory}/${ecuId}.image`;
  const path = `${bench.directory}/${ecuId}.zst`;
  await Deno.writeFile(input, payload);
  const compressed = await compressImage(input, path, { pool: bench.pool });
  return {
    ecu_id: ecuId,
    ecu_type: "BODY_CONTROLLER",
    hw_version: "HW-1",
    version: "1.10.0",
    image: {
      image_id: "6a1c1f1e-58b0-4d6c-9d34-0f9b6a1f7c01",
      sha256: compressed.inputSha256,
      size: payload.length,
      segments: [{ address: 0x08000000, length: payload.length }],
    },
    blob: { path, length: compressed.length, sha256: compressed.sha256 },
  };
}

/** Builds a package with what matters to the test; the rest is filled in. */
export function build(
  bench: Workbench,
  zonal_gateways: BuildPackageOptions["zonal_gateways"],
  rest: Partial<BuildPackageOptions> = {},
): Promise<BuiltPackage> {
  return buildPackage({
    package_id: "0d9a3c52-7d1e-4a57-8f6e-3c9ad1f0b101",
    vehicle_id: vin,
    created: "2026-01-31T10:00:00Z",
    signingKey,
    output: `${bench.directory}/package.otap`,
    pool: bench.pool,
    zonal_gateways,
    ...rest,
  });
}

/** Opens a package as the vehicle that it is for. */
export function open(bench: Workbench, path = `${bench.directory}/package.otap`): Promise<UpdatePackage> {
  return openPackage(path, { verifyKeys, expectVehicle: vin, pool: bench.pool });
}

/** Reads a package in one pass, as the vehicle that it is for. */
export async function read(
  bench: Workbench,
  path = `${bench.directory}/package.otap`,
  rest: Partial<ReadPackageOptions> = {},
): Promise<ReadPackage> {
  const bytes = await Deno.readFile(path);
  return await readPackage([bytes], { verifyKeys, expectVehicle: vin, size: bytes.length, ...rest });
}

/** Opens a package and makes every image of it, without leaving one. */
export async function openAll(bench: Workbench, path?: string): Promise<void> {
  const opened = await open(bench, path);
  for (const { ecus } of opened.manifest.zonal_gateways) {
    for (const entry of ecus) await opened.extractImage(entry, undefined);
  }
}
