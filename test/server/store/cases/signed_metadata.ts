// The Director's bundles, keys of ECUs, and reports that were verified.
import assert from "node:assert/strict";
import { ConflictError, NotFoundError } from "../../../../src/server/store/mod.ts";
import type { DirectorBundle, Store, StoredKey } from "../../../../src/server/store/mod.ts";
import type { StoreTest } from "../../../support/stores.ts";
import { addImage, OTHER_VIN, registerVehicle, VIN } from "./sample.ts";

const key = (text: string): StoredKey => ({
  keytype: "ecdsa",
  scheme: "ecdsa-sha2-nistp256",
  keyval: { public: text },
});

function bundle(version: number, renewAfter: Date, files: Record<string, string>): DirectorBundle {
  const encoder = new TextEncoder();
  return {
    vin: VIN,
    version,
    updateId: null,
    rootSha256: "ab".repeat(32),
    renewAfter,
    files: new Map(Object.entries(files).map(([name, text]) => [name, encoder.encode(text)])),
  };
}

async function text(store: Store, name: string): Promise<string | null> {
  const bytes = await store.director.file(VIN, name);
  return bytes && new TextDecoder().decode(bytes);
}

export const signedMetadataCases: StoreTest[] = [
  {
    name: "a vehicle's bundles are kept for those who are between two files, the oldest go",
    run: async ({ store, clock }) => {
      assert.deepEqual(await store.director.current(VIN), { state: null, activeUpdate: null });
      for (let version = 1; version <= 6; version++) {
        await store.transaction(async (tx) => {
          assert.equal((await tx.director.lock(VIN)).version, version - 1);
          await tx.director.put(
            bundle(version, clock.in(1000), {
              [`${version}.targets.json`]: `targets ${version}`,
              "timestamp.json": `timestamp ${version}`,
            }),
          );
        });
      }
      assert.equal(await text(store, "timestamp.json"), "timestamp 6");
      assert.deepEqual(
        await Promise.all([2, 3, 6].map((version) => text(store, `${version}.targets.json`))),
        [null, "targets 3", "targets 6"],
      );
      assert.equal(await store.director.file(OTHER_VIN, "timestamp.json"), null);
      const { state } = await store.director.current(VIN);
      assert.deepEqual(state, {
        vin: VIN,
        version: 6,
        updateId: null,
        rootSha256: "ab".repeat(32),
        renewAfter: clock.in(1000),
      });
    },
  },
  {
    name: "of bundles that are made at once each has a version of its own; one that is given up leaves none",
    run: async ({ store, clock }) => {
      const versions: number[] = [];
      const make = (fail: boolean) =>
        store.transaction(async (tx) => {
          const version = (await tx.director.lock(VIN)).version + 1;
          await tx.director.put(bundle(version, clock.now(), { "timestamp.json": String(version) }));
          if (fail) throw new Error("given up");
          versions.push(version);
        });
      await Promise.allSettled([false, true, false, false, true, false].map(make));
      assert.deepEqual(versions.sort(), [1, 2, 3, 4]);
      assert.equal(await text(store, "timestamp.json"), "4");
    },
  },
  {
    name: "what an update directs is known while it is under way",
    run: async ({ store }) => {
      await registerVehicle(store);
      const { imageId } = await addImage(store);
      const { updateId } = await store.updates.create({
        vin: VIN,
        initiator: "operator",
        ecus: [{ ecuId: "ECU_002", imageId }, { ecuId: "ECU_001", imageId }, { ecuId: "ECU_003" }],
      });
      assert.equal((await store.director.current(VIN)).activeUpdate, updateId);
      assert.deepEqual(await store.director.directions(updateId), [
        { ecuId: "ECU_001", imageId },
        { ecuId: "ECU_002", imageId },
      ]);
      await store.updates.end(updateId, "cancelled", "test");
      assert.equal((await store.director.current(VIN)).activeUpdate, null);
    },
  },
  {
    name: "an ECU's keys are entered, replaced and removed; what was heard from it stays known",
    run: async ({ store, clock }) => {
      const entered = await store.ecuKeys.set({
        vin: VIN,
        ecuId: "VMG-001",
        primary: true,
        keys: [key("g")],
      });
      assert.deepEqual(entered, {
        vin: VIN,
        ecuId: "VMG-001",
        primary: true,
        keys: [key("g")],
        added: clock.now(),
        reportTime: null,
        reportNonces: [],
      });
      await store.ecuKeys.set({ vin: VIN, ecuId: "ECU_001", primary: false, keys: [key("a")] });
      await store.ecuKeys.set({ vin: OTHER_VIN, ecuId: "ECU_001", primary: true, keys: [key("b")] });
      await assert.rejects(
        store.ecuKeys.set({ vin: VIN, ecuId: "ECU_002", primary: true, keys: [key("c")] }),
        (error) => error instanceof ConflictError && error.existing === "VMG-001",
      );
      const memory = [{ ecuId: "ECU_001", time: clock.now(), nonces: ["aa", "bb"] }];
      await store.ecuKeys.remember(VIN, memory);
      await store.ecuKeys.set({ vin: VIN, ecuId: "ECU_001", primary: false, keys: [key("a"), key("d")] });
      const [ecu] = await store.ecuKeys.of(VIN);
      assert.deepEqual([ecu.ecuId, ecu.keys.length, ecu.reportTime, ecu.reportNonces], [
        "ECU_001",
        2,
        clock.now(),
        ["aa", "bb"],
      ]);
      assert.equal((await store.ecuKeys.list()).total, 3);
      assert.equal((await store.ecuKeys.list({ vin: OTHER_VIN })).total, 1);
      await store.ecuKeys.remove(VIN, "ECU_001");
      await assert.rejects(store.ecuKeys.remove(VIN, "ECU_001"), NotFoundError);
      assert.deepEqual((await store.ecuKeys.of(VIN)).map(({ ecuId }) => ecuId), ["VMG-001"]);
      await store.ecuKeys.remove(VIN, "VMG-001");
      assert.equal(await store.ecuKeys.has(VIN), false);
      assert.equal(await store.ecuKeys.has(OTHER_VIN), true);
      const again = await store.ecuKeys.set({ vin: VIN, ecuId: "ECU_001", primary: true, keys: [key("a")] });
      assert.deepEqual(again.reportNonces, ["aa", "bb"]);
    },
  },
  {
    name: "the last verified report is found behind newer ones, and retention keeps it",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const add = (verified: boolean, report: string) =>
        store.vci.add({
          vin: VIN,
          deviceId: "VMG-001",
          timestamp: clock.now(),
          ecus: [],
          report: { report },
          verified,
          unverifiedReason: verified ? null : "no manifest",
        });
      assert.equal(await store.vci.latestVerified(VIN), null);
      await add(true, "old");
      clock.advance(1000);
      await add(true, "verified");
      clock.advance(1000);
      await add(false, "newer");
      assert.deepEqual(await store.vci.verified([VIN, OTHER_VIN]), new Map([[VIN, false]]));
      assert.equal((await store.vci.latest(VIN))?.unverifiedReason, "no manifest");
      clock.advance(100_000);
      assert.deepEqual(await store.retention.apply({ vci: 1000 }), { vci: 1 });
      assert.deepEqual((await store.vci.latestVerified(VIN))?.report, { report: "verified" });
      assert.deepEqual((await store.vci.latest(VIN))?.report, { report: "newer" });
    },
  },
];
