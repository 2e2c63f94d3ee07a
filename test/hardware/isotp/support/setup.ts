// A tester under test on a bus where the test itself plays the ECU.

import { IsoTpClient } from "../../../../hardware/isotp/client.ts";
import type { IsoTpAddress } from "../../../../hardware/isotp/address.ts";
import type { IsoTpTransport } from "../../../../hardware/isotp/client_transport.ts";
import type { IsoTpOptions } from "../../../../hardware/isotp/settings.ts";
import { frame, MemoryBus, type MemoryNode, settled, TestClock } from "./memory_bus.ts";

export const normal: IsoTpAddress = { format: "normal", requestId: 0x7e0, responseId: 0x7e8 };

export interface Setup {
  clock: TestClock;
  bus: MemoryBus;
  /** The tester's node; `sent` is what it sent. */
  node: MemoryNode;
  client: IsoTpClient;
  transport: IsoTpTransport;
  log: string[];
  /** Plays the ECU: frames in candump's form. */
  ecu(...frames: string[]): Promise<void>;
  /** What was sent since the last call. */
  taken(): string[];
}

export function setup(options: IsoTpOptions & { address?: IsoTpAddress; batches?: boolean } = {}): Setup {
  const { address = normal, batches, ...own } = options;
  const clock = new TestClock();
  const bus = new MemoryBus();
  const node = bus.node("tester", { clock, batches });
  const peer = bus.node("ECU");
  const log: string[] = [];
  const client = new IsoTpClient(node, { clock, log: (message) => log.push(message), ...own });
  const transport = client.transport(address);
  let seen = 0;
  return {
    clock,
    bus,
    node,
    client,
    transport,
    log,
    async ecu(...frames) {
      for (const text of frames) {
        peer.deliver(frame(text));
        await settled();
      }
    },
    taken() {
      const texts = node.sent.slice(seen).map((sent) => sent.text);
      seen = node.sent.length;
      return texts;
    },
  };
}

/** Bytes 00, 01, … FF, 00, … */
export function counting(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => at);
}
