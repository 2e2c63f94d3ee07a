// Client ids at an external broker, and what is sent through it.
import assert from "node:assert/strict";
import type { Command, Store } from "../../../../src/server/store/mod.ts";
import type { StoreTest } from "../../../support/stores.ts";
import { OTHER_VIN, registerVehicle, VIN } from "./sample.ts";

const [first, second, third] = [1, 2, 3].map((n) => `00000000-0000-4000-8000-00000000000${n}`);
/** The database's own clock counts: a lease that ends must end within the test. */
const short = 1;
const long = 60_000;

const pause = () => new Promise((resolve) => setTimeout(resolve, 20));

/** `server-1` of `server-1-{random}`. */
const name = (clientId: string) => clientId.replace(/-[0-9a-f]{32}$/, "");

async function enter(store: Store, changes: { vin?: string; command?: string; payload?: object } = {}) {
  const messageId = store.newId();
  return await store.commands.add({
    messageId,
    vin: VIN,
    topic: "vehicle/VMG-001/control",
    command: "REPORT_VCI",
    payload: { message_id: messageId },
    lifetime: 7_200_000,
    ...changes,
  });
}

const ids = (commands: readonly Command[]) => commands.map(({ messageId }) => messageId);

export const brokerClientCases: StoreTest[] = [
  {
    name: "each server takes a client id of its own, and the name of the share is the first one's",
    run: async ({ store: { brokerClients } }) => {
      assert.equal(await brokerClients.shareGroup("a"), "a");
      assert.equal(await brokerClients.shareGroup("b"), "a");
      const one = await brokerClients.take("server", "a", first, long);
      const two = await brokerClients.take("server", "a", second, long);
      assert.deepEqual([name(one), name(two)], ["server-1", "server-2"]);
      assert.notEqual(one, name(one), "it ends in random digits");
      assert.equal(await brokerClients.takeAbandoned(third, long), null);
      assert.deepEqual(await brokerClients.prolong([one, two], first, long), new Set([one]));
      assert.deepEqual(await brokerClients.prolong([], first, long), new Set());
    },
  },
  {
    name: "a client id that was given back, or whose time has passed, is the next one's",
    run: async ({ store: { brokerClients } }) => {
      const one = await brokerClients.take("server", "a", first, long);
      await brokerClients.release(one, second);
      assert.equal(name(await brokerClients.take("server", "a", second, short)), "server-2");
      await brokerClients.release(one, first);
      assert.equal(await brokerClients.take("server", "a", third, long), one);
      await pause();
      const abandoned = await brokerClients.takeAbandoned(third, long);
      assert.deepEqual([name(abandoned?.clientId ?? ""), abandoned?.shareGroup], ["server-2", "a"]);
      assert.deepEqual(
        await brokerClients.prolong([one, abandoned?.clientId ?? ""], second, long),
        new Set(),
        "the second server has lost it",
      );
    },
  },
  {
    name: "a forgotten client id is made anew, and only its holder can forget it",
    run: async ({ store: { brokerClients } }) => {
      const one = await brokerClients.take("server", "a", first, long);
      await brokerClients.forget(one, second);
      assert.deepEqual(await brokerClients.prolong([one], first, long), new Set([one]));
      await brokerClients.forget(one, first);
      const again = await brokerClients.take("server", "a", second, long);
      assert.equal(name(again), "server-1");
      assert.notEqual(again, one);
    },
  },
  {
    name: "a client id of another share group is not taken for one's own, but taken over",
    run: async ({ store: { brokerClients } }) => {
      const old = await brokerClients.take("server", "old", first, long);
      await brokerClients.release(old, first);
      assert.equal(name(await brokerClients.take("server", "new", second, long)), "server-2");
      assert.deepEqual(await brokerClients.takeAbandoned(second, long), { clientId: old, shareGroup: "old" });
    },
  },
  {
    name: "while one server sends to a vehicle no other does, and what came meanwhile is the first one's too",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const { commands } = store;
      const one = await enter(store);
      assert.deepEqual(await commands.dueVehicles(), [VIN]);
      assert.deepEqual(ids(await commands.claim(VIN, 1000)), ids([one]));
      const two = await enter(store);
      assert.deepEqual(await commands.claim(VIN, 1000), []);
      await commands.handedOver(one.messageId, 30_000);
      assert.deepEqual(ids(await commands.claim(VIN, 1000)), ids([two]));
      // Whoever claimed it is gone.
      clock.advance(1001);
      assert.deepEqual(ids(await commands.claim(VIN, 1000)), ids([two]));
      await commands.unclaim([two.messageId]);
      assert.deepEqual(ids(await commands.claim(VIN, 1000)), ids([two]));
    },
  },
  {
    name: "what the broker has is sent again to a vehicle that is online, later each time, until it is shown",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const { commands, vehicles } = store;
      const { messageId } = await enter(store);
      await commands.claim(VIN, 1000);
      await commands.handedOver(messageId, 30_000);
      assert.deepEqual(
        [(await commands.find(messageId))?.deliveredVia, (await commands.find(messageId))?.deliveredAt],
        ["mqtt", clock.now()],
      );
      clock.advance(29_000);
      assert.deepEqual(await commands.claim(VIN, 1000), []);
      clock.advance(1_000);
      assert.deepEqual(await commands.dueVehicles(), [], "it is offline");
      await vehicles.setStatus(VIN, "online");
      assert.deepEqual(await commands.dueVehicles(), [VIN]);
      assert.deepEqual(ids(await commands.claim(VIN, 1000)), [messageId]);
      await commands.handedOver(messageId, 30_000);
      clock.advance(50_000);
      assert.deepEqual(await commands.claim(VIN, 1000), []);
      // It has come back: soon, but not at once.
      await commands.sendAgain(VIN, 5_000);
      assert.deepEqual(await commands.dueVehicles(), []);
      clock.advance(5_000);
      assert.deepEqual(ids(await commands.claim(VIN, 1000)), [messageId]);
      assert.deepEqual(await commands.shown(OTHER_VIN, { report: true }), []);
      assert.deepEqual(await commands.shown(VIN, { report: true }), [messageId]);
      assert.deepEqual(await commands.pending(VIN), []);
    },
  },
  {
    name:
      "what a broker that may have crashed was given is sent again soon; otherwise after five minutes at the latest",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      await store.vehicles.setStatus(VIN, "online");
      const { commands } = store;
      const handed = await enter(store);
      for (let time = 0; time < 12; time++) {
        await commands.claim(VIN, 1000);
        await commands.handedOver(handed.messageId, 10_000);
        clock.advance(300_000);
        assert.deepEqual(await commands.dueVehicles(), [VIN], `after ${time + 1} times`);
      }
      await commands.claim(VIN, 1000);
      await commands.handedOver(handed.messageId, 10_000);
      const taken = await enter(store);
      await commands.claim(VIN, 1000);
      await commands.handedOver(taken.messageId, 10_000);
      await commands.acknowledge(VIN, taken.messageId);
      await commands.sendAllAgain(5_000);
      assert.deepEqual(await commands.dueVehicles(), []);
      clock.advance(5_000);
      assert.deepEqual(ids(await commands.claim(VIN, 1000)), [handed.messageId]);
    },
  },
  {
    name: "an answer shows its request, a report on an update its start, and nothing else",
    run: async ({ store }) => {
      await registerVehicle(store);
      const { commands } = store;
      const { updateId } = await store.updates.create({ vin: VIN, initiator: "operator", ecus: [] });
      const start = await store.commands.add({
        messageId: store.newId(),
        vin: VIN,
        topic: "vehicle/VMG-001/control",
        command: "START_OTA_UPDATE",
        payload: {},
        updateId,
        lifetime: 1000,
      });
      const asked = await enter(store, { command: "DIAGNOSTIC", payload: { request_id: "r-1" } });
      const other = await enter(store, { command: "DIAGNOSTIC", payload: { request_id: "r-2" } });
      assert.deepEqual(await commands.shown(VIN, { requestId: "r-1" }), [asked.messageId]);
      assert.deepEqual(await commands.shown(VIN, { requestId: "r-1" }), []);
      assert.deepEqual(await commands.shown(VIN, { updateId: "no-uuid" }), []);
      assert.deepEqual(await commands.shown(VIN, { updateId }), [start.messageId]);
      assert.deepEqual(ids(await commands.pending(VIN)), ids([other]));
    },
  },
  {
    name: "a configuration is not sent once a newer one stands",
    run: async ({ store }) => {
      await registerVehicle(store);
      await enter(store, { command: "CONFIG", payload: { version: 1 } });
      const newest = await enter(store, { command: "CONFIG", payload: { version: 2 } });
      assert.deepEqual(ids(await store.commands.claim(VIN, 1000)), ids([newest]));
    },
  },
  {
    name: "a build whose builder is silent may be claimed again, one whose builder is at work not",
    run: async ({ store }) => {
      await registerVehicle(store);
      const input = { vin: VIN, contentKey: "key", imageIds: [] };
      const { package: { packageId } } = await store.packages.claim(input);
      assert.equal(await store.packages.failSilentBuild(packageId, long), false);
      await pause();
      await store.packages.building(packageId);
      assert.equal(await store.packages.failSilentBuild(packageId, long), false);
      await pause();
      assert.equal(await store.packages.failSilentBuild(packageId, 5), true);
      assert.equal((await store.packages.claim(input)).created, true);
    },
  },
];
