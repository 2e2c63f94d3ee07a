// Signed metadata through the whole program: what ECUs over DoIP and CAN sign, what a vehicle with wrong roots refuses, and what it
// says when it has none.

import assert from "node:assert/strict";
import { join } from "node:path";
import { sampleBytes } from "../support/firmware_files.ts";
import { eventually, Program, temporaryFolder } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";
const [body, light] = ["ECU_005", "ECU_007"];

interface Detail {
  verified: boolean;
  ecus: { ecu_id: string; sw_version?: string }[];
}

async function detailOf(program: Program): Promise<Detail | undefined> {
  const { code, stdout } = await program.run(["vci", vin, "--json"]);
  return code === 0 ? JSON.parse(stdout) as Detail : undefined;
}

async function add(program: Program, file: string, type: string, version: string): Promise<void> {
  await program.json([
    ...["firmware", "add", file, "--ecu-type", type, "--hardware", "1.0", "--version", version],
    ...["--base-address", "0"],
  ]);
}

/** Runs an update to its end. */
async function update(program: Program): Promise<{ status: string; error: string | null }> {
  const { update_id } = await program.json(["update", "start", "--vin", vin]) as { update_id: string };
  const watch = await program.run(["update", "watch", update_id, "--json", "--timeout", "120"]);
  return JSON.parse(watch.stdout.trim().split("\n").at(-1)!);
}

/** The small bench with an ECU over CAN that signs with the larger signature, and one over Ethernet that signs nothing. */
async function benchFile(folder: string): Promise<string> {
  const path = join(folder, "bench.yaml");
  const text = await Deno.readTextFile(new URL("../../config/bench.yaml", import.meta.url));
  const setting = (type: string, value: string) =>
    [`    ${type}:\n`, `    ${type}:\n      version_report: ${value}\n`] as const;
  await Deno.writeTextFile(
    path,
    text.replace(...setting("LIGHT_CONTROLLER", "{ algorithm: ml-dsa-65 }")).replace(
      ...setting("BODY_CONTROLLER", "false"),
    ),
  );
  return path;
}

