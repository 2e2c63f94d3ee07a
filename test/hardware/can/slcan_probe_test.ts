import assert from "node:assert/strict";
import { knownAdapter, probe } from "../../../hardware/can/slcan_probe.ts";
import { SlcanDevice } from "../../../hardware/can/slcan_device.ts";
import { byteStreamPair } from "../../support/byte_stream_pair.ts";
import { TestClock } from "../uds/test_clock.ts";
import { MemoryWire } from "./memory_bus.ts";

async function probed(play: (answer: (text: string) => void, clock: TestClock) => Promise<void>) {
  const clock = new TestClock();
  const [host, far] = byteStreamPair();
  const probing = probe(host, { clock });
  probing.catch(() => {});
  await clock.advance(0);
  await play((text) => host.arrive(text), clock);
  await clock.advance(5000);
  return { result: await probing, sent: host.text(), far };
}

Deno.test("an adapter tells its version and serial number, and no more than four commands are sent", async () => {
  const { result, sent } = await probed(async (answer, clock) => {
    answer("\r\r\r\x07t1230\r");
    await clock.advance(300);
    answer("V1013\r");
    await clock.advance(0);
    answer("NA123\r");
  });
  assert.deepEqual(result, { found: "slcan", version: "1013", serialNumber: "A123", acknowledges: true });
  assert.equal(sent, "\r\r\rC\rV\rN\r");
});

Deno.test("an adapter without acknowledgements and serial number is one all the same", async () => {
  const { result } = await probed(async (answer, clock) => {
    await clock.advance(300);
    answer("CANable 1.0 free text\r");
  });
  assert.deepEqual(result, {
    found: "slcan",
    version: "CANable 1.0 free text",
    serialNumber: undefined,
    acknowledges: false,
  });
});

Deno.test("silence is told as such, and something that echoes is no adapter", async () => {
  const silent = await probed(() => Promise.resolve());
  assert.equal(silent.result.found, "nothing");
  const modem = await probed(async (answer, clock) => {
    answer("\r\r\rC\r");
    await clock.advance(300);
    answer("V\r");
    await clock.advance(0);
    answer("N\r");
  });
  assert.equal(modem.result.found, "something else");
});

Deno.test("a line that ends is an error, not silence", async () => {
  const [host, far] = byteStreamPair();
  const probing = probe(host, { purgeTime: 10 });
  far.close();
  await assert.rejects(probing, /the line/);
});

Deno.test("our own adapter is found, and its channel closed", async () => {
  const [host, far] = byteStreamPair();
  const device = new SlcanDevice(far, { join: () => new MemoryWire().join(), serialNumber: "BODY" });
  await host.write(new TextEncoder().encode("O\r"));
  assert.deepEqual(await probe(host, { purgeTime: 20 }), {
    found: "slcan",
    version: "1013",
    serialNumber: "BODY",
    acknowledges: true,
  });
  assert.equal(device.open, false);
  await device.done;
});

Deno.test("adapters are known by their USB numbers, or by their names", () => {
  assert.equal(knownAdapter({ vendorId: "16d0", productId: "117e" }), "CANable");
  assert.equal(knownAdapter({ vendorId: "AD50", productId: "60C4" }), "CANtact");
  assert.equal(knownAdapter({ vendorId: "0403", productId: "ffa8" }), "LAWICEL CANUSB");
  assert.equal(knownAdapter({ vendorId: "1234", productId: "5678", product: "CANable 2.0" }), "CANable");
  assert.equal(knownAdapter({ vendorId: "0403", productId: "6001", product: "FT232R USB UART" }), undefined);
  assert.equal(knownAdapter({}), undefined);
});
