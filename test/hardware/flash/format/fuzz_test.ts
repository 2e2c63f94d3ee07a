// Random files: ZONEBENCH_FUZZ_RUNS says how many; the seed stands in the failure's message.

import assert from "node:assert/strict";
import fc from "fast-check";
import { FirmwareFormatError } from "../../../../hardware/flash/format/errors.ts";
import type { FirmwareFormat } from "../../../../hardware/flash/format/parse_firmware.ts";
import { hex, hexRecord, read, sRecord } from "./support.ts";

const runs = Number(Deno.env.get("ZONEBENCH_FUZZ_RUNS") ?? 2000);

const byte = fc.integer({ min: 0, max: 255 });
const hexLine = fc.tuple(
  fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 7 })),
  fc.integer({ min: 0, max: 0xffff }),
  fc.array(byte, { maxLength: 20 }),
).map(([type, address, data]) => hexRecord(type, type === 0 ? address : 0, data));
const sLine = fc.tuple(
  fc.oneof({ weight: 8, arbitrary: fc.integer({ min: 1, max: 3 }) }, fc.integer({ min: 0, max: 9 })),
  fc.array(byte, { minLength: 2, maxLength: 4 }),
  fc.array(byte, { maxLength: 20 }),
).map(([type, address, data]) => sRecord(type, address, data));
const lineEnd = fc.constantFrom("\n", "\r\n", "\r", " \n", "\n\n");

/** Lines of records, mostly right, with a few characters changed, left out or put in. */
function file(line: fc.Arbitrary<string>, last: string): fc.Arbitrary<Uint8Array> {
  return fc.tuple(
    fc.array(fc.tuple(line, lineEnd).map((parts) => parts.join("")), { maxLength: 12 }),
    fc.array(fc.tuple(fc.nat(), fc.constantFrom("set", "cut", "put"), byte), { maxLength: 2 }),
  ).map(([lines, changes]) => {
    const bytes = [...new TextEncoder().encode(lines.join("") + last)];
    for (const [where, how, value] of changes) {
      const at = where % bytes.length;
      if (how === "set") bytes[at] = value;
      else if (how === "cut") bytes.splice(at, 1 + value % 8);
      else bytes.splice(at, 0, value);
    }
    return Uint8Array.from(bytes);
  });
}

const content = fc.oneof(
  file(hexLine, ":00000001FF\n"),
  file(sLine, "S9030000FC"),
  fc.uint8Array({ maxLength: 300 }),
);
const format = fc.constantFrom<FirmwareFormat | "auto">("auto", "auto", "intel-hex", "s-record", "binary");

async function outcome(bytes: Uint8Array, format: FirmwareFormat | "auto", split: number): Promise<unknown> {
  try {
    const { parsed, payload } = await read(bytes, { format, split });
    assert.equal(parsed.payloadSize, payload.length);
    assert.equal(parsed.segments.reduce((sum, { length }) => sum + length, 0), payload.length);
    return {
      ...parsed,
      payload: hex(payload),
      payloadSha256: hex(parsed.payloadSha256),
      fileSha256: hex(parsed.fileSha256),
    };
  } catch (error) {
    if (!(error instanceof FirmwareFormatError)) throw error;
    return { code: error.code, message: error.message };
  }
}

Deno.test("the readers give the same for any split of any file, and refuse with their own errors only", async () => {
  await fc.assert(
    fc.asyncProperty(content, format, fc.integer({ min: 1, max: 400 }), async (bytes, format, split) => {
      assert.deepEqual(await outcome(bytes, format, split), await outcome(bytes, format, 65536));
    }),
    { numRuns: runs },
  );
});
