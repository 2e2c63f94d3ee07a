// One MQTT connection: what is acknowledged, and what its end means.

import assert from "node:assert/strict";
import { openSession, SessionError, type SessionOptions } from "../../../src/vmg/link/session.ts";
import { TestBench, vin } from "../support/vehicle.ts";

function options(bench: TestBench, differs: Partial<SessionOptions> = {}): SessionOptions {
  return {
    target: { hostname: "127.0.0.1", port: bench.server.mqttPort },
    credentials: bench.identity.vehicle,
    trust: bench.identity.trust,
    clientId: `vehicle-${vin}`,
    subscriptions: [`vehicle/${vin}/control`],
    will: { topic: `vehicle/${vin}/status`, payload: '{"status":"offline"}' },
    keepalive: 30,
    connectTimeout: 10_000,
    onMessage: () => {},
    ...differs,
  };
}

Deno.test("a message that cannot be taken over is not acknowledged and comes again on the next connection", async () => {
  await using bench = await TestBench.start();
  const first = await openSession(options(bench, {
    onMessage: () => {
      throw new Error("disk full");
    },
  }));
  await bench.server.send(`vehicle/${vin}/control`, { number: 1 });
  const cause = await first.closed;
  assert(cause instanceof SessionError);
  assert.match(cause.message, /a message could not be taken over/);
  assert.equal((cause.cause as Error).message, "disk full");

  const taken: unknown[] = [];
  const second = await openSession(options(bench, {
    onMessage: (_topic, payload) => taken.push(JSON.parse(new TextDecoder().decode(payload))),
  }));
  assert.equal(second.sessionPresent, true);
  await bench.server.until("the message", () => taken.length > 0);
  assert.deepEqual(taken, [{ number: 1 }]);
  await second.close(1_000);
});

Deno.test("a publish that the broker did not acknowledge fails with the connection", async () => {
  await using bench = await TestBench.start();
  const session = await openSession(options(bench));
  const published = session.publish("vehicle/x/telemetry", "{}");
  bench.server.cut();
  // Either the acknowledgement was first, or the wait ends by the loss: it never hangs.
  await Promise.allSettled([published]);
  assert((await session.closed) instanceof SessionError);
  await assert.rejects(session.publish("vehicle/x/telemetry", "{}"), SessionError);
});

Deno.test("a session that is given up is over at once, for whoever tries again and again to publish on it", async () => {
  await using bench = await TestBench.start();
  const session = await openSession(options(bench));
  const reason = new SessionError("the address is gone");
  let over = false;
  void session.closed.then(() => over = true);
  session.abandon(reason);
  // No turn of the event loop lies between the tries: an end that needs one would never come.
  let tries = 0;
  while (!over && tries < 1_000) {
    tries++;
    await assert.rejects(session.publish("vehicle/x/telemetry", "{}"), reason);
  }
  assert(tries < 100, `${tries} tries`);
  assert.equal(await session.closed, reason);
});

Deno.test("a broker that acknowledges nothing is left after a time", async () => {
  await using bench = await TestBench.start();
  bench.server.broker.authorizePublish = () => {};
  const session = await openSession(options(bench, { acknowledgementTimeout: 100 }));
  await assert.rejects(session.publish("vehicle/x/telemetry", "{}"), /no acknowledgement within 100 ms/);
  assert.match(String(await session.closed), /no acknowledgement within 100 ms/);
});

Deno.test("a broker that refuses a topic is said to, unless it is one of the server's word", async () => {
  await using bench = await TestBench.start();
  bench.server.broker.authorizeSubscribe = (_client, subscription, done) =>
    done(null, subscription.topic.endsWith("/control") ? subscription : null);
  const control = `vehicle/${vin}/control`;
  const stored = `vehicle/${vin}/stored`;
  await assert.rejects(
    openSession(options(bench, { subscriptions: [control, stored] })),
    new RegExp(`the broker refuses QoS 1 for ${stored}$`),
  );
  const session = await openSession(options(bench, { confirmations: [stored] }));
  assert.equal(session.hearsServer, false);
  await session.close(1_000);
  bench.server.broker.authorizeSubscribe = (_client, subscription, done) => done(null, subscription);
  const other = await openSession(options(bench, { confirmations: [stored] }));
  assert.equal(other.hearsServer, true);
  await other.close(1_000);
});

Deno.test("a goodbye is not followed by the last will", async () => {
  await using bench = await TestBench.start();
  const session = await openSession(options(bench));
  await session.close(1_000);
  assert.equal(await session.closed, undefined);
  const next = await openSession(options(bench));
  await next.publish("vehicle/x/telemetry", '{"end":1}');
  await next.close(1_000);
  assert.deepEqual(bench.server.messages("status"), []);
});

Deno.test("a broker that is not there, and an abort, end the try", async () => {
  await using bench = await TestBench.start();
  await assert.rejects(
    openSession(options(bench, { target: { hostname: "127.0.0.1", port: 1 } })),
    /Connection refused/,
  );
  const reason = new Error("stop");
  await assert.rejects(
    openSession(options(bench, { signal: AbortSignal.abort(reason) })),
    (error) => error === reason,
  );
});
