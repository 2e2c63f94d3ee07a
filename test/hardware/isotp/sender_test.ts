import assert from "node:assert/strict";
import { IsoTpClient } from "../../../hardware/isotp/client.ts";
import { IsoTpBusError, IsoTpError, IsoTpTimeoutError } from "../../../hardware/isotp/errors.ts";
import { BatchNode, MemoryBus, settled } from "./support/memory_bus.ts";
import { counting, normal, setup } from "./support/setup.ts";

const wait = { timeout: 5_000 };

Deno.test("a message of up to 7 bytes goes in a single frame, filled with CC", async () => {
  const { transport, taken } = setup();
  await transport.send(Uint8Array.fromHex("3E00"), wait);
  await transport.send(counting(7), wait);
  assert.deepEqual(taken(), ["7E0#023E00CCCCCCCCCC", "7E0#0700010203040506"]);
});

Deno.test("without padding a frame is as short as it can be, with another byte it has that one", async () => {
  const bare = setup({ padding: "none" });
  await bare.transport.send(Uint8Array.fromHex("3E00"), wait);
  assert.deepEqual(bare.taken(), ["7E0#023E00"]);
  const zeros = setup({ padding: 0 });
  await zeros.transport.send(Uint8Array.fromHex("3E00"), wait);
  assert.deepEqual(zeros.taken(), ["7E0#023E000000000000"]);
});

Deno.test("a longer message waits for the flow control after its first frame, then goes in consecutive frames", async () => {
  const { transport, ecu, taken } = setup();
  const sending = transport.send(counting(20), wait);
  await settled();
  assert.deepEqual(taken(), ["7E0#1014000102030405"]);
  await ecu("7E8#300000");
  await sending;
  assert.deepEqual(taken(), ["7E0#21060708090A0B0C", "7E0#220D0E0F10111213"]);
});

Deno.test("the last consecutive frame is filled, or as short as it can be", async () => {
  for (const [padding, last] of [[0xcc, "7E0#22 0D CCCCCCCCCCCC"], ["none", "7E0#22 0D"]] as const) {
    const { transport, ecu, taken } = setup({ padding });
    const sending = transport.send(counting(14), wait);
    await settled();
    await ecu("7E8#300000");
    await sending;
    assert.deepEqual(taken(), ["7E0#100E000102030405", "7E0#21060708090A0B0C", last.replaceAll(" ", "")]);
  }
});

Deno.test("the sequence number wraps from F to 0", async () => {
  const { transport, ecu, taken } = setup();
  const sending = transport.send(counting(6 + 7 * 18), wait);
  await settled();
  await ecu("7E8#300000");
  await sending;
  assert.equal(
    taken().slice(1).map((text) => text.slice(5, 6)).join(""),
    "123456789ABCDEF012",
  );
});

Deno.test("after each block of BS frames a flow control is awaited, and its BS and STmin are taken over", async () => {
  const { transport, ecu, taken, clock } = setup();
  const sending = transport.send(counting(6 + 7 * 6), wait);
  await settled();
  taken();
  await ecu("7E8#300200");
  assert.deepEqual(taken().map((text) => text.slice(4, 6)), ["21", "22"]);
  await clock.pass(999);
  assert.deepEqual(taken(), []);
  await ecu("7E8#300300");
  assert.deepEqual(taken().map((text) => text.slice(4, 6)), ["23", "24", "25"]);
  await ecu("7E8#30000A");
  await sending;
  assert.deepEqual(taken().map((text) => text.slice(4, 6)), ["26"]);
});

Deno.test("STmin lies between all consecutive frames of a message, and no timer is early", async () => {
  for (const [byte, milliseconds] of [["0A", 10], ["F3", 0.3], ["80", 127], ["7F", 127]] as const) {
    const { transport, ecu, node, clock } = setup();
    const sending = transport.send(counting(6 + 7 * 5), wait);
    await settled();
    await ecu(`7E8#3003${byte}`);
    await clock.pass(milliseconds * 2);
    await ecu(`7E8#3003${byte}`);
    await clock.pass(milliseconds * 2);
    await sending;
    const times = node.sent.slice(1).map((sent) => sent.time);
    assert.equal(times.length, 5);
    times.slice(1).forEach((time, at) => {
      assert.ok(Math.abs(time - times[at] - milliseconds) < 1e-9, `STmin ${byte}: ${times}`);
    });
  }
});

