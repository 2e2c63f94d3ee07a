// Damaged and random metadata: UPTANE_FUZZ_COUNT says how many, UPTANE_FUZZ_SEED from where; the seed stands in the failure's
// message. The reader either refuses with an error of its own, or gives metadata whose canonical form it can read again.

import assert from "node:assert/strict";
import fc from "fast-check";
import { canonicalJson } from "../../src/uptane/canonical_json.ts";
import { EnvelopeError, readMetadata } from "../../src/uptane/envelope.ts";
import { JsonReadError, readJson } from "../../src/uptane/json_reader.ts";
import type { TopLevelRole } from "../../src/uptane/models.ts";
import { countSignatures } from "../../src/uptane/threshold.ts";
import { Bench, image, signers } from "./fake_repositories.ts";

const count = Number(Deno.env.get("UPTANE_FUZZ_COUNT") ?? 4000);
const seed = Number(Deno.env.get("UPTANE_FUZZ_SEED") ?? Date.now() % 2 ** 31);
const roles: readonly TopLevelRole[] = ["root", "timestamp", "snapshot", "targets"];

/** Numbers from a seed (mulberry32): the same for the same seed. */
function random(from: number): () => number {
  let state = from >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What is put into files: what breaks readers of JSON. */
const splices = [
  '"',
  "\\",
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  "-",
  "1e999",
  "-0",
  "9007199254740993",
  "0.1",
  "null",
  "true",
  '"__proto__":{},',
  '"constructor":1,',
  '"signed":{},',
  '"\\ud800"',
  "\u0000",
  "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
  '{"a":'.repeat(30),
  "u\u0308",
  " ",
];

async function corpus(): Promise<[TopLevelRole, Uint8Array][]> {
  const bench = await Bench.make("ecdsa-p256");
  const keys = await signers(2);
  await bench.image.writeDelegated("supplier", keys, { "supplier/1.bin": image("supplied") });
  await bench.publish({ "body/1.bin": image("version 1"), "body/2.bin": image("version 2", 2, ["1", "2"]) }, [
    {
      name: "supplier",
      paths: ["supplier/*"],
      keys: keys.map(({ key }) => key),
      threshold: 2,
      hardwareIds: ["1.0"],
    },
  ]);
  const { director, image: side } = bench;
  return [
    ["root", director.file("1.root.json")],
    ["timestamp", side.file("timestamp.json")],
    ["snapshot", side.file("2.snapshot.json")],
    ["targets", side.file("2.targets.json")],
    ["targets", director.file("1.targets.json")],
  ];
}

/** One to four changes of a file. */
function damaged(good: Uint8Array, next: () => number): Uint8Array {
  const below = (limit: number) => Math.floor(next() * limit);
  let bytes = good;
  for (let changes = 1 + below(4); changes > 0; changes--) {
    const at = below(bytes.length + 1);
    const cut = below(3) === 0 ? below(200) : below(3);
    const put = below(2) === 0
      ? new TextEncoder().encode(splices[below(splices.length)])
      : Uint8Array.from({ length: below(5) }, () => below(256));
    const piece = below(5) === 0 ? bytes.slice(below(bytes.length), below(bytes.length)) : put;
    const after = bytes.subarray(Math.min(bytes.length, at + cut));
    const changed = new Uint8Array(at + piece.length + after.length);
    changed.set(bytes.subarray(0, at));
    changed.set(piece, at);
    changed.set(after, at + piece.length);
    bytes = changed;
  }
  return bytes;
}

Deno.test(`the reader refuses ${count} damaged files with its own error, or reads them`, async () => {
  const files = await corpus();
  const authorities = readMetadata("root", files[0][1]).signed;
  const next = random(seed);
  let taken = 0;
  for (let run = 0; run < count; run++) {
    const [role, good] = files[run % files.length];
    const bytes = damaged(good, next);
    try {
      const metadata = readMetadata(role, bytes);
      taken++;
      assert.deepEqual(canonicalJson(metadata.raw), metadata.payload);
      if (taken % 100 === 0) {
        await countSignatures(metadata, { keys: authorities.keys, role: authorities.roles.root });
      }
    } catch (error) {
      if (!(error instanceof EnvelopeError)) {
        throw new Error(`UPTANE_FUZZ_SEED=${seed}, input ${run}: ${bytes.toBase64()}`, { cause: error });
      }
    }
  }
  console.log(`${count} files, seed ${seed}: ${taken} were read, ${count - taken} refused`);
});

Deno.test("any JSON is read as JSON.parse reads it, or refused", () => {
  fc.assert(
    fc.property(fc.json({ depthSize: "medium" }), (text) => {
      try {
        const value = readJson(new TextEncoder().encode(text));
        assert.equal(JSON.stringify(value), JSON.stringify(JSON.parse(text)));
      } catch (error) {
        if (!(error instanceof JsonReadError)) throw error;
      }
    }),
    { numRuns: Math.min(count, 20_000), seed },
  );
});

Deno.test("any JSON in place of what is signed is refused or read, by each role", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(...roles), (signed, role) => {
      const text = JSON.stringify({ signed, signatures: [] });
      assert.throws(() => readMetadata(role, new TextEncoder().encode(text)), EnvelopeError);
    }),
    { numRuns: Math.min(count, 20_000), seed },
  );
});
