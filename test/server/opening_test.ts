// What is said while a database opens.

import assert from "node:assert/strict";
import FakeTimers from "@sinonjs/fake-timers";
import { createLogger } from "../../src/log.ts";
import { whileTold } from "../../src/server/opening.ts";

Deno.test("a database that takes its time is told of every three seconds until it is open", async () => {
  const clock = FakeTimers.install({ toFake: ["setInterval", "clearInterval", "performance"] });
  try {
    const lines: string[] = [];
    const log = createLogger({ level: "info", write: (line) => lines.push(line) });
    const opening = Promise.withResolvers<string>();
    const told = whileTold(log, opening.promise);
    clock.tick(2_999);
    assert.equal(lines.length, 0);
    clock.tick(3_001);
    assert.deepEqual(lines.map((line) => /Opening database: (\d) s so far/.exec(line)?.[1]), ["3", "6"]);
    opening.resolve("open");
    assert.equal(await told, "open");
    clock.tick(60_000);
    assert.equal(lines.length, 2);
  } finally {
    clock.uninstall();
  }
});