Deno.test("a frame whose instant has passed when its wait begins goes at once", async () => {
  const { transport, ecu, node } = setup({
    pacer: {
      at(_instant, run) {
        run();
        return () => {};
      },
    },
  });
  const sending = transport.send(counting(20), wait);
  await settled();
  await ecu("7E8#300001");
  await sending;
  assert.equal(node.sent.length, 3);
});

Deno.test("the time that a frame is on its way is added to STmin where the adapter only queues it", async () => {
  const { transport, ecu, node, clock } = setup({ frameTime: 0.25 });
  const sending = transport.send(counting(20), wait);
  await settled();
  await ecu("7E8#300001");
  await clock.pass(1.25);
  await sending;
  assert.equal(node.sent[2].time - node.sent[1].time, 1.25);
});

Deno.test("over 4,095 bytes the first frame tells the length in 32 bits", async () => {
  const { transport, ecu, taken } = setup();
  const sending = transport.send(counting(4_096), wait);
  await settled();
  await ecu("7E8#300000");
  await sending;
  const frames = taken();
  assert.equal(frames[0], "7E0#1000000010000001");
  assert.equal(frames[1], "7E0#2102030405060708");
  // 2 + 584 * 7 = 4,090; the last frame carries the other 6.
  assert.equal(frames.length, 1 + 584 + 1);
  assert.equal(frames[585], "7E0#29FAFBFCFDFEFFCC");
  const short = setup();
  const shorter = short.transport.send(counting(4_095), wait);
  await settled();
  assert.deepEqual(short.taken(), ["7E0#1FFF000102030405"]);
  await short.ecu("7E8#320000");
  await assert.rejects(shorter);
});

Deno.test("CAN FD frames carry up to TX_DL and are filled to the next DLC", async () => {
  const { transport, ecu, taken } = setup({ txDl: 64 });
  await transport.send(counting(7), wait);
  await transport.send(counting(8), wait);
  await transport.send(counting(62), wait);
  assert.deepEqual(taken(), [
    "7E0##10700010203040506",
    "7E0##100080001020304050607CCCC",
    `7E0##1003E${counting(62).toHex().toUpperCase()}`,
  ]);
  const sending = transport.send(counting(140), wait);
  await settled();
  await ecu("7E8##1300000");
  await sending;
  const all = counting(140).toHex().toUpperCase();
  assert.deepEqual(taken(), [
    `7E0##1108C${all.slice(0, 124)}`,
    `7E0##121${all.slice(124, 250)}`,
    // 15 bytes are left: 16 with the N_PCI.
    `7E0##122${all.slice(250)}`,
  ]);
});

Deno.test("every TX_DL makes first and consecutive frames of that length", async () => {
  for (const txDl of [12, 16, 20, 24, 32, 48]) {
    const { transport, ecu, node } = setup({ txDl, bitRateSwitch: false, padding: "none" });
    const sending = transport.send(counting(txDl * 3), wait);
    await settled();
    await ecu("7E8#300000");
    await sending;
    const lengths = node.sent.map(({ text }) => (text.length - "7E0##0".length) / 2);
    // FF carries TX_DL - 2, each CF TX_DL - 1; 4 bytes and the N_PCI are left.
    assert.deepEqual(lengths, [txDl, txDl, txDl, 5], `TX_DL ${txDl}`);
    assert.ok(node.sent.every(({ text }) => text.startsWith("7E0##0")));
  }
});

