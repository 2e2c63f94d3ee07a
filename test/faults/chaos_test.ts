// Vehicles, a server and the network between them, all of which fail again and again, as a seed says: each message that was
// queued is stored exactly once, each command is acted on exactly once, and nothing waits in the end.
//
// CHAOS_ROUNDS (10), CHAOS_VEHICLES (5) and CHAOS_SEED make it longer, wider, or the same as an earlier one.

import assert from "node:assert/strict";
import { join } from "node:path";
import { RestClient } from "../../src/contract/client.ts";
import { routes } from "../../src/contract/routes.ts";
import { initAuthority, issueOperator, issueServerClient, issueVehicle } from "../../src/pqc/authority.ts";
import { loadCredentials } from "../../src/pqc/pki_directory.ts";
import { type HttpsAgent, httpsAgent } from "../../src/tls/https_agent.ts";
import { ChaosProxy, type Fate } from "../support/chaos_proxy.ts";
import { type Forwarder, startForwarder } from "../support/forwarder.ts";
import { countOf } from "../support/link_vehicles.ts";
import { startMosquitto, type TestMosquitto } from "../support/mosquitto.ts";
import { interopTest, peers } from "../support/peers.ts";
import { postgresql, requirePostgres, startPostgres } from "../support/postgres.ts";
import { eventually, Program, type Serving, temporaryFolder } from "../support/program.ts";
import { VehicleProcesses } from "../support/vehicle_processes.ts";

const rounds = Number(Deno.env.get("CHAOS_ROUNDS") ?? 10);
const vehicleCount = Number(Deno.env.get("CHAOS_VEHICLES") ?? 5);
const seed = Number(Deno.env.get("CHAOS_SEED") ?? 20261121);

/** Numbers from 0 up to 1 that a seed decides (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Milliseconds between two messages of one vehicle: about fifty a second come of all. */
const interval = 20 * vehicleCount;

type Happening = Fate | "server" | "vehicles" | "both" | "broker";

/** What happens in a round, by weight. `broker`: where it is another program. */
const weights: Record<Happening, number> = {
  cut: 6,
  half_cut: 3,
  delay: 4,
  overtaken: 4,
  server: 2,
  vehicles: 3,
  both: 1,
  broker: 3,
};

function eventsOf(external: boolean): Happening[] {
  const names: Happening[] = ["cut", "half_cut", "delay", "overtaken", "server", "vehicles", "both"];
  if (external) names.push("broker");
  return names.flatMap((name) => Array<Happening>(weights[name]).fill(name));
}

const vehicles = Array.from({ length: vehicleCount }, (_, index) => ({
  vin: `KMHCHA0SBENCH${String(index).padStart(4, "0")}`,
  vmgId: `VMG-C${String(index).padStart(2, "0")}`,
}));

/** What a run has besides the vehicles. */
interface Scene {
  settings?: string[];
  /** Servers on one database. @default 1 */
  servers?: number;
  /** Vehicles and servers meet at a mosquitto. @default the server's own broker */
  mosquitto?: boolean;
}

/** The loopback address where everything of this file listens. */
const host = "127.0.60.1";

/** The servers and their broker, each of which may be killed. */
class Backend implements AsyncDisposable {
  readonly #running: Serving[] = [];

  private constructor(
    readonly programs: readonly Program[],
    readonly balancer: Forwarder,
    readonly broker: TestMosquitto | undefined,
    /** Between the servers and an external broker. */
    readonly backbone: ChaosProxy | undefined,
  ) {}

