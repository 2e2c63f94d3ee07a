// Vehicles are told what is stored, in bundles, ahead of the acknowledgement.

import assert from "node:assert/strict";
import { Confirmations } from "../../../../src/server/mqtt/external/confirmations.ts";

Deno.test("messages of a vehicle are told of together on its own topic, before what waits for that goes on", async () => {
  const told: [string, unknown][] = [];
  const confirmations = new Confirmations((topic, payload) =>
    told.push([topic, JSON.parse(new TextDecoder().decode(payload))])
  );
  const order: string[] = [];
  const waits = [
    confirmations.confirm("VMG-001", "m-1"),
    confirmations.confirm("VMG-002", "m-1"),
    confirmations.confirm("VMG-001", "m-2"),
    confirmations.confirm("VMG-001", "m-1"),
  ].map((wait) => wait.then(() => order.push(`acknowledged after ${told.length}`)));
  await Promise.all(waits);
  assert.deepEqual(told, [
    ["vehicle/VMG-001/stored", { message_ids: ["m-1", "m-2"] }],
    ["vehicle/VMG-002/stored", { message_ids: ["m-1"] }],
  ]);
  assert.deepEqual(new Set(order), new Set(["acknowledged after 2"]));
});

Deno.test("five hundred messages of a vehicle wait for no more", async () => {
  const told: number[] = [];
  const confirmations = new Confirmations((_topic, payload) => {
    told.push(JSON.parse(new TextDecoder().decode(payload)).message_ids.length);
  });
  const waits = Array.from({ length: 501 }, (_, index) => confirmations.confirm("VMG-001", `m-${index}`));
  assert.deepEqual(told, [500]);
  confirmations.flush();
  await Promise.all(waits);
  assert.deepEqual(told, [500, 1]);
});
