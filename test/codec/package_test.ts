// A package's way: built, opened, verified, taken apart; and everything that must stop it.

import assert from "node:assert/strict";
import { PackageError } from "../../src/codec/errors.ts";
import { openPackage } from "../../src/codec/open_package.ts";
import { generateSigningKey } from "../../src/pqc/signature.ts";
import {
  build,
  noise,
  open,
  openAll,
  part,
  read,
  sha256,
  signingKey,
  verifyKeys,
  vin,
  withWorkbench,
} from "./support.ts";

Deno.test("a package gives each ECU its image; shared ones lie once in each gateway's part", async () => {
  await withWorkbench(async (bench) => {
    const first = noise(100_000, 1);
    const second = new Uint8Array(50_000).fill(7);
    const a = await part(bench, "ECU_001", first);
    const b = await part(bench, "ECU_002", second);
    const built = await build(bench, [
      { zonal_gateway_id: "ZG_BODY", ecus: [a, b, { ...b, ecu_id: "ECU_004" }] },
      { zonal_gateway_id: "ZG_ADAS", ecus: [{ ...b, ecu_id: "ECU_003" }] },
    ]);
    const file = await Deno.readFile(`${bench.directory}/package.otap`);
    assert.equal(built.sha256, sha256(file));
    assert.equal(built.size, file.length);
    assert.equal(built.etag, `"${built.sha256}"`);
    // Two blocks of 64 KiB for the first, one for the second, whose blob lies in both parts.
    const partLengths = [32 * 2 + a.blob.length + 32 + b.blob.length, 32 + b.blob.length];
    assert.equal(file.length, 16 + built.manifestBytes.length + 3309 + partLengths[0] + partLengths[1]);
    assert.deepEqual(
      built.manifest.zonal_gateways.map(({ offset, length }) => [offset, length]),
      [[0, partLengths[0]], [partLengths[0], partLengths[1]]],
    );

    const opened = await open(bench);
    assert.deepEqual(opened.manifest, built.manifest);
    assert.equal(opened.blobs.length, 3);
    const whole = await read(bench);
    assert.deepEqual([whole.sha256, whole.size, whole.unmade], [built.sha256, built.size, []]);
    for (const [zone, place, payload] of [[0, 0, first], [0, 1, second], [1, 0, second]] as const) {
      let counted = 0;
      const entry = opened.manifest.zonal_gateways[zone].ecus[place];
      await opened.extractImage(entry, `${bench.directory}/out`, { onProgress: (bytes) => counted += bytes });
      assert.equal(counted, entry.blob.length);
      assert.deepEqual(await Deno.readFile(`${bench.directory}/out`), payload);
    }
    assert.deepEqual([...Deno.readDirSync(bench.directory)].filter(({ name }) => name.endsWith(".tmp")), []);
  });
});

Deno.test("a package's bytes lie as documented", async () => {
  await withWorkbench(async (bench) => {
    const a = await part(bench, "ECU_001", Uint8Array.of(1, 2, 3));
    const built = await build(bench, [{ zonal_gateway_id: "ZG_BODY", ecus: [a] }]);
    const file = await Deno.readFile(`${bench.directory}/package.otap`);
    const view = new DataView(file.buffer);
    assert.equal(new TextDecoder().decode(file.subarray(0, 4)), "OTAP");
    assert.deepEqual([...file.subarray(4, 8)], [0, 2, 0, 0]);
    const manifestLength = view.getUint32(8);
    assert.equal(view.getUint32(12), 3309);
    const manifest = new TextDecoder().decode(file.subarray(16, 16 + manifestLength));
    // One block: the blob's own hash is all of the table.
    const table = Uint8Array.fromHex(a.blob.sha256);
    // SHA-256 of 01 02 03 (printf '\1\2\3' | sha256sum).
    const image = "039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81";
    assert.equal(
      manifest,
      `{"block_size":65536,"created":"2026-01-31T10:00:00Z","format":"zonebench-package","key_id":"${signingKey.publicKey.keyId}",` +
        `"package_id":"0d9a3c52-7d1e-4a57-8f6e-3c9ad1f0b101","vehicle_id":"${vin}","version":2,"zonal_gateways":[{"ecus":[{` +
        `"blob":{"encoding":"zstd","length":${a.blob.length},"offset":0,"sha256":"${a.blob.sha256}",` +
        `"table_sha256":"${sha256(table)}"},` +
        `"ecu_id":"ECU_001","ecu_type":"BODY_CONTROLLER","hw_version":"HW-1",` +
        `"image":{"image_id":"6a1c1f1e-58b0-4d6c-9d34-0f9b6a1f7c01","segments":[{"address":134217728,"length":3}],` +
        `"sha256":"${image}","size":3},"version":"1.10.0"}],` +
        `"length":${32 + a.blob.length},"offset":0,"zonal_gateway_id":"ZG_BODY"}]}`,
    );
    assert.deepEqual(file.subarray(16 + manifestLength, 16 + manifestLength + 3309), built.signature);
    const partAt = 16 + manifestLength + 3309;
    assert.deepEqual(file.subarray(partAt, partAt + 32), table);
    assert.deepEqual(file.subarray(partAt + 32), await Deno.readFile(a.blob.path));
  });
});

