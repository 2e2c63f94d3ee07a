// The catalogue and the packages made from it.
import assert from "node:assert/strict";
import {
  ConflictError,
  InvalidArgumentError,
  NotFoundError,
  targetKey,
} from "../../../../src/server/store/mod.ts";
import type { StoreTest } from "../../../support/stores.ts";
import { addImage, hash, imageInput, OTHER_VIN, registerVehicle, VIN } from "./sample.ts";

const BUILT = {
  sha256: hash("c"),
  size: 4096,
  etag: '"c"',
  manifest: { manifest: { version: 1 }, signature: "x" },
};

export const catalogueCases: StoreTest[] = [
  {
    name: "an image is stored and found whole",
    run: async ({ store, clock }) => {
      const image = await addImage(store, { size: 2 ** 40, priority: "critical" });
      assert.deepEqual(image, {
        ...imageInput({ size: 2 ** 40, priority: "critical" }),
        imageId: image.imageId,
        download: null,
        blob: null,
        released: true,
        release: null,
        dependsOn: [],
        conditions: [],
        created: clock.now(),
      });
      const asking = await addImage(store, {
        version: "8.0.0",
        release: 0xffff_ffff,
        dependsOn: [{ ecuType: "DOOR", version: "2.0.0" }, { ecuType: "BRAKE" }],
        conditions: [{ signal: "speed", max: 0 }],
      });
      assert.equal(asking.release, 4_294_967_295);
      assert.deepEqual(asking.dependsOn, [{ ecuType: "DOOR", version: "2.0.0" }, { ecuType: "BRAKE" }]);
      assert.deepEqual(asking.conditions, [{ signal: "speed", max: 0 }]);
      assert.deepEqual(await store.images.find(image.imageId), image);
      const download = { dataFormat: 0x10, erase: [{ address: 0, length: 0x400 }], call: 0x8000 };
      const vbf = await addImage(store, { version: "9.0.0", format: "vbf", download });
      assert.deepEqual((await store.images.find(vbf.imageId))?.download, download);
      assert.equal(await store.images.find("not-a-uuid"), null);
      assert.equal(await store.images.find(crypto.randomUUID()), null);
    },
  },
  {
    name: "the same version for the same type and hardware is there once",
    run: async ({ store }) => {
      const image = await addImage(store);
      await assert.rejects(addImage(store, { sha256: hash("d") }), (error) => {
        assert(error instanceof ConflictError);
        assert.equal(error.existing, image.imageId);
        return true;
      });
      await addImage(store, { hwVersion: "HW2" });
      await addImage(store, { ecuType: "DOOR" });
      assert.equal((await store.images.list()).total, 3);
    },
  },
  {
    name: "a version that is no semantic version is refused",
    run: async ({ store }) => {
      for (const version of ["1.0", "v1.0.0", "latest", "", "01.0.0"]) {
        await assert.rejects(addImage(store, { version }), InvalidArgumentError);
      }
    },
  },
  {
    name: "the newest released image is chosen by semantic version, not by text or by age",
    run: async ({ store }) => {
      await addImage(store, { version: "1.10.0" });
      await addImage(store, { version: "1.9.9" });
      await addImage(store, { version: "1.10.0-rc.1" });
      const taken = await addImage(store, { version: "2.0.0" });
      await store.images.setReleased(taken.imageId, false);
      await addImage(store, { ecuType: "DOOR", version: "0.0.1" });
      await addImage(store, { ecuType: "DOOR", hwVersion: "HW2", version: "9.0.0" });
      const body = { ecuType: "BODY_CONTROLLER", hwVersion: "HW1" };
      const door = { ecuType: "DOOR", hwVersion: "HW1" };
      const absent = { ecuType: "DOOR", hwVersion: "HW9" };
      const newest = await store.images.newestReleased([body, door, absent, body]);
      assert.equal(newest.get(targetKey(body))?.version, "1.10.0");
      assert.equal(newest.get(targetKey(door))?.version, "0.0.1");
      assert.equal(newest.has(targetKey(absent)), false);
      assert.equal((await store.images.released([body])).length, 3);
      assert.deepEqual(await store.images.released([]), []);
    },
  },
  {
    name: "the list shows the newest entry first and filters",
    run: async ({ store }) => {
      await addImage(store, { version: "1.0.0" });
      await addImage(store, { version: "2.0.0" });
      await addImage(store, { ecuType: "DOOR", version: "3.0.0", released: false });
      assert.deepEqual((await store.images.list()).items.map((image) => image.version), [
        "3.0.0",
        "2.0.0",
        "1.0.0",
      ]);
      assert.equal((await store.images.list({ ecuType: "DOOR" })).total, 1);
      assert.equal((await store.images.list({ released: true, limit: 1 })).total, 2);
    },
  },
  {
    name: "how the payload was compressed is added later",
    run: async ({ store }) => {
      const { imageId } = await addImage(store);
      const blob = { sha256: hash("e"), length: 2 ** 33, encoding: "zstd" };
      assert.deepEqual((await store.images.setBlob(imageId, blob)).blob, blob);
      assert.deepEqual((await store.images.find(imageId))?.blob, blob);
      await assert.rejects(store.images.setBlob(crypto.randomUUID(), blob), NotFoundError);
    },
  },
  {
    name: "the same content is built once, however many ask at once",
    run: async ({ store }) => {
      await registerVehicle(store);
      const { imageId } = await addImage(store);
      const claims = await Promise.all(
        Array.from(
          { length: 10 },
          () => store.packages.claim({ vin: VIN, contentKey: "k1", imageIds: [imageId, imageId] }),
        ),
      );
      assert.equal(claims.filter((claim) => claim.created).length, 1);
      const [{ package: { packageId } }] = claims;
      assert.equal(new Set(claims.map((claim) => claim.package.packageId)).size, 1);
      const ready = await store.packages.finish(packageId, BUILT);
      assert.equal(ready.status, "ready");
      assert.deepEqual(ready.manifest, BUILT.manifest);
      const again = await store.packages.claim({ vin: VIN, contentKey: "k1", imageIds: [imageId] });
      assert.equal(again.created, false);
      assert.equal(again.package.sha256, BUILT.sha256);
      await assert.rejects(store.packages.finish(packageId, BUILT), NotFoundError);
    },
  },
  {
    name: "a failed or abandoned build may be claimed again",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const { imageId } = await addImage(store);
      const input = { vin: VIN, contentKey: "k1", imageIds: [imageId] };
      const first = await store.packages.claim(input);
      assert.equal(await store.packages.fail(first.package.packageId, "disk full"), true);
      assert.equal(await store.packages.fail(first.package.packageId, "again"), false);
      const second = await store.packages.claim(input);
      assert.equal(second.created, true);
      clock.advance(60_000);
      assert.deepEqual(await store.packages.failAbandoned(60_001), []);
      assert.deepEqual(await store.packages.failAbandoned(59_999), [second.package.packageId]);
      assert.equal((await store.packages.claim(input)).created, true);
      assert.equal((await store.packages.find(first.package.packageId))?.error, "disk full");
    },
  },
  {
    name: "a package for an unknown vehicle or image is refused",
    run: async ({ store }) => {
      const { imageId } = await addImage(store);
      await assert.rejects(
        store.packages.claim({ vin: OTHER_VIN, contentKey: "k", imageIds: [imageId] }),
        NotFoundError,
      );
      await registerVehicle(store);
      await assert.rejects(
        store.packages.claim({ vin: VIN, contentKey: "k", imageIds: [imageId, crypto.randomUUID()] }),
        NotFoundError,
      );
    },
  },
];
