// Random packages: ZONEBENCH_FUZZ_RUNS says how many; the seed stands in the failure's message.

import assert from "node:assert/strict";
import fc from "fast-check";
import { canonicalJson } from "../../src/codec/canonical_json.ts";
import { resolveLimits } from "../../src/codec/container.ts";
import { PackageError } from "../../src/codec/errors.ts";
import { checkSchema, parseManifest, verifyEntries, verifyLayout } from "../../src/codec/manifest.ts";
import { readPackage } from "../../src/codec/read_package.ts";
import { build, noise, part, verifyKeys, vin, withWorkbench } from "./support.ts";

const runs = Number(Deno.env.get("ZONEBENCH_FUZZ_RUNS") ?? 2000);

/** Pieces as a link gives them. */
function chunked(bytes: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0, next = 0; at < bytes.length; next++) {
    const size = sizes.length === 0 ? bytes.length : sizes[next % sizes.length];
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return chunks;
}

const sizes = fc.array(fc.integer({ min: 1, max: 5_000 }), { maxLength: 4 });

Deno.test("the reader refuses every damaged package with an error of its own", async () => {
  const good = await goodPackage();
  const damage = fc.tuple(
    fc.nat(good.length),
    fc.nat(64),
    fc.uint8Array({ maxLength: 64 }),
  ).map(([at, cut, put]) => Uint8Array.from([...good.subarray(0, at), ...put, ...good.subarray(at + cut)]));
  // The front is left as it was signed: what is wrong is a table, a block or the end.
  const parts = fc.tuple(
    fc.integer({ min: partsAt(good), max: good.length }),
    fc.nat(64),
    fc.uint8Array({ maxLength: 64 }),
  )
    .map(([at, cut, put]) => Uint8Array.from([...good.subarray(0, at), ...put, ...good.subarray(at + cut)]));
  const flipped = fc.tuple(fc.nat(good.length - 1), fc.nat(7)).map(([at, bit]) =>
    good.with(at, good[at] ^ 1 << bit)
  );
  const file = fc.oneof(
    { weight: 3, arbitrary: damage },
    { weight: 2, arbitrary: parts },
    { weight: 3, arbitrary: flipped },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }) },
    {
      weight: 1,
      arbitrary: fc.uint8Array({ maxLength: 200 }).map((rest) =>
        Uint8Array.from([...good.subarray(0, 8), ...rest])
      ),
    },
  );
  await fc.assert(
    fc.asyncProperty(file, sizes, fc.boolean(), async (bytes, sizes, sized) => {
      if (bytes.length === good.length && bytes.every((byte, at) => byte === good[at])) return;
      const options = { verifyKeys, expectVehicle: vin, ...sized ? { size: bytes.length } : {} };
      await assert.rejects(readPackage(chunked(bytes, sizes), options), PackageError);
    }),
    { numRuns: runs },
  );
});

Deno.test("the reader takes a good package in whatever pieces it comes", async () => {
  const good = await goodPackage();
  await fc.assert(
    fc.asyncProperty(sizes, async (sizes) => {
      const read = await readPackage(chunked(good, sizes), { verifyKeys, expectVehicle: vin });
      assert.equal(read.size, good.length);
    }),
    { numRuns: Math.min(runs, 500) },
  );
});

Deno.test("whatever numbers a signed manifest holds, its blobs lie within the file, or it is refused", async () => {
  const good = await goodPackage();
  const { manifest } = await readPackage([good], { verifyKeys });
  const partBytes = good.length - partsAt(good);
  const limits = resolveLimits();
  const number = fc.oneof(
    fc.constantFrom(0, -1, 1, 31, 32, 33, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 2 ** 63, partBytes, 1e300),
    fc.nat(2 * partBytes),
  );
  const places = numbersOf(manifest);
  await fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(places.length - 1), number), { minLength: 1, maxLength: 3 }),
      (changes) => {
        const changed = structuredClone(manifest);
        for (const [place, value] of changes) setNumber(changed, places[place], value);
        try {
          const checked = checkSchema(changed);
          verifyEntries(checked, limits);
          let end = 0;
          for (const { blob, dataOffset } of verifyLayout(checked, partBytes, limits)) {
            assert.equal(blob.offset, end);
            end = dataOffset + blob.length;
          }
          assert.equal(end, partBytes);
        } catch (error) {
          assert.ok(error instanceof PackageError, String(error));
        }
      },
    ),
    { numRuns: runs },
  );
});

/** A package of two parts; its blobs have one block and two. */
async function goodPackage(): Promise<Uint8Array<ArrayBuffer>> {
  let bytes: Uint8Array<ArrayBuffer> = new Uint8Array();
  await withWorkbench(async (bench) => {
    const a = await part(bench, "ECU_001", noise(40, 1));
    const b = await part(bench, "ECU_002", noise(5_000, 2));
    await build(bench, [
      { zonal_gateway_id: "ZG_BODY", ecus: [a, b] },
      { zonal_gateway_id: "ZG_REAR", ecus: [{ ...a, ecu_id: "ECU_003" }] },
    ], { blockSize: 4_096 });
    bytes = await Deno.readFile(`${bench.directory}/package.otap`);
  });
  return bytes;
}

function partsAt(file: Uint8Array): number {
  const view = new DataView(file.buffer);
  return 16 + view.getUint32(8) + view.getUint32(12);
}

type Path = (string | number)[];

function numbersOf(value: unknown, path: Path = []): Path[] {
  if (typeof value === "number") return [path];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, member]) => numbersOf(member, [...path, name]));
}

function setNumber(root: object, path: Path, value: number): void {
  let at: object = root;
  for (const name of path.slice(0, -1)) {
    const next: unknown = Reflect.get(at, name);
    assert.ok(typeof next === "object" && next !== null);
    at = next;
  }
  Reflect.set(at, path[path.length - 1], value);
}

Deno.test("the manifest's parser refuses any JSON that is no manifest with an error of its own", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.throws(() => parseManifest(new TextEncoder().encode(JSON.stringify(value))), PackageError);
    }),
    { numRuns: runs },
  );
});

Deno.test("a canonical form is the same whatever the order of the members", () => {
  const value = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      fc.maxSafeInteger(),
      fc.boolean(),
      fc.string({ unit: "binary" }),
      fc.array(tie("value"), { maxLength: 4 }),
      fc.dictionary(fc.string({ unit: "binary" }), tie("value"), { maxKeys: 5, noNullPrototype: true }),
    ),
  })).value;
  const reversed = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(reversed);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).reverse().map(([name, member]) => [name, reversed(member)]),
    );
  };
  fc.assert(
    fc.property(value, (value) => {
      const form = canonicalJson(value);
      assert.deepEqual(canonicalJson(reversed(value)), form);
      assert.deepEqual(
        canonicalJson(JSON.parse(new TextDecoder("utf-8", { ignoreBOM: true }).decode(form))),
        form,
      );
    }),
    { numRuns: runs },
  );
});
