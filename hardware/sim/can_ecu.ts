// A simulated ECU on a CAN bus: the same ECU as behind a gateway, reached over ISO-TP.
import type { Clock } from "../clock.ts";
import { IsoTpServer } from "../isotp/server.ts";
import type { VirtualCanBus } from "./can_bus.ts";
import type { SimulatedEcu } from "./ecu.ts";
import type { SimulatedCanOptions } from "./options.ts";

/** What surrounds an ECU on its bus. */
export interface CanEcuSurroundings {
  log: (message: string) => void;
  /** @default the system's clock */
  clock?: Clock;
}

/**
 * Puts an ECU on a bus.
 * @returns what takes it off
 * @throws {RangeError} quoting an address or option that cannot be
 */
export function attachEcu(
  ecu: SimulatedEcu,
  bus: VirtualCanBus,
  { address, functional, isotp = {} }: SimulatedCanOptions,
  { log, clock }: CanEcuSurroundings,
): () => Promise<void> {
  const node = bus.attach(ecu.ecuId, {
    powered: () => ecu.state !== "off",
    // What comes while it boots meets nobody: not even a flow control answers.
    hears: () => ecu.state === "application" || ecu.state === "boot",
  });
  const server = new IsoTpServer(node, {
    ...isotp,
    ...clock === undefined ? {} : { clock },
    log: (message) => log(`${ecu.ecuId}: ${message}`),
  });
  try {
    server.attach(ecu, { physical: address, functional: functional === undefined ? [] : [functional] });
  } catch (error) {
    server.close();
    void node.close();
    throw error;
  }
  return async () => {
    server.close();
    await node.close();
  };
}
