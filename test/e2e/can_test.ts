// A bench with real wires, as far as this machine has them: one program brings gateways and a CAN adapter on a PTY, another one,
// whose bench file says where they are, runs server and vehicle gateway on them.

import assert from "node:assert/strict";
import { join } from "node:path";
import { intelHex, type Part, sampleBytes } from "../support/firmware_files.ts";
import { interopTest, peers } from "../support/peers.ts";
import { eventually, Program, temporaryFolder } from "../support/program.ts";
import { wiredBench } from "../support/wired_bench.ts";

const vin = "KMHZB00BENCH00001";
const network = "127.0.63.0/24";

/** The default bench twice: as what is simulated, with the adapter on a PTY, and as who uses it sees it. */
async function benchFiles(folder: string): Promise<{ hardware: Program; user: Program }> {
  const pty = join(folder, "ttyCAN");
  const files = wiredBench(await Deno.readTextFile("config/bench.yaml"), "127.0.63", pty);
  for (const [name, text] of Object.entries(files)) {
    await Deno.writeTextFile(join(folder, `${name}.yaml`), text);
  }
  return {
    hardware: new Program({
      data: join(folder, "hardware"),
      network,
      more: ["--bench", join(folder, "hardware.yaml")],
    }),
    user: new Program({ data: join(folder, "user"), network, more: ["--bench", join(folder, "user.yaml")] }),
  };
}

/** Reads an ECU's memory with 0x23, straight over the bus. */
async function readBack(program: Program, ecu: string, { address, bytes }: Part): Promise<Uint8Array> {
  const hex = (value: number) => value.toString(16).toUpperCase().padStart(8, "0");
  const { response } = await program.json(["diag", ecu, "0x23", `44${hex(address)}${hex(bytes.length)}`]) as {
    response: string;
  };
  assert.equal(response.slice(0, 2), "63");
  return Uint8Array.fromHex(response.slice(2));
}

interopTest(
  "one update goes over DoIP into an Ethernet ECU and over SLCAN into CAN ECUs; an adapter that was away is found again",
  [peers.socat],
  async () => {
    await using folder = await temporaryFolder();
    const { hardware, user } = await benchFiles(folder.path);
    await using bench = await hardware.serve(["--only", "bench"], "Bench running");
    await using serving = await user.serve();
    await eventually("the vehicle's first report names every ECU with its version", async () => {
      const { code, stdout } = await user.run(["vci", vin, "--json"]);
      if (code !== 0) return undefined;
      const { ecus } = JSON.parse(stdout) as { ecus: { status: string; sw_version?: string }[] };
      assert.deepEqual(ecus.map(({ status }) => status), Array(8).fill("ok"), serving.log);
      return true;
    });
    const parts: [string, string, Part][] = [
      ["ECU_005", "BODY_CONTROLLER", { address: 0x2000, bytes: sampleBytes(4000, 51) }],
      ["ECU_007", "LIGHT_CONTROLLER", { address: 0x2000, bytes: sampleBytes(4000, 52) }],
      ["ECU_008", "CLIMATE_CONTROLLER", { address: 0x3000, bytes: sampleBytes(4000, 53) }],
    ];
    for (const [ecu, type, part] of parts) {
      const file = join(folder.path, `${ecu}.hex`);
      await Deno.writeTextFile(file, intelHex([part]));
      await user.json([
        ...["firmware", "add", file, "--ecu-type", type, "--hardware", "1.0", "--version", "1.3.0"],
      ]);
    }
    const { update_id } = await user.json(["update", "start", "--vin", vin]) as { update_id: string };
    const watch = await user.run(["update", "watch", update_id, "--json", "--timeout", "120"]);
    assert.equal(watch.code, 0, `${watch.stderr}\n${serving.log}`);
    for (const [ecu, , part] of parts) {
      assert.deepEqual(await readBack(hardware, ecu, part), part.bytes, `${ecu} memory`);
      const { response } = await hardware.json(["diag", ecu, "0x22", "F189"]) as { response: string };
      assert.equal(response, "62F189312E332E30", `${ecu} version`);
    }

    const busy = await user.run(["diag", "ECU_007", "0x22", "F190"]);
    assert.equal(busy.code, 1);
    assert.match(busy.stderr, /CAN_BODY: .*ttyCAN: in use by another program.*--via-server/);
    const vinOfEcu = "62F190" + new TextEncoder().encode(vin).toHex().toUpperCase();
    const through = await user.json(["diag", "ECU_007", "0x22", "F190", "--via-server"]);
    assert.deepEqual(through, { request: "22F190", response: vinOfEcu });

    assert.equal(await bench.stop(), 0);
    const away = await user.run(["diag", "ECU_008", "0x22", "F190", "--via-server"]);
    assert.equal(away.code, 1);
    assert.match(away.stderr, /CAN_BODY at .*ttyCAN is away/);
    await using again = await hardware.serve(["--only", "bench"], "Bench running");
    await eventually("the adapter is found again", async () => {
      const { code } = await user.run(["diag", "ECU_008", "0x22", "F190", "--via-server"]);
      return code === 0 ? true : undefined;
    }, 60_000);
    assert.equal(await serving.stop(), 0, serving.log);
    assert.equal(await again.stop(), 0, again.log);
  },
);
