import assert from "node:assert/strict";
import { IsoTpError } from "../../../hardware/isotp/errors.ts";
import { IsoTpLink } from "../../../hardware/isotp/link.ts";
import type { Admission } from "../../../hardware/isotp/receiver.ts";
import { resolveAddress } from "../../../hardware/isotp/address.ts";
import { type IsoTpOptions, settingsFor } from "../../../hardware/isotp/settings.ts";
import { frame, MemoryBus, settled, TestClock } from "./support/memory_bus.ts";
import { counting, normal } from "./support/setup.ts";

/** A link whose every event is written down. */
function link(options: IsoTpOptions & { admit?: (length: number) => Admission } = {}) {
  const { admit = () => "continue", ...own } = options;
  const clock = new TestClock();
  const bus = new MemoryBus();
  const node = bus.node("tester", { clock });
  const events: string[] = [];
  const log: string[] = [];
  const { request, response } = resolveAddress(normal);
  const settings = settingsFor({ clock, log: (message) => log.push(message), ...own });
  const made = new IsoTpLink({ name: "link", bus: node, out: request, in: response, settings }, {
    admit,
    released: (length) => events.push(`released ${length}`),
    began: (length) => events.push(`began ${length}`),
    refused: (length) => events.push(`refused ${length}`),
    received: (message) => events.push(message.toHex().toUpperCase()),
    failed: (error) => events.push(error.result),
  });
  let sentSeen = 0;
  return {
    clock,
    node,
    log,
    link: made,
    async ecu(...payloads: string[]) {
      for (const payload of payloads) {
        made.frame(frame(`7E8#${payload}`).data);
        await settled();
      }
    },
    /** Events and sent frames since the last call. */
    happened(): string[] {
      const sent = node.sent.slice(sentSeen).map(({ text }) => text.slice(text.lastIndexOf("#") + 1));
      sentSeen = node.sent.length;
      return [...events.splice(0), ...sent];
    },
  };
}

Deno.test("a single frame is a message, its padding is not", async () => {
  const { ecu, happened } = link();
  await ecu("06 62F19001 0203 CC", "0162", "0762F19001020304");
  assert.deepEqual(happened(), ["62F190010203", "62", "62F19001020304"]);
});

Deno.test("a first frame is answered with CTS, and the message comes with its last consecutive frame", async () => {
  const { ecu, happened } = link();
  await ecu("1014000102030405");
  assert.deepEqual(happened(), ["began 20", "300000CCCCCCCCCC"]);
  await ecu("21060708090A0B0C");
  assert.deepEqual(happened(), []);
  await ecu("220D0E0F10111213");
  assert.deepEqual(happened(), ["released 20", "000102030405060708090A0B0C0D0E0F10111213"]);
});

Deno.test("BS and STmin that this side asks for stand in its flow controls, one after each block", async () => {
  const { ecu, happened } = link({ blockSize: 2, stMin: 0.5, padding: "none" });
  await ecu("1020000102030405", "21060708090A0B0C", "220D0E0F10111213");
  assert.deepEqual(happened(), ["began 32", "3002F5", "3002F5"]);
  await ecu("231415161718191A", "241B1C1D1E1F5555");
  assert.deepEqual(happened(), ["released 32", counting(32).toHex().toUpperCase()]);
});

Deno.test("no flow control follows the last consecutive frame, even if it ends a block", async () => {
  const { ecu, happened } = link({ blockSize: 1 });
  await ecu("1008000102030405", "210607");
  assert.deepEqual(happened(), [
    "began 8",
    "released 8",
    "0001020304050607",
    "3001 00CCCCCCCCCC".replace(" ", ""),
  ]);
});

