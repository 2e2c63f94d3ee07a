// Messages over which connections end: when they are held back, and for how long.

import assert from "node:assert/strict";
import { Suspects } from "../../../src/vmg/link/suspects.ts";

Deno.test("the third connection that ends over a message makes it held back, each further one for twice as long up to a limit", () => {
  let now = 0;
  const suspects = new Suspects({ first: 100, longest: 300, now: () => now });
  assert.equal(suspects.blame("a"), 0);
  assert.equal(suspects.blame("a"), 0);
  assert.equal(suspects.has("a"), false);
  assert.equal(suspects.blame("a"), 100);
  assert.equal(suspects.has("a"), true);
  assert.equal(suspects.isDue("a"), false);
  assert.equal(suspects.wait, 100);
  now = 100;
  assert.equal(suspects.isDue("a"), true);
  assert.equal(suspects.has("a"), true, "it still goes alone");
  assert.equal(suspects.wait, undefined);
  assert.equal(suspects.blame("a"), 200);
  assert.equal(suspects.blame("a"), 300);
  assert.equal(suspects.has("b"), false);
});

Deno.test("a message that went through is suspected no longer", () => {
  const suspects = new Suspects({ first: 100, longest: 100 });
  for (let ends = 0; ends < 3; ends++) suspects.blame("a");
  suspects.clear("a");
  assert.equal(suspects.has("a"), false);
  assert.equal(suspects.blame("a"), 0);
});

Deno.test("a thousand are remembered, the newest", () => {
  const suspects = new Suspects({ first: 100, longest: 100 });
  for (let number = 0; number < 1_001; number++) {
    for (let ends = 0; ends < 3; ends++) suspects.blame(`${number}`);
  }
  assert.equal(suspects.has("0"), false);
  assert.equal(suspects.has("1"), true);
  assert.equal(suspects.has("1000"), true);
});

Deno.test("times that cannot be are refused", () => {
  assert.throws(() => new Suspects({ first: 0, longest: 1 }), /first: expected more than 0 ms, got 0/);
  assert.throws(() => new Suspects({ first: 2, longest: 1 }), /longest: expected at least 2 ms, got 1/);
});
