// A shipping product's firmware, from its package's file into a simulated ECU; srec_cat says which bytes it holds.

import assert from "node:assert/strict";
import { join } from "node:path";
import { interopTest, peers } from "../support/peers.ts";
import { eventually, Program, temporaryFolder } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";

/** What srec_cat makes of the file between two addresses. */
async function bytesByPeer(file: string, output: string, from: number, to: number): Promise<Uint8Array> {
  const { success, stderr } = await new Deno.Command(peers.srecord.command, {
    args: [file, "-intel", "-crop", `${from}`, `${to}`, "-offset", `-${from}`, "-o", output, "-binary"],
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return await Deno.readFile(output);
}

interopTest(
  "MicroPython for the micro:bit goes from the catalogue into an ECU, and its memory holds the file's bytes",
  [peers.microbit, peers.srecord],
  async () => {
    await using folder = await temporaryFolder();
    const program = new Program({
      data: join(folder.path, "data"),
      network: "127.0.103.0/24",
      timing: "realistic",
    });
    await using serving = await program.serve();
    await eventually(
      "the vehicle's first report",
      async () => (await program.run(["vci", vin, "--json"])).code === 0 ? true : undefined,
    );
    const image = await program.json([
      "firmware",
      "add",
      peers.microbit.command,
      "--ecu-type",
      "BODY_CONTROLLER",
      "--hardware",
      "1.0",
      "--version",
      "1.1.0",
    ]) as { sha256: string };
    const file = await Deno.readFile(peers.microbit.command);
    assert.equal(image.sha256, new Uint8Array(await crypto.subtle.digest("SHA-256", file)).toHex());

    const start = ["update", "start", "--vin", "VMG-001", "--mode", "approve"];
    const { update_id } = await program.json(start) as { update_id: string };
    // It waits for whoever watches: the installation could be over before another program has started.
    await using watch = program.start(["update", "watch", update_id, "--timeout", "120"]);
    await watch.logged("waits for approval");
    await program.json(["update", "approve", update_id]);
    const { code } = await watch.ended;
    assert.equal(code, 0, `${watch.log}\n${serving.log}`);
    assert.match(watch.log, /installing, .*ECU_005/, "progress is shown");
    assert.match(watch.log, /completed/);

    for (const [from, to] of [[0x0000_0000, 0x0003_b88c], [0x1000_10c0, 0x1000_10dc]]) {
      const expected = await bytesByPeer(peers.microbit.command, join(folder.path, "peer.bin"), from, to);
      assert.equal(expected.length, to - from);
      const hex = (value: number) => value.toString(16).padStart(8, "0");
      for (let at = 0; at < expected.length; at += 60_000) {
        const length = Math.min(60_000, expected.length - at);
        const answer = await program.json([
          "diag",
          "ECU_005",
          "0x23",
          `44${hex(from + at)}${hex(length)}`,
        ]) as {
          response: string;
        };
        const read = Uint8Array.fromHex(answer.response.slice(2));
        assert.deepEqual(read, expected.subarray(at, at + length), `memory from ${hex(from + at)}`);
      }
    }
    const version = await program.json(["diag", "ECU_005", "0x22", "F189"]) as { response: string };
    assert.equal(version.response, "62F189312E312E30");
    await eventually("nothing is outdated any more", async () => {
      const report = await program.json(["vci", vin]) as {
        ecus: { ecu_id: string; sw_version: string }[];
        outdated_ecus: unknown[];
      };
      const body = report.ecus.find((ecu) => ecu.ecu_id === "ECU_005");
      return report.outdated_ecus.length === 0 && body?.sw_version === "1.1.0" ? true : undefined;
    });
    assert.equal(await serving.stop(), 0, serving.log);
  },
);
