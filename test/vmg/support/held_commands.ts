// Commands that the server's stand-in holds until the vehicle, which asks over HTTPS, has acknowledged them.

import type { Counterpart } from "./counterpart.ts";
import { vin, vmgId } from "./vehicle.ts";

/** @param commands more may be put in later. @returns the message_ids that were acknowledged */
export function holdCommands(server: Counterpart, commands: readonly Record<string, unknown>[]): string[] {
  const acknowledged: string[] = [];
  server.on("GET", `/api/v1/vehicles/${vin}/pending-messages`, () => ({
    status: 200,
    body: {
      messages: commands.filter(({ message_id }) => !acknowledged.includes(String(message_id))).map((
        payload,
      ) => ({
        message_id: payload.message_id,
        topic: `vehicle/${vmgId}/control`,
        payload,
        created: new Date().toISOString(),
        expires: new Date(Date.now() + 60_000).toISOString(),
      })),
    },
  }));
  server.on("POST", `/api/v1/vehicles/${vin}/pending-messages/[^/]+/ack`, ({ path }) => {
    acknowledged.push(path.split("/").at(-2) ?? "");
    return { status: 200, body: { status: "acknowledged" } };
  });
  return acknowledged;
}
