// Eight ECUs flashed at once, six over DoIP and two over one CAN bus at 500 kbit/s, all with the times of real flash, beside the
// slowest of them flashed alone.
import { SlcanBus } from "../../hardware/can/slcan_bus.ts";
import { DoipConnection } from "../../hardware/doip/client.ts";
import { memoryImage } from "../../hardware/flash/format/memory_image.ts";
import { flashEcu } from "../../hardware/flash/sequence.ts";
import { IsoTpClient } from "../../hardware/isotp/client.ts";
import { openPort } from "../../hardware/serial/open_port.ts";
import { UdsClient } from "../../hardware/uds/client.ts";
import type { UdsTransport } from "../../hardware/uds/transport.ts";
import { leastTime } from "./can_limit.ts";
import { canAddress, type ParallelFlashPorts } from "./parallel_flash_ecus.ts";
import type { BenchRow } from "./row.ts";

/** What an ECU gets: as much as takes an ECU alone about as long to program as the two on CAN, which share their bus, need that. */
const sizes = { ethernet: 4 << 20, can: 48 << 10 } as const;
/** Of the bus and the line to its adapter. */
const canRates = { bitRate: 500_000, serialBaudRate: 4_000_000 } as const;

interface Ecu {
  name: string;
  size: number;
  transport: UdsTransport;
}

/** Flashes one ECU of each kind alone, then all. */
export async function run(): Promise<BenchRow[]> {
  const worker = new Worker(new URL("./parallel_flash_servers.ts", import.meta.url), { type: "module" });
  try {
    const ports = await new Promise<ParallelFlashPorts>((resolve, reject) => {
      worker.onmessage = (event: MessageEvent<ParallelFlashPorts>) => resolve(event.data);
      worker.onerror = (event) => reject(new Error(event.message));
    });
    await using open = new AsyncDisposableStack();
    const ecus = await connect(ports, open);
    const ethernet = await flash(ecus[0], "2.0.0");
    const can = await flash(ecus[6], "2.0.0");
    const alone = Math.max(ethernet, can);
    const began = performance.now();
    await Promise.all(ecus.map((ecu) => flash(ecu, "3.0.0")));
    const together = performance.now() - began;
    const onBus = leastTime(canRates, 2 * sizes.can);
    return [{
      what: "8 ECUs flashed at once: 6 over DoIP, 4 MiB each; 2 over one CAN bus, 48 KiB each",
      value: seconds(together),
      beside: `the slowest alone ${seconds(alone)}: ${(together / alone).toFixed(3)} times; one over DoIP ` +
        `${seconds(ethernet)}, one over CAN ${seconds(can)}, the bus for both ${seconds(onBus)}`,
    }];
  } finally {
    worker.terminate();
  }
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(2)} s`;
}

async function connect(ports: ParallelFlashPorts, open: AsyncDisposableStack): Promise<Ecu[]> {
  const { hostname } = ports;
  const gateways = await Promise.all(
    ports.gateways.map((port) => DoipConnection.connect({ hostname, port })),
  );
  for (const gateway of gateways) open.use(gateway);
  const bus = await SlcanBus.open((signal) => openPort(`tcp://${hostname}:${ports.adapter}`, { signal }), {
    name: "CAN_BENCH",
    bitRate: canRates.bitRate,
    acknowledgement: "z",
  });
  open.defer(() => bus.close());
  const isotp = new IsoTpClient(bus);
  return Array.from({ length: 8 }, (_, at) => {
    const name = `ECU_00${at + 1}`;
    return at < 6
      ? { name, size: sizes.ethernet, transport: gateways[Math.floor(at / 3)].transport(0x1101 + at) }
      : { name, size: sizes.can, transport: isotp.transport(canAddress(at + 1)) };
  });
}

/** Milliseconds. */
async function flash({ name, size, transport }: Ecu, version: string): Promise<number> {
  const payload = new Uint8Array(size);
  for (let at = 0; at < size; at += 65_536) {
    crypto.getRandomValues(payload.subarray(at, Math.min(at + 65_536, size)));
  }
  using client = new UdsClient(transport, { ecu: name, latency: 1_000 });
  const { duration } = await flashEcu(client, memoryImage([{ address: 0, length: size }], payload), {
    plan: { seedKey: { algorithm: "xor", constant: "A5" }, restartPoll: 20 },
    version,
    fingerprint: Uint8Array.of(1),
  });
  return duration;
}
