// The simulated bench as `serve` brings it, met by programs that we did not write, while the vehicle's gateway uses it too.

import assert from "node:assert/strict";
import { join } from "node:path";
import { interopTest, peers } from "../support/peers.ts";
import { eventually, Program, temporaryFolder } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";

interopTest(
  "scapy reads the VIN from a simulated gateway that the vehicle's gateway is using",
  [peers.scapy],
  async () => {
    await using folder = await temporaryFolder();
    const program = new Program({
      data: join(folder.path, "data"),
      network: "127.0.49.0/24",
      timing: "realistic",
    });
    await using serving = await program.serve();
    await eventually(
      "the vehicle's first report",
      async () => (await program.run(["vci", vin, "--json"])).code === 0 ? true : undefined,
    );
    const script = new URL("./doip/scapy_reads_vin.py", import.meta.url).pathname;
    const { success, stdout, stderr } = await new Deno.Command(peers.scapy.command, {
      args: [script, "127.0.49.2", "13400", "0x1201"],
    }).output();
    const text = new TextDecoder();
    assert.ok(success, text.decode(stderr));
    assert.deepEqual(text.decode(stdout).trim().split("\n"), [vin, vin]);
    assert.equal(await serving.stop(), 0, serving.log);
  },
);
