import assert from "node:assert/strict";
import { FileChunkStore } from "../../../hardware/sim/chunk_store.ts";
import {
  FlashFaultError,
  FlashMemory,
  type FlashMemoryOptions,
  PowerCutError,
} from "../../../hardware/sim/flash_memory.ts";
import { bytes, text } from "../uds/loopback.ts";
import { settle, TestClock } from "../uds/test_clock.ts";

const regions = [
  { name: "main", address: 0, size: 0x4_0000, sectorSize: 0x1000, eraseTime: 20, programTime: 2 },
  { name: "config", address: 0x1000_1000, size: 0x1000, sectorSize: 0x400 },
];

function memoryOf(options: Partial<FlashMemoryOptions> = {}): FlashMemory {
  return new FlashMemory({ regions, banks: 2, ...options });
}

function read(memory: FlashMemory, bank: number, address: number, length: number): string {
  const into = new Uint8Array(length);
  memory.read(bank, address, into);
  return text(into);
}

Deno.test("blank flash reads as FF and takes what is programmed, each bank on its own", () => {
  const memory = memoryOf();
  memory.program(0, 0x10, bytes("01 02"));
  assert.equal(read(memory, 0, 0x0f, 4), "FF 01 02 FF");
  assert.equal(read(memory, 1, 0x0f, 4), "FF FF FF FF");
});

Deno.test("a programmed cell takes nothing until it is erased", async () => {
  const memory = memoryOf();
  memory.program(0, 0x10, bytes("0F"));
  memory.program(0, 0x20, bytes("0F"));
  assert.throws(() => memory.program(0, 0x0f, bytes("01 02")), FlashFaultError);
  assert.equal(read(memory, 0, 0x0f, 2), "FF 0F");
  memory.program(0, 0x11, bytes("22"));
  await memory.erase(0, 0x10, 1);
  assert.equal(read(memory, 0, 0x10, 0x11), Array(0x11).fill("FF").join(" "));
  memory.program(0, 0x0f, bytes("01 02"));
  assert.equal(read(memory, 0, 0x0f, 2), "01 02");
});

Deno.test("an erase takes whole sectors and no more", async () => {
  const memory = memoryOf();
  memory.program(0, 0x0fff, bytes("01 02"));
  memory.program(0, 0x2000, bytes("03"));
  await memory.erase(0, 0x1000, 1);
  assert.equal(read(memory, 0, 0x0fff, 2), "01 FF");
  assert.equal(read(memory, 0, 0x2000, 1), "03");
});

Deno.test("programming runs over sectors and 64 KiB chunks", () => {
  const memory = memoryOf();
  const data = new Uint8Array(0x1_2000).fill(0x5a);
  memory.program(0, 0xfff0, data);
  assert.equal(read(memory, 0, 0xffef, 2), "FF 5A");
  assert.equal(read(memory, 0, 0xffff, 2), "5A 5A");
  assert.equal(read(memory, 0, 0xfff0 + 0x1_2000 - 1, 2), "5A FF");
});

Deno.test("a range outside the regions is refused", async () => {
  const memory = memoryOf();
  assert.throws(() => memory.program(0, 0x3_ffff, bytes("01 02")), /2 bytes at 0x0003FFFF/);
  await assert.rejects(memory.erase(0, 0x2000_0000, 1), RangeError);
  assert.equal(memory.regionOf(0x1000_1fff, 1)?.name, "config");
  assert.equal(memory.regionOf(0x1000_1fff, 2), undefined);
});

Deno.test("operations are counted: sectors that hold something, runs within a sector", async () => {
  const memory = memoryOf();
  memory.program(0, 0x0fff, bytes("01 02"));
  assert.equal(memory.operations, 2);
  await memory.erase(0, 0, 0x4_0000);
  assert.equal(memory.operations, 4);
  await memory.erase(0, 0, 0x4_0000);
  assert.equal(memory.operations, 4);
});

Deno.test("a power cut leaves a run half programmed, and nothing works without power", async () => {
  const memory = memoryOf();
  let cuts = 0;
  memory.onPowerCut = () => cuts++;
  memory.cutPowerAt(2);
  memory.program(0, 0, bytes("01 02 03 04"));
  assert.throws(() => memory.program(0, 4, bytes("05 06 07 08")), PowerCutError);
  assert.equal(read(memory, 0, 0, 8), "01 02 03 04 05 06 FF FF");
  assert.throws(() => memory.program(0, 6, bytes("07")), PowerCutError);
  assert.equal(cuts, 1);
  memory.powered = true;
  memory.program(0, 6, bytes("07"));
  await memory.erase(0, 0, 1);
});

