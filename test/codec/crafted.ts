// Packages made by hand, byte for byte as docs/package.md has them, and signed with the trusted key.

import zlib from "node:zlib";
import { sign } from "../../src/pqc/signature.ts";
import { noise, sha256, signingKey, vin, type Workbench } from "./support.ts";

export interface Ecu {
  ecu_id: string;
  image: { sha256: string; size: number; segments: { address: number; length: number }[] };
  blob: Record<string, unknown> & { offset: number; length: number; sha256: string; table_sha256: string };
}

export interface Zone {
  id: string;
  /** First byte of its part. */
  offset?: number;
  /** Bytes of its part. */
  length?: number;
  ecus: Ecu[];
}

/** A manifest's text in canonical form, written out here member by member. */
export function manifestText(zones: Zone[], rest: Record<string, unknown> = {}): string {
  const sorted = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(sorted);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1).map(([k, v]) => [k, sorted(v)]),
    );
  };
  return JSON.stringify(sorted({
    format: "zonebench-package",
    version: 2,
    block_size: blockSize,
    package_id: "0d9a3c52-7d1e-4a57-8f6e-3c9ad1f0b101",
    vehicle_id: vin,
    created: "2026-01-31T10:00:00Z",
    key_id: signingKey.publicKey.keyId,
    zonal_gateways: zones.map(({ id, offset = 0, length = part.length, ecus }) => ({
      zonal_gateway_id: id,
      offset,
      length,
      ecus: ecus.map((ecu) => ({
        ecu_type: "BODY_CONTROLLER",
        hw_version: "HW-1",
        version: "1.0.0",
        ...ecu,
        image: { image_id: "6a1c1f1e-58b0-4d6c-9d34-0f9b6a1f7c01", ...ecu.image },
        blob: { encoding: "zstd", ...ecu.blob },
      })),
    })),
    ...rest,
  }));
}

/** Writes a package of these parts, signed with the trusted key over whatever the manifest is. */
export async function craft(
  bench: Workbench,
  manifest: string | Uint8Array,
  blobs: Uint8Array,
): Promise<string> {
  const bytes = typeof manifest === "string" ? new TextEncoder().encode(manifest) : manifest;
  const file = new Uint8Array(16 + bytes.length + 3309 + blobs.length);
  const view = new DataView(file.buffer);
  file.set(new TextEncoder().encode("OTAP"));
  view.setUint16(4, 2);
  view.setUint32(8, bytes.length);
  view.setUint32(12, 3309);
  file.set(bytes, 16);
  file.set(await sign(signingKey, bytes), 16 + bytes.length);
  file.set(blobs, 16 + bytes.length + 3309);
  const path = `${bench.directory}/package.otap`;
  await Deno.writeFile(path, file);
  return path;
}

/** A table and its blob, and what the manifest says of them. */
export function tabled(bytes: Uint8Array): { part: Uint8Array; entry: Ecu["blob"] } {
  const hashes: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += blockSize) {
    hashes.push(Uint8Array.fromHex(sha256(bytes.subarray(at, at + blockSize))));
  }
  const table = Uint8Array.from(hashes.flatMap((hash) => [...hash]));
  return {
    part: Uint8Array.from([...table, ...bytes]),
    entry: { offset: 0, length: bytes.length, sha256: sha256(bytes), table_sha256: sha256(table) },
  };
}

export const blockSize = 4096;
export const image = noise(1000, 9);
export const blob = zlib.zstdCompressSync(image);
export const { part, entry: goodBlob } = tabled(blob);
export const goodImage = { sha256: sha256(image), size: 1000, segments: [{ address: 0, length: 1000 }] };
export const good: Ecu = { ecu_id: "ECU_001", image: goodImage, blob: goodBlob };
export const inZone = (...ecus: Ecu[]) => [{ id: "ZG_BODY", ecus }];
export const twice = Uint8Array.from([...part, ...part]);
