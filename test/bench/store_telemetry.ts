// How many telemetry rows a second the store takes in batches, on both databases, committed.
import { requirePostgres, startPostgres } from "../support/postgres.ts";
import { openStore } from "../../src/server/store/mod.ts";
import type { Store, TelemetryInput } from "../../src/server/store/mod.ts";
import type { BenchRow } from "./row.ts";

const VEHICLES = 100;
const BATCHES = [1, 100, 1000, 10_000];
/** How long one figure is measured, in ms. */
const SPAN = 2000;

let serial = 0;

function batchOf(size: number): TelemetryInput[] {
  return Array.from({ length: size }, () => {
    serial++;
    return {
      vin: `KMHXX00XXXX${String(serial % VEHICLES).padStart(6, "0")}`,
      messageId: `m${serial}`,
      timestamp: new Date(),
      metrics: {
        battery_soc: 50 + serial % 50,
        speed: serial % 180,
        temp: 20.5,
        odometer: 12_345.6 + serial,
      },
    };
  });
}

/** Rows a second: batches one after another, as the server's batcher stores them. */
async function measure(store: Store, size: number): Promise<number> {
  // Made beforehand: making rows is the caller's time, not the store's.
  const batches = Array.from({ length: Math.ceil(50_000 / size) }, () => batchOf(size));
  await store.telemetry.add(batchOf(size));
  const begin = performance.now();
  let rows = 0;
  for (const batch of batches) {
    rows += (await store.telemetry.add(batch)).stored;
    if (performance.now() - begin > SPAN) break;
  }
  return rows / (performance.now() - begin) * 1000;
}

function perSecond(rows: number): string {
  return `${Math.round(rows).toLocaleString("en")} rows/s`;
}

/** Opens each database, stores batches of several sizes with deduplication, and closes it. */
export async function run(): Promise<BenchRow[]> {
  const directory = await Deno.makeTempDir({ prefix: "zonebench-bench-" });
  const server = requirePostgres() === null ? null : await startPostgres({ durable: true });
  try {
    const embedded = await openStore({ directory });
    const postgres = server === null ? null : await openStore({ directory, url: server.url });
    try {
      const rows: BenchRow[] = [];
      for (const size of BATCHES) {
        const figure = await measure(embedded, size);
        const beside = postgres === null
          ? "PostgreSQL, which is not installed"
          : `${perSecond(await measure(postgres, size))} on PostgreSQL`;
        rows.push({
          what: `telemetry stored, batches of ${size}, embedded`,
          value: perSecond(figure),
          beside,
        });
      }
      return rows;
    } finally {
      await embedded.close();
      await postgres?.close();
    }
  } finally {
    await server?.stop();
    await Deno.remove(directory, { recursive: true });
  }
}
