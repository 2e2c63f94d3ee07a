// What is left in an ECU whose flash was stopped before its end.

import { decodeText } from "../../../hardware/flash/identification.ts";
import { Did } from "../../../hardware/uds/services.ts";
import { describeError } from "../../log.ts";
import type { VehicleBus } from "../bus/bus.ts";

/** How long the look may take, milliseconds. */
const timeout = 10_000;

/**
 * Reads what runs in the ECU now.
 * @param what what happened to it, e.g. `stopped at transfer_data`
 * @returns a sentence, also when the ECU does not tell
 */
export async function lookAtStopped(bus: VehicleBus, ecuId: string, what: string): Promise<string> {
  const signal = AbortSignal.timeout(timeout);
  try {
    const version = await bus.use(
      ecuId,
      { purpose: "reading its version", signal },
      async (client) => decodeText(await client.readDataByIdentifier(Did.ecuSoftwareVersion, { signal })),
    );
    return `${what}; it runs ${version ?? "software without a version"}`;
  } catch (error) {
    return `${what}; it tells no version and has to be updated again (${describeError(error)})`;
  }
}
