// Which frames an adapter's acceptance registers let through, as the SJA1000 does it that LAWICEL's manual builds on.
import type { CanFrame } from "./frame.ts";

/** The registers that `M`, `m` and `W` set. */
export interface AcceptanceFilter {
  /** AC0 … AC3, the first in the highest byte. */
  code: number;
  /** AM0 … AM3; a set bit is not compared. */
  mask: number;
  /** One filter of four bytes instead of two of two. */
  single: boolean;
}

/** After power-up everything passes (LAWICEL CANUSB manual, commands M and m). */
export function openFilter(): AcceptanceFilter {
  return { code: 0, mask: 0xffff_ffff, single: false };
}

/** Whether the filter lets a frame through (SJA1000 data sheet, 6.4.15). */
export function accepts({ code, mask, single }: AcceptanceFilter, frame: CanFrame): boolean {
  const differ = (value: number, relevant: number) => ((value ^ code) & ~mask & relevant) !== 0;
  const remote = frame.remote ? 1 : 0;
  const { id, data } = frame;
  if (frame.extended) {
    if (single) return !differ((id << 3) | (remote << 2), 0xffff_fffc);
    const high = id >>> 13;
    return !differ(high << 16, 0xffff_0000) || !differ(high, 0xffff);
  }
  // A base identifier and RTR fill twelve bits.
  const head = (id << 1) | remote;
  if (single) {
    let relevant = 0xfff0_0000;
    if (data.length > 0) relevant |= 0xff00;
    if (data.length > 1) relevant |= 0xff;
    return !differ((head << 20) | ((data[0] ?? 0) << 8) | (data[1] ?? 0), relevant);
  }
  // The first of the two also compares the first data byte: a nibble in AC1, the other in AC3.
  const first = data.length > 0
    ? !differ((head << 20) | ((data[0] >> 4) << 16) | (data[0] & 0x0f), 0xffff_000f)
    : !differ(head << 20, 0xfff0_0000);
  return first || !differ(head << 4, 0xfff0);
}
