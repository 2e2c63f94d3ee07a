// One zonal gateway and one CAN adapter, simulated and without delays, whose ECUs stand behind either.

import { SimulatedBench } from "../../hardware/sim/bench.ts";
import type { SimulatedEcuOptions } from "../../hardware/sim/options.ts";

/** What an ECU on the bus is reached by. */
export const canAddress = { format: "normal", requestId: 0x7a7, responseId: 0x7af } as const;
/** A message that a cut left in the middle is given up soon. */
export const isotp = { nBs: 200, nCr: 200 };

/** An ECU as it is on the adapter's bus. */
export function onCan(options: SimulatedEcuOptions): SimulatedEcuOptions {
  return { ...options, can: { adapterId: "CAN_BODY", address: canAddress, isotp } };
}

/** Starts them. @param hostname loopback address of the test file's own */
export function startCanBench(
  hostname: string,
  vin: string,
  ecus: SimulatedEcuOptions[],
): Promise<SimulatedBench> {
  return SimulatedBench.start({
    timing: "none",
    adapters: [{ adapterId: "CAN_BODY", hostname, port: 0 }],
    gateways: [{ zonalGatewayId: "ZG_BODY", hostname, port: 0, logicalAddress: 0x1000, vin, ecus }],
  });
}
