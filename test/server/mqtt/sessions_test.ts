// What the broker keeps of its clients: the conformance suite of aedes' persistences, and what ours promises beyond it.

import assert from "node:assert/strict";
import legacyAssert from "node:assert";
import { Buffer } from "node:buffer";
import { EventEmitter } from "node:events";
// @ts-types="./aedes_persistence_suite.d.ts"
import abstractPersistence from "aedes-persistence/abstract.js";
import { type QueuedPacket, Sessions, type SessionsOptions } from "../../../src/server/mqtt/sessions.ts";
import { onEachStore, type StoreTest, type TestClock } from "../../support/stores.ts";

const day = 86_400_000;
const client = { id: "vehicle-KMHTEST1AAA000001" };

function sessionsOn(
  store: SessionsOptions["store"],
  { limits, ...rest }: Partial<Omit<SessionsOptions, "limits">> & {
    limits?: Partial<SessionsOptions["limits"]>;
  } = {},
): Sessions {
  return new Sessions({
    store,
    limits: { count: 1000, bytes: 1_000_000, age: 7 * day, ...limits },
    retained: () => Promise.resolve([]),
    onDropped: () => assert.fail("nothing had to go"),
    ...rest,
  });
}

/** Another server on the same database: nothing in memory. */
async function restarted(store: SessionsOptions["store"], clock: TestClock): Promise<Sessions> {
  const sessions = sessionsOn(store, { now: () => clock.now().getTime() });
  await sessions.setup({ id: "broker-2" });
  await sessions.load(client.id);
  return sessions;
}

function message(text: string, counter: number, more: Partial<QueuedPacket> = {}): QueuedPacket {
  return {
    cmd: "publish",
    topic: "vehicle/VMG-001/control",
    payload: Buffer.from(text),
    qos: 1,
    retain: false,
    dup: false,
    brokerId: "broker-1",
    brokerCounter: counter,
    ...more,
  };
}

const texts = (packets: QueuedPacket[]) => packets.map(({ payload }) => payload.toString());

const conformance: StoreTest[] = [];
let current: SessionsOptions["store"] | undefined;
abstractPersistence({
  test: (name, run) =>
    conformance.push({
      name: `aedes persistence suite: ${name}`,
      run: async ({ store }) => {
        current = store.mqttSessions;
        let planned: number | undefined;
        let done = 0;
        const counted = (check: (...values: never[]) => void) => (...values: unknown[]) => {
          done++;
          Reflect.apply(check, undefined, values);
        };
        await run({
          plan: (count) => planned = count,
          diagnostic: () => {},
          assert: {
            ok: counted(legacyAssert.ok),
            equal: counted(legacyAssert.equal),
            notEqual: counted(legacyAssert.notEqual),
            deepEqual: counted(legacyAssert.deepEqual),
          },
        });
        if (planned !== undefined) assert.equal(done, planned);
      },
    }),
  persistence: () => {
    assert.ok(current);
    return sessionsOn(current);
  },
  buildEmitter: () => new EventEmitter(),
  testAsync: true,
});

