// A small simulated ECU and an image for it, as the tests of the simulator and of flashing use them.
import { memoryImage } from "../../../hardware/flash/format/memory_image.ts";
import type { FirmwareImage } from "../../../hardware/flash/image.ts";
import type { FlashPlan } from "../../../hardware/flash/plan.ts";
import { type EcuSurroundings, SimulatedEcu } from "../../../hardware/sim/ecu.ts";
import type { SimulatedEcuOptions } from "../../../hardware/sim/options.ts";
import { UdsClient, type UdsClientOptions } from "../../../hardware/uds/client.ts";
import type { SeedKeyOptions } from "../../../hardware/uds/seed_key.ts";
import { LoopbackTransport } from "../uds/loopback.ts";

export const vin = "KMHTEST0000000001";
export const seedKey: SeedKeyOptions = { algorithm: "xor", constant: "A5" };
export const plan: FlashPlan = { seedKey, restartPoll: 5 };
export const fingerprint = Uint8Array.of(0x26, 0x11, 0x21, 0x01, 0x02, 0x03);

/** Options of an ECU with two small regions and a factory image of 600 bytes. */
export function ecuOptions(options: Partial<SimulatedEcuOptions> = {}): SimulatedEcuOptions {
  return {
    ecuId: "ECU_001",
    ecuType: "BCM",
    logicalAddress: 0x1001,
    hwVersion: "H1",
    swVersion: "1.0.0",
    serialNumber: "SN-0001",
    partNumber: "PN-0001",
    supplier: "Zonebench",
    memory: [
      { name: "main", address: 0x0000_0000, size: 0x1_0000, sectorSize: 0x400 },
      { name: "config", address: 0x1000_1000, size: 0x1000, sectorSize: 0x400 },
    ],
    securityAccess: { seedKey, attempts: 3, delay: 10_000 },
    maxBlockLength: 258,
    factoryImageSize: 600,
    ...options,
  };
}

/** A powered ECU. */
export async function bootedEcu(
  options: Partial<SimulatedEcuOptions> = {},
  surroundings: Partial<EcuSurroundings> = {},
): Promise<SimulatedEcu> {
  const ecu = new SimulatedEcu(ecuOptions(options), { vin, timing: "none", ...surroundings });
  await ecu.powerOn();
  return ecu;
}

/** A client of an ECU over no bus, with short times so that silence is met soon. */
export function clientOf(ecu: SimulatedEcu, options: UdsClientOptions = {}): UdsClient {
  return new UdsClient(new LoopbackTransport(ecu), { ecu: ecu.ecuId, latency: 50, ...options });
}

/** Bytes that no two images share. */
export function payload(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => (at * 7 + (at >> 8) * 13 + seed * 31) & 0xff);
}

/** An image of two segments that share a sector, and one in the configuration region. */
export function smallImage(seed = 2): FirmwareImage {
  const segments = [
    { address: 0x0000_0000, length: 1_500 },
    { address: 0x0000_0600, length: 700 },
    { address: 0x1000_1000, length: 33 },
  ];
  return memoryImage(segments, payload(1_500 + 700 + 33, seed));
}

/** Whether the ECU's memory holds exactly what the image says. */
export async function holds(ecu: SimulatedEcu, image: FirmwareImage): Promise<boolean> {
  await using reader = await image.open();
  let offset = 0;
  for (const { address, length } of image.segments) {
    const expected = new Uint8Array(length);
    await reader.read(offset, expected);
    if (ecu.readMemory(address, length).some((byte, at) => byte !== expected[at])) return false;
    offset += length;
  }
  return true;
}
