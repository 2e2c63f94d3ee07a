// Lengths of frames on the wire. Each expected stream is written out field by field: the CRC comes from polynomial division of
// what precedes it, stuff bits stand in brackets.
import assert from "node:assert/strict";
import type { CanFrame } from "../../../hardware/can/frame.ts";
import { frameTime, wireBits } from "../../../hardware/can/wire_bits.ts";

const base = (id: number, ...data: number[]): CanFrame => ({
  id,
  extended: false,
  data: Uint8Array.from(data),
});
const long = (id: number, ...data: number[]): CanFrame => ({
  id,
  extended: true,
  data: Uint8Array.from(data),
});
const fd = (frame: CanFrame, bitRateSwitch = true): CanFrame => ({ ...frame, fd: true, bitRateSwitch });
const times = (count: number, byte: number) => Array.from({ length: count }, () => byte);

/** Bits of a stream as written: spaces and brackets are for the reader. */
const bits = (stream: string) => stream.replaceAll(/[^01]/g, "").length;
/** CRC delimiter, ACK slot and delimiter, seven of the end of frame, three of the intermission: never stuffed. */
const tail = 1 + 2 + 7 + 3;

Deno.test("a classic frame has a stuff bit after five equal bits, from its start to the end of its CRC", () => {
  const cases: [CanFrame, string][] = [
    // SOF, identifier, RTR IDE FDF, DLC, CRC: zeros alone, and a stuff bit is itself the first of its run.
    [base(0), "0 0000[1]00000[1]00 000 [1]0000 0[1]00000[1]00000[1]0000"],
    [base(0x014, 0x01), "0 0000[1]0010100 000 [1]0001 00000[1]001 111011101010011"],
    [
      base(0x7e0, 0x02, 0x10, 0x03, ...times(5, 0xaa)),
      "0 11111[0]100000 [1]000 1000 00[1]000010 00010000 0[1]00000[1]11 " +
      "10101010 10101010 10101010 10101010 10101010 1011111[0]11101111",
    ],
    // The CRC ends in five zeros: their stuff bit stands before the delimiter.
    [base(0x009), "0 0000[1]0001001 000 00[1]00 11111[0]0000[1]100000[1]"],
  ];
  for (const [frame, stream] of cases) {
    assert.deepEqual(wireBits(frame), { nominal: bits(stream) + tail, data: 0 }, stream);
  }
});

Deno.test("a frame with a 29-bit identifier has SRR, IDE and 18 bits more", () => {
  const stream = "0 11000110110 11 100001000011110001 000 00[1]11 00000[1]010 0011111[0]0 000[1]00000 " +
    "[1]100110101000110";
  assert.deepEqual(wireBits(long(0x18da10f1, 0x02, 0x3e, 0x00)), { nominal: bits(stream) + tail, data: 0 });
});

Deno.test("a remote frame has RTR set, the DLC of what it asks for and no data", () => {
  const stream = "0 00100100011 100 0100 100001101010010";
  const frame: CanFrame = { ...base(0x123), remote: true, remoteLength: 4 };
  assert.deepEqual(wireBits(frame), { nominal: bits(stream) + tail, data: 0 });
});

Deno.test("an FD frame changes its rate after BRS and back after the CRC delimiter", () => {
  // ACK slot and delimiter, end of frame, intermission.
  const end = 2 + 7 + 3;
  // The CRC field: stuff count, CRC-17 with 6 fixed stuff bits up to 16 bytes, CRC-21 with 7 beyond; delimiter.
  const short = 4 + 17 + 6 + 1;
  const longer = 4 + 21 + 7 + 1;
  // SOF, identifier, RRS IDE, FDF res, BRS.
  const header = "0 11111[0]100000 [1]00 10 1";
  const nominal = bits(header) + end;
  // ESI, DLC, data: no five are equal.
  assert.deepEqual(
    wireBits(fd(base(0x7e0, ...times(8, 0x55)))),
    { nominal, data: 1 + 4 + 64 + short },
  );
  // The DLC 1000 and the data give 67 zeros in a row: a stuff bit after each five.
  assert.deepEqual(
    wireBits(fd(base(0x7e0, ...times(8, 0x00)))),
    { nominal, data: 1 + 4 + 64 + 13 + short },
  );
  // The DLC 1111 and the data give 516 ones.
  assert.deepEqual(
    wireBits(fd(base(0x7e0, ...times(64, 0xff)))),
    { nominal, data: 1 + 516 + 103 + longer },
  );
  // Five ones at the end of the data: the fixed stuff bit follows, and no other.
  assert.deepEqual(wireBits(fd(base(0x7e0, 0x1f))), { nominal, data: 1 + 4 + 8 + short });
  assert.deepEqual(
    wireBits(fd(long(0x18da10f1, ...times(16, 0xaa)))).data + 4 + 1 + 32,
    wireBits(fd(long(0x18da10f1, ...times(20, 0xaa)))).data,
    "beyond 16 bytes the CRC is four bits longer, with one more fixed stuff bit",
  );
});

Deno.test("an FD frame that does not switch has one rate", () => {
  // The last two bits of the header and ESI with the DLC 0000 are zeros: one stuff bit; CRC-17 with 6 fixed ones.
  const stream = "0 10101010101 00 10 0 0 00[1]00";
  const field = 4 + 17 + 6;
  assert.deepEqual(wireBits(fd(base(0x555), false)), { nominal: bits(stream) + field + tail, data: 0 });
});

Deno.test("the time of a frame follows from its bits and their rates", () => {
  assert.equal(frameTime(base(0), { bitRate: 500_000 }), 0.106);
  assert.equal(frameTime(base(0), { bitRate: 125_000, dataBitRate: 2_000_000 }), 0.424);
  // 31 bits at 500 kbit/s, 97 at 2 Mbit/s.
  assert.equal(
    frameTime(fd(base(0x7e0, ...times(8, 0x55))), { bitRate: 500_000, dataBitRate: 2_000_000 }),
    0.062 + 0.0485,
  );
});
