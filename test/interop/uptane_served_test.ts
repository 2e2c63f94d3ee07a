// The repositories that a running server gives out, read by others: curl, python-tuf over Python's own TLS and HTTP, tuf-js.

import assert from "node:assert/strict";
import { join } from "node:path";
import { Metadata, MetadataKind } from "@tufjs/models";
import type { RoleSetting } from "../../src/server/uptane/roles.ts";
import { sampleBytes } from "../support/firmware_files.ts";
import { interopTest, peers } from "../support/peers.ts";
import { registerBoth, uploadFirmware } from "../server/fleet.ts";
import { startTestServer, type TestServer, vinA, vinB } from "../server/running_server.ts";
import { pythonTuf, runPythonTuf } from "./uptane_python_tuf.ts";

const ecdsa: RoleSetting = { algorithms: ["ecdsa-p256"], threshold: 1 };
const both: RoleSetting = { algorithms: ["ml-dsa-65", "ecdsa-p256"], threshold: 2 };
const all = (of: RoleSetting) => ({ root: of, timestamp: of, snapshot: of, targets: of, time: of });
const names = ["BODY_CONTROLLER/HW1/1.1.0.bin", "BODY_CONTROLLER/HW1/9.9.9.bin"];

const publish = (server: TestServer) => uploadFirmware(server, "1.1.0", sampleBytes(5000, 1));

/** @param holder whose certificate curl shows; undefined: none */
async function curl(server: TestServer, holder: string | undefined, path: string) {
  const identity = holder === undefined
    ? []
    : ["--cert", join(server.pki, `${holder}.crt`), "--key", join(server.pki, `${holder}.key`)];
  const { code, stdout } = await new Deno.Command("curl", {
    args: ["-sS", "--max-time", "30", "--cacert", join(server.pki, "ca.crt"), ...identity].concat(
      "-w",
      "\n%{http_code}",
      `${server.origin}/api/v1/uptane/${path}`,
    ),
    stdin: "null",
  }).output();
  const [, body, status] = /^([^]*)\n(\d+)$/.exec(new TextDecoder().decode(stdout)) ?? [];
  return { code, body, status: Number(status) };
}

interopTest("curl gets a vehicle's metadata with its own certificate alone", [peers.curl], async () => {
  await using server = await startTestServer("127.0.87.1", { profiles: [2, 0] });
  await registerBoth(server);
  for (const file of ["1.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]) {
    const own = await curl(server, `vehicle-${vinA}`, `director/${vinA}/${file}`);
    assert.equal(own.status, 200, file);
    assert.ok(JSON.parse(own.body).signatures.length > 0);
    assert.equal((await curl(server, `vehicle-${vinB}`, `director/${vinA}/${file}`)).status, 403, file);
    assert.equal((await curl(server, "operator-bench", `director/${vinA}/${file}`)).body, own.body, file);
    const image = await curl(server, `vehicle-${vinB}`, `image/${file}`);
    assert.equal(image.status, 200, file);
    assert.notEqual(image.body, own.body);
  }
  const { vehicle_id } =
    JSON.parse((await curl(server, `vehicle-${vinA}`, `director/${vinA}/1.targets.json`)).body)
      .signed;
  assert.equal(vehicle_id, vinA);
  assert.notEqual((await curl(server, undefined, "image/timestamp.json")).code, 0);
});

for (
  const [what, setting] of [["ECDSA P-256", ecdsa], ["ML-DSA-65 and ECDSA P-256 together", both]] as const
) {
  interopTest(
    `python-tuf updates from a running server whose roles sign with ${what}`,
    [pythonTuf],
    async () => {
      await using server = await startTestServer("127.0.87.2", {
        profiles: [2, 0],
        uptane: { roles: { director: all(setting), image: all(setting) } },
      });
      const image = await publish(server);
      const found = JSON.parse(
        await runPythonTuf(
          ["served", `${server.origin}/api/v1/uptane/image/`],
          JSON.stringify({
            ca: join(server.pki, "ca.crt"),
            cert: join(server.pki, `vehicle-${vinA}.crt`),
            key: join(server.pki, `vehicle-${vinA}.key`),
            root: join(server.directory, "data", "repo", "image", "1.root.json"),
            names,
          }),
        ),
      );
      assert.deepEqual(
        [found[names[0]].length, found[names[0]].hashes.sha256, found[names[0]].custom.must_match.version],
        [5000, image.payload_sha256, "1.1.0"],
      );
      assert.equal(found[names[1]], null);
    },
  );
}

// tuf-js 4 has ECDSA, Ed25519 and RSA keys; ML-DSA it does not know (see uptane_tufjs_test.ts).
interopTest("tuf-js finds what a running server gives out good, ECDSA being its roles' algorithm", [
  peers.curl,
], async () => {
  await using server = await startTestServer("127.0.87.3", {
    profiles: [2, 0],
    uptane: { roles: { director: all(ecdsa), image: all(ecdsa) } },
  });
  const image = await publish(server);
  const get = async (name: string) => {
    const { body, status } = await curl(server, `vehicle-${vinA}`, `image/${name}`);
    assert.equal(status, 200, name);
    return body;
  };
  const root = Metadata.fromJSON(MetadataKind.Root, JSON.parse(await get("1.root.json")));
  root.verifyDelegate("root", root);
  const timestamp = Metadata.fromJSON(MetadataKind.Timestamp, JSON.parse(await get("timestamp.json")));
  root.verifyDelegate("timestamp", timestamp);
  const { snapshotMeta } = timestamp.signed;
  const snapshotText = await get(`${snapshotMeta.version}.snapshot.json`);
  snapshotMeta.verify(Buffer.from(snapshotText));
  const snapshot = Metadata.fromJSON(MetadataKind.Snapshot, JSON.parse(snapshotText));
  root.verifyDelegate("snapshot", snapshot);
  const named = snapshot.signed.meta["targets.json"];
  const targetsText = await get(`${named.version}.targets.json`);
  named.verify(Buffer.from(targetsText));
  const targets = Metadata.fromJSON(MetadataKind.Targets, JSON.parse(targetsText));
  root.verifyDelegate("targets", targets);
  const target = targets.signed.targets[names[0]];
  assert.deepEqual([target.length, target.hashes.sha256], [5000, image.payload_sha256]);
});
