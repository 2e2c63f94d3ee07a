// Load for measurements, in a process of its own: vehicles that publish telemetry, each with a bounded number of messages
// without their PUBACK. It spends as little as it can on MQTT. Argument: TelemetryVehicles as JSON.

import { Buffer } from "node:buffer";
import type { Duplex } from "node:stream";
import { profileById } from "../../src/pqc/profiles.ts";
import { loadCredentials } from "../../src/pqc/pki_directory.ts";
import { connect } from "../../src/tls/connect.ts";
import { connectPacket, publishPacket } from "../support/mqtt_packets.ts";

export interface TelemetryVehicles {
  pki: string;
  /** VIN and gateway of each. */
  vehicles: [string, string][];
  hostname: string;
  port: number;
  /** Profile of the connections. */
  profile: number;
  /** Messages of all vehicles together. */
  messages: number;
  /** Messages of one vehicle without their PUBACK. */
  inFlight: number;
}

/** What the process prints. */
export interface TelemetryRate {
  seconds: number;
}

/** One vehicle's connection: it publishes until its messages are used up and resolves when the last is acknowledged. */
class Publisher {
  readonly #stream: Duplex;
  readonly #topic: string;
  #next = 0;
  #open = 0;
  #left = 0;
  /** Bytes of packets that are not read whole. */
  #rest = 0;
  #done = Promise.withResolvers<void>();

  constructor(stream: Duplex, vmgId: string) {
    this.#stream = stream;
    this.#topic = `vehicle/${vmgId}/telemetry`;
    stream.on("data", (bytes: Uint8Array) => this.#received(bytes.length));
    stream.on("close", () => this.#done.reject(new Error("the connection was closed")));
  }

  publish(messages: number, inFlight: number): Promise<void> {
    this.#done = Promise.withResolvers();
    this.#left = messages;
    this.#send(Math.min(inFlight, messages));
    return this.#done.promise;
  }

  /** Nothing but PUBACKs come, of four bytes each (MQTT 3.1.1 section 3.4). */
  #received(bytes: number): void {
    this.#rest += bytes;
    const acknowledged = Math.floor(this.#rest / 4);
    this.#rest %= 4;
    this.#open -= acknowledged;
    if (this.#left > 0) this.#send(Math.min(acknowledged, this.#left));
    else if (this.#open === 0) this.#done.resolve();
  }

  #send(count: number): void {
    this.#left -= count;
    this.#open += count;
    const packets = Array.from({ length: count }, () => {
      const number = this.#next++;
      const payload = {
        battery_soc: 80,
        speed: number % 15,
        temp: 21.5,
        timestamp: new Date().toISOString(),
        message_id: crypto.randomUUID(),
      };
      return publishPacket(number % 65_535 + 1, this.#topic, JSON.stringify(payload));
    });
    this.#stream.write(Buffer.concat(packets));
  }
}

async function run(options: TelemetryVehicles): Promise<void> {
  const { pki, vehicles, hostname, port, profile, messages, inFlight } = options;
  const publishers = [];
  for (const [vin, vmgId] of vehicles) {
    const credentials = await loadCredentials(pki, `vehicle-${vin}`);
    const { stream } = await connect({
      hostname,
      port,
      credentials,
      profile: profileById(profile),
      trust: credentials.trust,
      serverName: "localhost",
    });
    const connack = Promise.withResolvers<void>();
    stream.once("data", () => connack.resolve());
    stream.write(connectPacket(`vehicle-${vin}`, 60));
    await connack.promise;
    publishers.push(new Publisher(stream, vmgId));
  }
  const share = Math.ceil(messages / vehicles.length);
  await Promise.all(publishers.map((publisher) => publisher.publish(Math.ceil(share / 5), inFlight)));
  const began = performance.now();
  await Promise.all(publishers.map((publisher) => publisher.publish(share, inFlight)));
  const rate: TelemetryRate = { seconds: (performance.now() - began) / 1000 };
  console.log(JSON.stringify(rate));
  Deno.exit(0);
}

if (import.meta.main) await run(JSON.parse(Deno.args[0]));
