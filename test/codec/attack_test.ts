// Packages that a holder of the signing key, or a fault in the builder, could make: correctly signed, and still refused.

import assert from "node:assert/strict";
import { PackageError } from "../../src/codec/errors.ts";
import { openPackage } from "../../src/codec/open_package.ts";
import { open, openAll, read, verifyKeys, vin, withWorkbench, type Workbench } from "./support.ts";
import { blob, craft, good, goodBlob, goodImage, inZone, manifestText, part, twice } from "./crafted.ts";

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
