// Sample rows that several cases start from.
import type { Image, ImageInput, Store, Vehicle } from "../../../../src/server/store/mod.ts";

export const VIN = "KMHXX00XXXX000001";
export const OTHER_VIN = "KMHXX00XXXX000002";

/** Sixty-four hexadecimal digits that repeat one. */
export const hash = (digit: string): string => digit.repeat(64);

export async function registerVehicle(store: Store, vin = VIN, vmgId = "VMG-001"): Promise<Vehicle> {
  const { vehicle } = await store.vehicles.register({
    vin,
    vmgId,
    vehicleModel: "Ioniq 5",
    vehicleYear: 2026,
  });
  return vehicle;
}

export function imageInput(changes: Partial<ImageInput> = {}): ImageInput {
  return {
    ecuType: "BODY_CONTROLLER",
    hwVersion: "HW1",
    version: "1.0.0",
    format: "intel-hex",
    fileName: "body.hex",
    sha256: hash("a"),
    size: 3000,
    segments: [{ address: 0x0800_0000, length: 1024 }],
    payloadSha256: hash("b"),
    payloadSize: 1024,
    ...changes,
  };
}

export function addImage(store: Store, changes: Partial<ImageInput> = {}): Promise<Image> {
  return store.images.add(imageInput(changes));
}
