/// <reference lib="deno.worker" />
// The bench that is flashed, in a thread of its own: two gateways with three ECUs each and an adapter with two, all with the
// simulator's own flash times: 25 ms to erase 16 KiB, 0.8 ms to program 1 KiB.
import { SimulatedBench } from "../../hardware/sim/bench.ts";
import type { SimulatedEcuOptions } from "../../hardware/sim/options.ts";
import { canAddress, type ParallelFlashPorts } from "./parallel_flash_ecus.ts";

const hostname = "127.0.62.2";

const bench = await SimulatedBench.start({
  timing: "realistic",
  adapters: [{ adapterId: "CAN_BENCH", hostname, port: 0, serialBaudRate: 4_000_000 }],
  gateways: [gateway(1, [1, 2, 3], []), gateway(2, [4, 5, 6], [7, 8])],
});
const ports: ParallelFlashPorts = {
  hostname,
  gateways: bench.gateways.map(({ port }) => port),
  adapter: bench.adapter("CAN_BENCH").port,
};
self.postMessage(ports);

function gateway(number: number, ethernet: number[], can: number[]) {
  return {
    zonalGatewayId: `ZG_${number}`,
    hostname,
    port: 0,
    logicalAddress: 0x1000 * number,
    vin: "KMHBENCH000000001",
    ecus: [
      ...ethernet.map(ecu),
      ...can.map((n) => ({ ...ecu(n), can: { adapterId: "CAN_BENCH", address: canAddress(n) } })),
    ],
  };
}

function ecu(number: number): SimulatedEcuOptions {
  return {
    ecuId: `ECU_00${number}`,
    ecuType: "BENCH",
    logicalAddress: 0x1100 + number,
    hwVersion: "H1",
    swVersion: "1.0.0",
    serialNumber: "SN-0001",
    partNumber: "PN-0001",
    supplier: "Zonebench",
    memory: [{ name: "main", address: 0, size: 1 << 24 }],
    securityAccess: { seedKey: { algorithm: "xor", constant: "A5" } },
  };
}