Deno.test("the sequence number wraps from F to 0, over any length", async () => {
  const { ecu, happened } = link();
  const message = counting(6 + 7 * 40);
  await ecu(`111E${message.subarray(0, 6).toHex().toUpperCase()}`);
  for (let at = 6, sequence = 1; at < message.length; at += 7, sequence++) {
    const number = (sequence % 16).toString(16).toUpperCase();
    await ecu(`2${number}${message.subarray(at, at + 7).toHex().toUpperCase()}`);
  }
  assert.deepEqual(happened(), [
    "began 286",
    "released 286",
    message.toHex().toUpperCase(),
    "300000CCCCCCCCCC",
  ]);
});

Deno.test("over 4,095 bytes the length comes in 32 bits", async () => {
  const { ecu, happened } = link();
  const message = counting(4_097);
  await ecu("1000000010010001");
  for (let at = 2, sequence = 1; at < message.length; at += 7, sequence++) {
    const number = (sequence % 16).toString(16).toUpperCase();
    await ecu(`2${number}${message.subarray(at, at + 7).toHex().toUpperCase()}`);
  }
  assert.equal(happened()[2], message.toHex().toUpperCase());
});

Deno.test("RX_DL is the first frame's length: FD messages are read whatever TX_DL this side has", async () => {
  for (const rxDl of [12, 16, 20, 24, 32, 48, 64]) {
    const { ecu, happened } = link();
    const message = counting(rxDl * 2);
    const rest = message.subarray(rxDl - 2 + rxDl - 1);
    await ecu(
      `10${(rxDl * 2).toString(16).padStart(2, "0").toUpperCase()}${
        message.subarray(0, rxDl - 2).toHex().toUpperCase()
      }`,
      `21${message.subarray(rxDl - 2, rxDl * 2 - 3).toHex().toUpperCase()}`,
      `22${rest.toHex().toUpperCase()}AAAA`,
    );
    assert.equal(happened()[2], message.toHex().toUpperCase(), `RX_DL ${rxDl}`);
  }
  const { ecu, happened } = link();
  await ecu(`0009${counting(10).toHex().toUpperCase()}`);
  assert.deepEqual(happened(), ["000102030405060708"]);
});

Deno.test("consecutive frames of another length than RX_DL are ignored, unless the last one holds what is left", async () => {
  const { ecu, happened, link: { ignored }, clock } = link();
  await ecu("1014000102030405");
  // Too short in the middle, too long at any place.
  await ecu("210607", "2106070809 0A0B0C 0D0E0F10");
  await ecu("21060708090A0B0C");
  // Too short at the end.
  await ecu("220D0E0F101112");
  happened();
  await clock.pass(1_000);
  assert.deepEqual(happened(), ["released 20", "N_TIMEOUT_Cr"]);
  assert.equal(ignored, 0);
});

Deno.test("N_TIMEOUT_Cr: no consecutive frame within 1,000 ms of the flow control or of the one before", async () => {
  const { ecu, happened, clock } = link();
  await ecu("1014000102030405");
  happened();
  await clock.pass(999);
  assert.deepEqual(happened(), []);
  await ecu("21060708090A0B0C");
  await clock.pass(999);
  assert.deepEqual(happened(), []);
  await clock.pass(1);
  assert.deepEqual(happened(), ["released 20", "N_TIMEOUT_Cr"]);
  // What is left of it is ignored; the next message is understood.
  await ecu("220D0E0F10111213", "017E");
  assert.deepEqual(happened(), ["7E"]);
  assert.equal(clock.pending, 0);
});

Deno.test("N_WRONG_SN: a consecutive frame out of order ends the message", async () => {
  for (const wrong of ["20", "22", "2F"]) {
    const { ecu, happened } = link();
    await ecu("1014000102030405", `${wrong}060708090A0B0C`);
    assert.deepEqual(happened().slice(0, 3), ["began 20", "released 20", "N_WRONG_SN"], wrong);
    await ecu("21060708090A0B0C", "220D0E0F10111213", "037F2231");
    assert.deepEqual(happened(), ["7F2231"]);
  }
  const doubled = link();
  await doubled.ecu("1014000102030405", "21060708090A0B0C", "21060708090A0B0C");
  assert.equal(doubled.happened()[2], "N_WRONG_SN");
});

