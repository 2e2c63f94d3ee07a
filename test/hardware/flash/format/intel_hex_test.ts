import assert from "node:assert/strict";
import { hex, hexRecord, read, refusal } from "./support.ts";

const end = ":00000001FF";

// The example that Wikipedia's article "Intel HEX" gives; its bytes are read off the lines.
const example = [
  ":10010000214601360121470136007EFE09D2190140",
  ":100110002146017E17C20001FF5F16002148011928",
  ":10012000194E79234623965778239EDA3F01B2CAA7",
  ":100130003F0156702B5E712B722B732146013421C7",
  end,
];
const examplePayload = "214601360121470136007EFE09D21901" + "2146017E17C20001FF5F160021480119" +
  "194E79234623965778239EDA3F01B2CA" + "3F0156702B5E712B722B732146013421";

Deno.test("Intel HEX: a published example gives its bytes at its addresses", async () => {
  const { parsed, payload } = await read(example.join("\n") + "\n");
  assert.equal(parsed.format, "intel-hex");
  assert.deepEqual(parsed.segments, [{ address: 0x100, length: 64 }]);
  assert.equal(parsed.payloadSize, 64);
  assert.equal(parsed.startAddress, undefined);
  assert.equal(hex(payload), examplePayload);
});

Deno.test("Intel HEX: every line end, lower case, blanks and no last line end are accepted", async () => {
  for (
    const text of [
      example.join("\r\n") + "\r\n",
      example.join("\r") + "\r",
      example.join("\n"),
      example.join("\n").toLowerCase(),
      "\n" + example.join("  \t\n\n") + "\n\n \n",
      example.join("\r\n") + "\r\n\u001a",
      "\ufeff" + example.join("\n"),
    ]
  ) {
    for (const split of [1, 2, 7, 65536]) {
      const { parsed, payload } = await read(text, { split });
      assert.equal(parsed.format, "intel-hex");
      assert.equal(hex(payload), examplePayload);
    }
  }
});

Deno.test("Intel HEX: records out of order are put in order, and touching ones become one segment", async () => {
  const { parsed, payload } = await read([
    hexRecord(0, 0x20, [0x20, 0x21]),
    hexRecord(0, 0x12, [0x12]),
    hexRecord(0, 0x10, [0x10, 0x11]),
    end,
  ].join("\n"));
  assert.deepEqual(parsed.segments, [{ address: 0x10, length: 3 }, { address: 0x20, length: 2 }]);
  assert.equal(hex(payload), "1011122021");
});

Deno.test("Intel HEX: type 04 sets the upper 16 bits, and data runs on across 64 KiB", async () => {
  const { parsed, payload } = await read([
    hexRecord(4, 0, [0x08, 0x00]),
    hexRecord(0, 0xffff, [0xaa, 0xbb]),
    end,
  ].join("\n"));
  assert.deepEqual(parsed.segments, [{ address: 0x0800ffff, length: 2 }]);
  assert.equal(hex(payload), "AABB");
});

Deno.test("Intel HEX: type 02 sets bits 4 to 19, and data wraps within its 64 KiB", async () => {
  const { parsed, payload } = await read([
    hexRecord(2, 0, [0x10, 0x00]),
    hexRecord(0, 0xffff, [0xaa, 0xbb]),
    end,
  ].join("\n"));
  assert.deepEqual(parsed.segments, [{ address: 0x10000, length: 1 }, { address: 0x1ffff, length: 1 }]);
  assert.equal(hex(payload), "BBAA");
});

Deno.test("Intel HEX: start addresses come from types 03 and 05, and from the 8-bit form's end record", async () => {
  const data = hexRecord(0, 0, [1]);
  const startOf = async (...lines: string[]) => (await read(lines.join("\n"))).parsed.startAddress;
  assert.equal(await startOf(data, hexRecord(3, 0, [0x12, 0x34, 0x00, 0x10]), end), 0x12350);
  assert.equal(await startOf(data, hexRecord(5, 0, [0x08, 0x00, 0x01, 0x31]), end), 0x08000131);
  assert.equal(await startOf(data, hexRecord(1, 0x1234, [])), 0x1234);
  const refused = await refusal(
    [data, hexRecord(5, 0, [0, 0, 0, 1]), hexRecord(5, 0, [0, 0, 0, 2]), end].join("\n"),
  );
  assert.deepEqual([refused.code, refused.line], ["conflicting_start", 3]);
});

Deno.test("Intel HEX: records without data are accepted and give none", async () => {
  const { parsed } = await read([hexRecord(0, 0x50, []), hexRecord(0, 0x10, [1]), end].join("\n"));
  assert.deepEqual(parsed.segments, [{ address: 0x10, length: 1 }]);
});

Deno.test("Intel HEX: the last address of 32 bits is accepted", async () => {
  const { parsed } = await read([hexRecord(4, 0, [0xff, 0xff]), hexRecord(0, 0xffff, [1]), end].join("\n"));
  assert.deepEqual(parsed.segments, [{ address: 0xffffffff, length: 1 }]);
});

