// Random files: FLASH_FUZZ_COUNT says how many of each format; the seed stands in the failure's message.

import assert from "node:assert/strict";
import fc from "fast-check";
import { FirmwareFormatError } from "../../../../hardware/flash/format/errors.ts";
import { type FirmwareFormat, parseFirmware } from "../../../../hardware/flash/format/parse_firmware.ts";
import { hex, hexRecord, pieces, sRecord, vbfBlock, vbfFile } from "./support.ts";

const runs = Number(Deno.env.get("FLASH_FUZZ_COUNT") ?? 2000);

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

const vbfFields = fc.constantFrom(
  "",
  "erase = { { 0x0, 0x400 } };",
  "data_format_identifier = 0x10;",
  "call = 0x10;",
  "omit = { { 0x30, 4 } };",
);
const vbf = fc.tuple(
  vbfFields,
  fc.array(fc.tuple(fc.integer({ min: 0, max: 0x40 }), fc.array(byte, { maxLength: 20 })), { maxLength: 6 }),
).map(([fields, blocks]) => vbfFile(fields, blocks.map(([address, data]) => vbfBlock(address * 8, data))));

/** A few bytes changed, left out or put in. */
function changed(file: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  return fc.tuple(
    file,
    fc.array(fc.tuple(fc.nat(), fc.constantFrom("set", "cut", "put"), byte), { maxLength: 2 }),
  ).map(([content, changes]) => {
    const bytes = [...content];
    for (const [where, how, value] of changes) {
      const at = where % Math.max(1, bytes.length);
      if (how === "set") bytes[at] = value;
      else if (how === "cut") bytes.splice(at, 1 + value % 8);
      else bytes.splice(at, 0, value);
    }
    return Uint8Array.from(bytes);
  });
}

/** Lines of records, mostly right. */
function lines(line: fc.Arbitrary<string>, last: string): fc.Arbitrary<Uint8Array> {
  return fc.array(fc.tuple(line, lineEnd).map((parts) => parts.join("")), { maxLength: 12 })
    .map((lines) => new TextEncoder().encode(lines.join("") + last));
}

const directory = Deno.makeTempDirSync({ prefix: "zonebench-fuzz-" });
const output = `${directory}/payload`;
globalThis.addEventListener("unload", () => Deno.removeSync(directory, { recursive: true }));

async function outcome(bytes: Uint8Array, format: FirmwareFormat | "auto", split: number): Promise<unknown> {
  try {
    const parsed = await parseFirmware(pieces(bytes, split), { format, output });
    const payload = Deno.readFileSync(output);
    Deno.removeSync(output);
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
    assert.deepEqual([...Deno.readDirSync(directory)], [], "a refused file leaves nothing behind");
    return { code: error.code, message: error.message };
  }
}

const contents: Record<FirmwareFormat, fc.Arbitrary<Uint8Array>> = {
  "intel-hex": changed(lines(hexLine, ":00000001FF\n")),
  "s-record": changed(lines(sLine, "S9030000FC")),
  "vbf": changed(vbf),
  "binary": fc.uint8Array({ maxLength: 300 }),
};

for (const format of ["intel-hex", "s-record", "vbf", "binary"] as const) {
  Deno.test(`${format}: any split of any file gives the same, and what is refused is refused with its own errors only`, async () => {
    const accepted = { yes: 0, no: 0 };
    await fc.assert(
      fc.asyncProperty(
        contents[format],
        fc.constantFrom(format, "auto" as const),
        fc.integer({ min: 1, max: 400 }),
        async (bytes, given, split) => {
          const whole = await outcome(bytes, given, 65536);
          assert.deepEqual(await outcome(bytes, given, split), whole);
          if (typeof whole === "object" && whole !== null && "code" in whole) accepted.no++;
          else accepted.yes++;
        },
      ),
      { numRuns: runs },
    );
    // Files that are all refused at their first byte would test nothing.
    assert.ok(runs < 500 || accepted.yes > runs / 20, JSON.stringify(accepted));
  });
}
