// What the log says of messages that were given up.

import assert from "node:assert/strict";
import { createLogger } from "../../../src/log.ts";
import { QueueLosses } from "../../../src/vmg/link/queue_losses.ts";

Deno.test("the first loss is told at once, with what goes with it; further ones together, at intervals", async () => {
  const lines: string[] = [];
  const log = createLogger({ write: (line) => lines.push(line.replace(/^.*WARNING - /, "")), color: false });
  const losses = new QueueLosses(log);
  losses.note("telemetry", "room");
  losses.note("telemetry", "room");
  losses.note("progress", "age");
  await Promise.resolve();
  const first = [
    "There is no room in the queue: messages given up (telemetry: 2)",
    "What waits is too old: messages given up (progress: 1)",
  ];
  assert.deepEqual(lines.splice(0), first);
  for (let i = 0; i < 100; i++) losses.note("telemetry", "room");
  losses.note("answer", "room");
  await Promise.resolve();
  assert.deepEqual(lines, []);
  losses.tell();
  assert.deepEqual(lines.splice(0), [
    "There is no room in the queue: messages given up (telemetry: 100, answer: 1)",
  ]);
  losses.tell();
  assert.deepEqual(lines, [], "what is over is not told again");
  losses.note("telemetry", "room");
  await Promise.resolve();
  assert.deepEqual(lines, ["There is no room in the queue: messages given up (telemetry: 1)"]);
});
