// srec_cat as second opinion on firmware files: what it writes we read, and of a real product's file both find the same.

import assert from "node:assert/strict";
import { join } from "node:path";
import { type ParsedFirmware, parseFirmware } from "../../hardware/flash/format/parse_firmware.ts";
import { sampleBytes } from "../support/firmware_files.ts";
import { interopTest, peers } from "../support/peers.ts";
import { temporaryFolder } from "../support/program.ts";

async function srecCat(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(peers.srecord.command, { args }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
}

async function read(path: string, output: string): Promise<{ parsed: ParsedFirmware; payload: Uint8Array }> {
  const file = await Deno.open(path);
  const parsed = await parseFirmware(file.readable, { output });
  return { parsed, payload: await Deno.readFile(output) };
}

interopTest("every form that srec_cat writes of one image gives that image", [peers.srecord], async () => {
  await using folder = await temporaryFolder();
  const binary = join(folder.path, "image.bin");
  const image = sampleBytes(200_001, 7);
  await Deno.writeFile(binary, image);
  const forms: { format: "intel-hex" | "s-record"; address: number; args: string[] }[] = [
    { format: "intel-hex", address: 0x0800_0000, args: ["-intel"] },
    { format: "intel-hex", address: 0x0800_0003, args: ["-intel", "-line-length=78"] },
    { format: "intel-hex", address: 0x0800_0000, args: ["-intel", "-obs=255"] },
    { format: "intel-hex", address: 0x0001_0008, args: ["-intel", "-address-length=3"] },
    { format: "intel-hex", address: 0x0000_0010, args: ["-intel", "-CRLF"] },
    { format: "s-record", address: 0x0000_0000, args: ["-motorola", "-address-length=3"] },
    { format: "s-record", address: 0x00ab_0000, args: ["-motorola", "-address-length=3", "-obs=200"] },
    { format: "s-record", address: 0xfff0_0000, args: ["-motorola", "-address-length=4", "-CRLF"] },
    { format: "s-record", address: 0x0800_0000, args: ["-motorola", "-execution-start-address=0x08000101"] },
  ];
  for (const { format, address, args } of forms) {
    const path = join(folder.path, "written");
    await srecCat(binary, "-binary", "-offset", `${address}`, "-o", path, ...args);
    const { parsed, payload } = await read(path, join(folder.path, "payload"));
    assert.equal(parsed.format, format, args.join(" "));
    assert.deepEqual(parsed.segments, [{ address, length: image.length }], args.join(" "));
    assert.deepEqual(payload, image, args.join(" "));
    if (args[1]?.startsWith("-execution")) assert.equal(parsed.startAddress, 0x0800_0101);
  }
});

interopTest(
  "an image with holes, in any order, gives what srec_cat makes of it",
  [peers.srecord],
  async () => {
    await using folder = await temporaryFolder();
    const binary = join(folder.path, "image.bin");
    const image = sampleBytes(100_000, 9);
    await Deno.writeFile(binary, image);
    const path = join(folder.path, "written");
    await srecCat(
      binary,
      "-binary",
      "-exclude",
      "0x1000",
      "0x2001",
      "-exclude",
      "0x8000",
      "0x8001",
      "-o",
      path,
      "-intel",
    );
    const { parsed, payload } = await read(path, join(folder.path, "payload"));
    assert.deepEqual(parsed.segments, [
      { address: 0, length: 0x1000 },
      { address: 0x2001, length: 0x5fff },
      { address: 0x8001, length: 100_000 - 0x8001 },
    ]);
    const expected = [
      ...image.subarray(0, 0x1000),
      ...image.subarray(0x2001, 0x8000),
      ...image.subarray(0x8001),
    ];
    assert.deepEqual(payload, Uint8Array.from(expected));
    // The same lines backwards: the extended addresses would go wrong in HEX, S-records carry theirs whole.
    await srecCat(path, "-intel", "-o", `${path}.srec`, "-motorola", "-address-length=4");
    const lines = (await Deno.readTextFile(`${path}.srec`)).trimEnd().split("\n");
    const data = lines.filter((line) => line.startsWith("S3")).reverse();
    await Deno.writeTextFile(
      `${path}.srec`,
      [...data, ...lines.filter((line) => !/^S[013]/.test(line))].join("\n"),
    );
    const backwards = await read(`${path}.srec`, join(folder.path, "payload"));
    assert.deepEqual(backwards.parsed.segments, parsed.segments);
    assert.deepEqual(backwards.payload, payload);
  },
);

interopTest(
  "a shipping product's HEX file reads as srec_cat reads it",
  [peers.microbit, peers.srecord],
  async () => {
    await using folder = await temporaryFolder();
    const { parsed, payload } = await read(peers.microbit.command, join(folder.path, "payload"));
    assert.equal(parsed.format, "intel-hex");
    const { stdout } = await new Deno.Command("srec_info", { args: [peers.microbit.command, "-intel"] })
      .output();
    const info = new TextDecoder().decode(stdout);
    const start = /Execution Start Address: ([0-9A-F]+)/.exec(info)?.[1] ?? "";
    assert.equal(parsed.startAddress, parseInt(start, 16));
    const ranges = [...info.matchAll(/([0-9A-F]{8}) - ([0-9A-F]{8})/g)].map(([, from, to]) => ({
      address: parseInt(from, 16),
      length: parseInt(to, 16) - parseInt(from, 16) + 1,
    }));
    assert.deepEqual(parsed.segments, ranges);
    let at = 0;
    for (const { address, length } of ranges) {
      const binary = join(folder.path, "segment");
      const crop = ["-crop", `${address}`, `${address + length}`, "-offset", `-${address}`];
      await srecCat(peers.microbit.command, "-intel", ...crop, "-o", binary, "-binary");
      assert.deepEqual(payload.slice(at, at + length), await Deno.readFile(binary));
      at += length;
    }
    assert.equal(at, payload.length);
  },
);
