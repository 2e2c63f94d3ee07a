// Vehicle configuration information.
import assert from "node:assert/strict";
import { NotFoundError } from "../../../../src/server/store/mod.ts";
import type { VciInput } from "../../../../src/server/store/mod.ts";
import type { StoreTest } from "../../../support/stores.ts";
import { OTHER_VIN, registerVehicle, VIN } from "./sample.ts";

function report(timestamp: Date, ecus: VciInput["ecus"], vin = VIN): VciInput {
  return { vin, deviceId: "VMG-001", trigger: "startup", timestamp, ecus, report: { ecus: ecus.length } };
}

export const vciCases: StoreTest[] = [
  {
    name: "a report becomes the vehicle's current state; an ECU that it leaves out is gone",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      await store.vci.add(report(clock.now(), [
        {
          ecuId: "ECU_001",
          ecuType: "BCM",
          zonalGatewayId: "ZG_BODY",
          swVersion: "1.0.0",
          serialNumber: "S1",
        },
        { ecuId: "ECU_002", ecuType: "DCM", zonalGatewayId: "ZG_BODY", swVersion: "2.0.0" },
      ]));
      clock.advance(1000);
      const { reportId, current } = await store.vci.add(report(clock.now(), [
        {
          ecuId: "ECU_001",
          ecuType: "BCM",
          zonalGatewayId: "ZG_BODY",
          swVersion: "1.1.0",
          hwVersion: "HW1",
          partNumber: "P1",
          supplier: "ACME",
        },
        {
          ecuId: "ECU_003",
          ecuType: "DCM",
          zonalGatewayId: "ZG_BODY",
          reachable: false,
          unreachableReason: "time-out",
        },
      ]));
      assert.equal(current, true);
      const nothing = { hwVersion: null, serialNumber: null, partNumber: null, supplier: null };
      assert.deepEqual(await store.vci.ecus(VIN), [
        {
          ecuId: "ECU_001",
          ecuType: "BCM",
          zonalGatewayId: "ZG_BODY",
          swVersion: "1.1.0",
          hwVersion: "HW1",
          serialNumber: null,
          partNumber: "P1",
          supplier: "ACME",
          reachable: true,
          unreachableReason: null,
          reported: clock.now(),
        },
        {
          ecuId: "ECU_003",
          ecuType: "DCM",
          zonalGatewayId: "ZG_BODY",
          swVersion: null,
          ...nothing,
          reachable: false,
          unreachableReason: "time-out",
          reported: clock.now(),
        },
      ]);
      const latest = await store.vci.latest(VIN);
      assert.equal(latest?.reportId, reportId);
      assert.deepEqual(latest?.report, { ecus: 2 });
      assert.equal((await store.vci.history(VIN)).length, 2);
    },
  },
  {
    name: "a report older than the stored one goes into the history only",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const newest = await store.vci.add(report(clock.now(), [{ ecuId: "ECU_001", swVersion: "2.0.0" }]));
      const { current } = await store.vci.add(
        report(clock.in(-1000), [{ ecuId: "ECU_001", swVersion: "1.0.0" }]),
      );
      assert.equal(current, false);
      assert.equal((await store.vci.ecus(VIN))[0].swVersion, "2.0.0");
      assert.equal((await store.vci.latest(VIN))?.reportId, newest.reportId);
      assert.equal((await store.vci.history(VIN)).length, 2);
    },
  },
  {
    name: "reports of one vehicle that come at once leave the state of exactly one of them",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      await Promise.all(Array.from({ length: 10 }, (_, n) =>
        store.vci.add(report(clock.now(), [
          { ecuId: "ECU_001", swVersion: `${n}.0.0` },
          { ecuId: `ECU_1${n}`, swVersion: `${n}.0.0` },
        ]))));
      const ecus = await store.vci.ecus(VIN);
      assert.equal(ecus.length, 2);
      assert.equal(ecus[0].swVersion, ecus[1].swVersion);
    },
  },
  {
    name: "a report of a vehicle that is not registered is refused and leaves nothing",
    run: async ({ store, clock }) => {
      await assert.rejects(
        store.vci.add(report(clock.now(), [{ ecuId: "ECU_001" }], OTHER_VIN)),
        NotFoundError,
      );
      assert.deepEqual(await store.vci.history(OTHER_VIN), []);
      assert.equal(await store.vci.latest(OTHER_VIN), null);
    },
  },
  {
    name: "a report without any ECU empties the state",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      await store.vci.add(report(clock.now(), [{ ecuId: "ECU_001" }]));
      await store.vci.add(report(clock.now(), []));
      assert.deepEqual(await store.vci.ecus(VIN), []);
    },
  },
];
