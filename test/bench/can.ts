// How fast a message goes to an ECU over ISO-TP and an SLCAN adapter on a PTY: as fast as both ends can, and paced by the bit
// rates of bus and serial line, beside what those bit rates allow at most.
import { type CanFrame, fdLengthFor } from "../../hardware/can/frame.ts";
import { SlcanBus } from "../../hardware/can/slcan_bus.ts";
import { frameTime } from "../../hardware/can/wire_bits.ts";
import { IsoTpClient } from "../../hardware/isotp/client.ts";
import { openPort } from "../../hardware/serial/open_port.ts";
import { type CanBenchAdapter, requestId, responseId } from "./can_adapters.ts";
import type { BenchRow } from "./row.ts";

/** What a round sends: as UDS does with blocks of 4,093 bytes, or in messages that need the 32-bit length. */
const blockLength = 4_095;
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
      const limit = limitOf(adapter, bytes);
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

function* blocksOf(bytes: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes; at += blockLength) {
    yield Uint8Array.from(
      { length: Math.min(blockLength, bytes - at) },
      (_, n) => (n * 7 + (n >> 8) * 13 + at) & 0xff,
    );
  }
}

/** Milliseconds that bus and serial line need at least, whichever of them needs longer, without any pause. */
function limitOf(adapter: CanBenchAdapter, bytes: number): number {
  let onBus = 0;
  let toAdapter = 0;
  for (const block of blocksOf(bytes)) {
    for (const { frame, fromHost } of framesOf(block, adapter.dataBitRate !== undefined)) {
      onBus += frameTime(frame, adapter);
      // Type, three digits of identifier, one of length, the data, a carriage return; ten bits a byte.
      if (fromHost) toAdapter += (6 + 2 * frame.data.length) * 10_000 / adapter.serialBaudRate;
    }
  }
  return Math.max(onBus, toAdapter);
}

/** The frames of a message, its flow control and the answer, written out as ISO 15765-2 has them. */
function* framesOf(message: Uint8Array, fd: boolean): Generator<{ frame: CanFrame; fromHost: boolean }> {
  const full = fd ? 64 : 8;
  const frame = (id: number, ...bytes: number[]): CanFrame => {
    const data = new Uint8Array(Math.max(8, fd ? fdLengthFor(bytes.length) : bytes.length)).fill(0xcc);
    data.set(bytes);
    return { id, extended: false, data, ...fd ? { fd: true, bitRateSwitch: true } : {} };
  };
  yield {
    frame: frame(
      requestId,
      0x10 | message.length >> 8,
      message.length & 0xff,
      ...message.subarray(0, full - 2),
    ),
    fromHost: true,
  };
  yield { frame: frame(responseId, 0x30, 0, 0), fromHost: false };
  for (let at = full - 2, n = 1; at < message.length; at += full - 1, n++) {
    yield { frame: frame(requestId, 0x20 | n & 15, ...message.subarray(at, at + full - 1)), fromHost: true };
  }
  yield { frame: frame(responseId, 0x01, 0x7e), fromHost: false };
}
