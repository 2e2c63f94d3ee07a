// VBF files. The bytes of the blocks, their CRC-16 and the CRC-32 were made with Python's struct, binascii.crc_hqx and zlib.

import assert from "node:assert/strict";
import { crc16, crc32 } from "../../../../hardware/flash/format/crc.ts";
import { detectFormat } from "../../../../hardware/flash/format/detect.ts";
import { hex, read, refusal, vbfBlock, vbfFile } from "./support.ts";

const text = (value: string) => new TextEncoder().encode(value);

/** Header as VBF CONVERT writes it, comments and all. */
const head = (fields: string) =>
  `vbf_version = 2.6;

header {
    //*********************************
    //*   DO NOT EDIT !  } "
    //*********************************
    /* Description { of
       two lines */
       description = { "Body control; {main}",
                       "for hardware 1.0" };
    // Software part number
       sw_part_number = "8894084567";
       sw_version = "A";
       sw_part_type = EXE;
       network = CAN_HS;
       frame_format = CAN_STANDARD;
       ecu_address = 0x1234;
${fields}
}`;

/** Three blocks, out of order, two of which touch: "123456789" at 8000, DE AD BE EF at 10, "!!" at 8009. */
const blocks = Uint8Array.fromHex(
  "000080000000000931323334353637383929b10000001000000004deadbeef4097000080090000000221211c9b",
);
const blocksCrc = "0xEB74D609";

