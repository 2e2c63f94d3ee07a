// The same update with the data in PostgreSQL instead of the embedded database.

import assert from "node:assert/strict";
import { join } from "node:path";
import { intelHex, sampleBytes } from "../support/firmware_files.ts";
import { requirePostgres, startPostgres } from "../support/postgres.ts";
import { eventually, Program, temporaryFolder } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";

Deno.test({
  name: "an update runs with the data in PostgreSQL, and a restart of the server finds it there",
  ignore: requirePostgres() === null,
  fn: async () => {
    const postgres = await startPostgres();
    try {
      await using folder = await temporaryFolder();
      const data = join(folder.path, "data");
      const program = new Program({
        data,
        network: "127.0.50.0/24",
        settings: [`database.url=${postgres.url}`],
        freshDatabase: true,
      });
      const file = join(folder.path, "brake.hex");
      await Deno.writeTextFile(file, intelHex([{ address: 0x4000, bytes: sampleBytes(3000, 21) }]));
      const first = await program.serve();
      await eventually(
        "the vehicle's first report",
        async () => (await program.run(["vci", vin, "--json"])).code === 0 ? true : undefined,
      );
      await program.json([
        "firmware",
        "add",
        file,
        "--ecu-type",
        "BRAKE_CONTROLLER",
        "--hardware",
        "1.0",
        "--version",
        "1.4.0",
      ]);
      const { update_id } = await program.json(["update", "start", "--vin", vin]) as { update_id: string };
      const watch = await program.run(["update", "watch", update_id, "--timeout", "60"]);
      assert.equal(watch.code, 0, `${watch.stderr}\n${first.log}`);
      assert.equal(await first.stop(), 0, first.log);
      await assert.rejects(
        Deno.stat(join(data, "db")),
        Deno.errors.NotFound,
        "no embedded database was made",
      );
      assert.ok(!first.log.includes(new URL(postgres.url).password || "\0"), "the password is not logged");

      await using second = await program.serve();
      const updates = await program.json(["update", "list"]) as { update_id: string; status: string }[];
      assert.deepEqual(updates.map((it) => [it.update_id, it.status]), [[update_id, "completed"]]);
      assert.equal(await second.stop(), 0, second.log);
    } finally {
      await postgres.stop();
    }
  },
});