Deno.test("any one byte changed, anywhere in the file, is refused", async () => {
  await withWorkbench(async (bench) => {
    await build(bench, [{ zonal_gateway_id: "ZG_BODY", ecus: [await part(bench, "ECU_001", noise(64, 3))] }]);
    const path = `${bench.directory}/package.otap`;
    const file = await Deno.readFile(path);
    using handle = await Deno.open(path, { write: true });
    const put = async (at: number, byte: number) => {
      await handle.seek(at, Deno.SeekMode.Start);
      await handle.write(Uint8Array.of(byte));
    };
    for (let at = 0; at < file.length; at++) {
      await put(at, file[at] ^ 1 << at % 8);
      await assert.rejects(read(bench), PackageError, `byte ${at}`);
      await put(at, file[at]);
    }
    await read(bench);
    await openAll(bench);
  });
});

Deno.test("a file that is cut at any length or has bytes behind it is refused", async () => {
  await withWorkbench(async (bench) => {
    await build(bench, [{ zonal_gateway_id: "ZG_BODY", ecus: [await part(bench, "ECU_001", noise(64, 4))] }]);
    const path = `${bench.directory}/package.otap`;
    const file = await Deno.readFile(path);
    for (const more of [1, 2, 4096]) {
      await Deno.truncate(path, file.length + more);
      await assert.rejects(open(bench), { code: "trailing_bytes" });
      await assert.rejects(read(bench), { code: "trailing_bytes" });
      await assert.rejects(read(bench, undefined, { size: undefined }), { code: "trailing_bytes" });
    }
    for (let length = file.length - 1; length >= 0; length--) {
      await Deno.truncate(path, length);
      await assert.rejects(open(bench), (error) => {
        assert.ok(error instanceof PackageError);
        assert.ok(["truncated", "blob_outside"].includes(error.code), `${length}: ${error.message}`);
        return true;
      });
      await assert.rejects(read(bench, undefined, { size: undefined }), { code: "truncated" });
    }
  });
});

Deno.test("a package by an unknown key, or for another vehicle, is refused", async () => {
  await withWorkbench(async (bench) => {
    await build(bench, [{ zonal_gateway_id: "ZG_BODY", ecus: [await part(bench, "ECU_001", noise(10, 5))] }]);
    const path = `${bench.directory}/package.otap`;
    const other = await generateSigningKey();
    const options = { verifyKeys, expectVehicle: vin, pool: bench.pool };
    await assert.rejects(
      openPackage(path, { ...options, verifyKeys: new Map([[other.publicKey.keyId, other.publicKey]]) }),
      { code: "unknown_key", name: "PackageSignatureError" },
    );
    // The right name on the wrong key.
    await assert.rejects(
      openPackage(path, { ...options, verifyKeys: new Map([[signingKey.publicKey.keyId, other.publicKey]]) }),
      { code: "bad_signature", name: "PackageSignatureError" },
    );
    await assert.rejects(openPackage(path, { ...options, expectVehicle: "KMHLN4DJ1PU123457" }), {
      code: "wrong_vehicle",
      name: "PackageTargetError",
    });
  });
});

Deno.test("a package is not built from parts that make no valid manifest", async () => {
  await withWorkbench(async (bench) => {
    const a = await part(bench, "ECU_001", noise(10, 6));
    const zone = (ecu: typeof a) => [{ zonal_gateway_id: "ZG_BODY", ecus: [ecu] }];
    const output = `${bench.directory}/package.otap`;
    for (
      const [zones, rest, code] of [
        [zone(a), { vehicle_id: "short" }, "manifest_schema"],
        [zone({ ...a, version: "1.1" }), {}, "manifest_schema"],
        [[], {}, "manifest_schema"],
        [[...zone(a), ...zone(a)], {}, "manifest_inconsistent"],
        [zone({ ...a, image: { ...a.image, size: 11 } }), {}, "manifest_inconsistent"],
        [zone(a), { blockSize: 1000 }, "manifest_schema"],
        [zone(a), { blockSize: 6000 }, "manifest_schema"],
        [zone(a), { limits: { maxTable: 31 } }, "too_large"],
        [zone(a), { limits: { maxManifest: 100 } }, "too_large"],
        [zone(a), { limits: { maxFile: 1000 } }, "too_large"],
        [zone(a), { limits: { maxImage: 9 } }, "too_large"],
        [zone({ ...a, blob: { ...a.blob, length: a.blob.length - 1 } }), {}, "blob_hash"],
        [zone({ ...a, blob: { ...a.blob, length: a.blob.length + 1 } }), {}, "blob_hash"],
        [zone({ ...a, blob: { ...a.blob, sha256: "0".repeat(64) } }), {}, "blob_hash"],
      ] as const
    ) {
      await assert.rejects(build(bench, zones, rest), { code });
      await assert.rejects(Deno.stat(output), Deno.errors.NotFound);
    }
  });
});

Deno.test("a package is taken apart only by entries of its own manifest", async () => {
  await withWorkbench(async (bench) => {
    await build(bench, [{ zonal_gateway_id: "ZG_BODY", ecus: [await part(bench, "ECU_001", noise(10, 7))] }]);
    const opened = await open(bench);
    const foreign = structuredClone(opened.manifest.zonal_gateways[0].ecus[0]);
    await assert.rejects(opened.extractImage(foreign, `${bench.directory}/out`), RangeError);
  });
});
