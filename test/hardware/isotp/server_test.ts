import assert from "node:assert/strict";
import { type AttachOptions, IsoTpServer, type IsoTpServerOptions } from "../../../hardware/isotp/server.ts";
import type { DiagnosticEndpoint, RequestContext } from "../../../hardware/uds/transport.ts";
import { frame, MemoryBus, settled, TestClock } from "./support/memory_bus.ts";
import { counting, normal } from "./support/setup.ts";

const fixed: AttachOptions = {
  physical: { format: "normal_fixed", ecu: 0x10 },
  functional: [{ format: "normal_fixed", group: 0x33 }],
};

/** An ECU on a bus where the test plays the testers. */
function ecu(attach: AttachOptions, options: IsoTpServerOptions = {}) {
  const clock = new TestClock();
  const bus = new MemoryBus();
  const node = bus.node("ECU", { clock });
  const tester = bus.node("tester");
  const log: string[] = [];
  const requests: string[] = [];
  const responds: ((response: Uint8Array) => void)[] = [];
  const gone: number[] = [];
  const endpoint: DiagnosticEndpoint = {
    handle(request: Uint8Array, { tester, addressing }: RequestContext, respond) {
      requests.push(`${tester.toString(16)} ${addressing} ${request.toHex()}`);
      responds.push(respond);
    },
    disconnected: (tester) => gone.push(tester),
  };
  const server = new IsoTpServer(node, { clock, log: (message) => log.push(message), ...options });
  const detach = server.attach(endpoint, attach);
  let seen = 0;
  return {
    clock,
    node,
    server,
    endpoint,
    detach,
    log,
    gone,
    requests: () => requests.splice(0),
    responds,
    async tester(...frames: string[]) {
      for (const text of frames) {
        tester.deliver(frame(text));
        await settled();
      }
    },
    sent() {
      const texts = node.sent.slice(seen).map((sent) => sent.text);
      seen = node.sent.length;
      return texts;
    },
  };
}

Deno.test("requests come under the physical and the functional address, responses go to the physical one", async () => {
  const run = ecu({ physical: normal, functional: [{ format: "normal", requestId: 0x7df }] });
  await run.tester("7E0#023E00", "7DF#023E80", "7E1#023E00");
  assert.deepEqual(run.requests(), ["f1 physical 3e00", "f1 functional 3e80"]);
  for (const respond of run.responds) respond(Uint8Array.fromHex("7E00"));
  await settled();
  assert.deepEqual(run.sent(), ["7E8#027E00CCCCCCCCCC", "7E8#027E00CCCCCCCCCC"]);
});

Deno.test("functional first frames get no flow control: functional messages are single frames (8.3.2.4)", async () => {
  const run = ecu({ physical: normal, functional: [{ format: "normal", requestId: 0x7df }] });
  await run.tester("7DF#1014000102030405", "7DF#21060708090A0B0C", "7DF#300000", "7DF#00");
  assert.deepEqual(run.requests(), []);
  assert.deepEqual(run.sent(), []);
});

Deno.test("several testers are served at once, each under its own address and with its own messages", async () => {
  const run = ecu(fixed);
  await run.tester(
    "18DA10F1#1008A0A1A2A3A4A5",
    "18DA10F2#1008B0B1B2B3B4B5",
    "18DB33F3#023E00",
    "18DA10F2#21B6B7",
    "18DA10F1#21A6A7",
    "18DA11F1#023E00",
    "18DA1010#023E00",
  );
  assert.deepEqual(run.sent(), ["18DAF110#300000CCCCCCCCCC", "18DAF210#300000CCCCCCCCCC"]);
  assert.deepEqual(run.requests(), [
    "f3 functional 3e00",
    "f2 physical b0b1b2b3b4b5b6b7",
    "f1 physical a0a1a2a3a4a5a6a7",
  ]);
  run.responds.forEach((respond, at) => respond(Uint8Array.of(0x50 + at)));
  await settled();
  assert.deepEqual(run.sent(), [
    "18DAF310#0150CCCCCCCCCCCC",
    "18DAF210#0151CCCCCCCCCCCC",
    "18DAF110#0152CCCCCCCCCCCC",
  ]);
});

Deno.test("with one tester named, no other is heard", async () => {
  const run = ecu({
    physical: { format: "normal_fixed", ecu: 0x10, tester: 0xf1 },
    functional: [{ format: "normal_fixed", group: 0x33 }],
  });
  await run.tester("18DA10F2#023E00", "18DB33F2#023E00", "18DA10F1#023E00", "18DB33F1#023E80");
  assert.deepEqual(run.requests(), ["f1 physical 3e00", "f1 functional 3e80"]);
});

Deno.test("extended and mixed addresses are served with their address byte", async () => {
  const extended = ecu({
    physical: { format: "extended", requestId: 0x600, responseId: 0x612, ecu: 0x12 },
    functional: [{ format: "extended", requestId: 0x600, group: 0xfe }],
  });
  await extended.tester("600#12023E00", "600#FE023E80", "600#13023E00");
  assert.deepEqual(extended.requests(), ["f1 physical 3e00", "f1 functional 3e80"]);
  extended.responds[0](Uint8Array.fromHex("7E00"));
  await settled();
  assert.deepEqual(extended.sent(), ["612#F1027E00CCCCCCCC"]);
  const mixed = ecu({
    physical: { format: "mixed_29", ecu: 0x10, addressExtension: 0x99 },
    functional: [{ format: "mixed_29", group: 0x33, addressExtension: 0x99 }],
  });
  await mixed.tester("18CE10F5#99023E00", "18CD33F5#99023E80", "18CE10F5#98023E00");
  assert.deepEqual(mixed.requests(), ["f5 physical 3e00", "f5 functional 3e80"]);
  mixed.responds[0](Uint8Array.fromHex("7E00"));
  await settled();
  assert.deepEqual(mixed.sent(), ["18CEF510#99027E00CCCCCCCC"]);
});