Deno.test("each addressing format puts its identifier and address byte into every frame", async () => {
  const rows = [
    [{ format: "normal_fixed", ecu: 0x10 }, "18DAF110#300000", [
      "18DA10F1#0322F190CCCCCCCC",
      "18DA10F1#1008000102030405",
      "18DA10F1#210607CCCCCCCCCC",
    ]],
    [{ format: "extended", requestId: 0x600, responseId: 0x601, ecu: 0x12 }, "601#F1300000", [
      "600#120322F190CCCCCC",
      "600#1210080001020304",
      "600#1221050607CCCCCC",
    ]],
    [{ format: "mixed_11", requestId: 0x710, responseId: 0x718, addressExtension: 0x99 }, "718#99300000", [
      "710#990322F190CCCCCC",
      "710#9910080001020304",
      "710#9921050607CCCCCC",
    ]],
    [{ format: "mixed_29", ecu: 0x10, addressExtension: 0x99 }, "18CEF110#99300000", [
      "18CE10F1#990322F190CCCCCC",
      "18CE10F1#9910080001020304",
      "18CE10F1#9921050607CCCCCC",
    ]],
  ] as const;
  for (const [address, flowControl, expected] of rows) {
    const { transport, ecu, taken } = setup({ address });
    await transport.send(Uint8Array.fromHex("22F190"), wait);
    const sending = transport.send(counting(8), wait);
    await settled();
    await ecu(flowControl);
    await sending;
    assert.deepEqual(taken(), expected, address.format);
  }
});

/** The N_Result of a failed send. */
async function result(sending: Promise<void>): Promise<string> {
  try {
    await sending;
  } catch (error) {
    if (error instanceof IsoTpError) return error.result;
    throw error;
  }
  return "N_OK";
}

Deno.test("N_TIMEOUT_Bs: no flow control within 1,000 ms after the first frame, and none after a block", async () => {
  const { transport, clock, ecu } = setup();
  let over = false;
  const first = transport.send(counting(20), wait).catch((error) => {
    over = true;
    return error;
  });
  await clock.pass(999);
  assert.equal(over, false);
  await clock.pass(1);
  const error = await first;
  assert.ok(error instanceof IsoTpTimeoutError);
  assert.equal(error.result, "N_TIMEOUT_Bs");
  assert.match(error.message, /0x7E0→0x7E8/);
  const second = result(transport.send(counting(30), wait));
  await settled();
  await ecu("7E8#300200");
  await clock.pass(1_000);
  assert.equal(await second, "N_TIMEOUT_Bs");
  assert.equal(clock.pending, 0);
});

Deno.test("WAIT starts N_Bs anew, as often as maxWaits allows, then N_WFT_OVRN", async () => {
  const { transport, clock, ecu, taken } = setup({ maxWaits: 3 });
  const patient = result(transport.send(counting(8), wait));
  await settled();
  for (let i = 0; i < 3; i++) {
    await clock.pass(900);
    await ecu("7E8#310000");
  }
  await clock.pass(900);
  await ecu("7E8#300000");
  assert.equal(await patient, "N_OK");
  taken();
  const held = result(transport.send(counting(8), wait));
  await settled();
  await ecu("7E8#310000", "7E8#310000", "7E8#310000", "7E8#310000");
  assert.equal(await held, "N_WFT_OVRN");
  const silent = result(transport.send(counting(8), wait));
  await settled();
  await ecu("7E8#310000");
  await clock.pass(1_000);
  assert.equal(await silent, "N_TIMEOUT_Bs");
});

Deno.test("the count of WAITs begins anew after each CTS", async () => {
  const { transport, ecu } = setup({ maxWaits: 1 });
  const sending = result(transport.send(counting(6 + 14), wait));
  await settled();
  await ecu("7E8#310000", "7E8#300100", "7E8#310000", "7E8#300100");
  assert.equal(await sending, "N_OK");
});

Deno.test("OVFLW ends the message with N_BUFFER_OVFLW, a reserved FlowStatus with N_INVALID_FS", async () => {
  for (
    const [flowControl, expected] of [["32", "N_BUFFER_OVFLW"], ["33", "N_INVALID_FS"], [
      "3F",
      "N_INVALID_FS",
    ]]
  ) {
    const { transport, ecu, taken } = setup();
    const sending = result(transport.send(counting(20), wait));
    await settled();
    await ecu(`7E8#${flowControl}0000`);
    assert.equal(await sending, expected);
    // Nothing follows, and the next message goes as if nothing had been.
    assert.equal(taken().length, 1);
    await ecu("7E8#300000");
    await transport.send(counting(3), wait);
    assert.deepEqual(taken(), ["7E0#03000102CCCCCCCC"]);
  }
});

