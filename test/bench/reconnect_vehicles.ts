// Vehicles for measurements that do nothing but hold their session and come back, in a process of their own. Prints `all`
// each time that all are connected and subscribed. Argument: StormVehicles as JSON.

import { profileById } from "../../src/pqc/profiles.ts";
import { loadCredentials } from "../../src/pqc/pki_directory.ts";
import { connect } from "../../src/tls/connect.ts";
import { Backoff, delay } from "../../src/wait.ts";
import { connectPacket, subscribePacket } from "../support/mqtt_packets.ts";

export interface StormVehicles {
  pki: string;
  /** VIN and gateway of each. */
  vehicles: [string, string][];
  hostname: string;
  port: number;
  /** Profile of the connections. */
  profile: number;
}

async function run({ pki, vehicles, hostname, port, profile }: StormVehicles): Promise<void> {
  let up = 0;
  const live = async (vin: string, vmgId: string) => {
    const credentials = await loadCredentials(pki, `vehicle-${vin}`);
    const backoff = new Backoff({ initial: 1_000, max: 60_000 });
    for (;;) {
      try {
        const { stream } = await connect({
          hostname,
          port,
          credentials,
          profile: profileById(profile),
          trust: credentials.trust,
          serverName: "localhost",
          timeout: 10_000,
        });
        const ended = new Promise<void>((resolve) => {
          for (const event of ["end", "error", "close"]) stream.once(event, () => resolve());
        });
        let received = 0;
        let ready = false;
        stream.on("data", (bytes: Uint8Array) => {
          received += bytes.length;
          // CONNACK has four bytes, SUBACK of three filters seven (MQTT 3.1.1 sections 3.2 and 3.9).
          if (ready || received < 11) return;
          ready = true;
          backoff.reset();
          if (++up === vehicles.length) console.log("all");
        });
        stream.write(connectPacket(`vehicle-${vin}`, 30));
        stream.write(
          subscribePacket(
            1,
            ...["control", "diagnostics", "config"].map((name) => `vehicle/${vmgId}/${name}`),
          ),
        );
        await ended;
        stream.destroy();
        if (ready) up--;
      } catch {
        // The server is away, or has too much to do: tried again below.
      }
      await delay(backoff.next());
    }
  };
  await Promise.all(vehicles.map(([vin, vmgId]) => live(vin, vmgId)));
}

if (import.meta.main) await run(JSON.parse(Deno.args[0]));
