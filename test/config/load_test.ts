import assert from "node:assert/strict";
import { ConfigError, loadConfig, type LoadOptions } from "../../src/config/load.ts";

async function refusal(options: LoadOptions): Promise<string> {
  try {
    await loadConfig(options);
  } catch (error) {
    assert.ok(error instanceof ConfigError, `expected a ConfigError, got ${error}`);
    return error.message;
  }
  throw new assert.AssertionError({ message: "the configuration was taken" });
}

async function withFile(text: string, run: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile({ suffix: ".yaml" });
  try {
    await Deno.writeTextFile(path, text);
    await run(path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("loadConfig() without anything gives the documented defaults", async () => {
  const config = await loadConfig();
  assert.equal(config.server.https.port, 8443);
  assert.equal(config.server.mqtt.port, 8883);
  assert.equal(config.server.local.port, 8080);
  assert.deepEqual(config.server.tls.profiles, [2]);
  assert.equal(config.database.url, "");
  assert.equal(config.mqtt.mode, "embedded");
  assert.equal(config.bench.network, "127.0.10.0/24");
  assert.equal(config.bench.timing, "realistic");
  assert.equal(config.bench.simulated, true);
});

Deno.test("the default bench has 3 gateways and 8 ECUs", async () => {
  const { bench } = await loadConfig();
  assert.equal(bench.vehicles.length, 1);
  assert.equal(bench.vehicles[0].gateways.length, 3);
  assert.equal(bench.vehicles[0].gateways.flatMap((gateway) => gateway.ecus).length, 8);
});

Deno.test("the large bench has ECU_001 to ECU_100 in ten zones, five of them in reserve", async () => {
  const { bench } = await loadConfig({ benchFile: "config/bench-100.yaml" });
  const [vehicle] = bench.vehicles;
  assert.equal(vehicle.gateways.length, 10);
  assert.equal(vehicle.gateways.filter((it) => it.zonal_gateway_id.startsWith("ZG_RESERVE_")).length, 5);
  const ids = vehicle.gateways.flatMap((gateway) => gateway.ecus.map((ecu) => ecu.ecu_id)).sort();
  assert.deepEqual(ids, Array.from({ length: 100 }, (_, i) => `ECU_${String(i + 1).padStart(3, "0")}`));
});

Deno.test("every setting of the default file is documented by a comment above it or its group", async () => {
  const lines = (await Deno.readTextFile("config/server.yaml")).split("\n");
  let commented = false;
  let group = false;
  for (const [index, line] of lines.entries()) {
    if (/^\s*#/.test(line)) commented = true;
    else if (line.trim() === "") [commented, group] = [false, false];
    else if (/^\s*[a-z_]+:\s*\S/.test(line)) {
      // Lines that follow a documented one belong to its comment.
      assert.ok(commented || group, `config/server.yaml:${index + 1}: no comment for ${line.trim()}`);
      group = group || commented;
    } else if (/^\s*[a-z_]+:\s*$/.test(line)) group = false;
  }
});

Deno.test("the command line wins over the environment, the environment over the file", async () => {
  await withFile(
    "server:\n  https:\n    port: 1001\n  mqtt:\n    port: 1002\n  local:\n    port: 1003\n",
    async (configFile) => {
      const environment = {
        ZONEBENCH_SERVER_MQTT_PORT: "2002",
        ZONEBENCH_SERVER_LOCAL_PORT: "2003",
        PATH: "/bin",
      };
      const { server } = await loadConfig({ configFile, environment, set: ["server.local.port=3003"] });
      assert.equal(server.https.port, 1001);
      assert.equal(server.mqtt.port, 2002);
      assert.equal(server.local.port, 3003);
      assert.equal(server.https.hostname, "0.0.0.0", "what the file leaves out keeps its default");
    },
  );
});

Deno.test("an unknown key names file, line, key and the one that was meant", async () => {
  await withFile("server:\n  https:\n    prot: 9443\n", async (configFile) => {
    assert.equal(
      await refusal({ configFile }),
      `${configFile}:3: server.https.prot: no such setting; did you mean "port"?`,
    );
  });
});

Deno.test("a wrong type names file, line, key, what was expected and what came", async () => {
  await withFile("log:\n  level: info\nserver:\n  https:\n    port: high\n", async (configFile) => {
    const message = await refusal({ configFile });
    assert.ok(message.startsWith(`${configFile}:5: server.https.port: `), message);
    assert.match(message, /expected number/);
    assert.match(message, /got "high"/);
  });
});

Deno.test("every wrong setting is told at once", async () => {
  await withFile("log: { level: loud }\nserver: { names: 7 }\n", async (configFile) => {
    const lines = (await refusal({ configFile })).split("\n");
    assert.equal(lines.length, 2);
    assert.ok(lines.some((line) => line.includes("log.level")));
    assert.ok(lines.some((line) => line.includes("server.names")));
  });
});

Deno.test("a bad VIN in a bench file is refused with its line", async () => {
  const text = (await Deno.readTextFile("config/bench.yaml")).replace(
    "KMHZB00BENCH00001",
    "KMHZB00BENCHO0001",
  );
  const line = text.split("\n").findIndex((it) => it.includes("KMHZB00BENCHO0001")) + 1;
  await withFile(text, async (benchFile) => {
    const message = await refusal({ benchFile });
    assert.ok(message.startsWith(`${benchFile}:${line}: bench.vehicles[0].vin: must be a VIN`), message);
    assert.match(message, /got "KMHZB00BENCHO0001"/);
  });
});

Deno.test("an ECU that stands twice, and an ECU type that does not exist, are refused", async () => {
  const original = await Deno.readTextFile("config/bench.yaml");
  await withFile(original.replace("ECU_002", "ECU_001"), async (benchFile) => {
    assert.match(await refusal({ benchFile }), /ECU ECU_001 stands twice/);
  });
  await withFile(original.replace("ecu_type: DOOR_MODULE", "ecu_type: DOOR_MODUL"), async (benchFile) => {
    assert.match(await refusal({ benchFile }), /ECU type DOOR_MODUL does not stand in bench.ecu_types/);
  });
  await withFile(original.replace("0x1102", "0x1101"), async (benchFile) => {
    assert.match(await refusal({ benchFile }), /logical address 4353 stands twice/);
  });
});

Deno.test("a bench file with anything but a bench is refused", async () => {
  await withFile("bench: {}\nserver: {}\n", async (benchFile) => {
    assert.match(await refusal({ benchFile }), /:2: expected "bench" and nothing else .*got "server"/);
  });
});

Deno.test("broken YAML is refused with line and column", async () => {
  await withFile("server:\n  https: [\n", async (configFile) => {
    assert.match(await refusal({ configFile }), /:\d+:\d+: not valid YAML/);
  });
});

Deno.test("a file that is not there is refused by name", async () => {
  assert.match(
    await refusal({ configFile: "/nowhere/server.yaml" }),
    /^\/nowhere\/server.yaml: cannot be read/,
  );
});

Deno.test("an unknown environment setting is refused, not ignored", async () => {
  const environment = { ZONEBENCH_SERVER_HTTPS_PROT: "1" };
  assert.equal(
    await refusal({ environment }),
    'environment ZONEBENCH_SERVER_HTTPS_PROT: no such setting; did you mean "ZONEBENCH_SERVER_HTTPS_PORT"?',
  );
});

Deno.test("--set without a value, and for a setting that does not exist, is refused", async () => {
  assert.match(await refusal({ set: ["server.https.port"] }), /expected a\.b\.c=value/);
  assert.match(
    await refusal({ set: ["server.htps.port=1"] }),
    /no such setting "server.htps"; did you mean "https"\?/,
  );
  assert.match(await refusal({ set: ["server.https.prt=1"] }), /no such setting; did you mean "port"\?/);
  assert.match(await refusal({ set: ["__proto__.polluted=1"] }), /no such setting/);
  assert.equal(({} as Record<string, unknown>).polluted, undefined);
});

Deno.test("--set takes lists and reaches into the bench", async () => {
  const config = await loadConfig({
    set: ["server.tls.profiles=[2, 0]", "bench.timing=none", "bench.vehicles.0.vmg_id=VMG-777"],
  });
  assert.deepEqual(config.server.tls.profiles, [2, 0]);
  assert.equal(config.bench.timing, "none");
  assert.equal(config.bench.vehicles[0].vmg_id, "VMG-777");
});

Deno.test("what may hold a secret is not repeated in a message", async () => {
  const message = await refusal({ set: ["database.url=mysql://user:hunter2@host/db"] });
  assert.match(message, /database.url/);
  assert.doesNotMatch(message, /hunter2/);
});
