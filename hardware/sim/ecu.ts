// A simulated ECU.
import type { SimulatedFault } from "./options.ts";

/** One ECU of a simulated bench, as tests reach into it. */
export interface SimulatedEcu {
  readonly ecuId: string;
  readonly logicalAddress: number;
  /** off, booting, application, or boot when there is no whole application. */
  readonly state: "off" | "booting" | "application" | "boot";
  /** Version of the application that runs, if one does. */
  readonly version: string | undefined;
  /** Cuts the power at once. */
  powerOff(): void;
  /** Switches on; resolves when it answers. */
  powerOn(): Promise<void>;
  /** Bytes as the CPU sees them: of the active bank, 0xFF where erased. */
  readMemory(address: number, length: number): Uint8Array;
  /** Sets a fault. */
  inject(fault: SimulatedFault): void;
  /** Takes all faults back. */
  clearFaults(): void;
}