  static async start(folder: string, pki: string, scene: Scene): Promise<Backend> {
    const { settings = [], servers = 1, mosquitto = false } = scene;
    await initAuthority({ directory: pki });
    await issueOperator("bench", { directory: pki });
    if (mosquitto) await issueServerClient({ directory: pki });
    const named = vehicles.map(({ vin, vmgId }) => ({ vin, vmg_id: vmgId }));
    const broker = mosquitto ? await startMosquitto({ hostname: host, pki, vehicles: named }) : undefined;
    const backbone = broker && new ChaosProxy(host, { hostname: host, port: broker.serverPort });
    const external = backbone
      ? [
        "mqtt.mode=external",
        `mqtt.external.url=mqtts://${host}:${backbone.port}`,
        "mqtt.external.reconnect_min=0.1",
        "mqtt.external.reconnect_max=1",
      ]
      : [];
    const programs: Program[] = [];
    for (let index = 0; index < servers; index++) {
      const data = join(folder, `server-${index}`);
      programs.push(
        new Program({
          data,
          network: "127.0.60.32/28",
          settings: ["diagnostics.timeout=3600", ...external, ...settings],
          freshDatabase: servers > 1,
        }),
      );
      await Deno.mkdir(join(data, "pki"), { recursive: true, mode: 0o700 });
      for await (const { name } of Deno.readDir(pki)) {
        await Deno.copyFile(join(pki, name), join(data, "pki", name));
      }
    }
    const balancer = startForwarder(
      host,
      programs.map(({ httpsPort: port }) => ({ hostname: "127.0.0.1", port })),
    );
    const backend = new Backend(programs, balancer, broker, backbone);
    try {
      for (const program of programs) backend.#running.push(await program.serve(["--only", "server"]));
    } catch (error) {
      await backend[Symbol.asyncDispose]();
      throw error;
    }
    return backend;
  }

  get log(): string {
    return this.#running.map(({ log }) => log.slice(-20_000)).join("\n----- the other server -----\n");
  }

  /** Where vehicles find their broker. */
  get mqtt(): { hostname: string; port: number } {
    return this.broker
      ? { hostname: host, port: this.broker.vehiclePort }
      : { hostname: "127.0.0.1", port: this.programs[0].mqttPort };
  }

  async restartServer(index: number): Promise<void> {
    this.#running[index].kill("SIGKILL");
    await this.#running[index].ended;
    this.#running[index] = await this.programs[index].serve(["--only", "server"]);
  }

  async restartBroker(): Promise<void> {
    await this.broker?.stop("SIGKILL");
    await this.broker?.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#running) {
      server.kill("SIGKILL");
      await server.ended;
    }
    await this.balancer[Symbol.asyncDispose]();
    await this.backbone?.[Symbol.asyncDispose]();
    await this.broker?.[Symbol.asyncDispose]();
  }
}

