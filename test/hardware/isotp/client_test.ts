import assert from "node:assert/strict";
import { IsoTpClient } from "../../../hardware/isotp/client.ts";
import { IsoTpTimeoutError } from "../../../hardware/isotp/errors.ts";
import { UdsTimeoutError, UdsTransportError } from "../../../hardware/uds/transport.ts";
import { frame, settled } from "./support/memory_bus.ts";
import { counting, normal, setup } from "./support/setup.ts";

/** What became of a promise, once it is settled. */
function outcome<T>(promise: Promise<T>): { value?: T; error?: unknown } {
  const seen: { value?: T; error?: unknown } = {};
  promise.then((value) => seen.value = value, (error) => seen.error = error);
  return seen;
}

Deno.test("the wait for an answer ends by its time-out when none begins", async () => {
  const { transport, clock } = setup();
  const answer = outcome(transport.receive({ timeout: 50 }));
  await clock.pass(49);
  assert.deepEqual(answer, {});
  await clock.pass(1);
  assert.ok(answer.error instanceof UdsTimeoutError);
  assert.match(answer.error.message, /no message within 50 ms/);
  assert.equal(clock.pending, 0);
});

Deno.test("P2 stops at the first frame: an answer that began in time is waited for", async () => {
  const { transport, clock, ecu } = setup();
  const answer = outcome(transport.receive({ timeout: 50 }));
  await clock.pass(49);
  await ecu("7E8#1014000102030405");
  assert.equal(transport.receiving, true);
  await clock.pass(900);
  await ecu("7E8#21060708090A0B0C");
  await clock.pass(900);
  assert.deepEqual(answer, {});
  await ecu("7E8#220D0E0F10111213");
  assert.deepEqual(answer.value, counting(20));
  assert.equal(transport.receiving, false);
});

Deno.test("an answer that began and was lost is told by its N_Result, before or after P2", async () => {
  for (const timeout of [50, 5_000]) {
    const { transport, clock, ecu } = setup();
    const answer = outcome(transport.receive({ timeout }));
    await ecu("7E8#1014000102030405");
    await clock.pass(1_000);
    assert.ok(answer.error instanceof IsoTpTimeoutError);
    assert.ok(answer.error instanceof UdsTransportError);
    assert.equal(answer.error.result, "N_TIMEOUT_Cr");
  }
});

Deno.test("an answer that takes the place of an unfinished one is received, P2 or not", async () => {
  for (const passed of [10, 60]) {
    const { transport, clock, ecu, log } = setup();
    const answer = outcome(transport.receive({ timeout: 50 }));
    await ecu("7E8#1014000102030405");
    await clock.pass(passed);
    await ecu("7E8#1008A0A1A2A3A4A5");
    await clock.pass(100);
    await ecu("7E8#21A6A7");
    assert.deepEqual(answer.value?.toHex(), "a0a1a2a3a4a5a6a7");
    assert.match(log.join("\n"), /N_UNEXP_PDU/);
  }
});

Deno.test("when OVFLW takes the place of an unfinished answer, an overdue wait ends", async () => {
  const { transport, clock, ecu } = setup({ maxMessageLength: 100 });
  const answer = outcome(transport.receive({ timeout: 50 }));
  await ecu("7E8#1014000102030405");
  await clock.pass(60);
  await ecu("7E8#1FFF000102030405");
  await clock.pass(0);
  assert.ok(answer.error instanceof UdsTimeoutError);
});

Deno.test("messages that nobody waits for are kept up to the limits, the oldest go first", async () => {
  const { transport, ecu, log } = setup({ maxQueuedMessages: 2 });
  await ecu("7E8#0101", "7E8#0102", "7E8#0103");
  assert.equal(transport.dropped, 1);
  assert.equal(log.length, 1);
  assert.deepEqual(await transport.receive({ timeout: 0 }), Uint8Array.of(2));
  assert.deepEqual(await transport.receive({ timeout: 0 }), Uint8Array.of(3));
  const bytes = setup({ maxQueuedBytes: 10 });
  await bytes.ecu("7E8#0701020304050607", "7E8#0701020304050608");
  assert.equal(bytes.transport.dropped, 1);
});

Deno.test("a message belongs to its receiver, whatever becomes of the frame's bytes", async () => {
  const { transport, bus } = setup();
  const answer = frame("7E8#0462F19001");
  bus.node("another").deliver(answer);
  answer.data.fill(0xee);
  assert.equal((await transport.receive({ timeout: 0 })).toHex(), "62f19001");
});

Deno.test("what is left over from an earlier request can be discarded", async () => {
  const { transport, ecu } = setup();
  await ecu("7E8#0101", "7E8#0102");
  assert.equal(transport.discardReceived(), 2);
  assert.equal(transport.discardReceived(), 0);
});

Deno.test("a signal ends the wait for an answer, and the next wait is as if it had not been", async () => {
  const { transport, ecu, clock } = setup();
  const stop = new AbortController();
  const answer = outcome(transport.receive({ timeout: 50, signal: stop.signal }));
  stop.abort(new Error("enough"));
  await settled();
  assert.match(String(answer.error), /enough/);
  const next = outcome(transport.receive({ timeout: 50 }));
  await assert.rejects(transport.receive({ timeout: 50 }), /under way already/);
  await clock.pass(49);
  await ecu("7E8#017E");
  assert.deepEqual(next.value, Uint8Array.of(0x7e));
  assert.equal(clock.pending, 0);
});

Deno.test("the same address gives the same path, and other options for it are refused", () => {
  const { client, transport } = setup();
  assert.equal(client.transport(normal), transport);
  assert.throws(() => client.transport(normal, { padding: 0 }), /open already/);
  transport.close();
  const again = client.transport(normal, { padding: 0 });
  assert.notEqual(again, transport);
  assert.throws(
    () => client.transport({ format: "normal", requestId: 0x7e1, responseId: 0x7e8 }),
    /0x7E8 is heard already/,
  );
});

Deno.test("a closed path and a closed client leave no timer and no listener", async () => {
  const { client, transport, node, ecu, clock } = setup();
  const answer = outcome(transport.receive({ timeout: 50 }));
  const sending = outcome(transport.send(counting(20), { timeout: 50 }));
  await ecu("7E8#1014000102030405");
  transport.close();
  await settled();
  assert.match(String(answer.error), /closed/);
  assert.match(String(sending.error), /closed/);
  assert.equal(clock.pending, 0);
  client.close();
  assert.equal(node.listeners, 0);
  assert.throws(() => client.transport(normal), /client is closed/);
  assert.throws(() => client.functional({ format: "normal", requestId: 0x7df }), /client is closed/);
});

Deno.test("options are checked when the client is made", () => {
  const { node } = setup();
  assert.throws(() => new IsoTpClient(node, { stMin: 300 }), /got 300/);
});
