// How fast flash data goes over DoIP on loopback, both ends ours, beside bare sockets that move the same bytes.

import { DoipConnection } from "../../hardware/doip/client.ts";
import type { BenchPorts } from "./doip_round_trip_worker.ts";
import type { BenchRow } from "./row.ts";

const hostname = "127.0.31.10";
/** Data bytes of one TransferData request: with SID and counter 4,095 bytes, and a large block. */
const blockSizes = [4_093, 65_536];
const milliseconds = 1_500;
const wait = { timeout: 2_000 };

/** Measures each block size over DoIP and over bare sockets. */
export async function run(): Promise<BenchRow[]> {
  const worker = new Worker(new URL("./doip_round_trip_worker.ts", import.meta.url), { type: "module" });
  try {
    const ports = await new Promise<BenchPorts>((resolve, reject) => {
      worker.onmessage = (event: MessageEvent<BenchPorts>) => resolve(event.data);
      worker.onerror = (event) => reject(new Error(event.message));
    });
    const rows: BenchRow[] = [];
    for (const size of blockSizes) {
      const overDoip = await doip(ports.entity, size);
      const overSockets = await sockets(ports.raw, size);
      rows.push({
        what: `DoIP request and answer, ${size.toLocaleString("en")} data bytes`,
        value: figure(overDoip, size),
        beside: `bare sockets ${figure(overSockets, size)}`,
      });
    }
    return rows;
  } finally {
    worker.terminate();
  }
}

function figure(perSecond: number, size: number): string {
  return `${(perSecond * size / 1e6).toFixed(1)} MB/s (${Math.round(perSecond).toLocaleString("en")}/s)`;
}

/** Round trips per second. */
async function doip(port: number, size: number): Promise<number> {
  await using connection = await DoipConnection.connect({ hostname, port });
  const ecu = connection.transport(0x1001);
  const request = new Uint8Array(size + 2);
  request[0] = 0x36;
  return await measure(async () => {
    request[1]++;
    await ecu.send(request, wait);
    const answer = await ecu.receive(wait);
    if (answer[1] !== request[1]) throw new Error(`answer to block ${answer[1]}, expected ${request[1]}`);
  });
}

/** Round trips per second. */
async function sockets(port: number, size: number): Promise<number> {
  using connection = await Deno.connect({ hostname, port });
  connection.setNoDelay(true);
  const request = new Uint8Array(8 + 4 + 2 + size);
  const answer = new Uint8Array(65_536);
  new DataView(request.buffer).setUint32(0, request.length);
  await connection.write(request.subarray(0, 4));
  await connection.read(answer);
  return await measure(async () => {
    for (let sent = 0; sent < request.length;) sent += await connection.write(request.subarray(sent));
    for (let got = 0; got < 27;) got += await connection.read(answer) ?? 27;
  });
}

async function measure(roundTrip: () => Promise<void>): Promise<number> {
  for (let i = 0; i < 500; i++) await roundTrip();
  const begin = performance.now();
  let count = 0;
  let elapsed = 0;
  while (elapsed < milliseconds) {
    for (let i = 0; i < 100; i++) await roundTrip();
    count += 100;
    elapsed = performance.now() - begin;
  }
  return count / elapsed * 1_000;
}

if (import.meta.main) {
  for (const { what, value, beside } of await run()) console.log(`${what}: ${value}; ${beside}`);
}