const first = ":0100000001FE";
const faults: { name: string; lines: string[]; code: string; line?: number; says: RegExp }[] = [
  {
    name: "a wrong checksum",
    lines: [first, ":0100010002FD"],
    code: "bad_checksum",
    line: 2,
    says: /^line 2: expected checksum FC, found FD$/,
  },
  {
    name: "a checksum that is wrong in its highest bit",
    lines: [first, ":01000100027C"],
    code: "bad_checksum",
    line: 2,
    says: /expected checksum FC, found 7C$/,
  },
  {
    name: "a wrong digit in the data",
    lines: [first, ":01000100X2FC"],
    code: "bad_character",
    line: 2,
    says: /column 10, found 'X' \(0x58\)/,
  },
  {
    name: "a wrong digit in the length",
    lines: [":0g00000001FE"],
    code: "bad_character",
    line: 1,
    says: /column 3/,
  },
  {
    name: "a wrong digit in the address",
    lines: [":01 0000001FE"],
    code: "bad_character",
    line: 1,
    says: /column 4/,
  },
  {
    name: "a wrong digit in the checksum",
    lines: [":0100000001F_"],
    code: "bad_character",
    line: 1,
    says: /column 13/,
  },
  {
    name: "no mark",
    lines: [first, "0100010002FC"],
    code: "bad_character",
    line: 2,
    says: /expected ':'.*'0'/,
  },
  {
    name: "a short line",
    lines: [first, ":020001000203"],
    code: "truncated_line",
    line: 2,
    says: /15 characters, found 13/,
  },
  {
    name: "a line that is cut in its head",
    lines: [":0100"],
    code: "truncated_line",
    line: 1,
    says: /11 characters, found 5/,
  },
  {
    name: "a long line",
    lines: [first, ":0100010002FC00"],
    code: "bad_length",
    line: 2,
    says: /13 characters.*0x01/,
  },
  {
    name: "a line without end",
    lines: [first, ":" + "0".repeat(600)],
    code: "line_too_long",
    line: 2,
    says: /521/,
  },
  {
    name: "an unknown type",
    lines: [hexRecord(6, 0, [1])],
    code: "bad_record_type",
    line: 1,
    says: /found type 06/,
  },
  {
    name: "a type 04 with three bytes",
    lines: [hexRecord(4, 0, [1, 2, 3])],
    code: "bad_length",
    line: 1,
    says: /2 bytes/,
  },
  {
    name: "a type 04 with an address",
    lines: [hexRecord(4, 16, [1, 2])],
    code: "bad_length",
    line: 1,
    says: /0000.*0010/,
  },
  {
    name: "a type 05 with two bytes",
    lines: [hexRecord(5, 0, [1, 2])],
    code: "bad_length",
    line: 1,
    says: /4 bytes/,
  },
  {
    name: "an end record with data",
    lines: [first, hexRecord(1, 0, [1])],
    code: "bad_length",
    line: 2,
    says: /0 bytes/,
  },
  {
    name: "the same address twice",
    lines: [first, hexRecord(0, 0x10, [1]), hexRecord(0, 0, [7])],
    code: "overlap",
    line: 3,
    says: /0x00000000 to 0x00000000 from line 3 on, which overlaps 0x00000000 to 0x00000000 from line 1/,
  },
  {
    name: "runs that overlap by one byte",
    lines: [hexRecord(0, 8, [1, 2, 3]), hexRecord(0, 5, [1, 2, 3, 4])],
    code: "overlap",
    line: 2,
    says: /line 2 on, which overlaps 0x00000008 to 0x0000000A from line 1/,
  },
  {
    name: "data beyond 32 bits",
    lines: [hexRecord(4, 0, [0xff, 0xff]), hexRecord(0, 0xffff, [1, 2])],
    code: "address_overflow",
    line: 2,
    says: /2 bytes at 0xFFFFFFFF/,
  },
  {
    name: "data behind the end",
    lines: [first, end, first],
    code: "data_after_end",
    line: 3,
    says: /type 01/,
  },
  { name: "no data at all", lines: [], code: "empty_image", says: /at least one byte/ },
];

for (const { name, lines, code, line, says } of faults) {
  Deno.test(`Intel HEX: ${name} is refused as ${code}`, async () => {
    for (const lineEnd of ["\n", "\r\n", "\r"]) {
      for (const split of [1, 5, 65536]) {
        const error = await refusal([...lines, end].join(lineEnd) + lineEnd, { split });
        assert.deepEqual([error.code, error.line], [code, line]);
        assert.match(error.message, says);
      }
    }
  });
}

Deno.test("Intel HEX: a file that ends early is refused, wherever it ends", async () => {
  const text = example.join("\n");
  // The last line may lack its end mark only.
  for (let length = 1; length < text.length; length++) {
    const error = await refusal(text.slice(0, length), { split: 13 });
    assert.ok(["truncated_line", "missing_end"].includes(error.code), `${length}: ${error.message}`);
  }
});

Deno.test("Intel HEX: any one character changed is refused", async () => {
  const text = example.join("\n");
  for (let at = 0; at < text.length; at++) {
    if (text[at] === "\n") continue;
    const digit = text[at] === ":" ? ";" : (parseInt(text[at], 16) ^ 1).toString(16).toUpperCase();
    const error = await refusal(text.slice(0, at) + digit + text.slice(at + 1), { format: "intel-hex" });
    assert.equal(error.name, "FirmwareFormatError");
  }
});
