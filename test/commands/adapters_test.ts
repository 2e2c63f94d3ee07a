// `zonebench adapters` as a user runs it, with the permissions that its task has: those do not let Deno open devices itself.

import assert from "node:assert/strict";
import { join } from "node:path";
import { SlcanDevice } from "../../hardware/can/slcan_device.ts";
import { openPort } from "../../hardware/serial/open_port.ts";
import { makePty } from "../../hardware/serial/pty.ts";
import { SimulatedBench } from "../../hardware/sim/bench.ts";
import { simulationOf } from "../../src/commands/bench_description.ts";
import { loadConfig } from "../../src/config/load.ts";
import { MemoryWire } from "../hardware/can/memory_bus.ts";
import { interopTest } from "../support/peers.ts";
import { socat } from "../support/serial_peers.ts";

const repository = new URL("../../", import.meta.url).pathname;

async function zonebench(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "--no-check", "-P=program", "src/main.ts", ...args],
    cwd: repository,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

interopTest("an adapter on a port is told with version and serial number", [socat], async () => {
  const folder = await Deno.makeTempDir();
  const path = join(folder, "adapter");
  const device = new SlcanDevice(await makePty(path), {
    join: () => new MemoryWire().join(),
    version: "2021",
    serialNumber: "BODY",
  });
  try {
    const { code, stdout, stderr } = await zonebench("adapters", "--json", "--port", path);
    assert.equal(code, 0, stderr);
    assert.deepEqual(JSON.parse(stdout), [
      { port: path, state: "slcan", version: "2021", serial_number: "BODY", acknowledges: true },
    ]);
    const table = await zonebench("adapters", "--port", path);
    assert.match(table.stdout, /^PORT +DEVICE +STATE +VERSION +SERIAL/);
    assert.match(table.stdout, /adapter +slcan +2021 +BODY/);

    const open = await openPort(path);
    try {
      const busy = await zonebench("adapters", "--json", "--port", path);
      assert.equal(busy.code, 1);
      assert.deepEqual(JSON.parse(busy.stdout), [
        { port: path, state: "in use", error: "in use by another program" },
      ]);
    } finally {
      open.close();
    }
  } finally {
    await device.close();
    await Deno.remove(folder, { recursive: true });
  }
});

interopTest("a port that is silent, and one that is not there, are told as such", [socat], async () => {
  const folder = await Deno.makeTempDir();
  const path = join(folder, "silent");
  const pty = await makePty(path);
  try {
    const { code, stdout, stderr } = await zonebench(
      "adapters",
      "--json",
      "--port",
      path,
      join(folder, "nothing"),
    );
    assert.equal(code, 1);
    const [silent, missing] = JSON.parse(stdout);
    assert.equal(silent.state, "nothing answers");
    assert.equal(missing.state, "failed");
    assert.match(missing.error, /^no such port/);
    assert.match(stderr, /no SLCAN adapter answered there/);
  } finally {
    pty.close();
    await pty.ended;
    await Deno.remove(folder, { recursive: true });
  }
});

interopTest("ports are listed without a byte being sent to those that are not known", [socat], async () => {
  const { code, stdout, stderr } = await zonebench("adapters", "--json");
  assert.equal(code, 0, stderr);
  for (const port of JSON.parse(stdout)) {
    // Those of the bench file are asked: it says what is there.
    if (port.adapter_id !== undefined) continue;
    assert.match(port.port, /^\/dev\/tty/);
    if (port.adapter === undefined) assert.equal(port.state, "not asked");
  }
});

Deno.test("an adapter of the bench is told with the ECUs that answer behind it, or with why it does not open", async () => {
  const network = ["--set", "bench.network=127.0.105.0/24"];
  const { bench } = await loadConfig({ set: [network[1], "bench.timing=none"] });
  const common = { adapter_id: "CAN_BODY", port: "tcp://127.0.105.4:20107", bit_rate: 500_000 };
  const ofBench = async () => {
    const { stdout } = await zonebench("adapters", "--json", ...network);
    return JSON.parse(stdout)[0];
  };
  const folder = await Deno.makeTempDir();
  try {
    await using simulated = await SimulatedBench.start(simulationOf(bench, folder));
    simulated.ecu("ECU_008").powerOff();
    assert.deepEqual(await ofBench(), {
      ...common,
      state: "open",
      version: "1013",
      ecus: [{ ecu_id: "ECU_007", answers: true }, { ecu_id: "ECU_008", answers: false }],
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  const { error, ...rest } = await ofBench();
  assert.deepEqual(rest, { ...common, state: "failed" });
  assert.match(error, /connection refused/);
});

Deno.test("help says what asking sends, and wrong usage exits with 2", async () => {
  const help = await zonebench("adapters", "--help");
  assert.equal(help.code, 0);
  assert.match(help.stdout, /Asking sends .*V\\r \(version\)/);
  assert.match(help.stdout, /ask only\s+where you know what is plugged in/);
  assert.equal((await zonebench("adapters", "--baud-rate", "fast")).code, 2);
});
