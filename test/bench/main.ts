// Runs the measurements and prints a table: `deno task bench [NAME…]`.

import type { BenchRow } from "./row.ts";

/** Each measurement by name. Loaded when it is run, so that one does not disturb another. */
const measurements: Record<string, () => Promise<{ run(): Promise<BenchRow[]> }>> = {
  doip_round_trip: () => import("./doip_round_trip.ts"),
  tls: () => import("./tls.ts"),
  isotp: () => import("./isotp.ts"),
  doip_flash: () => import("./doip_flash.ts"),
  can: () => import("./can.ts"),
  parallel_flash: () => import("./parallel_flash.ts"),
  parallel_update: () => import("./parallel_update.ts"),
  slcan: () => import("./slcan.ts"),
  telemetry_messages: () => import("./telemetry_messages.ts"),
  reconnect_storm: () => import("./reconnect_storm.ts"),
  store_telemetry: () => import("./store_telemetry.ts"),
  vci_requests: () => import("./vci_requests.ts"),
  package_build: () => import("./package_build.ts"),
  package_verify: () => import("./package_verify.ts"),
  zstd: () => import("./zstd.ts"),
};

const chosen = Deno.args.length > 0 ? Deno.args : Object.keys(measurements);
const unknown = chosen.find((name) => !Object.hasOwn(measurements, name));
if (unknown !== undefined) {
  console.error(`no measurement "${unknown}"; there are ${Object.keys(measurements).join(", ")}`);
  Deno.exit(2);
}

let failed = false;
console.log(`Deno ${Deno.version.deno}, ${navigator.hardwareConcurrency} cores`);
for (const name of chosen) {
  console.error(`measuring ${name} …`);
  const { run } = await measurements[name]();
  let rows: BenchRow[];
  try {
    rows = await run();
  } catch (error) {
    // The others are measured all the same.
    console.error(`${name} failed: ${error instanceof Error ? error.stack : error}`);
    failed = true;
    continue;
  }
  const width = Math.max(...rows.map((row) => row.what.length));
  const valueWidth = Math.max(...rows.map((row) => row.value.length));
  console.log(`\n${name}`);
  for (const { what, value, beside } of rows) {
    console.log(
      `  ${what.padEnd(width)}  ${value.padStart(valueWidth)}${beside ? `   beside ${beside}` : ""}`,
    );
  }
}
// Connections that a measurement left to time out by themselves must not hold the program.
Deno.exit(failed ? 1 : 0);
