// What the two sides of the bench of parallel flashing agree on.
import type { IsoTpAddress } from "../../hardware/isotp/address.ts";

/** Where the bench listens. */
export interface ParallelFlashPorts {
  hostname: string;
  gateways: number[];
  adapter: number;
}

/** Address of ECU_00n on CAN. */
export function canAddress(n: number): IsoTpAddress {
  return { format: "normal", requestId: 0x700 + n, responseId: 0x708 + n };
}
