// The server's word on what it stored, through a broker that is not the server.

import assert from "node:assert/strict";
import { install } from "@sinonjs/fake-timers";
import { createLogger } from "../../../src/log.ts";
import { Confirmations, longestWait } from "../../../src/vmg/link/confirmations.ts";
import { Outbox } from "../../../src/vmg/link/outbox.ts";
import { StateDatabase } from "../../../src/vmg/state/database.ts";

const silent = createLogger({ level: "error", write: () => {}, color: false });
const stored = (...message_ids: string[]) => new TextEncoder().encode(JSON.stringify({ message_ids }));

async function withState(
  test: (state: StateDatabase, directory: string) => void | Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "vmg-confirmations-" });
  const state = StateDatabase.open(directory);
  try {
    await test(state, directory);
  } finally {
    state.close();
    await Deno.remove(directory, { recursive: true });
  }
}

function parts(state: StateDatabase, timeout = 1_000) {
  const outbox = new Outbox(state);
  return { outbox, confirmations: new Confirmations({ state, outbox, timeout, log: silent }) };
}

Deno.test("who acknowledges is remembered over a restart, and a word of the server's shows it", async () => {
  await withState((state) => {
    const { confirmations } = parts(state);
    assert.equal(confirmations.by, "broker");
    confirmations.take(stored("m-1"));
    assert.equal(confirmations.by, "server");
    assert.equal(parts(state).confirmations.by, "server");
    confirmations.told("broker");
    assert.equal(parts(state).confirmations.by, "broker");
  });
});

Deno.test("what the server has is gone from the queue, whichever connection it went over; the rest stays", async () => {
  await withState(async (state) => {
    const { outbox, confirmations } = parts(state);
    const add = () => outbox.add({ topic: "t", payload: {}, kind: "telemetry" }) ?? "";
    const [first, second] = [add(), add()];
    const confirmation = confirmations.expect(first);
    confirmations.take(stored(first, "of-another-time"));
    await confirmation.heard;
    confirmation.end();
    assert.equal(outbox.count, 1);
    outbox.flush();
    assert.deepEqual(outbox.take(10).map(({ messageId }) => messageId), [second]);
    outbox.flush();
  });
});

Deno.test("what does not fit the contract confirms nothing", async () => {
  await withState((state) => {
    const { outbox, confirmations } = parts(state);
    const id = outbox.add({ topic: "t", payload: {}, kind: "telemetry" });
    for (const text of ["", "{", "{}", '{"message_ids":[]}', `{"message_ids":"${id}"}`]) {
      confirmations.take(new TextEncoder().encode(text));
    }
    assert.deepEqual([outbox.count, confirmations.by], [1, "broker"]);
  });
});

Deno.test("a wait ends with its time, which doubles once for all until the server says something, or with the connection", async () => {
  await withState(async (state) => {
    const clock = install({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    try {
      const { confirmations } = parts(state, 1_000);
      const outcome = (id: string) => {
        const { heard } = confirmations.expect(id);
        return heard.then(() => "heard", (error: Error) => error.message);
      };
      const both = [outcome("a"), outcome("b")];
      await clock.tickAsync(1_000);
      assert.deepEqual(await Promise.all(both), [
        "the server did not confirm message a within 1000 ms",
        "the server did not confirm message b within 1000 ms",
      ]);
      const third = outcome("a");
      await clock.tickAsync(2_000);
      assert.equal(await third, "the server did not confirm message a within 2000 ms");
      for (let time = 4_000; time < longestWait * 2; time *= 2) {
        void outcome("a");
        await clock.tickAsync(Math.min(time, longestWait));
      }
      const last = outcome("a");
      await clock.tickAsync(longestWait);
      assert.equal(await last, `the server did not confirm message a within ${longestWait} ms`);
      confirmations.take(stored("another"));
      const after = outcome("a");
      await clock.tickAsync(1_000);
      assert.equal(await after, "the server did not confirm message a within 1000 ms");
      const lost = outcome("c");
      confirmations.lost();
      assert.equal(await lost, "the connection was lost");
    } finally {
      clock.uninstall();
    }
  });
});

Deno.test("a time-out that cannot be is refused", async () => {
  await withState((state) => {
    for (const timeout of [0, -1, NaN, longestWait + 1]) {
      assert.throws(() => parts(state, timeout), RangeError);
    }
  });
});
