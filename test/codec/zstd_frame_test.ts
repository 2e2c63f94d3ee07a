// Headers written by hand to RFC 8878, section 3.1.1.1.

import assert from "node:assert/strict";
import { FrameHeaderReader, ZstdFrameHeader } from "../../src/codec/zstd_frame.ts";

const magic = "28b52ffd";

/** Descriptor: bits 7-6 content size, 5 single segment, 3 reserved, 2 checksum, 1-0 dictionary. */
const headers = [
  // Window 1 KiB, nothing else.
  { hex: "00 00", contentSize: undefined, windowSize: 1024, dictionaryId: 0, checksum: false },
  // Exponent 13, mantissa 7: 8 MiB and seven eighths of it.
  { hex: "04 6f", contentSize: undefined, windowSize: 8 * 2 ** 20 * 15 / 8, dictionaryId: 0, checksum: true },
  // A single segment of 200 bytes.
  { hex: "20 c8", contentSize: 200, windowSize: 200, dictionaryId: 0, checksum: false },
  // Two bytes of content size begin at 256.
  { hex: "60 0000", contentSize: 256, windowSize: 256, dictionaryId: 0, checksum: false },
  { hex: "40 58 ffff", contentSize: 65_791, windowSize: 2 ** 21, dictionaryId: 0, checksum: false },
  { hex: "a4 00000010", contentSize: 2 ** 28, windowSize: 2 ** 28, dictionaryId: 0, checksum: true },
  // Dictionaries of one, two and four bytes.
  { hex: "21 07 01", contentSize: 1, windowSize: 1, dictionaryId: 7, checksum: false },
  { hex: "02 00 3412", contentSize: undefined, windowSize: 1024, dictionaryId: 0x1234, checksum: false },
  {
    hex: "e3 78563412 0000000000000080",
    contentSize: 2 ** 63,
    windowSize: 2 ** 63,
    dictionaryId: 0x12345678,
  },
];

Deno.test("a frame's header is read as RFC 8878 lays it out, when all of it is there and not before", () => {
  for (const { hex, ...expected } of headers) {
    const bytes = Uint8Array.fromHex(magic + hex.replaceAll(" ", ""));
    for (let length = 0; length < bytes.length; length++) {
      assert.equal(ZstdFrameHeader.read(bytes.subarray(0, length)), undefined, `${length} bytes of ${hex}`);
    }
    for (const behind of [[], [1, 2, 3]]) {
      const header = ZstdFrameHeader.read(Uint8Array.of(...bytes, ...behind));
      assert.deepEqual({ ...header }, { checksum: false, ...expected });
    }
  }
});

Deno.test("a header in pieces is told once", () => {
  const bytes = Uint8Array.fromHex(`${magic}a400000010`);
  const reader = new FrameHeaderReader();
  const told = [...bytes, 1, 2, 3].map((byte) => reader.push(Uint8Array.of(byte))?.contentSize);
  assert.deepEqual(told, [...Array(8).fill(undefined), 2 ** 28, undefined, undefined, undefined]);
});

Deno.test("what begins no frame is refused", () => {
  const read = (hex: string) => () => ZstdFrameHeader.read(Uint8Array.fromHex(hex));
  assert.throws(read("0000000000"), { code: "bad_data", message: /another, 0x00000000/ });
  assert.throws(read("5a2a4d1800"), { code: "bad_data", message: /a skippable frame's, 0x184d2a5a/ });
  assert.throws(read(`${magic}0800`), { code: "bad_data", message: /reserved bit/ });
});

Deno.test("a header is held against limits, the largest sizes too", () => {
  const limits = { maxWindow: 2 ** 23, maxContent: 1000 };
  const check = (hex: string) => () => ZstdFrameHeader.read(Uint8Array.fromHex(magic + hex))?.check(limits);
  check("0068")();
  assert.throws(check("0069"), { code: "window_limit", message: /8388608 bytes, the frame wants 9437184$/ });
  assert.throws(check("00ff"), { code: "window_limit" });
  assert.throws(check("60e902"), {
    code: "output_limit",
    message: /1000 bytes of content, the frame says 1001$/,
  });
  assert.throws(check("e00000000000000080"), { code: "output_limit" });
  assert.throws(check("210701"), { code: "bad_data", message: /for 7$/ });
});
