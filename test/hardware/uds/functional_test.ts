import assert from "node:assert/strict";
import { FunctionalClient, type FunctionalClientOptions } from "../../../hardware/uds/functional.ts";
import {
  type FunctionalTransport,
  type ReceivedMessage,
  UdsTimeoutError,
  type WaitOptions,
} from "../../../hardware/uds/transport.ts";
import { bytes, text } from "./loopback.ts";
import { TestClock } from "./test_clock.ts";

/** A bus on which a test says which ECU says what, and when. */
class ScriptedBus implements FunctionalTransport {
  readonly name = "bus";
  readonly maxRequestLength = 7;
  readonly sent: string[] = [];
  /** Milliseconds after the request, address, message. */
  answers: [number, number, string][] = [];
  readonly #clock: TestClock;
  readonly #arrived: ReceivedMessage[] = [];
  #wake: (() => void) | undefined;

  constructor(clock: TestClock) {
    this.#clock = clock;
  }

  send(request: Uint8Array): Promise<void> {
    this.sent.push(text(request));
    for (const [delay, source, hex] of this.answers) {
      this.#clock.after(delay, () => {
        this.#arrived.push({ source, message: bytes(hex) });
        this.#wake?.();
      });
    }
    return Promise.resolve();
  }

  receiveFrom({ timeout, signal }: WaitOptions): Promise<ReceivedMessage> {
    const next = this.#arrived.shift();
    if (next !== undefined) return Promise.resolve(next);
    return new Promise((resolve, reject) => {
      const end = () => {
        cancel();
        this.#wake = undefined;
        signal?.removeEventListener("abort", abort);
      };
      const abort = () => {
        end();
        reject(signal?.reason);
      };
      const cancel = this.#clock.after(timeout, () => {
        end();
        reject(new UdsTimeoutError("bus", timeout, "message"));
      });
      signal?.addEventListener("abort", abort, { once: true });
      this.#wake = () => {
        end();
        resolve(this.#arrived.shift()!);
      };
    });
  }

  discardReceived(): number {
    return this.#arrived.splice(0).length;
  }
}

function setUp(options: FunctionalClientOptions = {}) {
  const clock = new TestClock();
  const bus = new ScriptedBus(clock);
  return { clock, bus, client: new FunctionalClient(bus, { latency: 0, clock, ...options }) };
}

/** What came, short. */
function shown(answers: Awaited<ReturnType<FunctionalClient["requestAll"]>>) {
  return answers.map(({ source, response, unfinished }) => [source, text(response), unfinished ?? false]);
}

Deno.test("all answers within P2 come with their ECU, refusals too, and those that say nothing are left out", async () => {
  const { clock, bus, client } = setUp();
  bus.answers = [[10, 0x1001, "62 F1 90 41"], [20, 0x1003, "7F 22 22"], [49, 0x1002, "62 F1 90 42"]];
  const answers = client.requestAll(bytes("22 F1 90"));
  await clock.advance(50);
  assert.deepEqual(await answers, [
    { source: 0x1001, response: bytes("62 F1 90 41") },
    { source: 0x1003, response: bytes("7F 22 22"), nrc: 0x22, nrcName: "conditionsNotCorrect" },
    { source: 0x1002, response: bytes("62 F1 90 42") },
  ]);
  assert.deepEqual(bus.sent, ["22 F1 90"]);
  assert.equal(clock.armed, 0);
});

Deno.test("nobody answering is no error", async () => {
  const { clock, client } = setUp();
  const answers = client.requestAll(bytes("3E 00"));
  await clock.advance(50);
  assert.deepEqual(await answers, []);
});

