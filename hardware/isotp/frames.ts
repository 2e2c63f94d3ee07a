// CAN frames of a link: identifier, address byte and padding around what pci.ts writes.

import { type CanFrame, fdLengthFor } from "../can/frame.ts";
import type { Route } from "./address.ts";
import { defaultPadding, flowStatus } from "./constants.ts";
import { encodeFlowControl, encodeSingleFrame, maxSingleFrameLength, singleFrameLength } from "./pci.ts";
import type { IsoTpSettings } from "./settings.ts";

/** What the frames of one direction have in common. */
export type FrameFormat = Pick<IsoTpSettings, "txDl" | "fd" | "bitRateSwitch" | "padding">;

/** Bytes before the N_PCI. */
export function offsetOf(route: Route): number {
  return route.prefix === undefined ? 0 : 1;
}

/**
 * A frame for so many bytes, address byte included: filled, with the address byte set (10.4.2).
 *
 * @param used bytes up to TX_DL
 */
export function frameOf(route: Route, format: FrameFormat, used: number): CanFrame {
  const { fd, bitRateSwitch, padding } = format;
  let length = padding === undefined ? used : Math.max(used, 8);
  if (length > 8) length = fdLengthFor(length);
  const data = new Uint8Array(length);
  if (length > used) data.fill(padding ?? defaultPadding, used);
  if (route.prefix !== undefined) data[0] = route.prefix;
  const { id, extended } = route;
  return fd ? { id, extended, data, fd, bitRateSwitch } : { id, extended, data };
}

/** A message in a single frame; undefined when it does not fit. */
export function singleFrame(route: Route, format: FrameFormat, message: Uint8Array): CanFrame | undefined {
  const offset = offsetOf(route);
  if (message.length > maxSingleFrameLength(format.txDl, offset)) return undefined;
  const frame = frameOf(route, format, singleFrameLength(offset, message.length));
  frame.data.set(message, encodeSingleFrame(frame.data, offset, message.length));
  return frame;
}

/** A flow control. BS and STmin mean nothing but with `continueToSend` (9.6.5.3) and are 0 otherwise. */
export function flowControlFrame(
  route: Route,
  settings: IsoTpSettings,
  status: (typeof flowStatus)[keyof typeof flowStatus],
): CanFrame {
  const offset = offsetOf(route);
  const frame = frameOf(route, settings, offset + 3);
  const go = status === flowStatus.continueToSend;
  encodeFlowControl(frame.data, offset, status, go ? settings.blockSize : 0, go ? settings.stMinByte : 0);
  return frame;
}
