// The client's side of MQTT 5.0 against a broker written out by hand: what goes over the line, byte for byte where it counts.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { type Duplex, duplexPair } from "node:stream";
import {
  type BrokerSession,
  BrokerSessionError,
  type BrokerSessionOptions,
  openBrokerSession,
} from "../../../../src/server/mqtt/external/session.ts";

/** A broker that says what the test wants and notes what it hears. */
class Broker {
  readonly #heard: Uint8Array[] = [];
  #rest = Buffer.alloc(0);
  #wake: () => void = () => {};

  constructor(readonly stream: Duplex) {
    stream.on("data", (chunk: Uint8Array) => {
      this.#rest = Buffer.concat([this.#rest, chunk]);
      // Packets of the tests are short: one byte of remaining length (section 1.5.5).
      while (this.#rest.length >= 2 && this.#rest.length >= 2 + this.#rest[1]) {
        this.#heard.push(this.#rest.subarray(0, 2 + this.#rest[1]));
        this.#rest = this.#rest.subarray(2 + this.#rest[1]);
      }
      this.#wake();
    });
    // The client's end is seen by what it no longer says.
    stream.on("error", () => {});
  }

  /** The next packet as hexadecimal digits. */
  async hears(): Promise<string> {
    for (;;) {
      const packet = this.#heard.shift();
      if (packet) return Buffer.from(packet).toString("hex");
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** What it hears until the line has been quiet for a moment, after the client is gone. */
  async hearsNoMore(): Promise<string[]> {
    await new Promise((resolve) => setTimeout(resolve, 20));
    return this.#heard.splice(0).map((packet) => Buffer.from(packet).toString("hex"));
  }

  says(hex: string): void {
    this.stream.write(Buffer.from(hex.replaceAll(" ", ""), "hex"));
  }

  /** PUBLISH, QoS 1, topic `a/b`, no properties, a payload of one byte. */
  publishes(packetId: number, payload: number): void {
    this.says(`32 09 0003612f62 ${hex16(packetId)} 00 ${payload.toString(16).padStart(2, "0")}`);
  }
}

const hex16 = (value: number) => value.toString(16).padStart(4, "0");
/** PUBACK for a packet: reason code 0 may be left out, or stand with or without properties (section 3.4.2.1). */
const isPuback = (packet: string, packetId: number) =>
  new RegExp(`^40(?:02${hex16(packetId)}|03${hex16(packetId)}00|04${hex16(packetId)}0000)$`).test(packet);

const connackNew = "20 03 00 00 00";

interface Started extends AsyncDisposable {
  broker: Broker;
  session: BrokerSession;
}

async function start(changes: Partial<BrokerSessionOptions> = {}, connack = connackNew): Promise<Started> {
  const [near, far] = duplexPair();
  const broker = new Broker(far);
  const opening = openBrokerSession(near, {
    where: "broker",
    clientId: "s",
    keepalive: 30,
    answerTimeout: 5_000,
    sessionExpiry: 60,
    inFlight: 16,
    maxPacket: 4096,
    onMessage: () => ({ sender: "", work: () => Promise.resolve() }),
    ...changes,
  });
  // It is awaited below; it must not count as unhandled before.
  opening.catch(() => {});
  await broker.hears();
  broker.says(connack);
  const session = await opening;
  return {
    broker,
    session,
    [Symbol.asyncDispose]: async () => {
      session.abandon(new Error("the test is over"));
      await session.closed;
      far.destroy();
    },
  };
}

Deno.test("CONNECT asks for a session that lasts, a window and a largest packet", async () => {
  const [near, far] = duplexPair();
  const broker = new Broker(far);
  const opening = openBrokerSession(near, {
    where: "broker",
    clientId: "s",
    keepalive: 30,
    answerTimeout: 5_000,
    sessionExpiry: 60,
    inFlight: 16,
    maxPacket: 4096,
    onMessage: () => ({ sender: "", work: () => Promise.resolve() }),
  });
  const packet = await broker.hears();
  // Section 3.1: MQTT, version 5, flags without Clean Start, keep-alive 30, properties in any order, client id "s".
  assert.match(packet, /^10..00044d5154540500001e/);
  for (const property of ["110000003c", "210010", "2700001000"]) assert.ok(packet.includes(property), packet);
  assert.ok(packet.endsWith("000173"), packet);
  broker.says("20 03 01 00 00");
  const session = await opening;
  assert.equal(session.sessionPresent, true);
  await session.close({ limit: 100 });
  assert.equal(await session.closed, undefined);
  far.destroy();
});

Deno.test("messages are acknowledged when they are stored, in the order in which they came", async () => {
  const works = new Map<number, PromiseWithResolvers<void>>(
    [1, 2, 3].map((n) => [n, Promise.withResolvers()]),
  );
  const begun: number[] = [];
  await using started = await start({
    onMessage: ({ payload }) => ({
      sender: `vehicle ${payload[0]}`,
      work: () => {
        begun.push(payload[0]);
        return works.get(payload[0])!.promise;
      },
    }),
  });
  const { broker, session } = started;
  for (const number of [1, 2, 3]) broker.publishes(10 + number, number);
  works.get(3)!.resolve();
  works.get(2)!.resolve();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(begun, [1, 2, 3], "nobody waits for another's message");
  const next = broker.hears();
  works.get(1)!.resolve();
  assert.ok(isPuback(await next, 11));
  assert.ok(isPuback(await broker.hears(), 12));
  assert.ok(isPuback(await broker.hears(), 13));
  await session.settled();
});

Deno.test("one sender's messages are worked on one after another", async () => {
  const first = Promise.withResolvers<void>();
  const begun: number[] = [];
  await using started = await start({
    onMessage: ({ payload }) => ({
      sender: "the same",
      work: () => {
        begun.push(payload[0]);
        return payload[0] === 1 ? first.promise : Promise.resolve();
      },
    }),
  });
  started.broker.publishes(1, 1);
  started.broker.publishes(2, 2);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(begun, [1]);
  first.resolve();
  assert.ok(isPuback(await started.broker.hears(), 1));
  assert.ok(isPuback(await started.broker.hears(), 2));
  assert.deepEqual(begun, [1, 2]);
});

Deno.test("what could not be stored is not acknowledged, nor what came after it: the connection ends", async () => {
  await using started = await start({
    onMessage: ({ payload }) => ({
      sender: `${payload[0]}`,
      work: () => payload[0] === 2 ? Promise.reject(new Error("the database is away")) : Promise.resolve(),
    }),
  });
  const { broker, session } = started;
  for (const number of [1, 2, 3]) broker.publishes(number, number);
  assert.ok(isPuback(await broker.hears(), 1));
  const cause = await session.closed;
  assert.match(String(cause), /a message on a\/b could not be taken over/);
  assert.deepEqual(await broker.hearsNoMore(), [], "nothing more was said");
});

Deno.test("close() stores and acknowledges what has come before it says DISCONNECT", async () => {
  const work = Promise.withResolvers<void>();
  await using started = await start({ onMessage: () => ({ sender: "", work: () => work.promise }) });
  const { broker, session } = started;
  broker.publishes(7, 1);
  await new Promise((resolve) => setTimeout(resolve, 10));
  const closing = session.close({ limit: 5_000, endSession: true });
  // What comes now is left to the next connection.
  broker.publishes(8, 2);
  work.resolve();
  assert.ok(isPuback(await broker.hears(), 7));
  // Section 3.14: reason 0, Session Expiry Interval 0.
  assert.equal(await broker.hears(), "e00700051100000000");
  await closing;
  assert.equal(await session.closed, undefined);
});

Deno.test("a publication waits for its acknowledgement, and for its turn in the broker's window", async () => {
  // Receive Maximum 1 (section 3.2.2.3.3).
  await using started = await start({}, "20 06 00 00 03 21 0001");
  const { broker, session } = started;
  const payload = new TextEncoder().encode("x");
  const first = session.publish("a", payload, { expiry: 5 });
  const second = session.publish("b", payload, { retain: true });
  for (const publishing of [first, second]) publishing.catch(() => {}); // Looked at below.
  // QoS 1, topic a, packet 1, Message Expiry Interval 5.
  assert.equal(await broker.hears(), "320c" + "000161" + "0001" + "050200000005" + "78");
  const third = broker.hears();
  assert.equal(
    await Promise.race([third, new Promise((resolve) => setTimeout(() => resolve("quiet"), 30))]),
    "quiet",
  );
  broker.says("40 02 0001");
  await first;
  // Retained, QoS 1, topic b, packet 2, no properties.
  assert.equal(await third, "3307" + "000162" + "0002" + "00" + "78");
  broker.says("40 03 0002 87");
  await assert.rejects(
    second,
    (error: unknown) =>
      error instanceof BrokerSessionError && error.reasonCode === 0x87 && /PUBLISH on b/.test(error.message),
  );
});

Deno.test("a refused CONNECT, a refused subscription and a broker without shared subscriptions are said", async () => {
  await assert.rejects(start({}, "20 03 00 87 00"), /refuses CONNECT with reason code 0x87/);
  await assert.rejects(start({}, "20 05 00 00 02 2a 00"), /has no shared subscriptions/);
  await using started = await start();
  const subscribing = started.session.subscribe(["$share/g/a", "b"]);
  subscribing.catch(() => {}); // Looked at below.
  const packet = await started.broker.hears();
  assert.equal(packet, `8214000100000a${Buffer.from("$share/g/a").toString("hex")}01${"0001"}6201`);
  started.broker.says("90 05 0001 00 01 87");
  await assert.rejects(subscribing, /refuses QoS 1 for b \(code 135\)/);
});

Deno.test("a session that another client has taken over says so", async () => {
  await using started = await start();
  const waiting = started.session.publish("a", new Uint8Array());
  waiting.catch(() => {});
  await started.broker.hears();
  started.broker.says("e0 02 8e 00");
  assert.match(String(await started.session.closed), /0x8e.*another client has this client id/);
  await assert.rejects(waiting, BrokerSessionError);
  await assert.rejects(started.session.publish("b", new Uint8Array()), BrokerSessionError);
});

Deno.test("what is not MQTT, too large, or unasked for ends the connection", async () => {
  for (
    const [what, bytes, expected] of [
      ["noise", "ffffffffffff", /not MQTT 5.0/],
      ["a packet of 64 KiB", `32 ff ff 03 ${"00".repeat(5000)}`, /more than 4096 bytes/],
      ["PUBACK for nothing", "40 02 0009", /nothing here waits for/],
      ["QoS 2", "34 09 0003612f62 0001 00 01", /QoS 2/],
      ["SUBSCRIBE", "82 07 0001 00 000161 01", /nothing here asked for/],
    ] as const
  ) {
    await using started = await start();
    started.broker.says(bytes);
    assert.match(String(await started.session.closed), expected, what);
  }
});

Deno.test("a broker that answers nothing is given up after its time", async () => {
  await using started = await start({ answerTimeout: 30 });
  await assert.rejects(started.session.publish("a", new Uint8Array()), /no answer to PUBLISH within 30 ms/);
});

Deno.test("a quiet connection is kept alive, and one on which nothing comes back ends", async () => {
  await using started = await start({ keepalive: 1 });
  assert.equal(await started.broker.hears(), "c000");
  assert.match(String(await started.session.closed), /nothing came for/);
});