onEachStore([
  ...conformance,
  {
    name: "subscriptions are there after a restart, until the client takes them back",
    run: async ({ store: { mqttSessions }, clock }) => {
      const before = sessionsOn(mqttSessions);
      await before.addSubscriptions(client, [
        { topic: "vehicle/VMG-001/control", qos: 1 },
        { topic: "vehicle/VMG-001/config", qos: 1 },
        { topic: "vehicle/VMG-001/diagnostics", qos: 0 },
      ]);
      await before.removeSubscriptions(client, ["vehicle/VMG-001/config"]);
      const after = await restarted(mqttSessions, clock);
      assert.deepEqual(await after.subscriptionsByClient(client), [
        { topic: "vehicle/VMG-001/control", qos: 1 },
        { topic: "vehicle/VMG-001/diagnostics", qos: 0 },
      ]);
      const found = await after.subscriptionsByTopic("vehicle/VMG-001/control");
      assert.deepEqual(found.map(({ clientId, qos }) => [clientId, qos]), [[client.id, 1]]);
      assert.deepEqual(await after.subscriptionsByTopic("vehicle/VMG-001/diagnostics"), []);
    },
  },
  {
    name:
      "queued messages are there after a restart, in order, with the identifiers under which they were sent",
    run: async ({ store: { mqttSessions }, clock }) => {
      const before = sessionsOn(mqttSessions, { now: () => clock.now().getTime() });
      for (let n = 1; n <= 12; n++) await before.outgoingEnqueue({ clientId: client.id }, message(`${n}`, n));
      await before.outgoingUpdate(client, message("1", 1, { messageId: 501 }));
      await before.outgoingUpdate(client, message("2", 2, { messageId: 502 }));
      await before.outgoingClearMessageId(client, { messageId: 501 });
      const after = await restarted(mqttSessions, clock);
      const queued = after.queued(client.id);
      assert.deepEqual(texts(queued), ["2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"]);
      assert.deepEqual(queued.map(({ messageId }) => messageId).slice(0, 2), [502, undefined]);
    },
  },
  {
    name: "what was sent before is sent with the DUP flag, what was not without",
    run: async ({ store: { mqttSessions }, clock }) => {
      const before = sessionsOn(mqttSessions, { now: () => clock.now().getTime() });
      await before.outgoingEnqueue({ clientId: client.id }, message("sent", 1));
      await before.outgoingEnqueue({ clientId: client.id }, message("waits", 2));
      const first = message("sent", 1, { messageId: 7 });
      await before.outgoingUpdate(client, first);
      assert.equal(first.dup, false);
      const after = await restarted(mqttSessions, clock);
      const [again, fresh] = after.queued(client.id).map((packet) => ({ ...packet }));
      await after.outgoingUpdate(client, again);
      fresh.messageId = 8;
      await after.outgoingUpdate(client, fresh);
      assert.deepEqual([again.messageId, again.dup], [7, true]);
      assert.deepEqual([fresh.messageId, fresh.dup], [8, false]);
    },
  },
  {
    name: "an identifier that is in flight is not given to another message",
    run: async ({ store: { mqttSessions } }) => {
      const sessions = sessionsOn(mqttSessions);
      for (const [n, id] of [[1, 65_535], [2, 1], [3, 65_535]]) {
        const packet = message(`${n}`, n, { messageId: id });
        await sessions.outgoingEnqueue({ clientId: client.id }, packet);
        await sessions.outgoingUpdate(client, packet);
        assert.equal(packet.messageId, n === 3 ? 2 : id);
      }
      assert.equal(
        (await sessions.outgoingClearMessageId(client, { messageId: 65_535 }))?.payload.toString(),
        "1",
      );
    },
  },
  {
    name: "a message of this server is not taken for one of an earlier server that has its number",
    run: async ({ store: { mqttSessions }, clock }) => {
      const before = sessionsOn(mqttSessions, { now: () => clock.now().getTime() });
      await before.outgoingEnqueue({ clientId: client.id }, message("old", 1));
      await before.outgoingUpdate(client, message("old", 1, { messageId: 5 }));
      const after = await restarted(mqttSessions, clock);
      const fresh = message("new", 1, { brokerId: "broker-2" });
      await after.outgoingEnqueue({ clientId: client.id }, fresh);
      const sent = { ...fresh, messageId: 5 };
      await after.outgoingUpdate(client, sent);
      assert.deepEqual(texts(after.queued(client.id)), ["old", "new"]);
      assert.deepEqual(after.queued(client.id).map(({ messageId }) => messageId), [5, 6]);
    },
  },
  {
    name:
      "a QoS 2 message that waits for its PUBREL, and a PUBREL that waits for its PUBCOMP, outlive a restart",
    run: async ({ store: { mqttSessions }, clock }) => {
      const before = sessionsOn(mqttSessions, { now: () => clock.now().getTime() });
      await before.incomingStorePacket(client, message("twice", 1, { qos: 2, messageId: 9 }));
      await before.outgoingEnqueue({ clientId: client.id }, message("out", 2, { qos: 2 }));
      await before.outgoingUpdate(client, message("out", 2, { qos: 2, messageId: 10 }));
      const pubrel: unknown = { cmd: "pubrel", messageId: 10 };
      await before.outgoingUpdate(client, pubrel as QueuedPacket);
      const after = await restarted(mqttSessions, clock);
      assert.equal((await after.incomingGetPacket(client, { messageId: 9 })).payload.toString(), "twice");
      assert.deepEqual(after.queued(client.id).map(({ cmd, messageId }) => [cmd, messageId]), [[
        "pubrel",
        10,
      ]]);
      await after.incomingDelPacket(client, { messageId: 9 });
      await after.outgoingClearMessageId(client, { messageId: 10 });
      const last = await restarted(mqttSessions, clock);
      await assert.rejects(last.incomingGetPacket(client, { messageId: 9 }));
      assert.deepEqual(last.queued(client.id), []);
    },
  },
  {
    name: "retained messages are there after a restart; an empty one takes them away",
    run: async ({ store: { mqttSessions }, clock }) => {
      const before = sessionsOn(mqttSessions);
      const topic = "vehicle/VMG-001/status";
      await before.storeRetained(message("online", 1, { topic, retain: true }));
      const after = await restarted(mqttSessions, clock);
      const found: QueuedPacket[] = await after.createRetainedStreamCombi(["vehicle/VMG-001/#"]).toArray();
      assert.deepEqual(texts(found), ["online"]);
      assert.equal(found[0].retain, true);
      await after.storeRetained(message("", 2, { topic, retain: true }));
      const last = await restarted(mqttSessions, clock);
      assert.deepEqual(await last.createRetainedStreamCombi(["#"]).toArray(), []);
    },
  },
  {
    name: "a client that asks for a clean session leaves nothing behind, and the others stay",
    run: async ({ store: { mqttSessions }, clock }) => {
      const other = { id: `${client.id}2` };
      const before = sessionsOn(mqttSessions);
      for (const { id } of [client, other]) {
        await before.addSubscriptions({ id }, [{ topic: "vehicle/VMG-001/#", qos: 1 }]);
        await before.outgoingEnqueue({ clientId: id }, message("waits", 1));
        await before.incomingStorePacket({ id }, message("in", 2, { qos: 2, messageId: 3 }));
      }
      // Within one write: what came before the end goes, what comes after it stays.
      await Promise.all([
        before.outgoingEnqueue({ clientId: client.id }, message("late", 3)),
        before.cleanSubscriptions(client),
        before.addSubscriptions(client, [{ topic: "vehicle/VMG-001/control", qos: 1 }]),
      ]);
      const after = await restarted(mqttSessions, clock);
      await after.load(other.id);
      assert.deepEqual(after.queued(client.id), []);
      assert.deepEqual(await after.subscriptionsByClient(client), [{
        topic: "vehicle/VMG-001/control",
        qos: 1,
      }]);
      await assert.rejects(after.incomingGetPacket(client, { messageId: 3 }));
      assert.deepEqual(texts(after.queued(other.id)), ["waits"]);
      assert.deepEqual((await after.subscriptionsByClient(other)).length, 1);
    },
  },
  {
    name: "what is too much for a client's queue goes by count, bytes and age, the oldest first",
    run: async ({ store: { mqttSessions }, clock }) => {
      const dropped: string[] = [];
      const sessions = sessionsOn(mqttSessions, {
        limits: { count: 3, bytes: 200, age: day },
        now: () => clock.now().getTime(),
        onDropped: (_, topic) => dropped.push(topic),
      });
      const add = (text: string, counter: number) =>
        sessions.outgoingEnqueue({ clientId: client.id }, message(text, counter, { topic: `t/${counter}` }));
      for (let n = 1; n <= 4; n++) await add(`${n}`, n);
      assert.deepEqual(texts(sessions.queued(client.id)), ["2", "3", "4"]);
      await add("x".repeat(190), 5);
      assert.deepEqual(sessions.queued(client.id).map(({ topic }) => topic), ["t/4", "t/5"]);
      clock.advance(day + 1);
      assert.deepEqual(sessions.queued(client.id), []);
      await add("6", 6);
      assert.deepEqual(texts(sessions.queued(client.id)), ["6"]);
      assert.deepEqual(dropped, ["t/1", "t/2", "t/3", "t/4", "t/5"]);
      assert.deepEqual(texts((await restarted(mqttSessions, clock)).queued(client.id)), ["6"]);
    },
  },
  {
    name: "messages that grew old while their client was away are deleted from the database",
    run: async ({ store, clock }) => {
      const sessions = sessionsOn(store.mqttSessions, { now: () => clock.now().getTime() });
      await sessions.outgoingEnqueue({ clientId: client.id }, message("old", 1));
      await sessions.incomingStorePacket(client, message("old", 2, { qos: 2, messageId: 1 }));
      clock.advance(2 * day);
      await sessions.outgoingEnqueue({ clientId: client.id }, message("new", 3));
      const deleted = await store.retention.apply({ mqttQueue: day, mqttIncoming: day });
      assert.deepEqual([deleted.mqttQueue, deleted.mqttIncoming], [1, 1]);
      assert.deepEqual(texts((await restarted(store.mqttSessions, clock)).queued(client.id)), ["new"]);
    },
  },
  {
    name: "what a clean session had in flight is neither written nor given to the next connection",
    run: async ({ store: { mqttSessions }, clock }) => {
      const sessions = sessionsOn(mqttSessions);
      sessions.noteInFlight(client.id, message("flying", 1, { messageId: 4 }));
      assert.deepEqual(texts(sessions.queued(client.id)), ["flying"]);
      sessions.forgetInFlight(client.id);
      assert.deepEqual(sessions.queued(client.id), []);
      assert.deepEqual((await restarted(mqttSessions, clock)).queued(client.id), []);
    },
  },
  {
    name: "a change that cannot be written is told to whoever made it",
    run: async ({ store: { mqttSessions } }) => {
      const broken = { ...reading(mqttSessions), apply: () => Promise.reject(new Error("the disk is full")) };
      const sessions = sessionsOn(broken);
      await assert.rejects(
        sessions.outgoingEnqueue({ clientId: client.id }, message("lost", 1)),
        /the disk is full/,
      );
      await sessions.destroy();
    },
  },
  {
    name: "a subscription that could not be written is written when the client asks again",
    run: async ({ store: { mqttSessions }, clock }) => {
      let broken = true;
      const sessions = sessionsOn({
        ...reading(mqttSessions),
        apply: (changes) =>
          broken ? Promise.reject(new Error("the disk is full")) : mqttSessions.apply(changes),
      });
      const subscription = { topic: "vehicle/VMG-001/control", qos: 1 as const };
      await assert.rejects(sessions.addSubscriptions(client, [subscription]), /the disk is full/);
      assert.deepEqual(await sessions.subscriptionsByTopic(subscription.topic), []);
      broken = false;
      await sessions.addSubscriptions(client, [subscription]);
      const after = await restarted(mqttSessions, clock);
      assert.deepEqual(await after.subscriptionsByClient(client), [subscription]);
    },
  },
  {
    name: "a thousand messages at once are written in few transactions",
    run: async ({ store: { mqttSessions }, clock }) => {
      let writes = 0;
      const counting: SessionsOptions["store"] = {
        ...reading(mqttSessions),
        apply: (changes) => {
          writes++;
          return mqttSessions.apply(changes);
        },
      };
      const sessions = sessionsOn(counting);
      const added = Array.from(
        { length: 1000 },
        (_, n) => sessions.outgoingEnqueue({ clientId: client.id }, message(`${n}`, n + 1)),
      );
      await Promise.all(added);
      assert.ok(writes <= 2, `${writes} transactions`);
      const back = (await restarted(mqttSessions, clock)).queued(client.id);
      assert.deepEqual(texts(back), Array.from({ length: 1000 }, (_, n) => `${n}`));
    },
  },
]);

function reading(store: SessionsOptions["store"]): Pick<SessionsOptions["store"], "load" | "retained"> {
  return { load: (clientId, since) => store.load(clientId, since), retained: () => store.retained() };
}
