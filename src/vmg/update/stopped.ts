// What is left in an ECU whose flash was stopped before its end.

import { decodeText } from "../../../hardware/flash/identification.ts";
import { NegativeResponseError } from "../../../hardware/uds/errors.ts";
import { Did } from "../../../hardware/uds/services.ts";
import type { VehicleBus } from "../bus/bus.ts";
import { delay } from "../wait.ts";
import { explain } from "../errors.ts";

/** How long an ECU has to answer, and how often it is asked, milliseconds: it was reset and is booting. */
const timeout = 10_000;
const pause = 250;

/** What a look found. */
export interface Stopped {
  /** What runs in the ECU, when it tells. */
  readonly version: string | undefined;
  /** The same as a sentence. */
  readonly text: string;
}

/**
 * Reads what runs in the ECU now.
 * @param what what happened to it, e.g. `stopped at transfer_data`
 */
export async function lookAtStopped(bus: VehicleBus, ecuId: string, what: string): Promise<Stopped> {
  const signal = AbortSignal.timeout(timeout);
  for (;;) {
    try {
      const version = await bus.use(
        ecuId,
        { purpose: "reading its version", signal },
        async (client) => decodeText(await client.readDataByIdentifier(Did.ecuSoftwareVersion, { signal })),
      );
      return { version, text: `${what}; it runs ${version ?? "software without a version"}` };
    } catch (error) {
      if (error instanceof NegativeResponseError || signal.aborted) {
        // A boot loader without software has no version to tell.
        const text = `${what}; it tells no version and has to be updated again (${explain(error)})`;
        return { version: undefined, text };
      }
    }
    await delay(pause, signal).catch(() => {}); // The next try says what the end of the time means.
  }
}
