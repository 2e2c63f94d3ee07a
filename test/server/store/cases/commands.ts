// Messages to vehicles.
import assert from "node:assert/strict";
import { ConflictError, NotFoundError } from "../../../../src/server/store/mod.ts";
import type { Command, Store } from "../../../../src/server/store/mod.ts";
import type { StoreTest } from "../../../support/stores.ts";
import { OTHER_VIN, registerVehicle, VIN } from "./sample.ts";

async function add(
  store: Store,
  changes: { vin?: string; lifetime?: number; updateId?: string } = {},
): Promise<Command> {
  const messageId = store.newId();
  return await store.commands.add({
    messageId,
    vin: VIN,
    topic: "vehicle/VMG-001/control",
    command: "REPORT_VCI",
    payload: { message_id: messageId, command: "REPORT_VCI" },
    lifetime: 60_000,
    ...changes,
  });
}

const ids = (commands: Command[]) => commands.map((command) => command.messageId);

export const commandCases: StoreTest[] = [
  {
    name: "what a vehicle has not taken is pending in the order in which it was entered",
    run: async ({ store }) => {
      await registerVehicle(store);
      await registerVehicle(store, OTHER_VIN, "VMG-002");
      const first = await add(store);
      const second = await add(store);
      await add(store, { vin: OTHER_VIN });
      const third = await add(store);
      assert.deepEqual(ids(await store.commands.pending(VIN)), ids([first, second, third]));
      assert.deepEqual(ids(await store.commands.pending(VIN, 2)), ids([first, second]));
      assert.deepEqual(await store.commands.find(first.messageId), first);
    },
  },
  {
    name: "an acknowledgement counts once, and only from the vehicle that was meant",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      await registerVehicle(store, OTHER_VIN, "VMG-002");
      const { messageId } = await add(store);
      assert.equal(await store.commands.acknowledge(OTHER_VIN, messageId), "unknown");
      const taken = clock.now();
      assert.equal(await store.commands.acknowledge(VIN, messageId), "acknowledged");
      clock.advance(1000);
      assert.equal(await store.commands.acknowledge(VIN, messageId), "already_acknowledged");
      assert.deepEqual((await store.commands.find(messageId))?.ackedAt, taken);
      assert.equal(await store.commands.acknowledge(VIN, "no-such-message"), "unknown");
      assert.deepEqual(await store.commands.pending(VIN), []);
    },
  },
  {
    name: "what has expired or was withdrawn is not delivered",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const update = await store.updates.create({ vin: VIN, initiator: "operator", ecus: [] });
      await add(store, { lifetime: 1000 });
      const start = await add(store, { updateId: update.updateId });
      const other = await add(store);
      clock.advance(1000);
      assert.deepEqual(await store.commands.withdraw(update.updateId), [start.messageId]);
      assert.deepEqual(await store.commands.withdraw(update.updateId), []);
      assert.deepEqual(ids(await store.commands.pending(VIN)), [other.messageId]);
      assert.deepEqual(ids(await store.commands.undelivered()), [other.messageId]);
    },
  },
  {
    name: "the first delivery is noted, and what was delivered stays pending until it is acknowledged",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const first = await add(store);
      const second = await add(store);
      await store.commands.markDelivered([first.messageId], "mqtt");
      const at = clock.now();
      clock.advance(1000);
      await store.commands.markDelivered([first.messageId, "not-a-uuid"], "polling");
      const found = await store.commands.find(first.messageId);
      assert.deepEqual([found?.deliveredVia, found?.deliveredAt], ["mqtt", at]);
      assert.deepEqual(ids(await store.commands.undelivered()), [second.messageId]);
      assert.deepEqual(ids(await store.commands.pending(VIN)), ids([first, second]));
    },
  },
  {
    name: "a message_id is used once, and only for a vehicle that is known",
    run: async ({ store }) => {
      await registerVehicle(store);
      const command = await add(store);
      const again = { ...command, lifetime: 1000 };
      await assert.rejects(store.commands.add(again), ConflictError);
      await assert.rejects(
        store.commands.add({ ...again, messageId: store.newId(), vin: OTHER_VIN }),
        NotFoundError,
      );
    },
  },
];