Deno.test("N_UNEXP_PDU: a single or first frame ends what is under way and is taken (9.8.3)", async () => {
  const { ecu, happened } = link();
  await ecu("1014000102030405", "21060708090A0B0C", "037F2231");
  assert.deepEqual(happened(), ["began 20", "released 20", "N_UNEXP_PDU", "7F2231", "300000CCCCCCCCCC"]);
  await ecu("1014000102030405", "21060708090A0B0C", "1008A0A1A2A3A4A5", "21A6A7");
  assert.deepEqual(happened(), [
    "began 20",
    "released 20",
    "N_UNEXP_PDU",
    "began 8",
    "released 8",
    "A0A1A2A3A4A5A6A7",
    "300000CCCCCCCCCC",
    "300000CCCCCCCCCC",
  ]);
});

Deno.test("frames that say nothing leave the message under way in its place", async () => {
  const { ecu, happened, link: it } = link();
  await ecu("1014000102030405");
  // Flow control, reserved types, SF_DL 0, FF below FF_DLmin, an empty frame.
  await ecu("300000", "4055", "F055", "0055", "1007000000000000", "");
  await ecu("21060708090A0B0C", "320000", "220D0E0F10111213");
  assert.equal(happened()[2], counting(20).toHex().toUpperCase());
  assert.equal(it.ignored, 7);
});

Deno.test("consecutive frames without a message are ignored, and that is said once", async () => {
  const { ecu, happened, link: it, log } = link();
  await ecu("21060708090A0B0C", "220D0E0F10111213");
  assert.deepEqual(happened(), []);
  assert.equal(it.ignored, 2);
  assert.equal(log.length, 1);
  assert.match(log[0], /9\.8\.3/);
});

Deno.test("a message beyond the limit is answered with OVFLW and leaves nothing behind (9.6.3.2)", async () => {
  const { ecu, happened, clock } = link({ maxMessageLength: 100 });
  await ecu("1065000102030405");
  assert.deepEqual(happened(), ["refused 101", "320000CCCCCCCCCC"]);
  await ecu("1000FFFFFFFF0001");
  assert.deepEqual(happened(), ["refused 4294967295", "320000CCCCCCCCCC"]);
  await ecu("21060708090A0B0C");
  assert.deepEqual(happened(), []);
  assert.equal(clock.pending, 0);
});

Deno.test("what a first frame claims is not set aside before it comes", async () => {
  const { ecu, happened } = link({ maxMessageLength: 0xffff_ffff });
  const before = Deno.memoryUsage().external;
  // 4 GiB, claimed and not sent, as often as one likes.
  for (let i = 0; i < 50; i++) await ecu("1000FFFFFFFF0001", "2102030405060708");
  assert.equal(happened().filter((event) => event === "N_UNEXP_PDU").length, 49);
  assert.ok(Deno.memoryUsage().external - before < 64 * 2 ** 20);
});

Deno.test("without a buffer WAIT goes out every N_Br until there is one", async () => {
  let room: Admission = "wait";
  // BS and STmin stand in CTS alone (9.6.5.3).
  const { ecu, happened, clock } = link({ admit: () => room, blockSize: 9, stMin: 1 });
  await ecu("1014000102030405");
  assert.deepEqual(happened(), ["310000CCCCCCCCCC"]);
  await clock.pass(499);
  assert.deepEqual(happened(), []);
  await clock.pass(1);
  assert.deepEqual(happened(), ["310000CCCCCCCCCC"]);
  // The sender is held: what it sends all the same is ignored.
  await ecu("21060708090A0B0C");
  room = "continue";
  await clock.pass(500);
  assert.deepEqual(happened(), ["began 20", "300901CCCCCCCCCC"]);
  await ecu("21060708090A0B0C", "220D0E0F10111213");
  assert.equal(happened()[1], counting(20).toHex().toUpperCase());
});

