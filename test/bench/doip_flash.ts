// How fast an ECU is flashed over DoIP with simulated times off, at two block sizes, beside bare sockets that move the
// same bytes with the same number of requests and answers in the same run.
import { DoipConnection } from "../../hardware/doip/client.ts";
import { memoryImage } from "../../hardware/flash/format/memory_image.ts";
import { flashEcu } from "../../hardware/flash/sequence.ts";
import { UdsClient } from "../../hardware/uds/client.ts";
import { type Ports, startServers } from "./doip_flash_servers.ts";
import type { BenchRow } from "./row.ts";

const hostname = "127.0.32.10";
const imageSize = 16 << 20;
/** The first flashes warm both ends up: compiled code, memory that was touched before. */
const warmUps = 3;
const measured = 5;
/** Data bytes of a block, and the ECU that takes blocks of that size. */
const rounds = [
  { block: 4_093, ecu: 0x1001 },
  { block: 65_536, ecu: 0x1002 },
] as const;

/**
 * Flashes 16 MiB several times at each block size and takes the median: with the ECU in a thread of its own, where each
 * request and answer wakes the other thread, and in the same one, as `serve` has vehicle and simulated bench.
 */
export async function run(): Promise<BenchRow[]> {
  const worker = new Worker(new URL("./doip_flash_worker.ts", import.meta.url), { type: "module" });
  try {
    const ports = await new Promise<Ports>((resolve, reject) => {
      worker.onmessage = (event: MessageEvent<Ports>) => resolve(event.data);
      worker.onerror = (event) => reject(new Error(event.message));
    });
    return [
      ...await measure("two threads", ports),
      ...await measure("one thread", await startServers()),
    ];
  } finally {
    worker.terminate();
  }
}

async function measure(threads: string, ports: Ports): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const { block, ecu } of rounds) {
    const bare: number[] = [];
    const transfers: number[] = [];
    const wholes: number[] = [];
    for (let round = 0; round < warmUps + measured; round++) {
      const bareTime = await sockets(ports.raw, block);
      const { transfer, whole } = await flash(ports.gateway, ecu, block, round);
      if (round < warmUps) continue;
      bare.push(bareTime);
      transfers.push(transfer);
      wholes.push(whole);
    }
    const beside = `bare sockets ${speed(median(bare))}`;
    const where = `blocks of ${block.toLocaleString("en")} B, ${threads}`;
    rows.push({ what: `DoIP flash, transfer, ${where}`, value: speed(median(transfers)), beside });
    rows.push({
      what: `DoIP flash, erase to verified version, ${where}`,
      value: speed(median(wholes)),
      beside,
    });
  }
  return rows;
}

function speed(milliseconds: number): string {
  return `${(imageSize / 1e3 / milliseconds).toFixed(1)} MB/s`;
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

/** Milliseconds of the transfer, and of the whole flash. */
async function flash(
  port: number,
  ecu: number,
  block: number,
  round: number,
): Promise<{ transfer: number; whole: number }> {
  const payload = new Uint8Array(imageSize);
  for (let at = 0; at < imageSize; at += 65_536) crypto.getRandomValues(payload.subarray(at, at + 65_536));
  await using connection = await DoipConnection.connect({ hostname, port });
  using client = new UdsClient(connection.transport(ecu));
  let began = 0;
  let ended = 0;
  const { duration } = await flashEcu(client, memoryImage([{ address: 0, length: imageSize }], payload), {
    plan: { seedKey: { algorithm: "xor", constant: "A5" }, maxBlockLength: block + 2, restartPoll: 5 },
    version: `2.0.${round}`,
    fingerprint: Uint8Array.of(1),
    onProgress: (step, done) => {
      if (step === "transfer_data" && done === 0) began = performance.now();
      if (step === "transfer_data" && done === imageSize) ended = performance.now();
    },
  });
  return { transfer: ended - began, whole: duration };
}

/** Milliseconds for the same bytes in the same requests and answers. */
async function sockets(port: number, block: number): Promise<number> {
  using connection = await Deno.connect({ hostname, port });
  connection.setNoDelay(true);
  const request = new Uint8Array(8 + 4 + 2 + block);
  const answer = new Uint8Array(65_536);
  new DataView(request.buffer).setUint32(0, request.length);
  await connection.write(request.subarray(0, 4));
  await connection.read(answer);
  const began = performance.now();
  for (let done = 0; done < imageSize; done += block) {
    for (let sent = 0; sent < request.length;) sent += await connection.write(request.subarray(sent));
    for (let got = 0; got < 27;) got += await connection.read(answer) ?? 27;
  }
  return performance.now() - began;
}