Deno.test("0x78 gives the ECU that said it P2* of its own, each time anew", async () => {
  const { clock, bus, client } = setUp();
  bus.answers = [
    [10, 1, "7F 31 78"],
    [20, 2, "71 01 FF 00"],
    [5_000, 1, "7F 31 78"],
    [9_990, 1, "71 01 FF 00"],
  ];
  const answers = client.requestAll(bytes("31 01 FF 00"));
  await clock.advance(10_000);
  assert.deepEqual(shown(await answers), [[2, "71 01 FF 00", false], [1, "71 01 FF 00", false]]);
});

Deno.test("an ECU that said 0x78 and then nothing is told as unfinished", async () => {
  const { clock, bus, client } = setUp();
  bus.answers = [[10, 1, "7F 31 78"]];
  const answers = client.requestAll(bytes("31 01 FF 00"));
  await clock.advance(5_010);
  assert.deepEqual(shown(await answers), [[1, "7F 31 78", true]]);
});

Deno.test("endless 0x78 ends at the limit for all together", async () => {
  const { clock, bus, client } = setUp({ pendingLimit: 12_000 });
  bus.answers = Array.from({ length: 10 }, (_, at) => [10 + 4_000 * at, 1, "7F 31 78"]);
  const answers = client.requestAll(bytes("31 01 FF 00"));
  await clock.advance(12_000);
  assert.deepEqual(shown(await answers), [[1, "7F 31 78", true]]);
});

Deno.test("answers to other requests, and a second one of the same ECU, are passed over and counted", async () => {
  const { clock, bus, client } = setUp();
  bus.answers = [[1, 1, "7E 00"], [2, 1, "62 F1 90 41"], [3, 1, "62 F1 90 42"]];
  const answers = client.requestAll(bytes("22 F1 90"));
  await clock.advance(50);
  assert.deepEqual(shown(await answers), [[1, "62 F1 90 41", false]]);
  assert.equal(client.foreignAnswers, 2);
});

Deno.test("with the number of ECUs known the wait ends with the last of them", async () => {
  const { clock, bus, client } = setUp();
  bus.answers = [[1, 1, "7E 00"], [2, 2, "7E 00"]];
  const answers = client.requestAll(bytes("3E 00"), { expected: 2 });
  await clock.advance(2);
  assert.equal((await answers).length, 2);
  assert.equal(clock.now(), 2);
});

Deno.test("answers are taken up to a limit", async () => {
  const { clock, bus, client } = setUp({ maxAnswers: 2 });
  bus.answers = [[1, 1, "7E 00"], [2, 2, "7E 00"], [3, 3, "7E 00"]];
  const answers = client.requestAll(bytes("3E 00"));
  await clock.advance(50);
  assert.equal((await answers).length, 2);
});

Deno.test("a signal ends the wait with its reason, and the next request goes", async () => {
  const { clock, bus, client } = setUp();
  const stop = new AbortController();
  const refused = client.requestAll(bytes("3E 00"), { signal: stop.signal }).then(
    () => assert.fail("expected a rejection"),
    (error) => error,
  );
  await clock.advance(10);
  stop.abort(new Error("enough"));
  assert.equal((await refused).message, "enough");
  bus.answers = [[1, 1, "7E 00"]];
  const answers = client.requestAll(bytes("3E 00"));
  await clock.advance(50);
  assert.equal((await answers).length, 1);
});

Deno.test("one request at a time, none too long for the path, none empty", async () => {
  const { clock, client } = setUp();
  const first = client.requestAll(bytes("3E 00"));
  await assert.rejects(client.requestAll(bytes("3E 00")), /under way already/);
  await clock.advance(50);
  await first;
  await assert.rejects(client.requestAll(new Uint8Array(8)), /longer than a functional request may be \(7\)/);
  await assert.rejects(client.requestAll(new Uint8Array()), /at least 1 byte/);
});

Deno.test("notify sends what asks for no answer and waits for none", async () => {
  const { bus, client } = setUp();
  await client.notify(bytes("3E 80"));
  assert.deepEqual(bus.sent, ["3E 80"]);
  await assert.rejects(client.notify(bytes("3E 00")), /bit 7/);
});
