// SLCAN's lines that are no frames: what a host tells an adapter and what the adapter answers.
// LAWICEL's CANUSB and CAN232 manuals, and the CAN FD commands that adapters after them have in common.
import { readHex } from "./slcan_frame.ts";

/** Bit rates of `S0` … `S8` (LAWICEL CANUSB manual, command S), bit/s. `S7` is 750,000 on some firmware. */
export const bitRates: readonly number[] = [
  10_000,
  20_000,
  50_000,
  100_000,
  125_000,
  250_000,
  500_000,
  800_000,
  1_000_000,
];

/** Data phase bit rates by the digit after `Y`, bit/s: what CAN FD firmware has in common. */
export const dataBitRates: ReadonlyMap<number, number> = new Map([
  [0, 500_000],
  [1, 1_000_000],
  [2, 2_000_000],
  [3, 3_000_000],
  [4, 4_000_000],
  [5, 5_000_000],
  [8, 8_000_000],
]);

/** Bits of the answer to `F` (LAWICEL CANUSB manual, command F). Bit 4 is not used. */
export const statusBits = {
  receiveFull: 0x01,
  transmitFull: 0x02,
  errorWarning: 0x04,
  dataOverrun: 0x08,
  errorPassive: 0x20,
  arbitrationLost: 0x40,
  busError: 0x80,
} as const;

export type StatusName = keyof typeof statusBits;

/** Names of the bits that are set. */
export function statusNames(flags: number): StatusName[] {
  const names: StatusName[] = [];
  for (const [name, bit] of Object.entries(statusBits)) {
    if (flags & bit && isStatusName(name)) names.push(name);
  }
  return names;
}

function isStatusName(name: string): name is StatusName {
  return Object.hasOwn(statusBits, name);
}

/** A command other than a frame. */
export type SlcanCommand =
  /** `Sn`: bit rate by its place in the table. */
  | { kind: "bitRate"; code: number }
  /** `sxxyy`: bit timing registers of an SJA1000 at 16 MHz. */
  | { kind: "bitTiming"; btr0: number; btr1: number }
  /** `Yn`: bit rate of the data phase. */
  | { kind: "dataBitRate"; code: number }
  | { kind: "open" }
  | { kind: "listenOnly" }
  | { kind: "close" }
  /** `F` */
  | { kind: "status" }
  /** `V` */
  | { kind: "version" }
  /** `N` */
  | { kind: "serialNumber" }
  /** `Z0`, `Z1` */
  | { kind: "timestamps"; on: boolean }
  /** `Mxxxxxxxx`: acceptance code registers of an SJA1000. */
  | { kind: "acceptanceCode"; value: number }
  /** `mxxxxxxxx`: acceptance mask registers; a set bit is not compared. */
  | { kind: "acceptanceMask"; value: number }
  /** `W0` dual filter, `W1` single filter. */
  | { kind: "filterMode"; single: boolean }
  /** `P`: one frame from the queue (CAN232). */
  | { kind: "poll" }
  /** `A`: all frames from the queue (CAN232). */
  | { kind: "pollAll" }
  /** `X0`, `X1`: frames are sent as they come (CAN232). */
  | { kind: "autoPoll"; on: boolean }
  /** `U0` … `U6`: the serial line's own bit rate (CAN232). */
  | { kind: "serialBitRate"; code: number }
  /** `Q0` … `Q2`: open by itself at power-up: no, normally, listening only. */
  | { kind: "autoStart"; mode: number };

const lineEnd = "\r";

/** Writes a command with its `\r`. @throws {RangeError} for a number that its field does not hold */
export function encodeCommand(command: SlcanCommand): string {
  switch (command.kind) {
    case "bitRate":
      return `S${digit(command.code, 8, "bit rate code")}${lineEnd}`;
    case "bitTiming":
      return `s${hex(command.btr0, 2, "btr0")}${hex(command.btr1, 2, "btr1")}${lineEnd}`;
    case "dataBitRate":
      return `Y${digit(command.code, 9, "data bit rate code")}${lineEnd}`;
    case "open":
      return `O${lineEnd}`;
    case "listenOnly":
      return `L${lineEnd}`;
    case "close":
      return `C${lineEnd}`;
    case "status":
      return `F${lineEnd}`;
    case "version":
      return `V${lineEnd}`;
    case "serialNumber":
      return `N${lineEnd}`;
    case "timestamps":
      return `Z${command.on ? 1 : 0}${lineEnd}`;
    case "acceptanceCode":
      return `M${hex(command.value, 8, "acceptance code")}${lineEnd}`;
    case "acceptanceMask":
      return `m${hex(command.value, 8, "acceptance mask")}${lineEnd}`;
    case "filterMode":
      return `W${command.single ? 1 : 0}${lineEnd}`;
    case "poll":
      return `P${lineEnd}`;
    case "pollAll":
      return `A${lineEnd}`;
    case "autoPoll":
      return `X${command.on ? 1 : 0}${lineEnd}`;
    case "serialBitRate":
      return `U${digit(command.code, 6, "serial bit rate code")}${lineEnd}`;
    case "autoStart":
      return `Q${digit(command.mode, 2, "auto start mode")}${lineEnd}`;
  }
}