Deno.test("N_WFT_OVRN: after wftMax WAITs the message is given up (9.7)", async () => {
  const { ecu, happened, clock } = link({ admit: () => "wait", wftMax: 3 });
  await ecu("1014000102030405");
  await clock.pass(1_499);
  assert.deepEqual(happened(), ["310000CCCCCCCCCC", "310000CCCCCCCCCC", "310000CCCCCCCCCC"]);
  await clock.pass(1);
  assert.deepEqual(happened(), ["N_WFT_OVRN"]);
  await clock.pass(5_000);
  assert.deepEqual(happened(), []);
  const none = link({ admit: () => "wait", wftMax: 0 });
  await none.ecu("1014000102030405");
  assert.deepEqual(none.happened(), ["N_WFT_OVRN"]);
});

Deno.test("who admits messages may refuse one with OVFLW, at once or after WAIT", async () => {
  let room: Admission = "overflow";
  const { ecu, happened, clock } = link({ admit: () => room });
  await ecu("1014000102030405");
  assert.deepEqual(happened(), ["refused 20", "320000CCCCCCCCCC"]);
  room = "wait";
  await ecu("1014000102030405");
  room = "overflow";
  await clock.pass(500);
  assert.deepEqual(happened(), ["refused 20", "310000CCCCCCCCCC", "320000CCCCCCCCCC"]);
});

Deno.test("N_TIMEOUT_A: the bus did not take the flow control within N_Ar", async () => {
  const { ecu, happened, node, clock } = link({ nAr: 200 });
  node.mode = "stall";
  await ecu("1014000102030405");
  happened();
  await clock.pass(199);
  assert.deepEqual(happened(), []);
  await clock.pass(1);
  assert.deepEqual(happened(), ["released 20", "N_TIMEOUT_A"]);
  node.mode = "fail";
  await ecu("1014000102030405");
  assert.deepEqual(happened().slice(0, 3), ["began 20", "released 20", "N_ERROR"]);
});

Deno.test("N_Cr runs from when the bus has taken the flow control", async () => {
  const { ecu, happened, node, clock } = link({ nAr: 1_000 });
  let take = () => {};
  node.send = () => new Promise((resolve) => take = resolve);
  await ecu("1014000102030405");
  await clock.pass(900);
  take();
  await clock.pass(999);
  assert.deepEqual(happened(), ["began 20"]);
  await clock.pass(1);
  assert.deepEqual(happened(), ["released 20", "N_TIMEOUT_Cr"]);
});

Deno.test("full duplex: a message comes while one is sent, each with its own flow controls", async () => {
  const { ecu, happened, link: it } = link();
  const sending = it.send(counting(20));
  await settled();
  await ecu("1014000102030405", "300000", "21060708090A0B0C");
  await sending;
  await ecu("220D0E0F10111213");
  assert.deepEqual(happened(), [
    "began 20",
    "released 20",
    counting(20).toHex().toUpperCase(),
    "1014000102030405",
    "300000CCCCCCCCCC",
    "21060708090A0B0C",
    "220D0E0F10111213",
  ]);
});

Deno.test("half duplex: messages that begin while one is sent are ignored (9.8.3)", async () => {
  const { ecu, happened, link: it } = link({ halfDuplex: true });
  const sending = it.send(counting(20));
  await settled();
  await ecu("1014000102030405", "017E", "300000");
  await sending;
  assert.deepEqual(happened(), ["1014000102030405", "21060708090A0B0C", "220D0E0F10111213"]);
  await ecu("017E");
  assert.deepEqual(happened(), ["7E"]);
  assert.equal(it.ignored, 2);
});

Deno.test("a stopped link tells what it had begun", async () => {
  const { ecu, happened, link: it, clock } = link();
  await ecu("1014000102030405");
  it.stop(new IsoTpError("link", "N_ERROR", "over"));
  assert.deepEqual(happened(), ["began 20", "released 20", "N_ERROR", "300000CCCCCCCCCC"]);
  assert.equal(clock.pending, 0);
});
