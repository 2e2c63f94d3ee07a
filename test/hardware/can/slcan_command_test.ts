import assert from "node:assert/strict";
import {
  bitRateOfTiming,
  decodeAnswer,
  decodeCommand,
  encodeCommand,
  type SlcanCommand,
  statusNames,
} from "../../../hardware/can/slcan_command.ts";

const ascii = (text: string) => new TextEncoder().encode(text);

/** Every command of LAWICEL's manuals, by hand. */
const commands: [string, SlcanCommand][] = [
  ["S0", { kind: "bitRate", code: 0 }],
  ["S8", { kind: "bitRate", code: 8 }],
  ["s031C", { kind: "bitTiming", btr0: 0x03, btr1: 0x1c }],
  ["Y2", { kind: "dataBitRate", code: 2 }],
  ["Y5", { kind: "dataBitRate", code: 5 }],
  ["O", { kind: "open" }],
  ["L", { kind: "listenOnly" }],
  ["C", { kind: "close" }],
  ["F", { kind: "status" }],
  ["V", { kind: "version" }],
  ["N", { kind: "serialNumber" }],
  ["Z0", { kind: "timestamps", on: false }],
  ["Z1", { kind: "timestamps", on: true }],
  ["M00000000", { kind: "acceptanceCode", value: 0 }],
  ["mFFFFFFFF", { kind: "acceptanceMask", value: 0xffff_ffff }],
  ["W0", { kind: "filterMode", single: false }],
  ["W1", { kind: "filterMode", single: true }],
  ["P", { kind: "poll" }],
  ["A", { kind: "pollAll" }],
  ["X1", { kind: "autoPoll", on: true }],
  ["U6", { kind: "serialBitRate", code: 6 }],
  ["Q2", { kind: "autoStart", mode: 2 }],
];

Deno.test("every command is written and read as the manual says", () => {
  for (const [line, command] of commands) {
    assert.equal(encodeCommand(command), `${line}\r`);
    assert.deepEqual(decodeCommand(ascii(line)), command);
  }
});

Deno.test("what is no command is none", () => {
  for (
    const line of [
      "",
      "S",
      "S9",
      "S10",
      "SA",
      "s031",
      "s031CC",
      "O1",
      "Z2",
      "M1",
      "mFFFFFFFG",
      "W2",
      "X",
      "U7",
      "Q3",
      "?",
    ]
  ) assert.equal(decodeCommand(ascii(line)), undefined, line);
});

Deno.test("a command with a number that its field does not hold is refused", () => {
  assert.throws(() => encodeCommand({ kind: "bitRate", code: 9 }), /bit rate code: expected 0 to 8, got 9/);
  assert.throws(() => encodeCommand({ kind: "bitTiming", btr0: 256, btr1: 0 }), /btr0/);
  assert.throws(() => encodeCommand({ kind: "acceptanceMask", value: -1 }), /acceptance mask/);
});

Deno.test("timing registers of the SJA1000 give the bit rates that the manual lists for them", () => {
  assert.equal(bitRateOfTiming(0x31, 0x1c), 10_000);
  assert.equal(bitRateOfTiming(0x03, 0x1c), 125_000);
  assert.equal(bitRateOfTiming(0x00, 0x1c), 500_000);
  assert.equal(bitRateOfTiming(0x00, 0x14), 1_000_000);
});

Deno.test("answers are told apart", () => {
  const answers: [string, unknown][] = [
    ["z", { kind: "queued" }],
    ["Z", { kind: "queued" }],
    ["F00", { kind: "status", flags: 0 }],
    ["FaC", { kind: "status", flags: 0xac }],
    ["V1013", { kind: "version", text: "1013" }],
    ["V CANable firmware 1.0", { kind: "version", text: "CANable firmware 1.0" }],
    ["NA123", { kind: "serialNumber", text: "A123" }],
    ["sb128255", { kind: "state", state: "busOff", receiveErrors: 128, transmitErrors: 255 }],
    ["sx128255", { kind: "text", text: "sx128255" }],
    ["zz", { kind: "text", text: "zz" }],
    ["F0", { kind: "text", text: "F0" }],
    ["hello", { kind: "text", text: "hello" }],
  ];
  for (const [line, expected] of answers) assert.deepEqual(decodeAnswer(ascii(line)), expected, line);
});

Deno.test("status flags have the manual's names", () => {
  assert.deepEqual(statusNames(0), []);
  assert.deepEqual(statusNames(0xef), [
    "receiveFull",
    "transmitFull",
    "errorWarning",
    "dataOverrun",
    "errorPassive",
    "arbitrationLost",
    "busError",
  ]);
  assert.deepEqual(statusNames(0x28), ["dataOverrun", "errorPassive"]);
});