async function chaos(scene: Scene): Promise<void> {
  const random = randomNumbers(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const events = eventsOf(scene.mosquitto ?? false);
  await using folder = await temporaryFolder();
  const pki = join(folder.path, "pki");
  await using backend = await Backend.start(folder.path, pki, scene);
  const agents: HttpsAgent[] = [];
  try {
    const restOf = async (name: string) => {
      const credentials = await loadCredentials(pki, name);
      const dispatcher = httpsAgent({ credentials, trust: credentials.trust, serverName: "127.0.0.1" });
      agents.push(dispatcher);
      return new RestClient({
        origin: `https://${host}:${backend.balancer.port}`,
        dispatcher,
        // A server that has just been started works off what waited for it.
        timeout: 60_000,
      });
    };
    const operator = await restOf("operator-bench");
    for (const { vin, vmgId } of vehicles) {
      await issueVehicle(vin, { directory: pki });
      const body = { vin, vehicle_model: "Chaos", vehicle_year: 2026, vmg_id: vmgId };
      await (await restOf(`vehicle-${vin}`)).call(routes.registerVehicle, { body });
    }

    await using mqtt = new ChaosProxy(host, backend.mqtt);
    await using https = new ChaosProxy(host, { hostname: host, port: backend.balancer.port });
    const proxies = [mqtt, https, ...backend.backbone ? [backend.backbone] : []];
    await using cars = new VehicleProcesses(vehicles, {
      directory: folder.path,
      pki,
      https: { hostname: host, port: https.port },
      mqtt: { hostname: host, port: mqtt.port, serverName: backend.broker ? host : "127.0.0.1" },
      acknowledgedBy: backend.broker ? "server" : "broker",
      fallbackAfter: 1_500,
      keepalive: 2,
    });
    await cars.start(interval);
    const happened = new Map<string, number>();
    let sent = 0;
    for (let round = 0; round < rounds; round++) {
      for (let count = below(3); count >= 0; count--) {
        const { vin } = vehicles[below(vehicles.length)];
        await operator.call(routes.sendDiagnostic, {
          body: { vin, ecu_id: "ECU_001", service_id: "0x22", data: "F190" },
        });
        sent++;
      }
      const event = events[below(events.length)];
      happened.set(event, (happened.get(event) ?? 0) + 1);
      const share = 0.2 + random() * 0.8;
      const server = below(backend.programs.length);
      if (event === "server") await backend.restartServer(server);
      else if (event === "broker") await backend.restartBroker();
      else if (event === "vehicles") await cars.restart(below(2), interval);
      else if (event === "both") {
        await Promise.all([backend.restartServer(server), cars.restart(below(2), interval)]);
      } else {
        for (const proxy of proxies) {
          proxy.strike(() => random() < share ? event : undefined, () => 50 + below(1_500));
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 50 + below(400)));
    }

    for (const proxy of proxies) proxy.heal();
    // Nothing new is made; what waits must go.
    await cars.restartAll(0);
    const told = `seed ${seed}, ${[...happened].map(([event, count]) => `${event} ${count}`).join(", ")}`;
    for (const { vin } of vehicles) {
      await eventually(
        `the queue of ${vin} is empty (${told})`,
        () => countOf(folder.path, vin).waiting === 0 ? true : undefined,
        60_000,
      );
      const vehicle = await restOf(`vehicle-${vin}`);
      await eventually(`nothing waits for ${vin} (${told})`, async () => {
        const { messages } = await vehicle.call(routes.pendingMessages, { path: { vin } });
        // The answer to what was taken at last may still be on its way.
        return messages.length === 0 && countOf(folder.path, vin).waiting === 0 ? true : undefined;
      }, 60_000);
    }
    let made = 0;
    const acted: string[] = [];
    for (const { vin } of vehicles) {
      const counted = countOf(folder.path, vin);
      made += counted.made;
      acted.push(...counted.acted);
      const stored = await storedCounts(operator, vin);
      assert.deepEqual(
        stored.sort((a, b) => a - b),
        Array.from({ length: counted.made }, (_, index) => index),
        `${vin}: each message once (${told})`,
      );
    }
    assert.deepEqual(cars.failures, []);
    const asked = await requests(operator);
    assert.equal(asked.length, sent);
    assert.deepEqual(
      acted.sort(),
      asked.map(({ request_id }) => request_id).sort(),
      `each command once (${told})`,
    );
    const open = asked.filter(({ status }) => status !== "completed");
    assert.deepEqual(open, [], `each command is answered (${told})`);
    console.log(`${rounds} rounds, ${vehicleCount} vehicles, ${made} messages, ${sent} commands; ${told}`);
  } catch (cause) {
    throw new Error(`seed ${seed}; the server's log ends so:\n${backend.log}`, { cause });
  } finally {
    for (const agent of agents) await agent.destroy();
  }
}

/** The `count` of everything that is stored of a vehicle. */
async function storedCounts(operator: RestClient, vin: string): Promise<number[]> {
  const counts: number[] = [];
  for (;;) {
    const { telemetry } = await operator.call(routes.listTelemetry, {
      path: { vin },
      query: { limit: 1000, offset: counts.length },
    });
    counts.push(...telemetry.map(({ metrics }) => metrics.count));
    if (telemetry.length < 1000) return counts;
  }
}

async function requests(operator: RestClient): Promise<{ request_id: string; status: string }[]> {
  const found: { request_id: string; status: string }[] = [];
  for (;;) {
    const query = { limit: 1000, offset: found.length };
    const { results } = await operator.call(routes.listDiagnostics, { query });
    found.push(...results.map(({ request_id, status }) => ({ request_id, status })));
    if (results.length < 1000) return found;
  }
}

const promise = "whatever fails, each message is stored once and each command acted on once";

Deno.test(`${promise}, in the embedded database`, () => chaos({}));

Deno.test({
  name: `${promise}, in PostgreSQL`,
  ignore: requirePostgres() === null,
  fn: () => onPostgres({}),
});

interopTest(
  `${promise}, through mosquitto, which is killed too, in the embedded database`,
  [peers.mosquitto],
  () => chaos({ mosquitto: true }),
);

interopTest(
  `${promise}, through mosquitto, by two servers on one PostgreSQL`,
  [peers.mosquitto, postgresql],
  () => onPostgres({ mosquitto: true, servers: 2 }),
);

async function onPostgres(scene: Scene): Promise<void> {
  const postgres = await startPostgres();
  try {
    await chaos({ ...scene, settings: [`database.url=${postgres.url}`] });
  } finally {
    await postgres.stop();
  }
}
