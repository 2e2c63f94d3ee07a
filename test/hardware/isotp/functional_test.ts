import assert from "node:assert/strict";
import { UdsTimeoutError } from "../../../hardware/uds/transport.ts";
import type { IsoTpFunctionalTransport } from "../../../hardware/isotp/functional_transport.ts";
import { settled } from "./support/memory_bus.ts";
import { counting, normal, setup } from "./support/setup.ts";

const wait = { timeout: 50 };

/** What is received until a wait ends by its time-out. */
async function collect(run: ReturnType<typeof setup>, group: IsoTpFunctionalTransport): Promise<string[]> {
  const answers: string[] = [];
  for (;;) {
    const next = group.receiveFrom(wait);
    next.catch(() => {});
    await run.clock.pass(50);
    try {
      const { source, message } = await next;
      answers.push(`${source.toString(16)}: ${message.toHex()}`);
    } catch (error) {
      assert.ok(error instanceof UdsTimeoutError);
      return answers;
    }
  }
}

Deno.test("a request to 7DF is answered by several ECUs, each on its own identifier", async () => {
  const run = setup();
  const group = run.client.functional({ format: "normal", requestId: 0x7df });
  await group.send(Uint8Array.fromHex("0100"), wait);
  await run.ecu("7E8#064100BE3FA813", "7EA#1008410011223344", "7EF#0341 00 01", "7F0#03410002");
  await run.ecu("7EA#215566");
  assert.deepEqual(run.taken(), ["7DF#020100CCCCCCCCCC", "7E2#300000CCCCCCCCCC"]);
  assert.deepEqual(await collect(run, group), [
    "7e8: 4100be3fa813",
    "7ef: 410001",
    "7ea: 4100112233445566",
  ]);
});

Deno.test("answers to a fixed functional request come from whichever ECU has that tester's address", async () => {
  const run = setup();
  const group = run.client.functional({ format: "normal_fixed", group: 0x33 });
  await group.send(Uint8Array.fromHex("3E00"), wait);
  await run.ecu("18DAF110#027E00", "18DAF142#1008A0A1A2A3A4A5", "18DAF242#027E00", "18DAF142#21A6A7");
  assert.deepEqual(run.taken(), ["18DB33F1#023E00CCCCCCCCCC", "18DA42F1#300000CCCCCCCCCC"]);
  assert.deepEqual(await collect(run, group), ["10: 7e00", "42: a0a1a2a3a4a5a6a7"]);
  assert.equal(group.members.size, 2);
});

Deno.test("extended and mixed functional requests carry the group or extension in their first byte", async () => {
  const run = setup();
  const extended = run.client.functional({ format: "extended", requestId: 0x600, group: 0xfe }, {
    responders: [{ format: "extended", requestId: 0x600, responseId: 0x612, ecu: 0x12 }],
  });
  await extended.send(Uint8Array.fromHex("3E00"), wait);
  await run.ecu("612#F1027E00");
  assert.deepEqual(await collect(run, extended), ["612: 7e00"]);
  const mixed = run.client.functional({ format: "mixed_29", group: 0x33, addressExtension: 0x05 });
  await mixed.send(Uint8Array.fromHex("3E00"), wait);
  await run.ecu("18CEF120#05027E00", "18CEF121#06027E00");
  assert.deepEqual(await collect(run, mixed), ["20: 7e00"]);
  assert.deepEqual(run.taken(), ["600#FE023E00CCCCCCCC", "18CD33F1#05023E00CCCCCCCC"]);
});

Deno.test("a functional request is a single frame: 7 bytes, 6 with an address byte, 62 in FD", async () => {
  const run = setup();
  const group = run.client.functional({ format: "normal", requestId: 0x7df });
  assert.equal(group.maxRequestLength, 7);
  await assert.rejects(group.send(counting(8), wait), /1 to 7 bytes, got 8/);
  await assert.rejects(group.send(counting(0), wait), /got 0/);
  const fd = run.client.functional({ format: "mixed_29", group: 0x33, addressExtension: 1 }, { txDl: 64 });
  assert.equal(fd.maxRequestLength, 61);
  await fd.send(counting(61), wait);
  assert.equal(run.taken().at(0)?.slice(0, 16), "18CD33F1##101003");
});