Deno.test("a power cut leaves a sector half erased", async () => {
  const memory = memoryOf();
  memory.program(0, 0, new Uint8Array(0x1000));
  memory.cutPowerAt(1);
  await assert.rejects(memory.erase(0, 0, 1), PowerCutError);
  assert.equal(read(memory, 0, 0x7ff, 2), "FF 00");
});

Deno.test("erasing and programming take their time, and programming overlaps with the next block's way", async () => {
  const clock = new TestClock();
  const memory = memoryOf({ timing: "realistic", clock });
  const ended: string[] = [];
  const programming = Promise.resolve(memory.program(0, 0, new Uint8Array(0x1400))).then(() =>
    ended.push("programmed")
  );
  await clock.advance(9);
  assert.equal(ended.length, 0);
  await clock.advance(1);
  await programming;
  await clock.advance(3);
  const next = Promise.resolve(memory.program(0, 0x1400, new Uint8Array(0x200))).then(() =>
    ended.push("programmed")
  );
  await next;
  assert.equal(clock.now(), 13);
  assert.equal(ended.length, 2);
  const erasing = memory.erase(0, 0, 0x1400).then(() => ended.push("erased"));
  await clock.advance(39);
  assert.equal(ended.length, 2);
  await clock.advance(1);
  await erasing;
  await settle();
  assert.deepEqual(ended, ["programmed", "programmed", "erased"]);
});

Deno.test("a kept memory is what it was after a restart of the program", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const first = memoryOf({ store: new FileChunkStore(directory) });
    first.program(0, 0x10, bytes("01 02 03"));
    first.program(1, 0x1_0000, bytes("04"));
    first.program(0, 0x1000_1000, bytes("05"));
    await first.erase(0, 0x1000_1000, 1);
    // Not closed: a killed process closes nothing.
    const second = memoryOf({ store: new FileChunkStore(directory) });
    assert.equal(read(second, 0, 0x0f, 5), "FF 01 02 03 FF");
    assert.equal(read(second, 1, 0x0_ffff, 2), "FF 04");
    assert.equal(read(second, 0, 0x1000_1000, 1), "FF");
    assert.throws(() => second.program(0, 0x12, bytes("00")), FlashFaultError);
    assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name).sort(), [
      "config.0",
      "main.0",
      "main.1",
    ]);
    first.close();
    second.close();
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a kept memory keeps an erase at a chunk's end, in its middle and of all of it", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const first = memoryOf({ store: new FileChunkStore(directory) });
    first.program(0, 0, new Uint8Array(0x4000));
    await first.erase(0, 0x3000, 1);
    await first.erase(0, 0x1000, 1);
    first.program(0, 0x1_0000, bytes("00"));
    await first.erase(0, 0x1_0000, 1);
    const second = memoryOf({ store: new FileChunkStore(directory) });
    assert.equal(read(second, 0, 0x0fff, 2), "00 FF");
    assert.equal(read(second, 0, 0x1fff, 2), "FF 00");
    assert.equal(read(second, 0, 0x2fff, 2), "00 FF");
    assert.equal(read(second, 0, 0x3fff, 2), "FF FF");
    second.program(0, 0x3800, bytes("11"));
    assert.equal(read(memoryOf({ store: new FileChunkStore(directory) }), 0, 0x37ff, 3), "FF 11 FF");
    assert.deepEqual([...Deno.readDirSync(`${directory}/main.0`)].map(({ name }) => name), ["00000000.bin"]);
    first.close();
    second.close();
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

for (
  const [name, region, message] of [
    ["a name for no file", { name: "../x", address: 0, size: 16_384 }, /name: expected a-z/],
    [
      "half a sector",
      { name: "x", address: 0, size: 20_000 },
      /size: expected a multiple of 16384, got 20000/,
    ],
    ["past 32 bits", { name: "x", address: 0xffff_f000, size: 16_384 }, /within 32 bits/],
    ["a negative time", { name: "x", address: 0, size: 16_384, eraseTime: -1 }, /eraseTime: expected 0 ms/],
  ] as const
) {
  Deno.test(`a region that cannot be is refused: ${name}`, () => {
    assert.throws(() => memoryOf({ regions: [region] }), message);
  });
}

Deno.test("regions that overlap are refused", () => {
  const overlapping = [{ name: "a", address: 0, size: 16_384 }, { name: "b", address: 8_192, size: 16_384 }];
  assert.throws(() => memoryOf({ regions: overlapping }), /expected no overlap, got a and b/);
});
