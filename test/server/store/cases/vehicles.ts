// The registry.
import assert from "node:assert/strict";
import { ConflictError, InvalidArgumentError, NotFoundError } from "../../../../src/server/store/mod.ts";
import type { StoreTest } from "../../../support/stores.ts";
import { OTHER_VIN, registerVehicle, VIN } from "./sample.ts";

const MINUTE = 60_000;

export const vehicleCases: StoreTest[] = [
  {
    name: "registering twice keeps the identity and refreshes the rest",
    run: async ({ store, clock }) => {
      const first = await store.vehicles.register({
        vin: VIN,
        vmgId: "VMG-001",
        vehicleModel: "Ioniq 5",
        vehicleYear: 2025,
      });
      assert.equal(first.created, true);
      assert.equal(first.vehicle.status, "offline");
      assert.deepEqual(first.vehicle.registered, clock.now());
      clock.advance(MINUTE);
      const again = await store.vehicles.register({
        vin: VIN,
        vmgId: "VMG-009",
        vehicleModel: "Ioniq 6",
        vehicleYear: 2026,
      });
      assert.equal(again.created, false);
      assert.deepEqual(again.vehicle, {
        ...first.vehicle,
        vmgId: "VMG-009",
        vehicleModel: "Ioniq 6",
        vehicleYear: 2026,
      });
    },
  },
  {
    name: "a vmg_id of another vehicle is refused, for a new vehicle and for a known one",
    run: async ({ store }) => {
      await registerVehicle(store, VIN, "VMG-001");
      await assert.rejects(registerVehicle(store, OTHER_VIN, "VMG-001"), (error) => {
        assert(error instanceof ConflictError);
        assert.equal(error.existing, VIN);
        return true;
      });
      await registerVehicle(store, OTHER_VIN, "VMG-002");
      await assert.rejects(registerVehicle(store, OTHER_VIN, "VMG-001"), ConflictError);
      assert.equal((await store.vehicles.get(OTHER_VIN)).vmgId, "VMG-002");
    },
  },
  {
    name: "the same vehicle registering many times at once becomes one row",
    run: async ({ store }) => {
      const results = await Promise.all(
        Array.from(
          { length: 20 },
          () => store.vehicles.register({ vin: VIN, vmgId: "VMG-001", vehicleModel: "m", vehicleYear: 2026 }),
        ),
      );
      assert.equal(results.filter((result) => result.created).length, 1);
      assert.equal(new Set(results.map((result) => result.vehicle.vehicleId)).size, 1);
    },
  },
  {
    name: "a vehicle is found by VIN and by vmg_id",
    run: async ({ store }) => {
      await registerVehicle(store);
      assert.equal((await store.vehicles.find(VIN))?.vin, VIN);
      assert.equal((await store.vehicles.find("VMG-001"))?.vin, VIN);
      assert.equal(await store.vehicles.find("VMG-002"), null);
      await assert.rejects(store.vehicles.get("VMG-002"), NotFoundError);
    },
  },
  {
    name: "the list is paged by VIN, filtered by status, and refuses wild bounds",
    run: async ({ store }) => {
      for (let n = 1; n <= 5; n++) await registerVehicle(store, `KMHXX00XXXX00000${n}`, `VMG-00${n}`);
      await store.vehicles.setStatus("KMHXX00XXXX000003", "online");
      const page = await store.vehicles.list({ limit: 2, offset: 2 });
      assert.equal(page.total, 5);
      assert.deepEqual(page.items.map((vehicle) => vehicle.vmgId), ["VMG-003", "VMG-004"]);
      const online = await store.vehicles.list({ status: "online" });
      assert.equal(online.total, 1);
      assert.deepEqual(online.items.map((vehicle) => vehicle.vmgId), ["VMG-003"]);
      for (const bounds of [{ limit: 0 }, { limit: 1001 }, { limit: 1.5 }, { offset: -1 }, { limit: NaN }]) {
        await assert.rejects(store.vehicles.list(bounds), InvalidArgumentError);
      }
    },
  },
  {
    name: "a heartbeat sets address, status, battery and place; the history grows only with a new address",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const beat = (ip: string) =>
        store.vehicles.heartbeat(VIN, {
          ip,
          timestamp: clock.now(),
          battery: 80.5,
          location: { latitude: 37.5 },
        });
      assert.deepEqual(await beat("10.1.1.100"), { previousIp: null, ipChanged: true, statusChanged: true });
      clock.advance(MINUTE);
      assert.deepEqual(await beat("10.1.1.100"), {
        previousIp: "10.1.1.100",
        ipChanged: false,
        statusChanged: false,
      });
      clock.advance(MINUTE);
      assert.deepEqual(await beat("10.2.5.200"), {
        previousIp: "10.1.1.100",
        ipChanged: true,
        statusChanged: false,
      });
      const vehicle = await store.vehicles.get(VIN);
      assert.equal(vehicle.currentIp, "10.2.5.200");
      assert.equal(vehicle.status, "online");
      assert.equal(vehicle.battery, 80.5);
      assert.deepEqual(vehicle.location, { latitude: 37.5 });
      assert.deepEqual(vehicle.lastHeartbeat, clock.now());
      assert.deepEqual(await store.vehicles.addresses(VIN), [
        { ip: "10.2.5.200", since: clock.now() },
        { ip: "10.1.1.100", since: clock.in(-2 * MINUTE) },
      ]);
    },
  },
  {
    name: "a heartbeat that waited in a queue brings back neither the old address nor the old status",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      await store.vehicles.heartbeat(VIN, { ip: "10.2.5.200", timestamp: clock.now() });
      clock.advance(MINUTE);
      const result = await store.vehicles.heartbeat(VIN, {
        ip: "10.1.1.100",
        status: "offline",
        timestamp: clock.in(-10 * MINUTE),
      });
      assert.deepEqual(result, { previousIp: "10.2.5.200", ipChanged: false, statusChanged: false });
      const vehicle = await store.vehicles.get(VIN);
      assert.equal(vehicle.currentIp, "10.2.5.200");
      assert.equal(vehicle.status, "online");
      assert.deepEqual(vehicle.lastHeartbeat, clock.now());
      assert.equal((await store.vehicles.addresses(VIN)).length, 1);
    },
  },
  {
    name: "a vehicle whose clock ran ahead and was set right is heard again",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      await store.vehicles.heartbeat(VIN, { ip: "10.1.1.100", timestamp: clock.in(365 * 24 * 60 * MINUTE) });
      clock.advance(MINUTE);
      await store.vehicles.heartbeat(VIN, { ip: "10.2.5.200", timestamp: clock.now() });
      assert.equal((await store.vehicles.get(VIN)).currentIp, "10.2.5.200");
    },
  },
  {
    name: "a heartbeat of a vehicle that is not registered is refused",
    run: async ({ store, clock }) => {
      await assert.rejects(
        store.vehicles.heartbeat(VIN, { ip: "10.1.1.1", timestamp: clock.now() }),
        NotFoundError,
      );
      assert.deepEqual(await store.vehicles.addresses(VIN), []);
    },
  },
  {
    name: "silent vehicles go offline once, and the sweep says which",
    run: async ({ store, clock }) => {
      await registerVehicle(store, VIN, "VMG-001");
      await registerVehicle(store, OTHER_VIN, "VMG-002");
      await store.vehicles.heartbeat(VIN, { ip: "10.1.1.1", timestamp: clock.now() });
      const last = clock.now();
      clock.advance(MINUTE);
      await store.vehicles.heartbeat(OTHER_VIN, { ip: "10.1.1.2", timestamp: clock.now() });
      clock.advance(MINUTE);
      assert.deepEqual(await store.vehicles.markSilentOffline(90_000), [
        { vin: VIN, vmgId: "VMG-001", lastHeartbeat: last },
      ]);
      assert.deepEqual(await store.vehicles.markSilentOffline(90_000), []);
      const vehicle = await store.vehicles.get(VIN);
      assert.equal(vehicle.status, "offline");
      assert.deepEqual(vehicle.statusSince, clock.now());
      assert.equal((await store.vehicles.get(OTHER_VIN)).status, "online");
    },
  },
  {
    name: "a session sets the status, says whether that changed it, and counts as a sign of life",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      assert.equal(await store.vehicles.setStatus(VIN, "online"), true);
      assert.equal(await store.vehicles.setStatus(VIN, "online"), false);
      assert.deepEqual(await store.vehicles.markSilentOffline(1000), []);
      clock.advance(2000);
      assert.equal(await store.vehicles.setStatus(VIN, "offline"), true);
      assert.equal(await store.vehicles.setStatus(OTHER_VIN, "online"), false);
    },
  },
  {
    name: "the newest link on each listener is kept, also from before the registration",
    run: async ({ store, clock }) => {
      const link = (group: string, listener: "https" | "mqtt") => ({
        listener,
        protocol: "TLSv1.3",
        group,
        cipherSuite: "TLS_AES_256_GCM_SHA384",
        signatureScheme: "ecdsa_secp256r1_sha256",
      });
      await store.vehicles.setLink(VIN, link("unknown", "https"));
      await registerVehicle(store);
      await store.vehicles.setLink(VIN, link("X25519MLKEM768", "https"));
      clock.advance(1000);
      await store.vehicles.setLink(VIN, link("unknown", "mqtt"));
      const links = await store.vehicles.links([VIN, OTHER_VIN]);
      assert.deepEqual(links.get(VIN), [
        { ...link("X25519MLKEM768", "https"), since: clock.in(-1000) },
        { ...link("unknown", "mqtt"), since: clock.now() },
      ]);
      assert.deepEqual(links.get(OTHER_VIN), []);
    },
  },
  {
    name: "metadata is replaced; the configuration's version goes up only when it changes",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      await store.vehicles.setMetadata(VIN, { fleet: "A", tags: [1, null, "x"] });
      await store.vehicles.setMetadata(VIN, { fleet: "B" });
      const vehicle = await store.vehicles.get(VIN);
      assert.deepEqual(vehicle.metadata, { fleet: "B" });
      assert.deepEqual(vehicle.metadataUpdated, clock.now());
      assert.equal(vehicle.configVersion, 0);
      assert.equal(await store.vehicles.setConfig(VIN, {}), 1);
      assert.equal(await store.vehicles.setConfig(VIN, { rate: 5 }), 2);
      assert.equal(await store.vehicles.setConfig(VIN, { rate: 5 }), 2);
      assert.deepEqual((await store.vehicles.get(VIN)).config, { rate: 5 });
      await assert.rejects(store.vehicles.setConfig(OTHER_VIN, {}), NotFoundError);
      await assert.rejects(store.vehicles.setMetadata(OTHER_VIN, {}), NotFoundError);
    },
  },
];
