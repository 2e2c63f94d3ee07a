// Telemetry messages a second that are stored before their PUBACK, over MQTT with mutual TLS, of one vehicle and of a hundred
// at once; mosquitto, which stores nothing, takes the same messages from the same clients in the same run where it is
// installed. The vehicles are in a process of their own.

import { silentLogger } from "../../src/log.ts";
import { peers, present } from "../support/peers.ts";
import { startTestServer } from "../server/running_server.ts";
import { fleetOf, issueFleet, registerFleet, startMosquitto } from "./fleet.ts";
import type { BenchRow } from "./row.ts";
import type { TelemetryRate, TelemetryVehicles } from "./telemetry_vehicles.ts";

const messages = 30_000;
/** Messages of all vehicles without their PUBACK. */
const inFlight = 1000;
const hostname = "127.0.34.32";

/** Messages a second that are acknowledged. */
async function rate(options: TelemetryVehicles): Promise<string> {
  const script = new URL("./telemetry_vehicles.ts", import.meta.url).pathname;
  const { stdout, success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "-A", script, JSON.stringify(options)],
    stdin: "null",
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("the vehicles failed");
  const { seconds }: TelemetryRate = JSON.parse(new TextDecoder().decode(stdout));
  return `${Math.round(options.messages / seconds).toLocaleString("en")} messages/s`;
}

export async function run(): Promise<BenchRow[]> {
  await using server = await startTestServer(hostname, { log: silentLogger });
  const fleet = fleetOf(100);
  await issueFleet(server.pki, fleet);
  await registerFleet(server.origin, server.pki, fleet);
  const common = { pki: server.pki, messages };
  const rows: BenchRow[] = [];
  for (const count of [1, 100]) {
    const load = { ...common, vehicles: fleet.slice(0, count), inFlight: inFlight / count };
    const value = await rate({ ...load, hostname, port: server.server.mqtt.port, profile: 2 });
    let beside: string | undefined;
    if (present(peers.mosquitto)) {
      await using mosquitto = await startMosquitto(server.directory, server.pki, "127.0.34.33");
      // Debian's mosquitto knows no ML-KEM.
      const other = await rate({ ...load, hostname: mosquitto.hostname, port: mosquitto.port, profile: 0 });
      beside = `mosquitto, nothing stored: ${other}`;
    }
    const what = `telemetry messages stored, ${count === 1 ? "one vehicle" : `${count} vehicles`}, QoS 1`;
    rows.push({ what, value, ...(beside === undefined ? {} : { beside }) });
  }
  return rows;
}
