// `zonebench package`: packages as files, from keys and firmware on this machine.

import assert from "node:assert/strict";
import { join } from "node:path";
import { compare } from "../../src/commands/package_diff.ts";
import type { PackageManifest } from "../../src/contract/package.ts";
import { noise, sha256 } from "../codec/support.ts";
import { Program, temporaryFolder } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";
const first = noise(120_000, 1);
const second = Uint8Array.from([...first.subarray(0, 60_000), ...noise(100, 2), ...first.subarray(60_000)]);

Deno.test("package", async (test) => {
  await using folder = await temporaryFolder();
  const at = (name: string) => join(folder.path, name);
  const program = new Program({ data: at("data"), network: "127.0.83.0/24" });
  await Deno.writeFile(at("first.bin"), first);
  await Deno.writeFile(at("second.bin"), second);
  assert.equal((await program.run(["pki", "init"])).code, 0);
  const build = (out: string, ...more: string[]) =>
    program.json(["package", "build", "--out", at(out), ...more]) as Promise<
      { package_id: string; sha256: string }
    >;

  await test.step("build signs a package for a vehicle of the bench file", async () => {
    const { sha256: hash } = await build(
      "old.otap",
      `ECU_005=${at("first.bin")}@1.0.0`,
      `ECU_001=${at("first.bin")}@1.0.0`,
    );
    assert.equal(hash, sha256(await Deno.readFile(at("old.otap"))));
    await build(
      "new.otap",
      `ECU_005=${at("second.bin")}@1.1.0`,
      `ECU_001=${at("first.bin")}@1.0.0`,
      "--base",
      `ECU_005=${at("first.bin")}`,
      "--release",
      "ECU_005=7",
      "--depends-on",
      "ECU_005=ECU_001",
      "--condition",
      "speed<=0",
      "--block-size",
      "4096",
    );
  });

  await test.step("inspect shows what the manifest says, and whether the signature is good", async () => {
    const found = await program.json(["package", "inspect", at("new.otap")]) as {
      signature: string;
      manifest: PackageManifest;
    };
    assert.equal(found.signature, "good");
    const { manifest } = found;
    assert.deepEqual([manifest.vehicle_id, manifest.block_size], [vin, 4096]);
    assert.deepEqual(manifest.conditions, [{ signal: "speed", max: 0 }]);
    const [body] = manifest.zonal_gateways.flatMap(({ ecus }) => ecus).filter(({ ecu_id }) =>
      ecu_id === "ECU_005"
    );
    assert.equal(body.blob.encoding, "zstd-delta");
    assert.deepEqual([body.release, body.depends_on, body.image.sha256], [7, ["ECU_001"], sha256(second)]);
    const text = await program.run(["package", "inspect", at("new.otap")]);
    assert.match(text.stdout, /signature: good/);
    assert.match(text.stdout, /ECU_005 +BODY_CONTROLLER +1\.0 +1\.1\.0 +7 /);
  });

  await test.step("verify reads all of it, the deltas' images too where their base is given", async () => {
    const without = await program.json(["package", "verify", at("new.otap"), "--vin", vin]) as {
      passed: boolean;
      without_base: string[];
    };
    assert.deepEqual([without.passed, without.without_base], [true, ["ECU_005"]]);
    const withBase = await program.json(["package", "verify", at("new.otap"), "--base", at("first.bin")]) as {
      without_base: string[];
    };
    assert.deepEqual(withBase.without_base, []);
  });

  await test.step("verify fails with the code of what is wrong", async () => {
    const damaged = await Deno.readFile(at("old.otap"));
    damaged[damaged.length - 1] ^= 1;
    await Deno.writeFile(at("damaged.otap"), damaged);
    for (
      const [args, code] of [
        [[at("damaged.otap")], "block_hash"],
        [[at("old.otap"), "--vin", "KMHZB00BENCH00002"], "wrong_vehicle"],
        [[at("first.bin")], "bad_magic"],
      ] as const
    ) {
      const result = await program.run(["package", "verify", ...args, "--json"]);
      assert.equal(result.code, 1);
      const { passed, code: found } = JSON.parse(result.stdout);
      assert.deepEqual([passed, found], [false, code]);
      assert.match(result.stderr, new RegExp(code));
    }
  });

  await test.step("diff of packages says what a vehicle that has the first fetches of the second", async () => {
    const { ecus, fetch_bytes } = await program.json(["package", "diff", at("old.otap"), at("new.otap")]) as {
      ecus: { ecu_id: string; change: string; fetch_bytes: number }[];
      fetch_bytes: number;
    };
    assert.deepEqual(ecus.map(({ ecu_id, change }) => [ecu_id, change]), [["ECU_001", "same"], [
      "ECU_005",
      "changed",
    ]]);
    assert.equal(ecus[0].fetch_bytes, 0);
    assert.ok(fetch_bytes > 0 && fetch_bytes < 1_000);
  });

  await test.step("diff of firmware makes the delta", async () => {
    const made = await program.json([
      "package",
      "diff",
      at("first.bin"),
      at("second.bin"),
      "--out",
      at("delta"),
    ]) as { whole_bytes: number; delta_bytes: number; target: { sha256: string } };
    assert.equal((await Deno.stat(at("delta"))).size, made.delta_bytes);
    assert.equal(made.target.sha256, sha256(second));
    assert.ok(made.delta_bytes < made.whole_bytes / 100);
  });

  await test.step("what cannot be is said, with exit code 1, what is no command with 2", async () => {
    for (
      const [args, message, code = 1] of [
        [
          ["build", "--out", at("x"), `ECU_099=${at("first.bin")}@1.0.0`],
          /ECU_099: KMHZB00BENCH00001 has no such ECU/,
        ],
        [["build", "--out", at("x"), "ECU_005"], /expected ECU=FILE@VERSION/, 2],
        [["build", "--out", at("x"), `ECU_005=${at("none")}@1.0.0`], /none: cannot be read/],
        [["build", "--out", at("x"), `ECU_005=${at("first.bin")}@one`], /manifest_schema/],
        [
          ["build", "--out", at("x"), `ECU_005=${at("first.bin")}@1.0.0`, "--release", "ECU_001=1"],
          /--release ECU_001: no firmware is given/,
          2,
        ],
        [
          ["build", "--out", at("x"), `ECU_005=${at("first.bin")}@1.0.0`, "--release", "ECU_005=-1"],
          /expected a whole number from 0 to 4294967295/,
          2,
        ],
        [["diff", at("old.otap"), at("first.bin")], /expected two packages or two firmware files/],
        [["inspect", at("first.bin")], /bad_magic/],
      ] as const
    ) {
      const result = await program.run(["package", ...args]);
      assert.equal(result.code, code, result.stderr);
      assert.match(result.stderr, message);
    }
    await assert.rejects(Deno.stat(at("x")), Deno.errors.NotFound);
  });
});

