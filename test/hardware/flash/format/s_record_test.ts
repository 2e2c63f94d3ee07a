import assert from "node:assert/strict";
import { hex, read, refusal, sRecord } from "./support.ts";

const end = "S9030000FC";

// The example that Wikipedia's article "SREC (file format)" gives; its bytes are read off the lines.
const example = [
  "S00F000068656C6C6F202020202000003C",
  "S11F00007C0802A6900100049421FFF07C6C1B787C8C23783C6000003863000026",
  "S11F001C4BFFFFE5398000007D83637880010014382100107C0803A64E800020E9",
  "S111003848656C6C6F20776F726C642E0A0042",
  "S5030003F9",
  end,
];
const examplePayload = "7C0802A6900100049421FFF07C6C1B787C8C23783C60000038630000" +
  "4BFFFFE5398000007D83637880010014382100107C0803A64E800020" + "48656C6C6F20776F726C642E0A00";

Deno.test("S-record: a published example gives its bytes, its header and its start", async () => {
  for (
    const text of [example.join("\n"), example.join("\r\n") + "\r\n\n", example.join("\r").toLowerCase()]
  ) {
    for (const split of [1, 3, 65536]) {
      const { parsed, payload } = await read(text, { split });
      assert.equal(parsed.format, "s-record");
      assert.deepEqual(parsed.segments, [{ address: 0, length: 70 }]);
      assert.equal(parsed.header, "hello     ");
      assert.equal(parsed.startAddress, 0);
      assert.equal(hex(payload), examplePayload);
    }
  }
});

Deno.test("S-record: addresses of 16, 24 and 32 bits, ends S9, S8 and S7", async () => {
  for (
    const [type, start] of [[9, [0x12, 0x34]], [8, [0x01, 0x12, 0x34]], [7, [
      0x80,
      0x00,
      0x12,
      0x34,
    ]]] as const
  ) {
    const { parsed, payload } = await read([
      sRecord(3, [0xff, 0xff, 0xff, 0xff], [3]),
      sRecord(2, [0xff, 0x00, 0x00], [2]),
      sRecord(1, [0xff, 0x00], [1]),
      sRecord(type, [...start], []),
    ].join("\n"));
    assert.deepEqual(parsed.segments, [
      { address: 0xff00, length: 1 },
      { address: 0xff0000, length: 1 },
      { address: 0xffffffff, length: 1 },
    ]);
    assert.equal(hex(payload), "010203");
    assert.equal(parsed.startAddress, start.reduce<number>((value, byte) => value * 256 + byte, 0));
  }
});

Deno.test("S-record: what is unprintable in a header does not come out as it is", async () => {
  const { parsed } = await read(
    [sRecord(0, [0, 0], [0x41, 0x1b, 0xff, 0]), sRecord(1, [0, 0], [1]), end].join("\n"),
  );
  assert.equal(parsed.header, "A\ufffd\ufffd");
});

