// What the two sides of the CAN bench agree on.
import type { Acknowledgement } from "../../hardware/can/slcan_device.ts";
import type { SimulatedTiming } from "../../hardware/sim/options.ts";

export const requestId = 0x7a7;
export const responseId = 0x7af;

/** A simulated adapter on a PTY. */
export interface CanBenchAdapter {
  name: string;
  timing: SimulatedTiming;
  pty: string;
  bitRate: number;
  dataBitRate?: number;
  serialBaudRate: number;
  acknowledgement: Acknowledgement;
}
