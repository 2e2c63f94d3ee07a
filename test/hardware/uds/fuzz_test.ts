// Any bytes at the server's core and at a client's functions: no crash, always an answer or a typed error, and bounded.
// UDS_FUZZ_COUNT says how many inputs each; the seed is printed, UDS_FUZZ_SEED repeats a run.
import assert from "node:assert/strict";
import { decodeUdsMessage, serviceCodecs } from "../../../hardware/uds/codec/all.ts";
import { UdsClient } from "../../../hardware/uds/client.ts";
import { decodeSnapshots } from "../../../hardware/uds/dtc.ts";
import { UdsError, UdsFormatError } from "../../../hardware/uds/errors.ts";
import { UdsTimeoutError, type UdsTransport, UdsTransportError } from "../../../hardware/uds/transport.ts";
import { bootedEcu } from "../sim/fixtures.ts";
import { settle, TestClock } from "./test_clock.ts";

const count = Number(Deno.env.get("UDS_FUZZ_COUNT") ?? 3_000);
const seed = Number(Deno.env.get("UDS_FUZZ_SEED") ?? Date.now() % 0x7fff_ffff);

// Most inputs end in an error by design; the traces of a million of them would be most of the work.
Error.stackTraceLimit = 1;

/** xorshift32, so that a seed repeats a run. */
function noise(from: number): () => number {
  let state = from | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

const sids = [...serviceCodecs.keys()];

/** A message that is often nearly one: a service, a small sub-function, short fields. */
function message(random: () => number, positive: boolean): Uint8Array {
  const length = random() % 4 === 0 ? random() % 64 : random() % 12;
  const bytes = Uint8Array.from({ length }, () => random() % 3 === 0 ? random() % 8 : random() & 0xff);
  if (length > 0 && random() % 8 !== 0) bytes[0] = sids[random() % sids.length] + (positive ? 0x40 : 0);
  return bytes;
}

function hex(bytes: Uint8Array): string {
  return bytes.toHex();
}

Deno.test("the decoder takes any bytes or refuses them by UdsFormatError", () => {
  const random = noise(seed);
  let decoded = 0;
  for (let index = 0; index < count; index++) {
    const bytes = message(random, index % 2 === 0);
    try {
      decodeUdsMessage(bytes);
      decoded++;
    } catch (error) {
      assert.ok(error instanceof UdsFormatError, `seed ${seed} input ${index} ${hex(bytes)}: ${error}`);
    }
    decodeSnapshots(bytes, (did) => did & 7);
  }
  console.log(`decoder: seed ${seed}, ${count} inputs, ${decoded} of them messages`);
  assert.ok(decoded > count / 50, "the inputs are near enough to messages");
});

Deno.test("what the decoder takes, the encoder gives back", () => {
  const random = noise(seed + 1);
  for (let index = 0; index < count; index++) {
    const bytes = message(random, index % 2 === 0);
    const codec = serviceCodecs.get(bytes[0] - (index % 2 === 0 ? 0x40 : 0));
    const half = index % 2 === 0 ? codec?.response : codec?.request;
    let value: unknown;
    try {
      value = half?.decode(bytes);
    } catch {
      // Refused: the test before this one says how.
      continue;
    }
    if (half === undefined) continue;
    let again: Uint8Array;
    try {
      again = half.encode(value);
    } catch (error) {
      assert.fail(`seed ${seed} input ${index} ${hex(bytes)}: ${error}`);
    }
    assert.deepEqual(half.decode(again), value, `seed ${seed} input ${index} ${hex(bytes)}`);
  }
});

Deno.test("a simulated ECU answers any request as its own, and answers the next one", async () => {
  const random = noise(seed + 2);
  const clock = new TestClock();
  const log: string[] = [];
  const ecu = await bootedEcu({}, { clock, log: (line) => log.push(line) });
  const context = { tester: 0x0e00, addressing: "physical" } as const;
  for (let index = 0; index < count; index++) {
    const request = message(random, false);
    let answers = 0;
    const respond = (answer: Uint8Array) => {
      answers++;
      assert.ok(answer.length > 0 && answer.length <= 0x1_0000, `seed ${seed} input ${index}`);
    };
    if (index % 50 === 0) ecu.handle(Uint8Array.of(0x10, 0x03), context, () => {});
    ecu.handle(request, context, respond);
    // What an ECU does not answer at once it does within some turns.
    if (index % 100 === 0) await settle();
    assert.ok(answers <= 2, `seed ${seed} input ${index} ${hex(request)}: ${answers} answers at once`);
  }
  await settle();
  await ecu.ready();
  ecu.powerOff();
  await ecu.powerOn();
  const answers: string[] = [];
  ecu.handle(Uint8Array.of(0x3e, 0x00), context, (answer) => answers.push(hex(answer)));
  assert.deepEqual(answers, ["7e00"]);
  // A general reject would be an error in a service: the log has its stack.
  assert.deepEqual(log.filter((line) => /\b(?:TypeError|RangeError|AssertionError|Error):/.test(line)), []);
  assert.ok(clock.armed < 32, `${clock.armed} timers are left`);
  ecu.close();
});

/** Answers each request with noise that is near to an answer, then with silence. */
class NoisyTransport implements UdsTransport {
  readonly name = "noise";
  readonly maxRequestLength = 4_095;
  readonly #random: () => number;
  #request: Uint8Array = new Uint8Array();
  #left = 0;

  constructor(random: () => number) {
    this.#random = random;
  }

  send(request: Uint8Array): Promise<void> {
    this.#request = request.slice();
    this.#left = 3;
    return Promise.resolve();
  }

  receive({ timeout }: { timeout: number }): Promise<Uint8Array> {
    if (this.#left-- <= 0) return Promise.reject(new UdsTimeoutError("noise", timeout, "message"));
    const answer = message(this.#random, true);
    if (answer.length > 0) answer[0] = this.#request[0] + 0x40;
    for (let at = 1; at < Math.min(4, answer.length, this.#request.length); at++) {
      answer[at] = this.#request[at];
    }
    return Promise.resolve(answer);
  }

  discardReceived(): number {
    return 0;
  }
}

const some = Uint8Array.of(1, 2);
const range = { address: 0x1000, size: 2 };
const identity = { certificate: some, algorithm: "1.2.840.10045.4.3.2", sign: () => Promise.resolve(some) };
const calls: ((client: UdsClient) => Promise<unknown>)[] = [
  (client) => client.diagnosticSessionControl(1),
  (client) => client.ecuReset(4),
  (client) => client.dtc.clear(),
  ...[0x01, 0x02, 0x03, 0x05, 0x08, 0x0a, 0x0b, 0x14, 0x16, 0x1a, 0x42, 0x55, 0x56].map(
    (report) => (client: UdsClient) =>
      client.dtc.report(report, {
        statusMask: 1,
        severityMask: 1,
        record: 1,
        functionalGroup: 0x33,
        readinessGroup: 1,
      }),
  ),
  (client) => client.dtc.snapshot(0x123456),
  (client) => client.dtc.extendedData(0x123456, 1, { memory: 1 }),
  (client) => client.readDataByIdentifier(0xf190),
  (client) => client.data.readIdentifiers([0xf190, 0xf186], (did) => did & 7),
  (client) => client.readMemoryByAddress(range),
  (client) => client.data.readScaling(0x0105),
  (client) => client.requestSeed(1),
  (client) => client.sendKey(1, some),
  (client) => client.communicationControl(0),
  (client) => client.authentication.withCertificate(identity),
  (client) => client.authentication.withChallenge(identity),
  (client) => client.authentication.configuration(),
  (client) => client.data.stopPeriodic(),
  (client) => client.data.defineByIdentifier(0xf301, [{ did: 0x0100, position: 1, size: 1 }]),
  (client) => client.data.clearDefinition(),
  (client) => client.writeDataByIdentifier(0xf15a, some),
  (client) => client.data.inputOutputControl(0x0100, 3, some),
  (client) => client.startRoutine(0xff00),
  (client) => client.requestDownload(range),
  (client) => client.requestUpload(range),
  (client) => client.transferData(1, some),
  (client) => client.requestTransferExit(),
  (client) => client.files.read("/a"),
  (client) => client.files.add("/a", some),
  (client) => client.files.readDirectory("/"),
  (client) => client.data.writeMemory(0x1000, some),
  (client) => client.testerPresent(),
  (client) => client.link.readTiming("active"),
  (client) => client.link.verify({ fixed: 5 }),
  (client) => client.controlDtcSetting(1),
  (client) => client.events.start(),
  (client) => client.events.activated(),
];

Deno.test("every client function takes any answer or rejects by a typed error", async () => {
  const random = noise(seed + 3);
  let taken = 0;
  for (let index = 0; index < count; index++) {
    using client = new UdsClient(new NoisyTransport(random), {
      latency: 0,
      busyRepeats: 1,
      busyDelay: 0,
      testerPresentInterval: 0,
    });
    const at = index % calls.length;
    try {
      await calls[at](client);
      taken++;
    } catch (error) {
      const typed = error instanceof UdsError || error instanceof UdsTimeoutError ||
        error instanceof UdsTransportError;
      assert.ok(
        typed,
        `seed ${seed} input ${index} call ${at}: ${error instanceof Error ? error.stack : error}`,
      );
    }
  }
  console.log(`client: seed ${seed}, ${count} answers, ${taken} taken`);
});