Deno.test("N_TIMEOUT_A: the bus did not take a frame within N_As", async () => {
  const { transport, clock, node, ecu } = setup({ nAs: 300 });
  node.mode = "stall";
  const single = result(transport.send(counting(3), wait));
  await clock.pass(300);
  assert.equal(await single, "N_TIMEOUT_A");
  node.mode = "take";
  const long = result(transport.send(counting(20), wait));
  await settled();
  node.mode = "stall";
  await ecu("7E8#300000");
  await clock.pass(300);
  assert.equal(await long, "N_TIMEOUT_A");
});

Deno.test("N_ERROR: the bus fails, or is closed", async () => {
  const { transport, node } = setup();
  node.mode = "fail";
  await assert.rejects(transport.send(counting(3), wait), (error) => {
    assert.ok(error instanceof IsoTpBusError);
    assert.equal(error.result, "N_ERROR");
    assert.match(error.message, /bus off/);
    return true;
  });
  node.mode = "take";
  const sending = result(transport.send(counting(20), wait));
  await settled();
  await node.close(new Error("adapter unplugged"));
  assert.equal(await sending, "N_ERROR");
  await assert.rejects(transport.send(counting(3), wait), /adapter unplugged/);
  await assert.rejects(transport.receive(wait), /adapter unplugged/);
});

Deno.test("the caller's time-out ends the wait for the first flow control, not what follows it", async () => {
  const { transport, clock, ecu } = setup();
  const late = result(transport.send(counting(20), { timeout: 50 }));
  await clock.pass(50);
  assert.equal(await late, "N_TIMEOUT_Bs");
  const slow = result(transport.send(counting(20), { timeout: 50 }));
  await settled();
  await ecu("7E8#30007F");
  await clock.pass(500);
  assert.equal(await slow, "N_OK");
});

Deno.test("a signal ends a message wherever it stands, with its own reason", async () => {
  const places: ((run: ReturnType<typeof setup>) => Promise<void>)[] = [
    // Before the flow control, in the time of STmin, before the next flow control, in the bus.
    async () => {},
    (run) => run.ecu("7E8#30007F"),
    (run) => run.ecu("7E8#300100"),
    (run) => {
      run.node.mode = "stall";
      return run.ecu("7E8#300000");
    },
  ];
  for (const reach of places) {
    const run = setup();
    const stop = new AbortController();
    const reason = new Error("enough");
    const sending = run.transport.send(counting(30), { timeout: 5_000, signal: stop.signal });
    const rejected = assert.rejects(sending, (error) => error === reason);
    await settled();
    await reach(run);
    stop.abort(reason);
    await rejected;
    run.node.mode = "take";
    run.taken();
    await run.transport.send(counting(1), wait);
    assert.equal(run.taken().length, 1);
  }
  const { transport, taken } = setup();
  await assert.rejects(
    transport.send(counting(1), { timeout: 1, signal: AbortSignal.abort(new Error("no")) }),
    /no/,
  );
  assert.deepEqual(taken(), []);
});

Deno.test("flow controls that are not awaited are ignored (9.8.3)", async () => {
  const { transport, ecu, taken, clock } = setup();
  await ecu("7E8#300000", "7E8#320000");
  const sending = result(transport.send(counting(30), wait));
  await settled();
  // BS 0: no other flow control is due.
  await ecu("7E8#30000A");
  await ecu("7E8#320000", "7E8#3F0000");
  await clock.pass(100);
  assert.equal(await sending, "N_OK");
  assert.equal(taken().length, 5);
  assert.equal(transport.ignored, 4);
});

