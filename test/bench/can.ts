// How fast a message goes to an ECU over ISO-TP and an SLCAN adapter on a PTY: as fast as both ends can, and paced by the bit
// rates of bus and serial line, beside what those bit rates allow at most.
import { SlcanBus } from "../../hardware/can/slcan_bus.ts";
import { IsoTpClient } from "../../hardware/isotp/client.ts";
import { openPort } from "../../hardware/serial/open_port.ts";
import { type CanBenchAdapter, requestId, responseId } from "./can_adapters.ts";
import { blocksOf, leastTime } from "./can_limit.ts";
import type { BenchRow } from "./row.ts";

const fast = { bitRate: 1_000_000, serialBaudRate: 4_000_000 } as const;

const rounds: { what: string; adapter: Omit<CanBenchAdapter, "name" | "pty">; bytes: number }[] = [
  {
    what: "unpaced, classic frames, no acknowledgement",
    adapter: { timing: "none", acknowledgement: "none", ...fast },
    bytes: 8 << 20,
  },
  {
    what: "unpaced, classic frames, z",
    adapter: { timing: "none", acknowledgement: "z", ...fast },
    bytes: 8 << 20,
  },
  {
    what: "unpaced, CAN FD frames of 64 B, z",
    adapter: { timing: "none", acknowledgement: "z", ...fast, dataBitRate: 5_000_000 },
    bytes: 16 << 20,
  },
  {
    what: "bus at 500 kbit/s",
    adapter: { timing: "realistic", acknowledgement: "z", bitRate: 500_000, serialBaudRate: 4_000_000 },
    bytes: 128 << 10,
  },
  {
    what: "serial line at 1 Mbaud",
    adapter: { timing: "realistic", acknowledgement: "z", bitRate: 1_000_000, serialBaudRate: 1_000_000 },
    bytes: 128 << 10,
  },
  {
    what: "CAN FD 500 kbit/s and 2 Mbit/s",
    adapter: {
      timing: "realistic",
      acknowledgement: "z",
      bitRate: 500_000,
      dataBitRate: 2_000_000,
      serialBaudRate: 4_000_000,
    },
    bytes: 512 << 10,
  },
];

/** Measures each round once, after a tenth of it as a warm-up. */
export async function run(): Promise<BenchRow[]> {
  const folder = await Deno.makeTempDir();
  const worker = new Worker(new URL("./can_servers.ts", import.meta.url), { type: "module" });
  try {
    const adapters = rounds.map(({ adapter }, n) => ({
      ...adapter,
      name: `CAN_${n}`,
      pty: `${folder}/can${n}`,
    }));
    await new Promise<void>((resolve, reject) => {
      worker.onmessage = () => resolve();
      worker.onerror = (event) => reject(new Error(event.message));
      worker.postMessage(adapters);
    });
    const rows: BenchRow[] = [];
    for (const [n, { what, bytes }] of rounds.entries()) {
      const adapter = adapters[n];
      const milliseconds = await measure(adapter, bytes);
      const paced = adapter.timing === "realistic";
      const limit = leastTime(adapter, bytes);
      rows.push({
        what: `ISO-TP over a PTY, ${what}`,
        value: speed(bytes, milliseconds),
        beside: paced
          ? `computed limit ${speed(bytes, limit)}: ${(100 * limit / milliseconds).toFixed(1)} %`
          : undefined,
      });
    }
    return rows;
  } finally {
    worker.terminate();
    await Deno.remove(folder, { recursive: true });
  }
}

function speed(bytes: number, milliseconds: number): string {
  const rate = bytes / milliseconds;
  return rate > 1_000 ? `${(rate * 1000 / 2 ** 20).toFixed(2)} MiB/s` : `${rate.toFixed(2)} kB/s`;
}

/** Milliseconds for so many bytes in blocks, each answered. */
async function measure(adapter: CanBenchAdapter, bytes: number): Promise<number> {
  const { name, pty, bitRate, dataBitRate, acknowledgement } = adapter;
  const bus = await SlcanBus.open((signal) => openPort(pty, { signal, baudRate: adapter.serialBaudRate }), {
    name,
    bitRate,
    dataBitRate,
    acknowledgement,
  });
  const isotp = new IsoTpClient(bus, dataBitRate === undefined ? {} : { txDl: 64 });
  const path = isotp.transport({ format: "normal", requestId, responseId });
  const send = async (length: number) => {
    for (const block of blocksOf(length)) {
      await path.send(block, { timeout: 10_000 });
      await path.receive({ timeout: 10_000 });
    }
  };
  try {
    await send(bytes / 10);
    const began = performance.now();
    await send(bytes);
    return performance.now() - began;
  } finally {
    isotp.close();
    await bus.close();
  }
}
