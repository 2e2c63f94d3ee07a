// ISO-TP by itself, over a bus in memory that takes frames at once: how fast messages go, and how exactly STmin is
// kept against the real clock.

import type { CanBus, ReceivedFrame } from "../../hardware/can/bus.ts";
import type { CanFrame } from "../../hardware/can/frame.ts";
import { IsoTpClient } from "../../hardware/isotp/client.ts";
import type { IsoTpOptions } from "../../hardware/isotp/settings.ts";
import { IsoTpServer } from "../../hardware/isotp/server.ts";
import type { BenchRow } from "./row.ts";

const address = { format: "normal", requestId: 0x7e0, responseId: 0x7e8 } as const;
const wait = { timeout: 10_000 };
const milliseconds = 1_500;

/** Two nodes; the other one hears a frame before its sender is told that it is taken. */
class Pair implements CanBus {
  readonly name = "memory";
  readonly fd = true;
  readonly closed = new Promise<Error | undefined>(() => {});
  other: Pair | undefined;
  /** When frames were asked for and taken. */
  times: number[] | undefined;
  #listener: ((received: ReceivedFrame) => void) | undefined;
  readonly #received = { frame: { id: 0, extended: false, data: new Uint8Array() } as CanFrame, time: 0 };

  static two(): [Pair, Pair] {
    const [a, b] = [new Pair(), new Pair()];
    a.other = b;
    b.other = a;
    return [a, b];
  }

  send(frame: CanFrame): Promise<void> {
    this.times?.push(performance.now());
    this.other?.hear(frame);
    this.times?.push(performance.now());
    return Promise.resolve();
  }

  sendAll(frames: readonly CanFrame[]): Promise<void> {
    for (const frame of frames) this.other?.hear(frame);
    return Promise.resolve();
  }

  hear(frame: CanFrame): void {
    this.#received.frame = frame;
    this.#listener?.(this.#received);
  }

  listen(receive: (received: ReceivedFrame) => void): () => void {
    this.#listener = receive;
    return () => this.#listener = undefined;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Measures throughput, then STmin from 100 µs to 10 ms. */
export async function run(): Promise<BenchRow[]> {
  return [
    { what: "4,095 B messages, classic", value: await throughput(4_095, {}) },
    { what: "65,536 B messages, classic", value: await throughput(65_536, {}) },
    { what: "65,536 B messages, classic, BS 8", value: await throughput(65_536, {}, { blockSize: 8 }) },
    { what: "65,536 B messages, CAN FD, TX_DL 64", value: await throughput(65_536, { txDl: 64 }) },
    await stMinRow(0.1),
    await stMinRow(0.5),
    await stMinRow(1),
    await stMinRow(5),
    await stMinRow(10),
  ];
}

async function throughput(length: number, client: IsoTpOptions, server: IsoTpOptions = {}): Promise<string> {
  const [near, far] = Pair.two();
  const tester = new IsoTpClient(near, client);
  const ecus = new IsoTpServer(far, server);
  let received = 0;
  ecus.attach({ handle: (request) => received += request.length }, { physical: address });
  const transport = tester.transport(address);
  const message = new Uint8Array(length);
  for (let i = 0; i < 20; i++) await transport.send(message, wait);
  received = 0;
  const begin = performance.now();
  while (performance.now() - begin < milliseconds) await transport.send(message, wait);
  const seconds = (performance.now() - begin) / 1_000;
  tester.close();
  ecus.close();
  const frames = received / (client.txDl === 64 ? 63 : 7) / seconds;
  return `${(received / seconds / 2 ** 20).toFixed(1)} MiB/s (${(frames / 1e6).toFixed(2)} M frames/s)`;
}

/** What lies between the frames of a message beyond STmin. */
async function stMinRow(stMin: number): Promise<BenchRow> {
  const [near, far] = Pair.two();
  const tester = new IsoTpClient(near);
  const ecus = new IsoTpServer(far, { stMin });
  ecus.attach({ handle() {} }, { physical: address });
  const frames = Math.max(200, Math.round(milliseconds / stMin));
  near.times = [];
  await tester.transport(address).send(new Uint8Array(6 + 7 * frames), wait);
  tester.close();
  ecus.close();
  // A frame is asked for at even places and taken at odd ones; the first is the first frame.
  const excess: number[] = [];
  for (let at = 4; at < near.times.length; at += 2) excess.push(near.times[at] - near.times[at - 1] - stMin);
  excess.sort((a, b) => a - b);
  const share = excess.filter((each) => each <= 0.3).length / excess.length;
  const at = (part: number) => `${(excess[Math.floor((excess.length - 1) * part)] * 1_000).toFixed(0)}`;
  return {
    what: `STmin ${stMin} ms: µs beyond it, least / median / p99 / most`,
    value: `${at(0)} / ${at(0.5)} / ${at(0.99)} / ${at(1)} µs`,
    beside: `${(share * 100).toFixed(1)} % within 300 µs`,
  };
}
