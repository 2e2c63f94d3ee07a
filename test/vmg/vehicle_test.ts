// The description of a vehicle, and what is refused in it.

import assert from "node:assert/strict";
import { checkVehicle, type VehicleDescription } from "../../src/vmg/vehicle.ts";

const good: VehicleDescription = {
  vin: "KMHZZ81KBMU000036",
  vmgId: "VMG-036",
  model: "Test",
  year: 2026,
  adapters: [],
  gateways: [
    { zonalGatewayId: "ZG_BODY", hostname: "127.0.36.1", port: 13400, logicalAddress: 0x1000 },
    { zonalGatewayId: "ZG_ADAS", hostname: "127.0.36.2", port: 13400, logicalAddress: 0x1001 },
  ],
  ecus: [
    { ecuId: "ECU_001", ecuType: "A", zonalGatewayId: "ZG_BODY", logicalAddress: 0x1101, flashPlan: {} },
    { ecuId: "ECU_002", ecuType: "A", zonalGatewayId: "ZG_ADAS", logicalAddress: 0x1101, flashPlan: {} },
  ],
};

Deno.test("a vehicle whose parts fit together is accepted", () => checkVehicle(good));

const [gateway] = good.gateways;
const [ecu] = good.ecus;
const bad: [string, Partial<VehicleDescription>, RegExp][] = [
  ["a VIN with an O", { vin: "KMHZZ81KBMO000036" }, /vin "KMHZZ81KBMO000036": must be a VIN/],
  ["a gateway id with a wildcard", { vmgId: "VMG/+" }, /vmgId "VMG\/\+"/],
  ["a gateway twice", { gateways: [...good.gateways, gateway] }, /gateway ZG_BODY is described twice/],
  [
    "a port of 0",
    { gateways: [{ ...gateway, hostname: "127.0.36.1", port: 0 }] },
    /ZG_BODY: port: expected .* got 0/,
  ],
  ["an ECU twice", { ecus: [ecu, ecu] }, /ECU ECU_001 is described twice/],
  [
    "an ECU behind no gateway",
    { ecus: [{ ...ecu, zonalGatewayId: "ZG_X" }] },
    /expected one of the gateways .* got ZG_X/,
  ],
  [
    "an address twice behind a gateway",
    { ecus: [ecu, { ...ecu, ecuId: "ECU_009" }] },
    /ECU_001 has the logical address 4353/,
  ],
  [
    "an address of 17 bits",
    { ecus: [{ ...ecu, logicalAddress: 0x10000 }] },
    /logicalAddress: expected .* got 65536/,
  ],
];
for (const [what, differs, message] of bad) {
  Deno.test(`${what} is refused`, () => {
    assert.throws(() => checkVehicle({ ...good, ...differs }), (error) => {
      assert(error instanceof RangeError);
      assert.match(error.message, message);
      return true;
    });
  });
}
