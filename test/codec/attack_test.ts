// Packages that a holder of the signing key, or a fault in the builder, could make: correctly signed, and still refused.

import assert from "node:assert/strict";
import zlib from "node:zlib";
import { PackageError } from "../../src/codec/errors.ts";
import { openPackage } from "../../src/codec/open_package.ts";
import { sign } from "../../src/pqc/signature.ts";
import {
  noise,
  open,
  openAll,
  read,
  sha256,
  signingKey,
  verifyKeys,
  vin,
  withWorkbench,
  type Workbench,
} from "./support.ts";

interface Ecu {
  ecu_id: string;
  image: { sha256: string; size: number; segments: { address: number; length: number }[] };
  blob: Record<string, unknown> & { offset: number; length: number; sha256: string; table_sha256: string };
}

interface Zone {
  id: string;
  /** First byte of its part. */
  offset?: number;
  /** Bytes of its part. */
  length?: number;
  ecus: Ecu[];
}

/** A manifest's text in canonical form, written out here member by member. */
function manifestText(zones: Zone[], rest: Record<string, unknown> = {}): string {
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
async function craft(bench: Workbench, manifest: string | Uint8Array, blobs: Uint8Array): Promise<string> {
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
function tabled(bytes: Uint8Array): { part: Uint8Array; entry: Ecu["blob"] } {
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

const blockSize = 4096;
const image = noise(1000, 9);
const blob = zlib.zstdCompressSync(image);
const { part, entry: goodBlob } = tabled(blob);
const goodImage = { sha256: sha256(image), size: 1000, segments: [{ address: 0, length: 1000 }] };
const good: Ecu = { ecu_id: "ECU_001", image: goodImage, blob: goodBlob };
const inZone = (...ecus: Ecu[]) => [{ id: "ZG_BODY", ecus }];
const twice = Uint8Array.from([...part, ...part]);

Deno.test("a package made by hand to the documented form is accepted", async () => {
  await withWorkbench(async (bench) => {
    await craft(bench, manifestText(inZone(good)), part);
    await openAll(bench);
    await read(bench);
  });
});

const entries: { name: string; code: string; manifest: string; parts?: Uint8Array }[] = [
  {
    name: "a blob that reaches out of the file",
    code: "blob_outside",
    manifest: manifestText(inZone({ ...good, blob: { ...goodBlob, length: blob.length + 1 } })),
  },
  {
    name: "a blob as long as numbers go",
    code: "blob_outside",
    manifest: manifestText(inZone({ ...good, blob: { ...goodBlob, length: Number.MAX_SAFE_INTEGER } })),
  },
  {
    name: "an offset beyond 2^53",
    code: "manifest_not_canonical",
    manifest: manifestText(inZone(good)).replace(`"offset":0`, `"offset":9223372036854775807`),
  },
  {
    name: "blobs that overlap",
    code: "blob_overlap",
    manifest: manifestText([{
      id: "ZG_BODY",
      length: twice.length,
      ecus: [good, { ...good, ecu_id: "ECU_002", blob: { ...goodBlob, offset: 10 } }],
    }]),
    parts: twice,
  },
  {
    name: "two images on one blob",
    code: "blob_overlap",
    manifest: manifestText(inZone(good, {
      ...good,
      ecu_id: "ECU_002",
      image: { ...goodImage, sha256: "0".repeat(64) },
    })),
  },
  {
    name: "a delta on another's blob",
    code: "blob_overlap",
    manifest: manifestText(inZone(good, {
      ...good,
      ecu_id: "ECU_002",
      blob: { ...goodBlob, encoding: "zstd-delta", base: { sha256: "0".repeat(64), size: 1 } },
    })),
  },
  {
    name: "a gap before a blob",
    code: "blob_overlap",
    manifest: manifestText([{
      id: "ZG_BODY",
      length: part.length + 1,
      ecus: [{ ...good, blob: { ...goodBlob, offset: 1 } }],
    }]),
    parts: Uint8Array.of(0, ...part),
  },
  {
    name: "bytes behind the last blob of a part",
    code: "part_layout",
    manifest: manifestText([{ id: "ZG_BODY", length: twice.length, ecus: [good] }]),
    parts: twice,
  },
  {
    name: "a part that ends within its blob",
    code: "blob_outside",
    manifest: manifestText([{ id: "ZG_BODY", length: part.length - 1, ecus: [good] }]),
  },
  {
    name: "a gap before a part",
    code: "part_layout",
    manifest: manifestText([{
      id: "ZG_BODY",
      offset: 1,
      ecus: [{ ...good, blob: { ...goodBlob, offset: 1 } }],
    }]),
    parts: Uint8Array.of(0, ...part),
  },
  {
    name: "parts that overlap",
    code: "part_layout",
    manifest: manifestText([
      { id: "ZG_BODY", ecus: [good] },
      { id: "ZG_ADAS", ecus: [{ ...good, ecu_id: "ECU_002" }] },
    ]),
    parts: twice,
  },
  {
    name: "a blob in another gateway's part",
    code: "blob_overlap",
    manifest: manifestText([
      { id: "ZG_BODY", ecus: [good] },
      { id: "ZG_ADAS", offset: part.length, ecus: [{ ...good, ecu_id: "ECU_002" }] },
    ]),
    parts: twice,
  },
  {
    name: "parts in another order than they lie in",
    code: "part_layout",
    manifest: manifestText([
      { id: "ZG_BODY", offset: part.length, ecus: [{ ...good, blob: { ...goodBlob, offset: part.length } }] },
      { id: "ZG_ADAS", ecus: [{ ...good, ecu_id: "ECU_002" }] },
    ]),
    parts: twice,
  },
  {
    name: "bytes behind the last part",
    code: "trailing_bytes",
    manifest: manifestText(inZone(good)),
    parts: twice,
  },
  {
    name: "a delta from an image to itself",
    code: "manifest_inconsistent",
    manifest: manifestText(inZone({
      ...good,
      blob: { ...goodBlob, encoding: "zstd-delta", base: { sha256: goodImage.sha256, size: 1000 } },
    })),
  },
  {
    name: "a delta whose base would fill the memory",
    code: "too_large",
    manifest: manifestText(inZone({
      ...good,
      blob: { ...goodBlob, encoding: "zstd-delta", base: { sha256: "0".repeat(64), size: 2 ** 52 } },
    })),
  },
  {
    name: "a delta without a base",
    code: "manifest_schema",
    manifest: manifestText(inZone({ ...good, blob: { ...goodBlob, encoding: "zstd-delta" } })),
  },
  {
    name: "a whole image with a base",
    code: "manifest_schema",
    manifest: manifestText(
      inZone({ ...good, blob: { ...goodBlob, base: { sha256: "0".repeat(64), size: 1 } } }),
    ),
  },
  ...[0, 2048, 4097, 2 ** 21].map((size) => ({
    name: `a block size of ${size}`,
    code: "manifest_schema",
    manifest: manifestText(inZone(good), { block_size: size }),
  })),
  {
    name: "an ECU that stands twice",
    code: "manifest_inconsistent",
    manifest: manifestText([{ id: "ZG_BODY", ecus: [good] }, { id: "ZG_ADAS", ecus: [good] }]),
  },
  {
    name: "a gateway that stands twice",
    code: "manifest_inconsistent",
    manifest: manifestText([...inZone(good), ...inZone({ ...good, ecu_id: "ECU_002" })]),
  },
  {
    name: "segments that overlap",
    code: "manifest_inconsistent",
    manifest: manifestText(inZone({
      ...good,
      image: { ...goodImage, segments: [{ address: 0, length: 600 }, { address: 599, length: 400 }] },
    })),
  },
  {
    name: "segments that touch",
    code: "manifest_inconsistent",
    manifest: manifestText(inZone({
      ...good,
      image: { ...goodImage, segments: [{ address: 0, length: 600 }, { address: 600, length: 400 }] },
    })),
  },
  {
    name: "a segment that ends beyond 32 bits",
    code: "manifest_inconsistent",
    manifest: manifestText(inZone({
      ...good,
      image: { ...goodImage, segments: [{ address: 0xffffffff, length: 1000 }] },
    })),
  },
  {
    name: "segments that do not add up",
    code: "manifest_inconsistent",
    manifest: manifestText(
      inZone({ ...good, image: { ...goodImage, segments: [{ address: 0, length: 999 }] } }),
    ),
  },
  {
    name: "an unknown member",
    code: "manifest_schema",
    manifest: manifestText(inZone(good), { extra: true }),
  },
  {
    name: "another document",
    code: "manifest_schema",
    manifest: manifestText(inZone(good), { format: "else" }),
  },
  { name: "another version", code: "manifest_schema", manifest: manifestText(inZone(good), { version: 1 }) },
  {
    name: "a VIN that is none",
    code: "manifest_schema",
    manifest: manifestText(inZone(good), { vehicle_id: "VIN" }),
  },
  { name: "nothing to install", code: "manifest_schema", manifest: manifestText([]) },
  {
    name: "an unknown encoding",
    code: "manifest_schema",
    manifest: manifestText(inZone({ ...good, blob: { ...goodBlob, encoding: "none" } })),
  },
  {
    name: "a member __proto__",
    code: "manifest_schema",
    manifest: manifestText(inZone(good)).replace("{", `{"__proto__":{"a":1},`),
  },
  {
    name: "a blank",
    code: "manifest_not_canonical",
    manifest: manifestText(inZone(good)).replace(":", ": "),
  },
  {
    name: "a member that stands twice",
    code: "manifest_not_canonical",
    manifest: manifestText(inZone(good)).replace(`"version":2,`, `"version":2,"version":2,`),
  },
  {
    name: "members in another order",
    code: "manifest_not_canonical",
    manifest: manifestText(inZone(good)).replace(`"version":2,`, "").replace("{", `{"version":2,`),
  },
  {
    name: "a number in another form",
    code: "manifest_not_canonical",
    manifest: manifestText(inZone(good)).replace(`"version":2,`, `"version":2.0,`),
  },
  {
    name: "a character in another form",
    code: "manifest_not_canonical",
    manifest: manifestText(inZone(good)).replace(`"HW-1"`, `"HW\\u002d1"`),
  },
  {
    name: "a byte order mark",
    code: "manifest_not_canonical",
    manifest: "\ufeff" + manifestText(inZone(good)),
  },
  { name: "no JSON", code: "manifest_not_canonical", manifest: "manifest" },
  { name: "an endless nesting", code: "manifest_not_canonical", manifest: "[".repeat(500_000) },
  {
    name: "a deep nesting",
    code: "manifest_not_canonical",
    manifest: "[".repeat(400_000) + "]".repeat(400_000),
  },
];

for (const { name, code, manifest, parts = part } of entries) {
  Deno.test(`${name}: refused as ${code}, though signed`, async () => {
    await withWorkbench(async (bench) => {
      await craft(bench, manifest, parts);
      for (
        const opening of [
          () => open(bench),
          () => read(bench),
          () => read(bench, undefined, { size: undefined }),
        ]
      ) {
        await assert.rejects(opening, (error) => {
          assert.ok(error instanceof PackageError, String(error));
          assert.equal(error.code, code, error.message);
          return true;
        });
      }
    });
  });
}

Deno.test("a manifest that is not UTF-8 is refused, though signed", async () => {
  await withWorkbench(async (bench) => {
    await craft(bench, Uint8Array.of(0x22, 0xff, 0x22), part);
    await assert.rejects(open(bench), { code: "manifest_not_canonical" });
  });
});

const header = (change: (view: DataView) => void) => async (bench: Workbench) => {
  const path = await craft(bench, manifestText(inZone(good)), part);
  const file = await Deno.readFile(path);
  change(new DataView(file.buffer));
  await Deno.writeFile(path, file);
};
const headers: [string, string, (view: DataView) => void][] = [
  ["another magic", "bad_magic", (view) => view.setUint32(0, 0x7f454c46)],
  ["version 1, which is not read any more", "bad_version", (view) => view.setUint16(4, 1)],
  ["version 3", "bad_version", (view) => view.setUint16(4, 3)],
  ["a flag", "bad_flags", (view) => view.setUint16(6, 0x8000)],
  ["a manifest of 4 GiB", "bad_length", (view) => view.setUint32(8, 0xffffffff)],
  ["a manifest of no bytes", "bad_length", (view) => view.setUint32(8, 0)],
  ["a manifest longer than the file", "truncated", (view) => view.setUint32(8, 500_000)],
  ["a signature of 4 GiB", "bad_length", (view) => view.setUint32(12, 0xffffffff)],
  ["no signature", "bad_length", (view) => view.setUint32(12, 0)],
];
for (const [name, code, change] of headers) {
  Deno.test(`a header with ${name} is refused as ${code}`, async () => {
    await withWorkbench(async (bench) => {
      await header(change)(bench);
      await assert.rejects(open(bench), { code, name: "PackageFormatError" });
      await assert.rejects(read(bench), { code, name: "PackageFormatError" });
    });
  });
}

Deno.test("limits are kept: of the file, of the manifest, of an image", async () => {
  await withWorkbench(async (bench) => {
    const path = await craft(bench, manifestText(inZone(good)), part);
    const options = { verifyKeys, expectVehicle: vin, pool: bench.pool };
    await assert.rejects(openPackage(path, { ...options, limits: { maxFile: 2000 } }), { code: "too_large" });
    await assert.rejects(openPackage(path, { ...options, limits: { maxManifest: 20 } }), {
      code: "bad_length",
    });
    await assert.rejects(openPackage(path, { ...options, limits: { maxImage: 999 } }), { code: "too_large" });
    await assert.rejects(openPackage(path, { ...options, limits: { maxImage: 0 } }), RangeError);
  });
});

/** What a blob that is signed as it is ends with, when its image is said to be `size` bytes with this hash. */
async function blobEnd(bytes: Uint8Array, size: number, hash: string): Promise<PackageError> {
  let found: unknown;
  const { part, entry } = tabled(bytes);
  await withWorkbench(async (bench) => {
    await craft(
      bench,
      manifestText([{
        id: "ZG_BODY",
        length: part.length,
        ecus: [{
          ecu_id: "ECU_001",
          image: { sha256: hash, size, segments: [{ address: 0, length: size }] },
          blob: entry,
        }],
      }]),
      part,
    );
    const opened = await open(bench);
    const [ecu] = opened.manifest.zonal_gateways[0].ecus;
    const codes = new Set<unknown>();
    for (
      const attempt of [
        () => opened.extractImage(ecu, undefined),
        () => opened.extractImage(ecu, `${bench.directory}/out`),
        () => read(bench),
      ]
    ) {
      try {
        await attempt();
        found = undefined;
      } catch (error) {
        found = error;
      }
      codes.add(found instanceof PackageError ? found.code : found);
    }
    assert.equal(codes.size, 1, `all readers say the same: ${[...codes].join(", ")}`);
    assert.deepEqual([...Deno.readDirSync(bench.directory)].map(({ name }) => name), ["package.otap"]);
  });
  assert.ok(found instanceof PackageError, String(found));
  assert.equal(found.name, "PackageContentError");
  return found;
}

Deno.test("a zstd bomb is stopped at the size that was declared", async () => {
  // 2 GiB of zeros in 64 KiB, made by hand (RFC 8878, section 3.1.1): magic, descriptor without content size, window of
  // 128 KiB, then 16,384 blocks that each repeat one byte 131,072 times; the last one says so.
  const blocks = 16_384;
  const frame = new Uint8Array(6 + 4 * blocks);
  frame.set([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38]);
  for (let block = 0; block < blocks; block++) frame.set([0x02, 0x00, 0x10, 0x00], 6 + 4 * block);
  frame[frame.length - 4] |= 1;
  const before = Deno.memoryUsage().rss;
  assert.equal((await blobEnd(frame, 1000, "0".repeat(64))).code, "image_too_long");
  // A quarter of it at most: other test files run in this process too, and take of its memory.
  assert.ok(Deno.memoryUsage().rss - before < 2 ** 29, "memory stayed small");
});

Deno.test("blobs that are no frame, are cut, want a huge window or hold another image are refused", async () => {
  assert.equal((await blobEnd(noise(500, 10), 1000, goodImage.sha256)).code, "blob_not_zstd");
  assert.equal((await blobEnd(blob.subarray(0, 900), 1000, goodImage.sha256)).code, "image_too_short");
  assert.equal((await blobEnd(blob, 1001, goodImage.sha256)).code, "image_too_short");
  assert.equal((await blobEnd(blob, 999, goodImage.sha256)).code, "image_too_long");
  assert.equal((await blobEnd(blob, 1000, "0".repeat(64))).code, "image_hash");
  const zeros = new Uint8Array(2 ** 24);
  const wide = zlib.zstdCompressSync(new Uint8Array(2 ** 24 + 1), {
    params: { [zlib.constants.ZSTD_c_windowLog]: 24, [zlib.constants.ZSTD_c_contentSizeFlag]: 0 },
  });
  assert.equal(
    (await blobEnd(wide, zeros.length + 1, sha256(new Uint8Array(2 ** 24 + 1)))).code,
    "blob_window",
  );
});