Deno.test("an answer goes to the ECU's own path when that one waits or sent last, else to the group", async () => {
  const run = setup();
  const group = run.client.functional({ format: "normal", requestId: 0x7df });
  assert.equal([...group.members].includes(run.transport), true);
  await group.send(Uint8Array.fromHex("3E80"), wait);
  await run.ecu("7E8#027E00");
  assert.equal(group.discardReceived(), 1);
  // The ECU's own request came later.
  await run.transport.send(Uint8Array.fromHex("22F190"), wait);
  await run.ecu("7E8#0462F19001");
  assert.equal(group.discardReceived(), 0);
  assert.deepEqual(await run.transport.receive(wait), Uint8Array.fromHex("62F19001"));
  // TesterPresent to all in the background does not take an answer that is waited for.
  const answer = run.transport.receive(wait);
  await group.send(Uint8Array.fromHex("3E80"), wait);
  await run.ecu("7E8#0462F19002");
  assert.deepEqual(await answer, Uint8Array.fromHex("62F19002"));
});

Deno.test("the wait for an answer of the group goes on while one is under way, and ends when that is lost", async () => {
  const run = setup();
  const group = run.client.functional({ format: "normal", requestId: 0x7df });
  await group.send(Uint8Array.fromHex("0902"), wait);
  const ended: unknown[] = [];
  group.receiveFrom(wait).catch((error) => ended.push(error));
  await run.ecu("7E9#1014490201313233");
  await run.clock.pass(900);
  assert.equal(ended.length, 0);
  await run.clock.pass(100);
  assert.ok(ended[0] instanceof UdsTimeoutError);
  assert.match(run.log.join("\n"), /N_TIMEOUT_Cr/);
});

Deno.test("a path that opens after the group belongs to it where the group takes all", async () => {
  const run = setup();
  const group = run.client.functional({ format: "normal_fixed", group: 0x33 });
  const ecu = run.client.transport({ format: "normal_fixed", ecu: 0x10 });
  await group.send(Uint8Array.fromHex("3E00"), wait);
  await run.ecu("18DAF110#027E00");
  assert.deepEqual((await group.receiveFrom(wait)).message, Uint8Array.fromHex("7E00"));
  ecu.close();
  assert.equal(group.members.size, 0);
});

Deno.test("a group that cannot be is refused and leaves nothing behind", async () => {
  const run = setup();
  assert.throws(() => run.client.functional({ format: "normal", requestId: 0x7de }), /responders/);
  const clash = { format: "normal", requestId: 0x7e9, responseId: 0x7e8 } as const;
  assert.throws(
    () => run.client.functional({ format: "normal", requestId: 0x7df }, { responders: [normal, clash] }),
    /heard already/,
  );
  assert.equal(run.transport.groups.size, 0);
  const group = run.client.functional({ format: "normal", requestId: 0x7df });
  const answer = assert.rejects(group.receiveFrom(wait), /closed/);
  group.close();
  await answer;
  await settled();
  assert.equal(run.clock.pending, 0);
});

Deno.test("a functional request that the bus does not take is an error", async () => {
  const run = setup();
  const group = run.client.functional({ format: "normal", requestId: 0x7df });
  run.node.mode = "stall";
  const sending = assert.rejects(group.send(Uint8Array.fromHex("3E00"), wait), /N_TIMEOUT_A/);
  await run.clock.pass(50);
  await sending;
  const stop = new AbortController();
  const stopped = assert.rejects(
    group.send(Uint8Array.fromHex("3E00"), { timeout: 50, signal: stop.signal }),
    /enough/,
  );
  stop.abort(new Error("enough"));
  await stopped;
  run.client.close();
  await assert.rejects(group.send(Uint8Array.fromHex("3E00"), wait), /closed/);
});