const first = sRecord(1, [0, 0], [1]);
const faults: { name: string; lines: string[]; code: string; line?: number; says: RegExp }[] = [
  {
    name: "a wrong checksum",
    lines: [first, "S104000102F9"],
    code: "bad_checksum",
    line: 2,
    says: /expected checksum F8, found F9/,
  },
  {
    name: "a wrong digit in the data",
    lines: ["S10400000GFA"],
    code: "bad_character",
    line: 1,
    says: /column 10, found 'G'/,
  },
  {
    name: "a wrong digit in the count",
    lines: ["S1:400000AFA"],
    code: "bad_character",
    line: 1,
    says: /column 3/,
  },
  {
    name: "a wrong digit in the address",
    lines: ["S1040-000AFA"],
    code: "bad_character",
    line: 1,
    says: /column 6/,
  },
  {
    name: "a wrong digit in the header",
    lines: ["S0040000ZZFA"],
    code: "bad_character",
    line: 1,
    says: /column 9/,
  },
  { name: "no mark", lines: [first, "104000101F9"], code: "bad_character", line: 2, says: /expected 'S'/ },
  {
    name: "a short line",
    lines: [first, "S1050001 "],
    code: "truncated_line",
    line: 2,
    says: /14 characters, found 8/,
  },
  {
    name: "a line that is cut in its head",
    lines: [first, "S1"],
    code: "truncated_line",
    line: 2,
    says: /4 characters/,
  },
  {
    name: "a long line",
    lines: [first, "S104000102F8F8"],
    code: "bad_length",
    line: 2,
    says: /12 characters.*0x04/,
  },
  {
    name: "a line without end",
    lines: [first, "S1" + "0".repeat(600)],
    code: "line_too_long",
    line: 2,
    says: /514/,
  },
  {
    name: "the reserved type S4",
    lines: [first, sRecord(4, [0, 0], [])],
    code: "bad_record_type",
    line: 2,
    says: /'4'/,
  },
  {
    name: "a type that is no digit",
    lines: [first, "SA030000FC"],
    code: "bad_record_type",
    line: 2,
    says: /'A'/,
  },
  {
    name: "a count too small for the address",
    lines: ["S10200FD"],
    code: "bad_length",
    line: 1,
    says: /at least 3/,
  },
  {
    name: "an end record with data",
    lines: [first, sRecord(9, [0, 0], [1])],
    code: "bad_length",
    line: 2,
    says: /of 3 in an S9/,
  },
  {
    name: "a wrong S5",
    lines: [first, sRecord(5, [0, 2], [])],
    code: "bad_count",
    line: 2,
    says: /the 1 data records.*found 2/,
  },
  {
    name: "a wrong S6",
    lines: [first, sRecord(6, [1, 0, 1], [])],
    code: "bad_count",
    line: 2,
    says: /found 65537/,
  },
  {
    name: "the same address twice",
    lines: [first, sRecord(2, [0, 0, 0], [1])],
    code: "overlap",
    line: 2,
    says: /from line 1/,
  },
  {
    name: "data beyond 32 bits",
    lines: [sRecord(3, [255, 255, 255, 255], [1, 2])],
    code: "address_overflow",
    line: 1,
    says: /2 bytes at 0xFFFFFFFF/,
  },
  {
    name: "data behind the end",
    lines: [first, end, first],
    code: "data_after_end",
    line: 3,
    says: /S7, S8 or S9/,
  },
  {
    name: "a header alone",
    lines: [sRecord(0, [0, 0], [0x41])],
    code: "empty_image",
    says: /at least one byte/,
  },
];

for (const { name, lines, code, line, says } of faults) {
  Deno.test(`S-record: ${name} is refused as ${code}`, async () => {
    for (const split of [1, 5, 65536]) {
      const error = await refusal([...lines, end].join("\n"), { split });
      assert.deepEqual([error.code, error.line], [code, line]);
      assert.match(error.message, says);
    }
  });
}

Deno.test("S-record: right counts in S5 and S6 are accepted", async () => {
  const { payload } = await read([
    first,
    sRecord(5, [0, 1], []),
    sRecord(1, [0, 1], [2]),
    sRecord(6, [0, 0, 2], []),
    end,
  ].join("\n"));
  assert.equal(hex(payload), "0102");
});

Deno.test("S-record: a file that ends early is refused, wherever it ends", async () => {
  const text = example.filter((line) => !line.startsWith("S5")).join("\n");
  for (let length = 2; length < text.length; length++) {
    const error = await refusal(text.slice(0, length), { split: 13 });
    assert.ok(["truncated_line", "missing_end"].includes(error.code), `${length}: ${error.message}`);
  }
});

Deno.test("S-record: a right count may stand in for the end record, unless data follows it", async () => {
  const { parsed, payload } = await read([first, sRecord(5, [0, 1], [])].join("\n"));
  assert.equal(hex(payload), "01");
  assert.equal(parsed.startAddress, undefined);
  const error = await refusal([first, sRecord(5, [0, 1], []), sRecord(1, [0, 1], [2])].join("\n"));
  assert.equal(error.code, "missing_end");
});
