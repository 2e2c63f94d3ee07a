import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { parseFirmware } from "../../../../hardware/flash/format/parse_firmware.ts";
import { hex, hexRecord, pieces, read, refusal, sRecord } from "./support.ts";

const end = ":00000001FF";

async function withDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await run(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("parseFirmware() says hash and size of the file and of the payload", async () => {
  const { parsed } = await read(":03000000616263D7\n:00000001FF\n");
  assert.equal(parsed.fileSize, 30);
  assert.equal(
    hex(parsed.fileSha256).toLowerCase(),
    createHash("sha256").update(":03000000616263D7\n:00000001FF\n").digest("hex"),
  );
  assert.equal(parsed.payloadSize, 3);
  // FIPS 180-4's example "abc".
  assert.equal(
    hex(parsed.payloadSha256).toLowerCase(),
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
});

Deno.test("parseFirmware() puts a raw binary at its base address", async () => {
  const content = Uint8Array.of(0, 1, 2, 3, 4);
  const { parsed, payload } = await read(content, { baseAddress: 0x08000000, split: 2 });
  assert.equal(parsed.format, "binary");
  assert.deepEqual(parsed.segments, [{ address: 0x08000000, length: 5 }]);
  assert.deepEqual(payload, content);
  assert.deepEqual((await read(content)).parsed.segments, [{ address: 0, length: 5 }]);
});

Deno.test("parseFirmware() takes a text for a raw binary only when told so", async () => {
  const text = ":0100000001FE\n";
  assert.equal((await refusal(text)).code, "missing_end");
  assert.equal((await refusal("\ufefftext")).code, "unknown_format");
  const { payload } = await read("\ufeff" + text, { format: "binary" });
  assert.equal(payload.length, 3 + text.length);
});

Deno.test("parseFirmware() holds a file against the format that it was told", async () => {
  assert.deepEqual((await refusal("S9030000FC\n", { format: "intel-hex" })).line, 1);
  assert.deepEqual((await refusal(":00000001FF\n", { format: "s-record" })).code, "bad_character");
  assert.deepEqual((await refusal("", { format: "binary" })).code, "empty_image");
  assert.deepEqual((await refusal("")).code, "empty_image");
});

Deno.test("parseFirmware() refuses a raw binary that does not fit into 32 bits", async () => {
  const { parsed } = await read(new Uint8Array(2), { baseAddress: 0xfffffffe });
  assert.deepEqual(parsed.segments, [{ address: 0xfffffffe, length: 2 }]);
  assert.equal((await refusal(new Uint8Array(3), { baseAddress: 0xfffffffe })).code, "address_overflow");
});

Deno.test("parseFirmware() refuses options out of range, and a base address for records", async () => {
  for (
    const options of [
      { baseAddress: -1 },
      { baseAddress: 2 ** 32 },
      { baseAddress: 0.5 },
      { maxSegments: 0 },
      { maxRuns: 2 ** 20 + 1 },
      { maxPayload: Infinity },
      { format: "intel-hex", baseAddress: 0 },
      { format: "s-record", baseAddress: 16 },
    ] as const
  ) await assert.rejects(read(end, options), RangeError);
});

Deno.test("a base address is refused for a file that turns out to carry its own addresses", async () => {
  await assert.rejects(
    read(`${hexRecord(0, 0, [1])}\n${end}\n`, { baseAddress: 16 }),
    (error) =>
      error instanceof RangeError && /intel-hex has addresses of its own, got 16/.test(error.message),
  );
});

Deno.test("parseFirmware() keeps to its limits", async () => {
  const scattered = [0, 8, 16].map((address) => hexRecord(0, address, [1])).join("\n") + `\n${end}\n`;
  assert.equal((await refusal(scattered, { maxSegments: 2 })).code, "too_many_segments");
  assert.equal((await read(scattered, { maxSegments: 3 })).parsed.segments.length, 3);
  const runs = await refusal(scattered, { maxRuns: 2 });
  assert.deepEqual([runs.code, runs.line], ["too_many_runs", 3]);
  const large = await refusal(scattered, { maxPayload: 2 });
  assert.deepEqual([large.code, large.line], ["too_large", 3]);
  assert.equal((await refusal(new Uint8Array(200_000), { maxPayload: 199_999 })).code, "too_large");
});

Deno.test("parseFirmware() orders a payload that is larger than its buffers", async () => {
  // 1 MiB, its 4,096 blocks of 256 bytes in reverse; each block's bytes tell its number.
  const lines: string[] = [];
  for (let block = 4095; block >= 0; block--) {
    lines.push(
      sRecord(3, [0, block >> 8, block & 0xff, 0], [
        block >> 8,
        block & 0xff,
        ...new Array(246).fill(block & 0xff),
      ]),
    );
    lines.push(sRecord(3, [0, block >> 8, block & 0xff, 248], new Array(8).fill(0xee)));
  }
  lines.push("S70500000000FA");
  const { parsed, payload } = await read(lines.join("\n"), { split: 50_000 });
  assert.deepEqual(parsed.segments, [{ address: 0, length: 2 ** 20 }]);
  for (let block = 0; block < 4096; block++) {
    const at = block * 256;
    assert.deepEqual([payload[at], payload[at + 1], payload[at + 247], payload[at + 255]], [
      block >> 8,
      block & 0xff,
      block & 0xff,
      0xee,
    ]);
  }
  assert.equal(hex(parsed.payloadSha256).toLowerCase(), createHash("sha256").update(payload).digest("hex"));
});

Deno.test("parseFirmware() replaces an older payload only by a whole one", async () => {
  await withDirectory(async (directory) => {
    const output = `${directory}/payload`;
    await Deno.writeTextFile(output, "old");
    const bytes = (text: string) => pieces(new TextEncoder().encode(text), 4);
    await assert.rejects(parseFirmware(bytes(":0100000001FE"), { output }), { code: "missing_end" });
    assert.equal(await Deno.readTextFile(output), "old");
    await parseFirmware(bytes(`:0100000041BE\n${end}`), { output });
    assert.equal(await Deno.readTextFile(output), "A");
  });
});

Deno.test("parseFirmware() is called off while its source hangs, and tells the source to stop", async () => {
  await withDirectory(async (directory) => {
    const controller = new AbortController();
    let returned = 0;
    const hanging: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]: () => ({
        next: () => {
          controller.abort(new Error("called off"));
          return new Promise(() => {});
        },
        return: () => {
          returned++;
          return Promise.resolve({ done: true, value: undefined });
        },
      }),
    };
    const output = `${directory}/payload`;
    await assert.rejects(parseFirmware(hanging, { output, signal: controller.signal }), /called off/);
    assert.equal(returned, 1);
    assert.deepEqual([...Deno.readDirSync(directory)], []);
    await assert.rejects(
      parseFirmware(hanging, { output, signal: AbortSignal.abort(new Error("before")) }),
      /before/,
    );
  });
});

Deno.test("parseFirmware() passes on what its source fails with", async () => {
  await withDirectory(async (directory) => {
    const failing = async function* () {
      yield new TextEncoder().encode(":0100000001FE\n");
      throw new Error("the connection is gone");
    };
    await assert.rejects(
      parseFirmware(failing(), { output: `${directory}/payload` }),
      /the connection is gone/,
    );
    assert.deepEqual([...Deno.readDirSync(directory)], []);
  });
});