Deno.test("frames on other identifiers, with another address byte, or remote ones are none of this link's", async () => {
  const { transport, ecu, taken, clock } = setup({
    address: { format: "extended", requestId: 0x600, responseId: 0x601, ecu: 0x12 },
  });
  const sending = result(transport.send(counting(20), wait));
  await settled();
  await ecu("602#F1300000", "601#F2300000", "601#", "601#R", "00000601#F1300000");
  assert.equal(taken().length, 1);
  await clock.pass(1_000);
  assert.equal(await sending, "N_TIMEOUT_Bs");
});

Deno.test("a block is given to the bus in batches where it takes them, with the bytes that single sends have", async () => {
  const { node, transport, ecu, taken } = setup({ batches: true });
  assert.ok(node instanceof BatchNode);
  const message = counting(6 + 7 * 100 + 3);
  const sending = transport.send(message, wait);
  await settled();
  await ecu("7E8#302000", "7E8#300000");
  await sending;
  const plain = setup();
  const single = plain.transport.send(message, wait);
  await settled();
  await plain.ecu("7E8#300000");
  await single;
  assert.deepEqual(taken(), plain.taken());
  // BS 32 bounds the first block.
  assert.deepEqual(node.batches, [16, 16, 64, 5]);
});

Deno.test("while the bus works on a batch the next one stands ready, and each keeps its bytes until it is taken", async () => {
  const { node, transport, ecu, taken } = setup({ batches: true });
  assert.ok(node instanceof BatchNode);
  const sending = transport.send(counting(6 + 7 * 40), wait);
  await settled();
  node.holding = true;
  await ecu("7E8#300000");
  assert.deepEqual(node.batches, [16, 16]);
  node.held.shift()?.();
  await settled();
  assert.equal(node.batches.length, 3);
  while (node.held.length > 0) {
    node.held.shift()?.();
    await settled();
  }
  await sending;
  const frames = taken().slice(1);
  assert.equal(frames.length, 40);
  assert.equal(frames[0], "7E0#21060708090A0B0C");
  assert.equal(frames[16], "7E0#21767778797A7B7C");
  assert.equal(frames[39], "7E0#281718191A1B1C1D");
});

Deno.test("a message that ends while batches wait is over when its frames are free again", async () => {
  const { node, transport, client, ecu } = setup({ batches: true });
  assert.ok(node instanceof BatchNode);
  let over = false;
  const sending = transport.send(counting(6 + 7 * 40), wait).finally(() => over = true);
  sending.catch(() => {});
  await settled();
  node.holding = true;
  await ecu("7E8#300000");
  client.close();
  node.held.shift()?.();
  await settled();
  assert.equal(over, false);
  node.held.shift()?.();
  await assert.rejects(sending, /client is closed/);
  assert.deepEqual(node.batches, [16, 16]);
});

Deno.test("with STmin frames go one by one though the bus takes batches", async () => {
  const { node, transport, ecu, clock } = setup({ batches: true });
  assert.ok(node instanceof BatchNode);
  const sending = transport.send(counting(30), wait);
  await settled();
  await ecu("7E8#300005");
  await clock.pass(15);
  await sending;
  assert.deepEqual(node.batches, []);
});

Deno.test("messages that cannot be sent are refused before anything is", async () => {
  const { transport, taken, client } = setup({ maxMessageLength: 100 });
  assert.equal(transport.maxRequestLength, 100);
  await assert.rejects(transport.send(counting(101), wait), /1 to 100 bytes, got 101/);
  await assert.rejects(transport.send(counting(0), wait), /got 0/);
  const sending = transport.send(counting(20), wait);
  await assert.rejects(transport.send(counting(2), wait), /being sent already/);
  client.close();
  await assert.rejects(sending, /client is closed/);
  assert.equal(taken().length, 1);
});

Deno.test("a link in FD format needs a bus that has it", () => {
  const node = new MemoryBus().node("classic", { fd: false });
  const client = new IsoTpClient(node, { txDl: 64 });
  assert.throws(() => client.transport(normal), /fd: classic sends no CAN FD frames/);
  assert.throws(() => client.functional({ format: "normal", requestId: 0x7df }), /fd: classic/);
  client.close();
});
