// Notes that a vehicle has taken a message of the server over, and what follows from that.

import type { UpdateService } from "./ota/updates.ts";
import type { Outbox } from "./outbox.ts";

/**
 * The vehicle has the message, whichever way it went and whichever way it says so.
 * @returns `unknown` for a message that is not this vehicle's
 */
export async function acknowledge(
  { outbox, updates }: { outbox: Outbox; updates: UpdateService },
  vin: string,
  messageId: string,
): Promise<"acknowledged" | "already_acknowledged" | "unknown"> {
  const outcome = await outbox.acknowledge(vin, messageId);
  if (outcome === "acknowledged") {
    const command = await outbox.find(messageId);
    if (command) await updates.reports.commandTaken(command);
  }
  return outcome;
}
