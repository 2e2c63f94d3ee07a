// Telemetry is gathered into batches; each sender learns of its own message's end.

import assert from "node:assert/strict";
import { silentLogger } from "../../../src/log.ts";
import { DatabaseUnavailableError, QueryError } from "../../../src/server/store/errors.ts";
import type { TelemetryInput } from "../../../src/server/store/telemetry.ts";
import { BatcherClosed, TelemetryBatcher } from "../../../src/server/telemetry/batcher.ts";

const row = (value: number): TelemetryInput => ({
  vin: "KMHTEST1AAA000001",
  messageId: String(value),
  timestamp: new Date(0),
  metrics: { value },
});

type Options = ConstructorParameters<typeof TelemetryBatcher>[0];
function batcher(store: Options["store"], options: Partial<Options> = {}): TelemetryBatcher {
  return new TelemetryBatcher({
    store,
    afterCommit: () => Promise.resolve(),
    batchInterval: 1,
    log: silentLogger,
    ...options,
  });
}

Deno.test("messages that come together are stored together, in their order", async () => {
  const batches: number[][] = [];
  const subject = batcher((batch) => {
    batches.push(batch.map((it) => it.metrics.value));
    return Promise.resolve({ stored: batch.length, duplicates: [] });
  }, { batchSize: 3 });
  await Promise.all([1, 2, 3, 4, 5].map((value) => subject.add(row(value))));
  assert.deepEqual(batches, [[1, 2, 3], [4, 5]]);
});

Deno.test("nobody is told before the commit, and repetitions are told as such", async () => {
  const commit = Promise.withResolvers<void>();
  const subject = batcher(async (batch) => {
    await commit.promise;
    return { stored: batch.length - 1, duplicates: [1] };
  });
  const outcomes: string[] = [];
  const all = [1, 2].map((value) =>
    subject.add(row(value)).then((outcome) => outcomes.push(`${value} ${outcome}`))
  );
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual(outcomes, []);
  commit.resolve();
  await Promise.all(all);
  assert.deepEqual(outcomes, ["1 stored", "2 duplicate"]);
});

Deno.test("a message that the database refuses does not take the others of its batch with it", async () => {
  const subject = batcher((batch) => {
    if (batch.some((it) => it.metrics.value === 2)) {
      return Promise.reject(new QueryError("no such date", "22008"));
    }
    return Promise.resolve({ stored: batch.length, duplicates: [] });
  });
  const results = await Promise.allSettled([1, 2, 3].map((value) => subject.add(row(value))));
  assert.deepEqual(results.map((it) => it.status), ["fulfilled", "rejected", "fulfilled"]);
});

Deno.test("a database that does not answer refuses the whole batch, and the next one may succeed", async () => {
  let up = false;
  const subject = batcher((batch) =>
    up
      ? Promise.resolve({ stored: batch.length, duplicates: [] })
      : Promise.reject(new DatabaseUnavailableError("gone"))
  );
  const results = await Promise.allSettled([1, 2].map((value) => subject.add(row(value))));
  assert.deepEqual(results.map((it) => it.status), ["rejected", "rejected"]);
  up = true;
  assert.equal(await subject.add(row(3)), "stored");
});

Deno.test("senders are held back above the limit and go on when there is room", async () => {
  const gate = Promise.withResolvers<void>();
  let most = 0;
  const subject = batcher(async (batch) => {
    await gate.promise;
    return { stored: batch.length, duplicates: [] };
  }, { batchSize: 2, maxQueued: 4 });
  const all = Array.from({ length: 20 }, (_, value) => subject.add(row(value)));
  for (let i = 0; i < 10; i++) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    most = Math.max(most, subject.queued);
  }
  assert.ok(most <= 4, `${most} waited`);
  gate.resolve();
  assert.equal((await Promise.all(all)).length, 20);
});

Deno.test("closing stores what was taken and takes no more", async () => {
  const stored: number[] = [];
  const subject = batcher((batch) => {
    stored.push(...batch.map((it) => it.metrics.value));
    return Promise.resolve({ stored: batch.length, duplicates: [] });
  }, { batchInterval: 60_000 });
  const first = subject.add(row(1));
  await subject.close();
  assert.equal(await first, "stored");
  assert.deepEqual(stored, [1]);
  await assert.rejects(subject.add(row(2)), BatcherClosed);
});
