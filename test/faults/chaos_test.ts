// Vehicles, a server and the network between them, all of which fail again and again, as a seed says: each message that was
// queued is stored exactly once, each command is acted on exactly once, and nothing waits in the end.
//
// CHAOS_ROUNDS (10), CHAOS_VEHICLES (5) and CHAOS_SEED make it longer, wider, or the same as an earlier one.

import assert from "node:assert/strict";
import { join } from "node:path";
import { RestClient } from "../../src/contract/client.ts";
import { routes } from "../../src/contract/routes.ts";
import { issueVehicle } from "../../src/pqc/authority.ts";
import { loadCredentials } from "../../src/pqc/pki_directory.ts";
import { type HttpsAgent, httpsAgent } from "../../src/tls/https_agent.ts";
import { ChaosProxy, type Fate } from "../support/chaos_proxy.ts";
import { countOf, type LinkVehicles } from "../support/link_vehicles.ts";
import { requirePostgres, startPostgres } from "../support/postgres.ts";
import { eventually, Program, type Serving, temporaryFolder } from "../support/program.ts";

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

/** What happens in a round, by weight. */
const events = [
  ...Array<Fate>(6).fill("cut"),
  ...Array<Fate>(3).fill("half_cut"),
  ...Array<Fate>(4).fill("delay"),
  ...Array<Fate>(4).fill("overtaken"),
  ...Array<"server">(2).fill("server"),
  ...Array<"vehicles">(3).fill("vehicles"),
  "both",
] as const;

const vehicles = Array.from({ length: vehicleCount }, (_, index) => ({
  vin: `KMHCHA0SBENCH${String(index).padStart(4, "0")}`,
  vmgId: `VMG-C${String(index).padStart(2, "0")}`,
}));

/** Processes with some of the vehicles each. */
class VehicleProcesses implements AsyncDisposable {
  readonly #options: Omit<LinkVehicles, "vehicles" | "interval">;
  readonly #groups = [vehicles.filter((_, at) => at % 2 === 0), vehicles.filter((_, at) => at % 2 === 1)];
  readonly #processes: { child: Deno.ChildProcess; written: Promise<string> }[] = [];
  /** What processes wrote that ended by themselves. */
  readonly failures: string[] = [];

  constructor(options: Omit<LinkVehicles, "vehicles" | "interval">) {
    this.#options = options;
  }

  async start(interval: number): Promise<void> {
    for (const index of this.#groups.keys()) await this.#start(index, interval);
  }

  /** Kills a group as a crash does and starts it again. */
  async restart(index: number, interval: number): Promise<void> {
    await this.#end(index);
    await this.#start(index, interval);
  }

  async restartAll(interval: number): Promise<void> {
    for (const index of this.#groups.keys()) await this.restart(index, interval);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const index of this.#processes.keys()) await this.#end(index);
  }

  async #start(index: number, interval: number): Promise<void> {
    const options: LinkVehicles = { ...this.#options, vehicles: this.#groups[index], interval };
    const script = new URL("../support/link_vehicles.ts", import.meta.url).pathname;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-check", "-A", script, JSON.stringify(options)],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const written = new Response(child.stderr).text();
    this.#processes[index] = { child, written };
    const reader = child.stdout.getReader();
    const { done } = await reader.read();
    reader.releaseLock();
    if (done) throw new Error(`the vehicles ended at once: ${await written}`);
  }

  async #end(index: number): Promise<void> {
    const { child, written } = this.#processes[index];
    try {
      child.kill("SIGKILL");
    } catch (cause) {
      if (!(cause instanceof TypeError)) throw cause;
      // It ended by itself, which it must not.
      this.failures.push(await written);
    }
    await child.stdout.cancel();
    await child.status;
    await written;
  }
}

async function chaos(network: string, settings: string[]): Promise<void> {
  const random = randomNumbers(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  await using folder = await temporaryFolder();
  const data = join(folder.path, "data");
  const pki = join(data, "pki");
  const program = new Program({
    data,
    network,
    settings: ["diagnostics.timeout=3600", ...settings],
  });
  const serve = () => program.serve(["--only", "server"]);
  let server: Serving = await serve();
  const agents: HttpsAgent[] = [];
  try {
    const restOf = async (name: string) => {
      const credentials = await loadCredentials(pki, name);
      const dispatcher = httpsAgent({ credentials, trust: credentials.trust });
      agents.push(dispatcher);
      return new RestClient({
        origin: `https://127.0.0.1:${program.httpsPort}`,
        dispatcher,
        timeout: 10_000,
      });
    };
    const operator = await restOf("operator-bench");
    for (const { vin, vmgId } of vehicles) {
      await issueVehicle(vin, { directory: pki });
      const body = { vin, vehicle_model: "Chaos", vehicle_year: 2026, vmg_id: vmgId };
      await (await restOf(`vehicle-${vin}`)).call(routes.registerVehicle, { body });
    }

    const at = (port: number) => ({ hostname: "127.0.0.1", port });
    await using mqtt = new ChaosProxy("127.0.40.10", at(program.mqttPort));
    await using https = new ChaosProxy("127.0.40.10", at(program.httpsPort));
    await using cars = new VehicleProcesses({
      directory: folder.path,
      pki,
      https: { hostname: "127.0.40.10", port: https.port },
      mqtt: { hostname: "127.0.40.10", port: mqtt.port },
      fallbackAfter: 1_500,
      keepalive: 2,
    });
    await cars.start(interval);
    const happened = new Map<string, number>();
    let sent = 0;
    const restartServer = async () => {
      server.kill("SIGKILL");
      await server.ended;
      server = await serve();
    };
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
      if (event === "server") await restartServer();
      else if (event === "vehicles") await cars.restart(below(2), interval);
      else if (event === "both") await Promise.all([restartServer(), cars.restart(below(2), interval)]);
      else {
        for (const proxy of [mqtt, https]) {
          proxy.strike(() => random() < share ? event : undefined, () => 50 + below(1_500));
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 50 + below(400)));
    }

    mqtt.heal();
    https.heal();
    // Nothing new is made; what waits must go.
    await cars.restartAll(0);
    const told = `seed ${seed}, ${[...happened].map(([event, count]) => `${event} ${count}`).join(", ")}`;
    for (const { vin } of vehicles) {
      await eventually(
        `the queue of ${vin} is empty (${told})`,
        () => countOf(folder.path, vin).waiting === 0 ? true : undefined,
        60_000,
      );
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
      const { messages } = await (await restOf(`vehicle-${vin}`)).call(routes.pendingMessages, {
        path: { vin },
      });
      assert.deepEqual(messages, [], `nothing waits for ${vin} (${told})`);
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
    throw new Error(`seed ${seed}; the server's log ends so:\n${server.log.slice(-20_000)}`, { cause });
  } finally {
    for (const agent of agents) await agent.destroy();
    server.kill("SIGKILL");
    await server.ended;
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

Deno.test("whatever fails, each message is stored once and each command acted on once, in the embedded database", async () => {
  await chaos("127.0.40.0/28", []);
});

Deno.test({
  name: "whatever fails, each message is stored once and each command acted on once, in PostgreSQL",
  ignore: requirePostgres() === null,
  fn: async () => {
    const postgres = await startPostgres();
    try {
      await chaos("127.0.40.0/28", [`database.url=${postgres.url}`]);
    } finally {
      await postgres.stop();
    }
  },
});
