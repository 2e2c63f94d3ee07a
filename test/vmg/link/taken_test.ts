// What the vehicle has taken is told of in bundles, again as long as there is no connection, and not without limit.

import assert from "node:assert/strict";
import { install } from "@sinonjs/fake-timers";
import { TakenMessages } from "../../../src/vmg/link/taken.ts";

Deno.test("what is taken at about the same time is told of together, what was not heard once more", async () => {
  const clock = install({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    const told: string[][] = [];
    let connected = true;
    const taken = new TakenMessages((ids) => {
      if (connected) told.push([...ids]);
      return Promise.resolve(connected);
    });
    for (const id of ["a", "b", "a"]) taken.note(id);
    await clock.tickAsync(100);
    assert.deepEqual(told, [["a", "b"]]);
    connected = false;
    taken.note("c");
    await clock.tickAsync(100);
    connected = true;
    await taken.flush();
    assert.deepEqual(told, [["a", "b"], ["c"]]);
    taken.note("d");
    taken.clear();
    await clock.tickAsync(100);
    assert.equal(told.length, 2);
  } finally {
    clock.uninstall();
  }
});

Deno.test("without a connection a thousand are remembered, the newest, and told of in parts", async () => {
  const clock = install({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    const told: string[][] = [];
    let connected = false;
    const taken = new TakenMessages((ids) => {
      if (connected) told.push([...ids]);
      return Promise.resolve(connected);
    });
    for (let index = 0; index < 1_200; index++) taken.note(`m-${index}`);
    connected = true;
    await taken.flush();
    assert.deepEqual(told.map((ids) => ids.length), [500, 500]);
    assert.deepEqual([told[0][0], told[1][499]], ["m-200", "m-1199"]);
  } finally {
    clock.uninstall();
  }
});
