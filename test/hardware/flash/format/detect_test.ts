import assert from "node:assert/strict";
import { detectFormat } from "../../../../hardware/flash/format/detect.ts";
import { FirmwareFormatError } from "../../../../hardware/flash/format/errors.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("detectFormat() knows Intel HEX and S-records by their first mark", () => {
  assert.equal(detectFormat(bytes(":0100000001FE\n")), "intel-hex");
  assert.equal(detectFormat(bytes("\r\n  :01")), "intel-hex");
  assert.equal(detectFormat(bytes("\ufeff:01")), "intel-hex");
  assert.equal(detectFormat(bytes("S00F0000")), "s-record");
  assert.equal(detectFormat(bytes("s1")), "s-record");
});

Deno.test("detectFormat() takes what begins like records for records, however broken", () => {
  assert.equal(detectFormat(bytes(":")), "intel-hex");
  assert.equal(detectFormat(bytes(":zz\u0000\u0001")), "intel-hex");
  assert.equal(detectFormat(Uint8Array.of(0x53, 0x31, 0x00, 0xff)), "s-record");
});

Deno.test("detectFormat() takes bytes that are no text for a raw image", () => {
  // The first words of a Cortex-M vector table.
  assert.equal(detectFormat(Uint8Array.of(0x00, 0x40, 0x00, 0x20, 0xd9, 0xcc, 0x01, 0x00)), "binary");
  assert.equal(detectFormat(new Uint8Array(4096).fill(0xff)), "binary");
  assert.equal(detectFormat(Uint8Array.of(0x53, 0xff)), "binary");
});

Deno.test("detectFormat() refuses what could be taken for a raw image by mistake, and says what it is", () => {
  for (
    const [head, says] of [
      [bytes("0100000001FE\n:00000001FF\n"), /Intel HEX records behind something else/],
      [bytes("\u0000\u0001\n:0100000001FE\n"), /Intel HEX records behind something else/],
      [bytes("\u0000\u0001\rS1040000\u0030\u0031\u0046\u0046\n"), /S-records behind something else/],
      [bytes("header {\n"), /a text/],
      [bytes("   \n"), /a text/],
      [Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 1, 1, 1, 0), /an ELF file/],
      [Uint8Array.of(0x1f, 0x8b, 0x08, 0x00), /a gzip archive/],
      [Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x04), /a Zstandard frame/],
      [bytes("UF2\nWQ]\u009e"), /a UF2 file/],
      [Uint8Array.of(0xff, 0xfe, 0x3a, 0x00, 0x30, 0x00), /Intel HEX in UTF-16/],
      [bytes("OTAP\u0000\u0001"), /a zonebench package/],
    ] as const
  ) {
    assert.throws(() => detectFormat(head), (error) => {
      assert.ok(error instanceof FirmwareFormatError);
      assert.equal(error.code, "unknown_format");
      assert.match(error.message, says);
      return true;
    });
  }
  assert.throws(() => detectFormat(new Uint8Array(0)), { code: "empty_image" });
});