Deno.test("responses wait for each other, and their bytes are the caller's again at once", async () => {
  const run = ecu({ physical: normal });
  await run.tester("7E0#023E00");
  const [respond] = run.responds;
  const bytes = counting(8);
  respond(bytes);
  bytes.fill(0xee);
  respond(Uint8Array.fromHex("7F2278"));
  await settled();
  assert.deepEqual(run.sent(), ["7E8#1008000102030405"]);
  await run.tester("7E0#300000");
  assert.deepEqual(run.sent(), ["7E8#210607CCCCCCCCCC", "7E8#037F2278CCCCCCCC"]);
});

Deno.test("a response that the tester does not take is given up, and the next one goes", async () => {
  const run = ecu({ physical: normal });
  await run.tester("7E0#023E00");
  run.responds[0](counting(8));
  run.responds[0](Uint8Array.of(1));
  await run.clock.pass(1_000);
  assert.deepEqual(run.sent(), ["7E8#1008000102030405", "7E8#0101CCCCCCCCCCCC"]);
  assert.match(run.log.join("\n"), /N_TIMEOUT_Bs/);
});

Deno.test("responses that pile up are bounded in number and bytes, and that is said", async () => {
  const many = ecu({ physical: normal }, { maxQueuedMessages: 2 });
  await many.tester("7E0#023E00");
  for (let i = 0; i < 4; i++) many.responds[0](counting(8));
  assert.equal(many.log.length, 1);
  assert.match(many.log[0], /2 responses wait; one of 8 bytes is dropped/);
  const long = ecu({ physical: normal }, { maxQueuedBytes: 20 });
  await long.tester("7E0#023E00");
  for (let i = 0; i < 4; i++) long.responds[0](counting(9));
  assert.match(long.log.join("\n"), /one of 9 bytes is dropped/);
});

Deno.test("requests beyond the memory for all testers together are told to WAIT until there is room", async () => {
  const run = ecu(fixed, { maxReceiving: 20 });
  await run.tester("18DA10F1#1014000102030405", "18DA10F2#1008B0B1B2B3B4B5");
  assert.deepEqual(run.sent(), ["18DAF110#300000CCCCCCCCCC", "18DAF210#310000CCCCCCCCCC"]);
  await run.tester("18DA10F1#21060708090A0B0C", "18DA10F1#220D0E0F10111213");
  await run.clock.pass(500);
  assert.deepEqual(run.sent(), ["18DAF210#300000CCCCCCCCCC"]);
  await run.tester("18DA10F2#21B6B7");
  assert.equal(run.requests().length, 2);
});

Deno.test("the tester that was silent longest makes room for one too many", async () => {
  const run = ecu({ ...fixed, maxTesters: 2 });
  await run.tester("18DA10F1#023E00", "18DA10F2#023E00", "18DA10F1#023E00", "18DA10F3#023E00");
  assert.deepEqual(run.gone, [0xf2]);
  run.responds[1](Uint8Array.of(1));
  await settled();
  assert.deepEqual(run.sent(), []);
});

Deno.test("an ECU that fails on a request leaves the others on the bus", async () => {
  const run = ecu({ physical: normal, functional: [{ format: "normal", requestId: 0x7df }] });
  run.server.attach({
    handle() {
      throw new Error("broken ECU");
    },
  }, {
    physical: { format: "normal", requestId: 0x7e1, responseId: 0x7e9 },
    functional: [{ format: "normal", requestId: 0x7df }],
  });
  run.server.attach(run.endpoint, {
    physical: { format: "normal", requestId: 0x7e2, responseId: 0x7ea },
    functional: [{ format: "normal", requestId: 0x7df }],
  });
  await run.tester("7DF#023E00");
  assert.equal(run.requests().length, 2);
  assert.match(run.log.join("\n"), /broken ECU/);
});

Deno.test("an address is served once, and is free again when its ECU is detached", async () => {
  const run = ecu(fixed);
  assert.throws(() => run.server.attach(run.endpoint, fixed), /heard already/);
  assert.throws(() => run.server.attach(run.endpoint, { ...fixed, maxTesters: 0 }), /maxTesters.*got 0/);
  await run.tester("18DA10F1#023E00");
  run.detach();
  assert.deepEqual(run.gone, [0xf1]);
  run.server.attach(run.endpoint, fixed);
  await run.tester("18DA10F1#023E00", "18DB33F1#023E80");
  assert.equal(run.requests().length, 3);
});

Deno.test("when the bus is gone the ECU hears that its testers are", async () => {
  const run = ecu(fixed);
  await run.tester("18DA10F1#023E00", "18DA10F2#023E00", "18DA10F3#1014000102030405");
  await run.node.close(new Error("unplugged"));
  await settled();
  // The third never completed a request.
  assert.deepEqual(run.gone, [0xf1, 0xf2]);
  assert.equal(run.clock.pending, 0);
  assert.equal(run.node.listeners, 0);
  assert.throws(() => run.server.attach(run.endpoint, fixed), /unplugged/);
  run.responds[0](Uint8Array.of(1));
  await settled();
});