/** Reads a command's line without its `\r`. @returns undefined if it is none */
export function decodeCommand(bytes: Uint8Array, start = 0, end = bytes.length): SlcanCommand | undefined {
  const length = end - start;
  if (length < 1) return undefined;
  const letter = String.fromCharCode(bytes[start]);
  const number = length > 1 && length <= 9 ? readHex(bytes, start + 1, length - 1) : -1;
  const alone = length === 1;
  const upTo = (max: number) => length === 2 && number >= 0 && number <= max;
  switch (letter) {
    case "S":
      return upTo(8) ? { kind: "bitRate", code: number } : undefined;
    case "s":
      return length === 5 && number >= 0
        ? { kind: "bitTiming", btr0: number >> 8, btr1: number & 0xff }
        : undefined;
    case "Y":
      return upTo(9) ? { kind: "dataBitRate", code: number } : undefined;
    case "O":
      return alone ? { kind: "open" } : undefined;
    case "L":
      return alone ? { kind: "listenOnly" } : undefined;
    case "C":
      return alone ? { kind: "close" } : undefined;
    case "F":
      return alone ? { kind: "status" } : undefined;
    case "V":
      return alone ? { kind: "version" } : undefined;
    case "N":
      return alone ? { kind: "serialNumber" } : undefined;
    case "Z":
      return upTo(1) ? { kind: "timestamps", on: number === 1 } : undefined;
    case "M":
      return length === 9 && number >= 0 ? { kind: "acceptanceCode", value: number } : undefined;
    case "m":
      return length === 9 && number >= 0 ? { kind: "acceptanceMask", value: number } : undefined;
    case "W":
      return upTo(1) ? { kind: "filterMode", single: number === 1 } : undefined;
    case "P":
      return alone ? { kind: "poll" } : undefined;
    case "A":
      return alone ? { kind: "pollAll" } : undefined;
    case "X":
      return upTo(1) ? { kind: "autoPoll", on: number === 1 } : undefined;
    case "U":
      return upTo(6) ? { kind: "serialBitRate", code: number } : undefined;
    case "Q":
      return upTo(2) ? { kind: "autoStart", mode: number } : undefined;
    default:
      return undefined;
  }
}

/** Bit rate that SJA1000 timing registers give at 16 MHz (its data sheet, 6.5), bit/s. */
export function bitRateOfTiming(btr0: number, btr1: number): number {
  const prescaler = (btr0 & 0x3f) + 1;
  const quanta = 1 + ((btr1 & 0x0f) + 1) + (((btr1 >> 4) & 0x07) + 1);
  return 8_000_000 / (prescaler * quanta);
}

/** An adapter's line that is neither a frame nor bare acknowledgement. */
export type SlcanAnswer =
  /** `z`, `Z`: the frame is queued. */
  | { kind: "queued" }
  /** `Fxx` */
  | { kind: "status"; flags: number }
  /** `Vhhss`, or any text after the letter */
  | { kind: "version"; text: string }
  /** `Nxxxx` */
  | { kind: "serialNumber"; text: string }
  /** `sXrrrttt`: the controller's error state and counters, as newer firmware tells Linux unasked. */
  | { kind: "state"; state: ControllerState; receiveErrors: number; transmitErrors: number }
  /** Text that the grammar does not know, as some firmware answers `V` with. */
  | { kind: "text"; text: string };

/** Fault confinement (ISO 11898-1, 12.1.4). */
export type ControllerState = "active" | "warning" | "passive" | "busOff";

const states: Readonly<Record<string, ControllerState>> = {
  a: "active",
  w: "warning",
  p: "passive",
  b: "busOff",
};

const latin1 = new TextDecoder("latin1");
const letterZ = 0x5a;
const letterSmallZ = 0x7a;
const queued: SlcanAnswer = { kind: "queued" };

/** Reads an adapter's answer, not empty and no frame, without its `\r`. */
export function decodeAnswer(bytes: Uint8Array, start = 0, end = bytes.length): SlcanAnswer {
  // One comes for each frame: it costs no text.
  if (end - start === 1 && (bytes[start] === letterZ || bytes[start] === letterSmallZ)) return queued;
  const text = latin1.decode(bytes.subarray(start, end));
  const rest = text.slice(1);
  switch (text[0]) {
    case "F":
      if (/^[0-9a-f]{2}$/i.test(rest)) return { kind: "status", flags: parseInt(rest, 16) };
      break;
    case "V":
      return { kind: "version", text: rest.trim() };
    case "N":
      return { kind: "serialNumber", text: rest.trim() };
    case "s": {
      const match = /^([awpb])(\d{3})(\d{3})$/.exec(rest);
      if (match) {
        return {
          kind: "state",
          state: states[match[1]],
          receiveErrors: Number(match[2]),
          transmitErrors: Number(match[3]),
        };
      }
    }
  }
  return { kind: "text", text };
}

function digit(value: number, max: number, what: string): string {
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new RangeError(`${what}: expected 0 to ${max}, got ${value}`);
  }
  return String(value);
}

function hex(value: number, digits: number, what: string): string {
  if (!Number.isInteger(value) || value < 0 || value >= 16 ** digits) {
    throw new RangeError(`${what}: expected ${digits} hexadecimal digits, got ${value}`);
  }
  return value.toString(16).toUpperCase().padStart(digits, "0");
}
