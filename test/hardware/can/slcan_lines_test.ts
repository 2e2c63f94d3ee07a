import assert from "node:assert/strict";
import { decodeAnswer, decodeCommand } from "../../../hardware/can/slcan_command.ts";
import { SlcanFrameReader } from "../../../hardware/can/slcan_frame.ts";
import { SlcanLineReader } from "../../../hardware/can/slcan_lines.ts";

const ascii = (text: string) => new TextEncoder().encode(text);

/** What a reader tells, as text: lines in quotes, `\a`, and dropped bytes by their number. */
function reader(maxLine?: number): { told: string[]; lines: SlcanLineReader } {
  const told: string[] = [];
  const lines = new SlcanLineReader({
    line: (bytes, start, end) => told.push(`"${new TextDecoder("latin1").decode(bytes.slice(start, end))}"`),
    bell: () => told.push("\\a"),
    dropped: (count) => told.push(`dropped ${count}`),
  }, maxLine);
  return { told, lines };
}

Deno.test("lines end at each carriage return", () => {
  const { told, lines } = reader();
  lines.push(ascii("t1230\r\rz\rV10"));
  assert.deepEqual(told, ['"t1230"', '""', '"z"']);
  lines.push(ascii("13\r"));
  assert.deepEqual(told, ['"t1230"', '""', '"z"', '"V1013"']);
});

Deno.test("a bell is an answer of its own and drops what it cuts off", () => {
  const { told, lines } = reader();
  lines.push(ascii("\x07t12\x07t1230\r"));
  assert.deepEqual(told, ["\\a", "dropped 3", "\\a", '"t1230"']);
});

Deno.test("an over-long line is dropped up to its end, and the next is read", () => {
  const { told, lines } = reader(32);
  lines.push(ascii("x".repeat(20)));
  lines.push(ascii("x".repeat(20)));
  lines.push(ascii("x".repeat(100_000)));
  lines.push(ascii("x\rz\r"));
  assert.deepEqual(told, ["dropped 100041", '"z"']);
  lines.push(ascii("y".repeat(33) + "\r" + "y".repeat(32) + "\r"));
  assert.deepEqual(told.slice(2), ["dropped 33", `"${"y".repeat(32)}"`]);
});

Deno.test("an unfinished line can be forgotten", () => {
  const { told, lines } = reader();
  lines.push(ascii("t12"));
  lines.reset();
  lines.push(ascii("30\r"));
  assert.deepEqual(told, ['"30"']);
});

/** A generator whose run can be had again by its seed (Mulberry32). */
function random(seed: number): (below: number) => number {
  return (below) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let value = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) % below;
  };
}

const fragments = [
  "t1232AABB",
  "T18DA10F180102030405060708",
  "r7FF8",
  "b123F" + "5A".repeat(64),
  "z",
  "Z",
  "V1013",
  "F00",
  "S6",
  "O",
  "\r",
  "\x07",
  "\r\r\r",
  "t",
  "t123",
  "\xff\x00\x80",
  "x".repeat(40),
].map((text) => Uint8Array.from(text, (character) => character.charCodeAt(0)));

function input(next: (below: number) => number): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let count = next(12); count >= 0; count--) {
    const fragment = fragments[next(fragments.length)].slice();
    if (next(4) === 0 && fragment.length > 0) fragment[next(fragment.length)] = next(256);
    parts.push(fragment);
    if (next(3) > 0) parts.push(new Uint8Array([0x0d]));
  }
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** All that the host's and the adapter's side make of each line; which must never throw. */
function digest(maxLine: number): { told: string[]; lines: SlcanLineReader } {
  const told: string[] = [];
  const frames = new SlcanFrameReader();
  const lines = new SlcanLineReader({
    line(bytes, start, end) {
      if (start === end) return void told.push("");
      if (SlcanFrameReader.begins(bytes[start])) {
        const fault = frames.read(bytes, start, end);
        if (fault !== undefined) told.push(fault);
        else {
          const { id, extended, data, remote, remoteLength, fd, bitRateSwitch } = frames.frame;
          told.push(
            [id, extended, data.toHex(), remote, remoteLength, fd, bitRateSwitch, frames.timestamp].join(),
          );
        }
        return;
      }
      told.push(JSON.stringify([decodeCommand(bytes, start, end), decodeAnswer(bytes, start, end)]));
    },
    bell: () => told.push("\\a"),
    dropped: (count) => told.push(`dropped ${count}`),
  }, maxLine);
  return { told, lines };
}

Deno.test("however the bytes are split, the lines are the same", () => {
  const count = Number(Deno.env.get("SLCAN_FUZZ_COUNT") ?? 5000);
  const first = Number(Deno.env.get("SLCAN_FUZZ_SEED") ?? 1);
  for (let seed = first; seed < first + count; seed++) {
    const next = random(seed);
    const bytes = input(next);
    const maxLine = next(2) === 0 ? 32 : 512;
    const whole = digest(maxLine);
    whole.lines.push(bytes);
    const split = digest(maxLine);
    for (let at = 0; at < bytes.length;) {
      const end = Math.min(bytes.length, at + next(next(2) === 0 ? 3 : 40));
      // A buffer that is used again, as a port's is.
      const chunk = bytes.slice(at, end);
      split.lines.push(chunk);
      chunk.fill(0x58);
      at = end;
    }
    if (whole.told.join("|") !== split.told.join("|")) {
      assert.deepEqual(split.told, whole.told, `seed ${seed}`);
    }
    // Each byte is accounted for: no more lines than ends, and nothing from nowhere.
    const ends = bytes.reduce((sum, byte) => sum + (byte === 0x0d || byte === 0x07 ? 1 : 0), 0);
    assert.ok(whole.told.length <= 2 * ends, `seed ${seed}`);
  }
});