Deno.test("an image that several ECUs get is counted once, and one that was there not at all", () => {
  const manifest = (ecus: [string, string, string][]): PackageManifest => ({
    format: "zonebench-package",
    version: 2,
    package_id: crypto.randomUUID(),
    vehicle_id: vin,
    created: "2026-01-31T10:00:00Z",
    key_id: "",
    block_size: 65_536,
    zonal_gateways: [{
      zonal_gateway_id: "ZG",
      offset: 0,
      length: 1,
      ecus: ecus.map(([ecu_id, version, sha256]) => ({
        ecu_id,
        ecu_type: "T",
        hw_version: "1",
        version,
        image: { image_id: "", sha256, size: 10, segments: [{ address: 0, length: 10 }] },
        blob: { encoding: "zstd", offset: 0, length: 100, sha256: "", table_sha256: "" },
      })),
    }],
  });
  const found = compare(
    manifest([["A", "1", "x"], ["B", "1", "y"], ["C", "1", "z"]]),
    manifest([["A", "2", "n"], ["B", "2", "n"], ["D", "1", "x"]]),
  );
  assert.deepEqual(found.map(({ ecu_id, change, fetch_bytes }) => [ecu_id, change, fetch_bytes]), [
    ["A", "changed", 100],
    ["B", "changed", 0],
    ["C", "removed", 0],
    ["D", "added", 0],
  ]);
});