Deno.test("an update is verified from both repositories, and ECUs over DoIP and CAN sign what they run then", async (t) => {
  await using folder = await temporaryFolder();
  const data = join(folder.path, "data");
  const program = new Program({
    data,
    network: "127.0.89.0/24",
    more: ["--bench", await benchFile(folder.path)],
  });
  const image = join(folder.path, "image.bin");
  await Deno.writeFile(image, sampleBytes(3_000, 7));
  const other = join(folder.path, "other.bin");
  await Deno.writeFile(other, sampleBytes(2_000, 8));
  {
    await using serving = await program.serve();
    await t.step("the factory's software is reported, and believed", async () => {
      const detail = await eventually("a verified report", async () => {
        const found = await detailOf(program);
        return found?.verified ? found : undefined;
      });
      assert.equal(detail.ecus.length, 8);
    });
    await t.step("the server knows who signs for whom", async () => {
      const ecus = await program.json(["repo", "inventory", "list"]) as {
        ecu_id: string;
        primary: boolean;
        signed_by: string;
        keys: { algorithm: string }[];
      }[];
      const of = (id: string) => {
        const { primary, signed_by, keys } = ecus.find(({ ecu_id }) => ecu_id === id)!;
        return [primary, signed_by, ...keys.map(({ algorithm }) => algorithm)];
      };
      assert.equal(ecus.length, 9);
      assert.deepEqual(of("VMG-001"), [true, "ecu", "ml-dsa-65"]);
      assert.deepEqual(of("ECU_001"), [false, "ecu", "ecdsa-p256"]);
      assert.deepEqual(of(light), [false, "ecu", "ml-dsa-65"]);
      assert.deepEqual(of(body), [false, "gateway", "ml-dsa-65"]);
    });
    await t.step(
      "an ECU that signs nothing may run what the catalogue has, installed by others",
      async () => {
        await add(program, image, "BODY_CONTROLLER", "1.0.0");
        assert.equal(await serving.stop(), 0);
      },
    );
  }
  {
    await using serving = await program.serve();
    await t.step("and it is believed at the next start", async () => {
      await eventually("the report after the start", () => serving.log.includes("VCI sent") || undefined);
      assert.ok((await detailOf(program))?.verified, serving.log);
    });
    await t.step(
      "an update over both buses completes, and the new software is reported and believed",
      async () => {
        await add(program, image, "BODY_CONTROLLER", "1.2.0");
        await add(program, image, "LIGHT_CONTROLLER", "1.2.0");
        const { status, error } = await update(program);
        assert.equal(status, "completed", `${error}\n${serving.log}`);
        assert.match(serving.log, /\[Uptane\] Metadata verified: .*2 images/);
        const detail = await eventually("the report after the update", async () => {
          const found = await detailOf(program);
          return found?.ecus.some(({ sw_version }) => sw_version === "1.2.0") ? found : undefined;
        });
        assert.ok(detail.verified, serving.log);
        const versions = new Map(detail.ecus.map(({ ecu_id, sw_version }) => [ecu_id, sw_version]));
        assert.deepEqual([versions.get(body), versions.get(light), versions.get("ECU_001")], [
          "1.2.0",
          "1.2.0",
          "1.0.0",
        ]);
        assert.ok(!serving.log.includes("gives no version report"), serving.log);
      },
    );
    assert.equal(await serving.stop(), 0);
  }
  const vehicle = join(data, "vmg", vin);
  await t.step("private keys are for their owners alone", async () => {
    for (const path of [join(vehicle, "report.key"), join(data, "bench", "keys", `${light}.key`)]) {
      assert.equal((await Deno.stat(path)).mode! & 0o777, 0o600, path);
    }
  });
  await t.step(
    "a vehicle with another Director's root refuses every update, and its ECUs keep what they run",
    async () => {
      const elsewhere = join(folder.path, "elsewhere");
      assert.equal((await program.run(["repo", "init", "--repo", elsewhere])).code, 0);
      for (const name of ["vmg.db", "vmg.db-wal", "vmg.db-shm"]) {
        await Deno.remove(join(vehicle, name)).catch((error) => {
          if (!(error instanceof Deno.errors.NotFound)) throw error;
        });
      }
      const wrong = [`vmg.uptane.director_root=${join(elsewhere, "director", "1.root.json")}`];
      await using serving = await program.serve(wrong.flatMap((it) => ["--set", it]));
      await eventually("the vehicle is online", () => /is online/.test(serving.log) || undefined);
      await add(program, other, "LIGHT_CONTROLLER", "1.3.0");
      const { status, error } = await update(program);
      assert.equal(status, "failed");
      assert.match(String(error), /metadata: time_signed: /);
      assert.match(
        serving.log,
        /WARNING - \[Uptane\] Refused as arbitrary software \(Uptane 5\.4\.2\.2\): time_signed/,
      );
      assert.equal(
        (await detailOf(program))?.ecus.find(({ ecu_id }) => ecu_id === light)?.sw_version,
        "1.2.0",
      );
      assert.equal(await serving.stop(), 0);
    },
  );
  await t.step("a gateway that has no first roots says which files it misses", async () => {
    const lonely = join(folder.path, "lonely");
    await Deno.mkdir(lonely);
    const gateway = new Program({ data: lonely, network: "127.0.90.0/24" });
    await Deno.mkdir(join(lonely, "pki"), { mode: 0o700 });
    for (const name of [`vehicle-${vin}.crt`, `vehicle-${vin}.key`, "ca.crt", "signing.pub"]) {
      await Deno.copyFile(join(data, "pki", name), join(lonely, "pki", name));
    }
    const { code, stderr } = await gateway.run(["serve", "--only", "vmg"]);
    assert.equal(code, 1);
    for (const name of ["director", "image"]) {
      assert.ok(stderr.includes(join(lonely, "repo", name, "1.root.json")), stderr);
    }
    assert.match(stderr, /vmg\.uptane\.director_root/);
  });
});
