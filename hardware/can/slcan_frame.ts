// CAN frames as SLCAN writes them, both ways the same: `tIIILDD…`, `TIIIIIIIILDD…`, `r`, `R`, and with FD `d`, `D`, `b`, `B`.
// Written and read straight in byte buffers: at full rate these are hundreds of thousands of frames a second.
import { type CanFrame, dlcOf, fdLengths, maxBaseId, maxExtendedId } from "./frame.ts";

/** Longest frame on the line: type, 29-bit identifier, DLC, 64 bytes, time stamp. Its end is not counted. */
export const maxFrameLine = 1 + 8 + 1 + 2 * 64 + 4;

/** Time stamps (`Z1`) count milliseconds from 0 to 59,999 (LAWICEL CANUSB manual, command Z). */
export const timestampPeriod = 60_000;

/** ASCII of each letter that begins a frame. */
const letters = {
  t: 0x74,
  T: 0x54,
  r: 0x72,
  R: 0x52,
  d: 0x64,
  D: 0x44,
  b: 0x62,
  B: 0x42,
} as const;

const hexDigits = new TextEncoder().encode("0123456789ABCDEF");

/** Value of each hexadecimal digit by ASCII code, either case; 0xFF for all else. */
const digitValues = new Uint8Array(256).fill(0xff);
for (let value = 0; value < 16; value++) {
  digitValues[hexDigits[value]] = value;
  digitValues[value.toString(16).charCodeAt(0)] = value;
}

/** Value of `count` hexadecimal digits, at most 8; -1 if one is none. */
export function readHex(bytes: Uint8Array, at: number, count: number): number {
  let value = 0;
  for (let index = 0; index < count; index++) {
    const digit = digitValues[bytes[at + index]];
    if (digit > 15) return -1;
    value = value * 16 + digit;
  }
  return value;
}

/** Writes `count` hexadecimal digits. @returns where the next byte goes */
export function writeHex(value: number, count: number, into: Uint8Array, at: number): number {
  for (let digit = count - 1; digit >= 0; digit--) {
    into[at + digit] = hexDigits[value & 15];
    value >>>= 4;
  }
  return at + count;
}

function letterOf(frame: CanFrame): number {
  if (frame.remote) return frame.extended ? letters.R : letters.r;
  if (!frame.fd) return frame.extended ? letters.T : letters.t;
  if (frame.bitRateSwitch) return frame.extended ? letters.B : letters.b;
  return frame.extended ? letters.D : letters.d;
}

/**
 * Writes a frame that `checkFrame` lets pass, with its `\r`.
 *
 * @param timestamp 0…59,999 where the adapter was told `Z1`
 * @returns where the next byte goes. `into` must have room for `maxFrameLine` + 1 bytes.
 */
export function writeFrame(frame: CanFrame, into: Uint8Array, at: number, timestamp?: number): number {
  into[at++] = letterOf(frame);
  at = writeHex(frame.id, frame.extended ? 8 : 3, into, at);
  const { data } = frame;
  if (frame.remote) into[at++] = hexDigits[frame.remoteLength ?? 0];
  else {
    into[at++] = hexDigits[data.length <= 8 ? data.length : dlcOf(data.length)];
    for (let index = 0; index < data.length; index++) {
      const byte = data[index];
      into[at++] = hexDigits[byte >> 4];
      into[at++] = hexDigits[byte & 15];
    }
  }
  if (timestamp !== undefined) at = writeHex(timestamp, 4, into, at);
  into[at++] = 0x0d;
  return at;
}

/** A frame's line with its `\r`. */
export function encodeFrame(frame: CanFrame, timestamp?: number): Uint8Array {
  const bytes = new Uint8Array(maxFrameLine + 1);
  return bytes.subarray(0, writeFrame(frame, bytes, 0, timestamp));
}

/** Why a line is no frame. */
export type FrameFault = "unknown letter" | "wrong length" | "no hexadecimal digit" | "identifier too large";

/** Reads frames from lines into one and the same frame, so that none is allocated for each. */
export class SlcanFrameReader {
  readonly #bytes = new Uint8Array(64);
  readonly #views = fdLengths.map((length) => this.#bytes.subarray(0, length));
  readonly #frame = {
    id: 0,
    extended: false,
    data: this.#views[0],
    remote: false,
    remoteLength: 0,
    fd: false,
    bitRateSwitch: false,
  };
  /** The last frame that was read; the next one replaces it. */
  readonly frame: CanFrame = this.#frame;
  /** The last frame's time stamp, -1 if it had none. */
  timestamp = -1;

  /** Whether a line that begins so is meant as a frame. */
  static begins(byte: number): boolean {
    return byte === letters.t || byte === letters.T || byte === letters.r || byte === letters.R ||
      byte === letters.d || byte === letters.D || byte === letters.b || byte === letters.B;
  }

  /** Reads the line (without `\r`) from `start` to before `end`. @returns what is wrong with it, undefined if nothing is */
  read(bytes: Uint8Array, start: number, end: number): FrameFault | undefined {
    const frame = this.#frame;
    frame.remote = false;
    frame.remoteLength = 0;
    frame.fd = false;
    frame.bitRateSwitch = false;
    const letter = bytes[start];
    switch (letter) {
      case letters.t:
      case letters.T:
        break;
      case letters.r:
      case letters.R:
        frame.remote = true;
        break;
      case letters.b:
      case letters.B:
        frame.bitRateSwitch = true;
        frame.fd = true;
        break;
      case letters.d:
      case letters.D:
        frame.fd = true;
        break;
      default:
        return "unknown letter";
    }
    // Capitals have bit 5 clear: those are the 29-bit ones.
    const extended = (letter & 0x20) === 0;
    const idDigits = extended ? 8 : 3;
    let at = start + 1 + idDigits;
    if (at >= end) return "wrong length";
    const id = readHex(bytes, start + 1, idDigits);
    if (id < 0) return "no hexadecimal digit";
    if (id > (extended ? maxExtendedId : maxBaseId)) return "identifier too large";
    const dlc = digitValues[bytes[at++]];
    if (dlc > 15) return "no hexadecimal digit";
    // ISO 11898-1: a DLC above 8 stands for 8 bytes in a classic frame.
    const index = frame.fd ? dlc : Math.min(dlc, 8);
    const length = frame.remote ? 0 : fdLengths[index];
    const rest = end - at - 2 * length;
    if (rest !== 0 && rest !== 4) return "wrong length";
    const data = this.#bytes;
    for (let byte = 0; byte < length; byte++, at += 2) {
      const high = digitValues[bytes[at]];
      const low = digitValues[bytes[at + 1]];
      if ((high | low) > 15) return "no hexadecimal digit";
      data[byte] = (high << 4) | low;
    }
    if (rest === 4) {
      const timestamp = readHex(bytes, at, 4);
      if (timestamp < 0) return "no hexadecimal digit";
      this.timestamp = timestamp;
    } else this.timestamp = -1;
    frame.id = id;
    frame.extended = extended;
    frame.data = frame.remote ? this.#views[0] : this.#views[index];
    if (frame.remote) frame.remoteLength = index;
    return undefined;
  }
}
