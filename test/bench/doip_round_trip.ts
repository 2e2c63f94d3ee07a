// How fast flash data goes over DoIP on loopback, both ends ours, beside bare sockets that move the same bytes.

import { DoipConnection } from "../../hardware/doip/client.ts";
import { startServers } from "./doip_round_trip_servers.ts";
import type { BenchRow } from "./row.ts";

const hostname = "127.0.31.10";
/** Data bytes of one TransferData request: with SID and counter 4,095 bytes, and a large block. */
const blockSizes = [4_093, 65_536];
const milliseconds = 1_000;
const wait = { timeout: 2_000 };

/** Where the two servers listen. */
interface Ports {
  entity: number;
  raw: number;
}

/**
 * Measures each block size over DoIP and over bare sockets: with both ends in one process, as the simulated bench
 * runs, and with the servers in a thread of their own, where each round trip pays for waking the other thread twice.
 */
export async function run(): Promise<BenchRow[]> {
  const servers = await startServers();
  const worker = new Worker(new URL("./doip_round_trip_worker.ts", import.meta.url), { type: "module" });
  try {
    const threaded = await new Promise<Ports>((resolve, reject) => {
      worker.onmessage = (event: MessageEvent<Ports>) => resolve(event.data);
      worker.onerror = (event) => reject(new Error(event.message));
    });
    return [...await rows("one process", servers), ...await rows("two threads", threaded)];
  } finally {
    worker.terminate();
    await servers.close();
  }
}

async function rows(where: string, ports: Ports): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const size of blockSizes) {
    const value = figure(await doip(ports.entity, size), size);
    const beside = `bare sockets ${figure(await sockets(ports.raw, size), size)}`;
    rows.push({ what: `DoIP request and answer, ${where}, ${size.toLocaleString("en")} B`, value, beside });
  }
  return rows;
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
  for (let i = 0; i < 5_000; i++) await roundTrip();
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
