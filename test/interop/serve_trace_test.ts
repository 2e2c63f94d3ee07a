// `serve --trace` while the vehicle's gateway flashes ECUs over DoIP and over CAN: what tshark finds in the files.

import assert from "node:assert/strict";
import { join } from "node:path";
import { intelHex, sampleBytes } from "../support/firmware_files.ts";
import { interopTest, peers } from "../support/peers.ts";
import { eventually, Program, temporaryFolder } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";

async function tshark(file: string, args: string[]): Promise<string[]> {
  const { success, stdout, stderr } = await new Deno.Command("tshark", {
    args: ["-r", file, ...args],
    stdout: "piped",
    stderr: "piped",
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).split("\n").filter((line) => line !== "");
}

for (const [name, network] of [["trace.pcapng", "127.0.69.0/24"], ["trace.log", "127.0.106.0/24"]]) {
  interopTest(
    `tshark reads what serve records of an update over DoIP and CAN into ${name}`,
    [peers.tshark],
    async () => {
      await using folder = await temporaryFolder();
      const program = new Program({ data: join(folder.path, "data"), network });
      const trace = join(folder.path, name);
      await using serving = await program.serve(["--trace", trace]);
      await eventually("the vehicle's first report", async () => {
        const { code } = await program.run(["vci", vin, "--json"]);
        return code === 0 ? true : undefined;
      });
      const file = join(folder.path, "image.hex");
      await Deno.writeTextFile(file, intelHex([{ address: 0x2000, bytes: sampleBytes(9000, 81) }]));
      for (const type of ["BODY_CONTROLLER", "LIGHT_CONTROLLER"]) {
        await program.json(
          ["firmware", "add", file, "--ecu-type", type, "--hardware", "1.0", "--version", "1.3.0"],
        );
      }
      const { update_id } = await program.json(["update", "start", "--vin", vin]) as { update_id: string };
      const watch = await program.run(["update", "watch", update_id, "--json", "--timeout", "120"]);
      assert.equal(watch.code, 0, `${watch.stderr}\n${serving.log}`);
      assert.equal(await serving.stop(), 0, serving.log);
      assert.match(serving.log, /Trace .*trace\.(?:pcapng|log): \d+ packets and frames/);

      assert.deepEqual(await tshark(trace, ["-Y", "_ws.malformed or doip.illegal_length_field"]), []);
      // Blocks of 1,024 bytes over CAN: nine first frames of TransferData, with their counters.
      const first = await tshark(trace, [
        ...[
          "-Y",
          "can.id == 0x7a7 and data[0:1] == 14 and data[2:1] == 36",
          "-T",
          "fields",
          "-e",
          "data.data",
        ],
      ]);
      const counters = first.map((data) => Number.parseInt(data.replaceAll(":", "").slice(6, 8), 16));
      assert.deepEqual(counters, [1, 2, 3, 4, 5, 6, 7, 8]);
      const overDoip = await tshark(trace, [
        "-Y",
        "uds.sid == 0x36 and doip",
        "-T",
        "fields",
        "-e",
        "doip.type",
      ]);
      // Three blocks, each with its answer.
      assert.equal(overDoip.length, name.endsWith(".log") ? 0 : 6);
    },
  );
}
