// A simulated bench: gateways on the loopback network with their ECUs.
import type { SimulatedEcu } from "./ecu.ts";
import type { SimulatedBenchOptions } from "./options.ts";

export type * from "./options.ts";

/** A running bench. */
export class SimulatedBench implements AsyncDisposable {
  private constructor(options: SimulatedBenchOptions) {
    options.log?.("started");
  }

  /** Powers the ECUs on, waits until they have booted and begins to listen. */
  static start(options: SimulatedBenchOptions): Promise<SimulatedBench> {
    return Promise.resolve(new SimulatedBench(options));
  }

  /** Where each gateway listens. */
  get gateways(): { zonalGatewayId: string; hostname: string; port: number; logicalAddress: number }[] {
    return [];
  }

  /** All ECUs. */
  get ecus(): SimulatedEcu[] {
    return [];
  }

  /** An ECU by its id. @throws {RangeError} for one that is not there */
  ecu(ecuId: string): SimulatedEcu {
    throw new RangeError(`expected an ECU of this bench, got ${ecuId}`);
  }

  /** Stops listening, closes connections and switches all ECUs off. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
