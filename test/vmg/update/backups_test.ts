// Saved software of ECUs as files.

import assert from "node:assert/strict";
import { removeBackups } from "../../../src/vmg/update/backups.ts";

Deno.test("the backups of one update are deleted, whole or not, and no other's", async () => {
  const directory = await Deno.makeTempDir({ prefix: "backups-" });
  try {
    for (const name of ["u1_ECU_001.bin", "u1_ECU_002.bin.part", "u10_ECU_001.bin"]) {
      await Deno.writeTextFile(`${directory}/${name}`, "");
    }
    await removeBackups(directory, "u1");
    assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name), ["u10_ECU_001.bin"]);
    await removeBackups(`${directory}/none`, "u1");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
