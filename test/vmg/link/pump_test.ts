// The queue's way over one connection: what a connection that fails, and a message that fails, may do and may not.

import assert from "node:assert/strict";
import { Pump } from "../../../src/vmg/link/pump.ts";
import { Outbox } from "../../../src/vmg/link/outbox.ts";
import { SessionError } from "../../../src/vmg/link/session.ts";
import { Suspects } from "../../../src/vmg/link/suspects.ts";
import { StateDatabase } from "../../../src/vmg/state/database.ts";

/** A queue with messages 1 to `count`, and what a pump needs beside it. */
async function withQueue(
  count: number,
  test: (queue: { outbox: Outbox; state: StateDatabase; suspects: Suspects; ids: string[] }) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "vmg-pump-" });
  const state = StateDatabase.open(directory);
  const outbox = new Outbox(state);
  try {
    const ids = Array.from(
      { length: count },
      (_, at) => outbox.add({ topic: "t", payload: { number: at + 1 }, kind: "telemetry" }) ?? "",
    );
    await test({ outbox, state, suspects: new Suspects({ first: 20, longest: 20 }), ids });
  } finally {
    outbox.flush();
    state.close();
    await Deno.remove(directory, { recursive: true });
  }
}

function numberOf(payload: string): number {
  return JSON.parse(payload).number;
}

Deno.test("a connection that refuses each message at once, and never says that it ended, is tried with each message once", async () => {
  await withQueue(3, async ({ outbox, suspects }) => {
    const tried: number[] = [];
    const pump = new Pump({
      session: {
        publish: (_topic, payload) => {
          tried.push(numberOf(payload));
          // No turn of the event loop lies between the tries: without an end of its own this would go on for ever.
          return tried.length > 100 ? new Promise(() => {}) : Promise.reject(new SessionError("it is gone"));
        },
        abandon: () => {},
      },
      outbox,
      expect: () => undefined,
      suspects,
      window: () => 2,
      onSent: () => {},
    });
    await pump.run(AbortSignal.timeout(5_000));
    assert.deepEqual(tried, [1, 2]);
    assert.equal(pump.sent, 0);
    assert.deepEqual(outbox.take(10).map(({ payload }) => numberOf(payload)), [1, 2, 3], "nothing is lost");
  });
});

Deno.test("a queue that cannot be read ends the connection, and nothing else", async () => {
  await withQueue(1, async ({ outbox, suspects }) => {
    const ended: Error[] = [];
    const broken = new Error("disk I/O error");
    const pump = new Pump({
      session: { publish: () => Promise.resolve(), abandon: (reason) => ended.push(reason) },
      outbox: {
        take: () => {
          throw broken;
        },
        acknowledge: () => {},
        release: () => {},
        onAdded: (run) => outbox.onAdded(run),
      },
      expect: () => undefined,
      suspects,
      window: () => 1,
      onSent: () => {},
    });
    await pump.run(AbortSignal.timeout(5_000));
    assert.equal(ended.length, 1);
    assert.equal(ended[0].cause, broken);
  });
});

Deno.test("a message that is held back goes last, alone, when its time has come", async () => {
  await withQueue(3, async ({ outbox, suspects, ids }) => {
    for (let ends = 0; ends < 3; ends++) suspects.blame(ids[0]);
    const over = new AbortController();
    const came: { number: number; alone: string | undefined }[] = [];
    const pump = new Pump({
      session: {
        publish: async (_topic, payload) => {
          came.push({ number: numberOf(payload), alone: pump.alone });
          await Promise.resolve();
          if (came.length === 3) over.abort();
        },
        abandon: () => {},
      },
      outbox,
      expect: () => undefined,
      suspects,
      window: () => 20,
      onSent: () => {},
    });
    await pump.run(AbortSignal.any([over.signal, AbortSignal.timeout(5_000)]));
    assert.deepEqual(came, [
      { number: 2, alone: undefined },
      { number: 3, alone: undefined },
      { number: 1, alone: ids[0] },
    ]);
    // What came through is no suspect any more.
    assert.equal(suspects.has(ids[0]), false);
  });
});

Deno.test("a message that the server did not confirm goes out again on the same connection", async () => {
  await withQueue(1, async ({ outbox, suspects, ids }) => {
    const over = new AbortController();
    let asked = 0;
    const pump = new Pump({
      session: { publish: () => Promise.resolve(), abandon: () => {} },
      outbox,
      expect: (messageId) => {
        assert.equal(messageId, ids[0]);
        asked++;
        const late = () => new Promise<void>((_, reject) => setTimeout(() => reject(new Error("late")), 1));
        return { heard: asked === 1 ? late() : Promise.resolve(), end: () => {} };
      },
      suspects,
      window: () => 1,
      onSent: () => over.abort(),
    });
    await pump.run(AbortSignal.any([over.signal, AbortSignal.timeout(5_000)]));
    assert.equal(asked, 2);
    assert.equal(outbox.count, 0);
  });
});
