// Turns on the single connection.
import assert from "node:assert/strict";
import FakeTimers from "@sinonjs/fake-timers";
import { DatabaseTimeoutError, DatabaseUnavailableError } from "../../../src/server/store/errors.ts";
import { Turns } from "../../../src/server/store/turn.ts";

/** Asks for a turn and notes when it is given. */
function ask(turns: Turns, exclusive: boolean, name: string, given: string[]): Promise<() => void> {
  return turns.take(exclusive).then((done) => {
    given.push(name);
    return done;
  });
}

/** Lets every promise that can settle do so. */
const settle = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

Deno.test("shared turns go together, an exclusive one alone, in the order in which they were asked for", async () => {
  const turns = new Turns({ maxWaiting: 10, waitLimit: 10_000 });
  const given: string[] = [];
  const a = await ask(turns, false, "a", given);
  const b = await ask(turns, false, "b", given);
  const c = ask(turns, true, "c", given);
  const d = ask(turns, false, "d", given);
  const e = ask(turns, false, "e", given);
  await settle();
  assert.deepEqual(given, ["a", "b"]);
  a();
  await settle();
  assert.deepEqual(given, ["a", "b"]);
  b();
  (await c)();
  assert.deepEqual(given, ["a", "b", "c"]);
  (await d)();
  (await e)();
  assert.deepEqual(given, ["a", "b", "c", "d", "e"]);
});

Deno.test("whoever waits too long is told, and no longer holds back those behind", async () => {
  const clock = FakeTimers.install();
  try {
    const turns = new Turns({ maxWaiting: 10, waitLimit: 1000 });
    const given: string[] = [];
    await ask(turns, false, "reader", given);
    const writer = assert.rejects(turns.take(true), (error) => {
      assert(error instanceof DatabaseTimeoutError);
      assert.match(error.message, /waited 1000 ms/);
      return true;
    });
    await clock.tickAsync(500);
    const behind = ask(turns, false, "behind", given);
    await clock.tickAsync(499);
    assert.deepEqual(given, ["reader"]);
    await clock.tickAsync(1);
    await writer;
    await behind;
    assert.deepEqual(given, ["reader", "behind"]);
  } finally {
    clock.uninstall();
  }
});

Deno.test("only so many may wait", async () => {
  const turns = new Turns({ maxWaiting: 1, waitLimit: 10_000 });
  const done = await turns.take(true);
  const second = turns.take(true);
  await assert.rejects(turns.take(false), DatabaseUnavailableError);
  done();
  (await second)();
});

Deno.test("closing rejects those that wait and those that come, and waits for those that hold a turn", async () => {
  const turns = new Turns({ maxWaiting: 10, waitLimit: 10_000 });
  const done = await turns.take(true);
  const waiting = assert.rejects(turns.take(false), /closed/);
  let drained = false;
  const closing = turns.close(new Error("closed")).then(() => drained = true);
  await waiting;
  await assert.rejects(turns.take(false), /closed/);
  assert.equal(drained, false);
  done();
  await closing;
  await new Turns({ maxWaiting: 1, waitLimit: 1 }).close(new Error("closed"));
});
