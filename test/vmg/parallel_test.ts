// Bounded parallel work.

import assert from "node:assert/strict";
import { mapBounded } from "../../src/vmg/parallel.ts";

Deno.test("mapBounded() keeps the order and never has more under way than allowed", async () => {
  let underWay = 0;
  let most = 0;
  const results = await mapBounded([5, 1, 4, 2, 3], 2, async (item) => {
    most = Math.max(most, ++underWay);
    for (let turn = 0; turn < item; turn++) await Promise.resolve();
    underWay--;
    return item * 10;
  });
  assert.deepEqual(results, [50, 10, 40, 20, 30]);
  assert.equal(most, 2);
});

Deno.test("mapBounded() begins nothing after a failure and waits for what is under way", async () => {
  const begun: number[] = [];
  const ended: number[] = [];
  await assert.rejects(
    mapBounded([1, 2, 3, 4], 2, async (item) => {
      begun.push(item);
      if (item === 1) throw new Error("first");
      for (let turn = 0; turn < 10; turn++) await Promise.resolve();
      ended.push(item);
    }),
    /first/,
  );
  assert.deepEqual(begun, [1, 2]);
  assert.deepEqual(ended, [2]);
});
