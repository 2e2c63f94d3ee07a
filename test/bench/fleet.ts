// A server with a fleet for measurements: certificates and registrations of as many vehicles as are wanted, and mosquitto
// beside it with the same certificates.

import { join } from "node:path";
import { routes } from "../../src/contract/routes.ts";
import { RestClient } from "../../src/contract/client.ts";
import { issueVehicle } from "../../src/pqc/authority.ts";
import { loadCredentials } from "../../src/pqc/pki_directory.ts";
import { httpsAgent } from "../../src/tls/https_agent.ts";

/** VIN and gateway of each vehicle. */
export function fleetOf(count: number): [string, string][] {
  return Array.from({ length: count }, (_, index) => {
    const number = String(index).padStart(4, "0");
    return [`KMHFXEETBENCH${number}`, `VMG-F${number}`];
  });
}

/** Issues the vehicles' certificates. */
export async function issueFleet(pki: string, fleet: [string, string][]): Promise<void> {
  for (const [vin] of fleet) await issueVehicle(vin, { directory: pki });
}

/** Registers the vehicles, each with its own certificate. */
export async function registerFleet(origin: string, pki: string, fleet: [string, string][]): Promise<void> {
  for (const [vin, vmg_id] of fleet) {
    const credentials = await loadCredentials(pki, `vehicle-${vin}`);
    const dispatcher = httpsAgent({ credentials, trust: credentials.trust, connections: 1 });
    const body = { vin, vehicle_model: "Bench", vehicle_year: 2026, vmg_id };
    await new RestClient({ origin, dispatcher }).call(routes.registerVehicle, { body });
    await dispatcher.destroy();
  }
}

/** A mosquitto that runs. */
export interface Mosquitto extends AsyncDisposable {
  readonly hostname: string;
  readonly port: number;
  readonly pid: number;
  /** Ends it and starts it again. */
  restart(): Promise<void>;
}

/** Starts mosquitto with the certificates of the server. @param hostname loopback address of the measurement's own */
export async function startMosquitto(directory: string, pki: string, hostname: string): Promise<Mosquitto> {
  const port = 34_883;
  const configuration = join(directory, "mosquitto.conf");
  await Deno.writeTextFile(
    configuration,
    [
      `listener ${port} ${hostname}`,
      `cafile ${join(pki, "ca.crt")}`,
      `certfile ${join(pki, "server.crt")}`,
      `keyfile ${join(pki, "server.key")}`,
      "require_certificate true",
      "allow_anonymous true",
      "max_inflight_messages 0",
      "max_queued_messages 0",
      // mosquitto gives its rights up as root and could not read the key then.
      "user root",
      "",
    ].join("\n"),
  );
  const start = async () => {
    const args = ["-c", configuration];
    const child = new Deno.Command("mosquitto", { args, stdin: "null", stdout: "null", stderr: "null" })
      .spawn();
    for (let attempt = 0; attempt < 50; attempt++) {
      try {
        (await Deno.connect({ hostname, port })).close();
        return child;
      } catch {
        // Not listening yet.
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    child.kill("SIGKILL");
    throw new Error(`mosquitto does not listen on ${hostname}:${port}`);
  };
  let child = await start();
  const end = async (signal: Deno.Signal) => {
    child.kill(signal);
    await child.status;
  };
  return {
    hostname,
    port,
    get pid() {
      return child.pid;
    },
    restart: async () => {
      await end("SIGKILL");
      child = await start();
    },
    [Symbol.asyncDispose]: () => end("SIGTERM"),
  };
}
