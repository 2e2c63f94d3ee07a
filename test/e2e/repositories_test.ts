// Signed metadata as its operator meets it: a server that is killed gives no version out with another content; keys of ECUs and
// keys that are elsewhere, at the command line.

import assert from "node:assert/strict";
import { join } from "node:path";
import { request } from "undici";
import { RestClient } from "../../src/contract/client.ts";
import { routes } from "../../src/contract/routes.ts";
import { loadCredentials } from "../../src/pqc/pki_directory.ts";
import { generateSigner } from "../../src/uptane/keys.ts";
import { httpsAgent } from "../../src/tls/https_agent.ts";
import { ecu, report } from "../server/running_server.ts";
import { Program, temporaryFolder } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";
const type = ["--ecu-type", "BODY_CONTROLLER", "--hardware", "HW1", "--format", "binary"];

interface Side extends AsyncDisposable {
  readonly rest: RestClient;
  /** A file of the Director's. */
  file(name: string): Promise<string>;
}

/** @param holder whose certificate is shown */
async function side({ httpsPort, options }: Program, holder: string): Promise<Side> {
  const { trust, ...credentials } = await loadCredentials(join(options.data, "pki"), holder);
  const dispatcher = httpsAgent({ credentials, trust });
  const origin = `https://127.0.0.1:${httpsPort}`;
  return {
    rest: new RestClient({ origin, dispatcher }),
    file: async (name) => {
      const { statusCode, body } = await request(`${origin}/api/v1/uptane/director/${vin}/${name}`, {
        dispatcher,
      });
      const text = await body.text();
      assert.equal(statusCode, 200, text);
      return text;
    },
    [Symbol.asyncDispose]: () => dispatcher.destroy(),
  };
}

async function firmware(program: Program, folder: string, version: string, digit: string) {
  const file = join(folder, `${version}.bin`);
  await Deno.writeTextFile(file, digit.repeat(2000));
  return await program.run(["firmware", "add", file, ...type, "--version", version]);
}

Deno.test("a server that is killed while updates begin and end gives no version out twice with another content", async () => {
  await using folder = await temporaryFolder();
  const program = new Program({ data: join(folder.path, "data"), network: "127.0.87.32/28" });
  const seen = new Map<number, string>();
  let highest = 0;
  for (let round = 0; round < 3; round++) {
    await using serving = await program.serve(["--only", "server"]);
    await using vehicle = await side(program, `vehicle-${vin}`);
    await using operator = await side(program, "operator-bench");
    if (round === 0) {
      await vehicle.rest.call(routes.registerVehicle, {
        body: { vin, vmg_id: "VMG-001", vehicle_model: "Test", vehicle_year: 2026 },
      });
      await vehicle.rest.call(routes.submitVci, {
        path: { vin },
        body: report(vin, "VMG-001", [ecu("ECU_001", "1.0.0")]),
      });
      assert.equal((await firmware(program, folder.path, "1.1.0", "1")).code, 0);
    }
    let going = true;
    const look = async () => {
      while (going) {
        const text = await vehicle.file("timestamp.json");
        const { version } = JSON.parse(text).signed;
        assert.equal(seen.get(version) ?? text, text, `version ${version} has two contents`);
        assert.ok(version >= highest, `version ${version} after ${highest}`);
        seen.set(version, text);
        highest = version;
      }
    };
    const change = async () => {
      while (going) {
        const { updates } = await operator.rest.call(routes.listUpdates, { query: { limit: 1 } });
        const active = updates.find(({ ended }) => ended === null);
        if (active) await operator.rest.call(routes.cancelUpdate, { path: { id: active.update_id } });
        else await operator.rest.call(routes.startUpdate, { body: { vin } });
      }
    };
    // What the kill cuts off rejects; what a look found wrong says so below.
    const works = [look(), change()];
    const before = highest;
    while (highest < before + 6) {
      await Promise.race([
        ...works,
        new Promise((resolve) => setTimeout(resolve, 10)),
      ]);
    }
    serving.kill("SIGKILL");
    await serving.ended;
    going = false;
    for (const result of await Promise.allSettled(works)) {
      if (result.status === "rejected" && result.reason instanceof assert.AssertionError) throw result.reason;
    }
  }
  assert.ok(highest >= 18, `${highest} versions`);
});

Deno.test("keys of ECUs are entered, and images signed by keys from elsewhere, at the command line", async (t) => {
  await using folder = await temporaryFolder();
  const program = new Program({
    data: join(folder.path, "data"),
    network: "127.0.87.48/28",
    settings: ["server.uptane.image.targets=ecdsa-p256", "maintenance.interval=0.2"],
  });
  await using serving = await program.serve(["--only", "server"]);
  await serving.logged("Repositories of signed metadata made in");
  const repo = join(folder.path, "data", "repo");

  await t.step("an ECU's public key, and no private one", async () => {
    const { key, keyid, exportPem } = await generateSigner("ecdsa-p256");
    const file = join(folder.path, "ecu.pub");
    await Deno.writeTextFile(file, key.keyval.public);
    await Deno.writeTextFile(join(folder.path, "ecu.key"), await exportPem());
    const add = ["repo", "inventory", "add", "--vin", vin, "--ecu", "ECU_001"];
    const refused = await program.run([...add, "--key", join(folder.path, "ecu.key")]);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /a private key, which stays where it is; its public half: openssl pkey/);
    const added = await program.run([...add, "--key", file]);
    assert.equal(added.code, 0, added.stderr);
    assert.match(added.stdout, new RegExp(`ECU_001 of ${vin}: itself\\n  ecdsa-p256 ${keyid}`));
    const listed = await program.json(["repo", "inventory", "list"]) as {
      ecu_id: string;
      keys: { keyid: string }[];
    }[];
    assert.deepEqual(listed.map(({ ecu_id, keys }) => [ecu_id, keys[0].keyid]), [["ECU_001", keyid]]);
    await program.json(["repo", "inventory", "remove", "--vin", vin, "--ecu", "ECU_001"]);
    const empty = await program.run(["repo", "inventory", "list"]);
    assert.match(empty.stdout, /The inventory is empty/);
  });

  await t.step(
    "an image whose keys are elsewhere waits, is signed and is given out, and all checks pass",
    async () => {
      const [name] = Array.from(Deno.readDirSync(join(repo, "keys")), (it) => it.name)
        .filter((it) => it.startsWith("image-targets-"));
      const stick = join(folder.path, name);
      await Deno.rename(join(repo, "keys", name), stick);
      const added = await firmware(program, folder.path, "1.1.0", "1");
      assert.equal(added.code, 0, added.stderr);
      assert.match(added.stdout, /Not given to vehicles yet/);
      assert.match(
        added.stdout,
        /zonebench repo sign staged\/image\/2\.targets\.json --key FILE\nthen: zonebench repo publish/,
      );
      const signed = await program.run([
        "repo",
        "sign",
        join(repo, "staged/image/2.targets.json"),
        "--key",
        stick,
      ]);
      assert.equal(signed.code, 0, signed.stderr);
      const published = await program.run(["repo", "publish"]);
      assert.match(published.stdout, /image +2\.targets\.json +given out/);
      await serving.logged("1 image(s) of the catalogue published");
      const images = await program.json(["firmware", "list"]) as { target: string }[];
      assert.deepEqual(images.map(({ target }) => target), ["published"]);
      const verified = await program.run(["repo", "verify"]);
      assert.equal(verified.code, 0, verified.stdout + verified.stderr);
      assert.match(verified.stdout, /BODY_CONTROLLER\/HW1\/1\.1\.0\.bin has every hash that was signed/);
    },
  );
});