function join(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

Deno.test("CRC-16/CCITT-FALSE and CRC-32 have the catalogue's check values, whole and in pieces", () => {
  const check = text("123456789");
  assert.equal(crc16(check), 0x29b1);
  assert.equal(crc16(check.subarray(4), crc16(check.subarray(0, 4))), 0x29b1);
  assert.equal(crc32(check), 0xcbf43926);
  assert.equal(crc32(check.subarray(4), crc32(check.subarray(0, 4))), 0xcbf43926);
});

Deno.test("a VBF file gives its blocks in address order, and says what to erase and call", async () => {
  const fields = `       erase = { { 0x00000000, 0x00000400 },
                 { 0x8000, 4096 },
               };
       call = 0x8000;
       omit = {};
       file_checksum = ${blocksCrc};`;
  for (const split of [1, 7, 65536]) {
    const { parsed, payload } = await read(join(text(head(fields)), blocks), { split });
    assert.equal(parsed.format, "vbf");
    assert.deepEqual(parsed.segments, [{ address: 0x10, length: 4 }, { address: 0x8000, length: 11 }]);
    assert.equal(hex(payload), "DEADBEEF3132333435363738392121");
    assert.deepEqual(parsed.hints, {
      erase: [{ address: 0, length: 0x400 }, { address: 0x8000, length: 4096 }],
      call: 0x8000,
    });
    assert.equal(parsed.header, "EXE 8894084567");
    assert.equal(parsed.startAddress, 0x8000);
  }
});

Deno.test("compressed blocks are passed through: apart though they touch, their CRC-16 left to the ECU", async () => {
  const compressed = Uint8Array.fromHex(
    "00001000000000050102030405abcd0000100500000001061234",
  );
  const file = join(
    text(`vbf_version=2.4;header{data_format_identifier=0x10;file_checksum=0xC9F30E74;}`),
    compressed,
  );
  const { parsed, payload } = await read(file, { split: 3 });
  assert.deepEqual(parsed.segments, [{ address: 0x1000, length: 5 }, { address: 0x1005, length: 1 }]);
  assert.deepEqual(parsed.hints, { dataFormat: 0x10 });
  assert.equal(hex(payload), "010203040506");
});

Deno.test("a VBF file is recognized by its first words", () => {
  for (
    const beginning of [
      "vbf_version = 2.2;",
      "\r\n  vbf_version=2.2;",
      "// made by\n/* x */ vbf_version = 2.6;",
    ]
  ) {
    assert.equal(detectFormat(text(beginning)), "vbf");
  }
  assert.throws(() => detectFormat(text("header { vbf_version = 2.2; }")), /expected .*VBF/);
});

Deno.test("a VBF file with a wrong CRC-16 is refused, with block and place", async () => {
  const broken = blocks.slice();
  broken[8] ^= 0x01;
  const error = await refusal(join(text(`vbf_version=2.6;header{file_checksum=0;}`), broken));
  assert.equal(error.code, "bad_checksum");
  // Header of 40 characters, 8 bytes of address and length, 9 of data.
  assert.match(
    error.message,
    /^byte 57: expected CRC-16 0x[0-9A-F]{4} of block 1, 9 bytes at 0x00008000, found 0x29B1$/,
  );
});

Deno.test("a VBF file with a wrong CRC-32 is refused", async () => {
  const error = await refusal(join(text(head("file_checksum = 0x12345678;")), blocks));
  assert.equal(error.code, "bad_checksum");
  assert.match(error.message, /expected CRC-32 0x12345678 of the blocks, as file_checksum says, found /);
});

const header = "vbf_version=2.6;header{file_checksum=0;}";
const wrong: { name: string; file: Uint8Array | string; code: string; message: RegExp }[] = [
  {
    name: "an end in its header",
    file: 'vbf_version=2.6;header{a="}"',
    code: "bad_header",
    message: /^byte 28: expected the header's last brace, found the end/,
  },
  {
    name: "no file_checksum",
    file: "vbf_version=2.6;header{call=1;}",
    code: "bad_header",
    message: /expected file_checksum/,
  },
  {
    name: "another version",
    file: "vbf_version=9.1;header{file_checksum=0;}",
    code: "bad_header",
    message: /^line 1: expected version 2.x or 3.x, found "9.1"/,
  },
  {
    name: "no header",
    file: "vbf_version=2.6;\nfooter{}",
    code: "bad_header",
    message: /^line 2: expected 'header', found "footer"/,
  },
  {
    name: "an identifier that stands twice",
    file: "vbf_version=2.6;header{\ncall=1;\ncall=2;}",
    code: "bad_header",
    message: /^line 3: expected call once/,
  },
  {
    name: "a missing semicolon",
    file: "vbf_version=2.6;header{call=1}",
    code: "bad_header",
    message: /expected ';', found "}"/,
  },
  {
    name: "a strange character",
    file: "vbf_version=2.6;header{call=?;}",
    code: "bad_header",
    message: /found '\?' \(0x3F\)/,
  },
  {
    name: "lists that nest too deep",
    file: "vbf_version=2.6;header{a={{{{1}}}};}",
    code: "bad_header",
    message: /expected a value/,
  },
  {
    name: "a range of erase without length",
    file: "vbf_version=2.6;header{erase={{0x10}};file_checksum=0;}",
    code: "bad_header",
    message: /expected erase as \{ start, length \}/,
  },
  {
    name: "a range of erase beyond 32 bits",
    file: "vbf_version=2.6;header{erase={{0xFFFFFFFF,2}};file_checksum=0;}",
    code: "bad_header",
    message: /ends within 32 bits/,
  },
  {
    name: "a data format beyond a byte",
    file: "vbf_version=2.6;header{data_format_identifier=0x100;file_checksum=0;}",
    code: "bad_header",
    message: /data_format_identifier as a number up to 0xFF, found "0x100"/,
  },
  {
    name: "a header without end",
    file: `vbf_version=2.6;header{a="${"x".repeat(70_000)}`,
    code: "bad_header",
    message: /within 65536 bytes/,
  },
  {
    name: "no block",
    file: "vbf_version=2.6;header{file_checksum=0;}",
    code: "empty_image",
    message: /at least one byte/,
  },
  {
    name: "half an address",
    file: join(text(header), Uint8Array.of(0, 0, 1)),
    code: "truncated_line",
    message: /^byte 43: expected 5 more bytes of block 1, found the end/,
  },
  {
    name: "half a block",
    file: join(text(header), Uint8Array.of(0, 0, 1, 0, 0, 0, 0, 9, 1, 2)),
    code: "truncated_line",
    message: /^byte 50: expected 9 more bytes of block 1/,
  },
  {
    name: "half a CRC",
    file: join(text(header), Uint8Array.of(0, 0, 1, 0, 0, 0, 0, 1, 1, 2)),
    code: "truncated_line",
    message: /^byte 50: expected 1 more bytes of block 1/,
  },
  {
    name: "an empty block",
    file: join(text(header), Uint8Array.of(0, 0, 1, 0, 0, 0, 0, 0, 1, 2)),
    code: "bad_length",
    message: /^byte 40: expected at least 1 byte in block 1/,
  },
  {
    name: "a block beyond 32 bits",
    file: join(text(header), Uint8Array.of(255, 255, 255, 255, 0, 0, 0, 2)),
    code: "address_overflow",
    message: /found 2 bytes at 0xFFFFFFFF/,
  },
];

for (const { name, file, code, message } of wrong) {
  Deno.test(`a VBF file with ${name} is refused`, async () => {
    for (const split of [1, 65536]) {
      const error = await refusal(file, { split, format: "vbf" });
      assert.equal(error.code, code);
      assert.match(error.message, message);
    }
  });
}

Deno.test("VBF blocks that overlap are refused, by their numbers", async () => {
  const error = await refusal(vbfFile("", [vbfBlock(0x100, [1, 2, 3]), vbfBlock(0x102, [4])]));
  assert.equal(error.code, "overlap");
  assert.equal(error.line, undefined);
  assert.match(
    error.message,
    /0x00000102 to 0x00000102 from block 2 on, which overlaps 0x00000100 .* block 1 on/,
  );
});

Deno.test("a VBF block in a range that is to be omitted is refused, one beside it is not", async () => {
  const error = await refusal(vbfFile("omit={{0x104,4}};", [vbfBlock(0x100, [1, 2, 3, 4, 5])]));
  assert.equal(error.code, "unsupported");
  await read(vbfFile("omit={{0x105,4}};", [vbfBlock(0x100, [1, 2, 3, 4, 5])]));
});

Deno.test("a VBF file larger than the buffers comes out whole", async () => {
  const data = Uint8Array.from({ length: 300_001 }, (_, at) => at * 31 + (at >> 9));
  const { parsed, payload } = await read(vbfFile("", [vbfBlock(0x2000_0000, [...data])]), { split: 50_021 });
  assert.deepEqual(parsed.segments, [{ address: 0x2000_0000, length: 300_001 }]);
  assert.deepEqual(payload, data);
});
