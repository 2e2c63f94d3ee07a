// Packages that a holder of the signing key, or a fault in the builder, could make: correctly signed, and still refused.

import assert from "node:assert/strict";
import zlib from "node:zlib";
import { PackageError } from "../../src/codec/errors.ts";
import { openPackage } from "../../src/codec/open_package.ts";
import { sign } from "../../src/pqc/signature.ts";
import {
  noise,
  open,
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
  blob: { offset: number; length: number; sha256: string; encoding?: string };
}

/** A manifest's text in canonical form, written out here member by member. */
function manifestText(zones: { id: string; ecus: Ecu[] }[], rest: Record<string, unknown> = {}): string {
  const sorted = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(sorted);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1).map(([k, v]) => [k, sorted(v)]),
    );
  };
  return JSON.stringify(sorted({
    format: "zonebench-package",
    version: 1,
    package_id: "0d9a3c52-7d1e-4a57-8f6e-3c9ad1f0b101",
    vehicle_id: vin,
    created: "2026-01-31T10:00:00Z",
    key_id: signingKey.publicKey.keyId,
    zonal_gateways: zones.map(({ id, ecus }) => ({
      zonal_gateway_id: id,
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
  view.setUint16(4, 1);
  view.setUint32(8, bytes.length);
  view.setUint32(12, 3309);
  file.set(bytes, 16);
  file.set(await sign(signingKey, bytes), 16 + bytes.length);
  file.set(blobs, 16 + bytes.length + 3309);
  const path = `${bench.directory}/package.otap`;
  await Deno.writeFile(path, file);
  return path;
}

const image = noise(1000, 9);
const blob = zlib.zstdCompressSync(image);
const goodImage = { sha256: sha256(image), size: 1000, segments: [{ address: 0, length: 1000 }] };
const goodBlob = { offset: 0, length: blob.length, sha256: sha256(blob) };
const good: Ecu = { ecu_id: "ECU_001", image: goodImage, blob: goodBlob };
const inZone = (...ecus: Ecu[]) => [{ id: "ZG_BODY", ecus }];
const twice = Uint8Array.from([...blob, ...blob]);

Deno.test("a package made by hand to the documented form is accepted", async () => {
  await withWorkbench(async (bench) => {
    await craft(bench, manifestText(inZone(good)), blob);
    await (await open(bench)).verifyBlobs();
  });
});

const entries: { name: string; code: string; manifest: string; blobs?: Uint8Array }[] = [
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
    manifest: manifestText(inZone(good, { ...good, ecu_id: "ECU_002", blob: { ...goodBlob, offset: 10 } })),
    blobs: twice,
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
    name: "a gap before a blob",
    code: "blob_overlap",
    manifest: manifestText(inZone({ ...good, blob: { ...goodBlob, offset: 1 } })),
    blobs: Uint8Array.of(0, ...blob),
  },
  {
    name: "bytes behind the last blob",
    code: "trailing_bytes",
    manifest: manifestText(inZone(good)),
    blobs: twice,
  },
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
  { name: "another version", code: "manifest_schema", manifest: manifestText(inZone(good), { version: 2 }) },
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
    manifest: manifestText(inZone(good)).replace(`"version":1,`, `"version":1,"version":1,`),
  },
  {
    name: "members in another order",
    code: "manifest_not_canonical",
    manifest: manifestText(inZone(good)).replace(`"version":1,`, "").replace("{", `{"version":1,`),
  },
  {
    name: "a number in another form",
    code: "manifest_not_canonical",
    manifest: manifestText(inZone(good)).replace(`"version":1,`, `"version":1.0,`),
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

for (const { name, code, manifest, blobs = blob } of entries) {
  Deno.test(`${name}: refused as ${code}, though signed`, async () => {
    await withWorkbench(async (bench) => {
      await craft(bench, manifest, blobs);
      await assert.rejects(open(bench), (error) => {
        assert.ok(error instanceof PackageError, String(error));
        assert.equal(error.code, code, error.message);
        return true;
      });
    });
  });
}

Deno.test("a manifest that is not UTF-8 is refused, though signed", async () => {
  await withWorkbench(async (bench) => {
    await craft(bench, Uint8Array.of(0x22, 0xff, 0x22), blob);
    await assert.rejects(open(bench), { code: "manifest_not_canonical" });
  });
});

const header = (change: (view: DataView) => void) => async (bench: Workbench) => {
  const path = await craft(bench, manifestText(inZone(good)), blob);
  const file = await Deno.readFile(path);
  change(new DataView(file.buffer));
  await Deno.writeFile(path, file);
};
const headers: [string, string, (view: DataView) => void][] = [
  ["another magic", "bad_magic", (view) => view.setUint32(0, 0x7f454c46)],
  ["version 2", "bad_version", (view) => view.setUint16(4, 2)],
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
    });
  });
}

Deno.test("limits are kept: of the file, of the manifest, of an image", async () => {
  await withWorkbench(async (bench) => {
    const path = await craft(bench, manifestText(inZone(good)), blob);
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
  await withWorkbench(async (bench) => {
    await craft(
      bench,
      manifestText(inZone({
        ecu_id: "ECU_001",
        image: { sha256: hash, size, segments: [{ address: 0, length: size }] },
        blob: { offset: 0, length: bytes.length, sha256: sha256(bytes) },
      })),
      bytes,
    );
    const opened = await open(bench);
    const output = `${bench.directory}/out`;
    for (
      const attempt of [
        () => opened.verifyBlobs(),
        () => opened.extractImage(opened.manifest.zonal_gateways[0].ecus[0], output),
      ]
    ) {
      try {
        await attempt();
        found = undefined;
      } catch (error) {
        found = error;
      }
    }
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
  assert.ok(Deno.memoryUsage().rss - before < 2 ** 27, "memory stayed small");
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
