// Keys that are made after the server's start.

import assert from "node:assert/strict";
import { watchKeys } from "../../src/commands/key_watch.ts";
import type { InventoryEntry } from "../../src/contract/uptane.ts";
import { createLogger } from "../../src/log.ts";

const entry = (ecu_id: string): InventoryEntry => ({
  vin: "KMHZB00BENCH00001",
  ecu_id,
  primary: false,
  keys: ["key"],
});

Deno.test("a server is told once of keys that came to be there, and again when they are others", async () => {
  let there: InventoryEntry[] = [];
  let looks = 0;
  let looked = Promise.withResolvers<void>();
  /** Two looks from now what is there has been seen, and what came of it is done. */
  const seen = async () => {
    for (let more = 0; more < 2; more++) {
      looked = Promise.withResolvers<void>();
      await looked.promise;
    }
  };
  const told: string[][] = [];
  const lines: string[] = [];
  let failing = false;
  const watch = watchKeys({
    known: [],
    interval: 1,
    log: createLogger({ write: (line) => lines.push(line) }),
    read: () => {
      looks++;
      looked.resolve();
      return failing ? Promise.reject(new Error("cannot be read")) : Promise.resolve(there);
    },
    add: (entries) => Promise.resolve(void told.push(entries.map(({ ecu_id }) => ecu_id))),
  });
  await seen();
  assert.deepEqual(told, []);
  there = [entry("ECU_001")];
  await seen();
  await seen();
  assert.deepEqual(told, [["ECU_001"]]);
  failing = true;
  await seen();
  await seen();
  failing = false;
  there = [entry("ECU_001"), entry("ECU_002")];
  await seen();
  assert.deepEqual(told, [["ECU_001"], ["ECU_001", "ECU_002"]]);
  assert.equal(lines.filter((line) => /not entered yet: .*cannot be read/.test(line)).length, 1);
  await watch[Symbol.asyncDispose]();
  const before = looks;
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(looks, before);
});
