// Random packages: ZONEBENCH_FUZZ_RUNS says how many; the seed stands in the failure's message.

import assert from "node:assert/strict";
import fc from "fast-check";
import { canonicalJson } from "../../src/codec/canonical_json.ts";
import { PackageError } from "../../src/codec/errors.ts";
import { parseManifest } from "../../src/codec/manifest.ts";
import { build, noise, part, read, withWorkbench } from "./support.ts";

const runs = Number(Deno.env.get("ZONEBENCH_FUZZ_RUNS") ?? 2000);

Deno.test("the opener refuses every damaged package with an error of its own", async () => {
  await withWorkbench(async (bench) => {
    await build(bench, [{ zonal_gateway_id: "ZG_BODY", ecus: [await part(bench, "ECU_001", noise(40, 1))] }]);
    const good = await Deno.readFile(`${bench.directory}/package.otap`);
    const path = `${bench.directory}/damaged`;
    const damage = fc.tuple(
      fc.nat(good.length),
      fc.nat(64),
      fc.uint8Array({ maxLength: 64 }),
    ).map(([at, cut, put]) => Uint8Array.from([...good.subarray(0, at), ...put, ...good.subarray(at + cut)]));
    const file = fc.oneof(
      { weight: 4, arbitrary: damage },
      { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }) },
      {
        weight: 1,
        arbitrary: fc.uint8Array({ maxLength: 200 }).map((rest) =>
          Uint8Array.from([...good.subarray(0, 8), ...rest])
        ),
      },
    );
    await fc.assert(
      fc.asyncProperty(file, async (bytes) => {
        fc.pre(bytes.length !== good.length || bytes.some((byte, at) => byte !== good[at]));
        await Deno.writeFile(path, bytes);
        await assert.rejects(read(bench, path), PackageError);
      }),
      { numRuns: runs },
    );
  });
});

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
