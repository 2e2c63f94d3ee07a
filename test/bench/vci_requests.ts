// VCI reports a second over mutual TLS into each database, with the time that each took.

import { routes } from "../../src/contract/routes.ts";
import { silentLogger } from "../../src/log.ts";
import type { ServerOptions } from "../../src/server/mod.ts";
import { chunks, ecu, report, startTestServer, vinA } from "../server/running_server.ts";
import { requirePostgres, startPostgres } from "../support/postgres.ts";
import type { BenchRow } from "./row.ts";

const requests = 400;
const atOnce = 8;

/** The time below which this part of them lies, in ms. */
function quantile(sorted: readonly number[], part: number): string {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))].toFixed(1);
}

export async function run(): Promise<BenchRow[]> {
  const what = `VCI requests of 8 ECUs, ${atOnce} at once, stored and compared`;
  const rows = [{ what: `${what}, embedded`, value: await measure() }];
  if (requirePostgres() === null) return rows;
  const postgres = await startPostgres({ durable: true });
  try {
    rows.push({ what: `${what}, PostgreSQL`, value: await measure({ url: postgres.url }) });
  } finally {
    await postgres.stop();
  }
  return rows;
}

async function measure(database?: ServerOptions["database"]): Promise<string> {
  await using server = await startTestServer("127.0.34.31", { log: silentLogger, database });
  const { vehicleA, operator } = server;
  const registration = { vin: vinA, vehicle_model: "Bench", vehicle_year: 2026, vmg_id: "VMG-001" };
  await vehicleA.rest.call(routes.registerVehicle, { body: registration });
  const query = {
    ecu_type: "BODY_CONTROLLER",
    hw_version: "HW1",
    version: "2.0.0",
    format: "binary",
  } as const;
  await operator.rest.upload(routes.addFirmware, { query, stream: chunks("firmware") });
  const ecus = Array.from({ length: 8 }, (_, index) => ecu(`ECU_00${index + 1}`, "1.0.0"));
  const { rest } = vehicleA;
  const send = () =>
    rest.call(routes.submitVci, { path: { vin: vinA }, body: report(vinA, "VMG-001", ecus) });
  for (let i = 0; i < 20; i++) await send();

  const times: number[] = [];
  let left = requests;
  const began = performance.now();
  await Promise.all(Array.from({ length: atOnce }, async () => {
    while (left-- > 0) {
      const sent = performance.now();
      await send();
      times.push(performance.now() - sent);
    }
  }));
  const seconds = (performance.now() - began) / 1000;
  times.sort((a, b) => a - b);
  const [p50, p99] = [quantile(times, 0.5), quantile(times, 0.99)];
  return `${Math.round(requests / seconds)} requests/s, p50 ${p50} ms, p99 ${p99} ms`;
}
