// A CAN frame as records of it: a line of candump's log format, and a frame of link type CAN_SOCKETCAN.

import type { TappedFrame } from "./tap.ts";

/** Flags in the identifier (linux/can.h). */
const idFlags = { extended: 0x8000_0000, remote: 0x4000_0000 } as const;
/** Flags of an FD frame (linux/can.h). */
const fdFlags = { bitRateSwitch: 0x01, fd: 0x04 } as const;

const headerLength = 8;

/** `(1436509052.249713) can0 7E0#0210030000000000`, FD `7E0##1…`; the time in microseconds since 1970. */
export function candumpLine(name: string, time: number, frame: TappedFrame): string {
  const seconds = Math.floor(time / 1e6).toString().padStart(10, "0");
  const fraction = (Math.floor(time) % 1e6).toString().padStart(6, "0");
  const id = frame.id.toString(16).toUpperCase().padStart(frame.extended ? 8 : 3, "0");
  return `(${seconds}.${fraction}) ${name} ${id}#${content(frame)}\n`;
}

function content({ data, remote, remoteLength = 0, fd, bitRateSwitch }: TappedFrame): string {
  if (remote) return `R${remoteLength > 0 ? remoteLength : ""}`;
  return `${fd ? `#${bitRateSwitch ? fdFlags.bitRateSwitch : 0}` : ""}${data.toHex().toUpperCase()}`;
}

/** An interface's name as candump's log can hold it. */
export function candumpName(name: string): string {
  return name.replaceAll(/\s+/g, "_");
}

/** Bytes of {@link writeSocketCan}. */
export function socketCanLength(frame: TappedFrame): number {
  return headerLength + frame.data.length;
}

/** Writes a frame as link type 227 has it: identifier and flags big-endian, length, FD flags, two reserved, data. */
export function writeSocketCan(into: Uint8Array, at: number, frame: TappedFrame): void {
  const { id, extended, remote, remoteLength = 0, fd, bitRateSwitch, data } = frame;
  const word = (id | (extended ? idFlags.extended : 0) | (remote ? idFlags.remote : 0)) >>> 0;
  new DataView(into.buffer, into.byteOffset + at).setUint32(0, word);
  into[at + 4] = remote ? remoteLength : data.length;
  into[at + 5] = fd ? fdFlags.fd | (bitRateSwitch ? fdFlags.bitRateSwitch : 0) : 0;
  into[at + 6] = into[at + 7] = 0;
  into.set(data, at + headerLength);
}
