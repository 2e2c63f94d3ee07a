// `zonebench mqtt acl`: what it writes for mosquitto. That mosquitto enforces it is shown in test/interop.

import assert from "node:assert/strict";
import { join } from "node:path";
import { main } from "../../src/main.ts";
import { aclFile, confFile } from "../../src/commands/mosquitto.ts";
import { temporaryFolder } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";

Deno.test("a vehicle writes on its own channels under both its names, and reads what is its own", () => {
  assert.equal(
    aclFile([{ vin, vmg_id: "VMG-001" }], ["server-client"]).split("\n").filter((line) =>
      !line.startsWith("#")
    )
      .join("\n"),
    `
user server-client
topic read vehicle/+/telemetry
topic read vehicle/+/diagnostics
topic read vehicle/+/ota/status
topic read vehicle/+/status
topic read vehicle/+/heartbeat
topic read vehicle/+/taken
topic write vehicle/+/control
topic write vehicle/+/diagnostics
topic write vehicle/+/config
topic write vehicle/+/stored
topic readwrite zonebench/servers/#

user vehicle-KMHZB00BENCH00001
topic read vehicle/KMHZB00BENCH00001/#
topic write vehicle/KMHZB00BENCH00001/telemetry
topic write vehicle/KMHZB00BENCH00001/diagnostics
topic write vehicle/KMHZB00BENCH00001/ota/status
topic write vehicle/KMHZB00BENCH00001/status
topic write vehicle/KMHZB00BENCH00001/heartbeat
topic write vehicle/KMHZB00BENCH00001/taken
topic read vehicle/VMG-001/#
topic write vehicle/VMG-001/telemetry
topic write vehicle/VMG-001/diagnostics
topic write vehicle/VMG-001/ota/status
topic write vehicle/VMG-001/status
topic write vehicle/VMG-001/heartbeat
topic write vehicle/VMG-001/taken
`,
  );
});

Deno.test("a name of two vehicles, and a server's name that would be a rule of its own, are refused", () => {
  const other = "KMHTEST1AAA000001";
  assert.throws(
    () => aclFile([{ vin, vmg_id: "VMG-001" }, { vin: other, vmg_id: vin }], ["s"]),
    /KMHZB00BENCH00001 is a name of vehicle KMHZB00BENCH00001 and of vehicle KMHTEST1AAA000001/,
  );
  for (const name of ["a\ntopic readwrite #", "vehicle-X", "", "a b", "#"]) {
    assert.throws(() => aclFile([], [name]), /server user: expected/, JSON.stringify(name));
  }
});

Deno.test("vehicles' client ids are bound to their certificates where servers have a port of their own", () => {
  const options = {
    aclFile: "/etc/acl",
    caFile: "/etc/ca.crt",
    certificateFile: "/etc/b.crt",
    keyFile: "/etc/b.key",
    maxPayload: 1000,
  };
  const two = confFile({ ...options, vehiclePort: 8883, serverPort: 8884 }).split("\n");
  const vehicles = two.slice(two.indexOf("listener 8883"), two.indexOf("listener 8884"));
  const servers = two.slice(two.indexOf("listener 8884"));
  for (const listener of [vehicles, servers]) {
    for (const line of ["require_certificate true", "use_identity_as_username true", "tls_version tlsv1.3"]) {
      assert.ok(listener.includes(line), line);
    }
  }
  assert.ok(vehicles.includes("use_username_as_clientid true"));
  assert.ok(!servers.includes("use_username_as_clientid true"));
  const one = confFile({ ...options, vehiclePort: 8883, serverPort: 8883 });
  assert.equal(one.split("\nlistener ").length, 2);
  assert.ok(!one.includes("use_username_as_clientid"));
  assert.throws(
    () => confFile({ ...options, vehiclePort: 1, serverPort: 2, keyFile: "a\nuser root" }),
    /no line end/,
  );
});

Deno.test("mqtt acl --out writes rules and settings for the vehicles of the bench file, or nothing", async () => {
  await using folder = await temporaryFolder();
  const out = join(folder.path, "out");
  const args = ["mqtt", "acl", "--data", join(folder.path, "data"), "--out", out];
  assert.equal(await main(args), 2, "without the broker's address there are no settings");
  await assert.rejects(Deno.stat(out), Deno.errors.NotFound);
  const url = (port: number) => `mqtts://broker.example:${port}`;
  assert.equal(
    await main([...args, "--set", `mqtt.external.url=${url(8884)}`, "--set", `vmg.mqtt_url=${url(8883)}`]),
    0,
  );
  const rules = await Deno.readTextFile(join(out, "zonebench.acl"));
  assert.ok(rules.includes(`user vehicle-${vin}\n`) && rules.includes("user server-client\n"));
  const settings = await Deno.readTextFile(join(out, "zonebench.conf"));
  assert.ok(settings.includes(`acl_file ${join(out, "zonebench.acl")}\n`));
  assert.ok(settings.includes(`certfile ${join(folder.path, "data", "pki", "broker-broker.example.crt")}\n`));
  assert.deepEqual([...Deno.readDirSync(out)].map(({ name }) => name).sort(), [
    "zonebench.acl",
    "zonebench.conf",
  ]);
});
