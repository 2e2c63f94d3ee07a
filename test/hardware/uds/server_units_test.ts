// The server's services that act by themselves or keep state: periodic data, dynamic identifiers, events, timing, link;
// with the client's iterators on the other side.
import assert from "node:assert/strict";
import { UdsClient } from "../../../hardware/uds/client.ts";
import { Refusal, type ServiceDefinition, UdsServer } from "../../../hardware/uds/server.ts";
import { DynamicIdentifiers } from "../../../hardware/uds/server/dynamic_identifiers.ts";
import { ServerEvents } from "../../../hardware/uds/server/events.ts";
import { linkService, timingService } from "../../../hardware/uds/server/link.ts";
import { periodicService } from "../../../hardware/uds/server/periodic.ts";
import { UdsTransportError } from "../../../hardware/uds/transport.ts";
import { bytes, LoopbackTransport, text } from "./loopback.ts";
import { settle, TestClock } from "./test_clock.ts";

/** A server with all of them over a few identifiers that the test changes. */
function setUp() {
  const clock = new TestClock();
  const dids = new Map<number, string>([[0xf201, "00 01"], [0xf202, "AA"], [0x0100, "01 02 03 04"]]);
  const bitRates: number[] = [];
  const readStatic = (did: number) => {
    const value = dids.get(did);
    if (value === "?") throw new Refusal(0x22);
    return value === undefined ? undefined : bytes(value);
  };
  const memory = bytes("10 11 12 13");
  const dynamic = new DynamicIdentifiers({
    read: readStatic,
    readMemory: (address, size) => address + size <= 4 ? memory.slice(address, address + size) : undefined,
    limit: 2,
  });
  const read = (did: number) => readStatic(did) ?? dynamic.read(did);
  const events = new ServerEvents({
    read,
    run: (request) => server.internalRequest(request),
    clock,
    limit: 2,
  });
  const services = new Map<number, ServiceDefinition>([
    [0x19, { handle: () => bytes("59 01 FF 01 00 01") }],
    [0x22, {
      handle: ({ bytes: request }) => {
        const data = read(request[1] << 8 | request[2]);
        if (data === undefined) throw new Refusal(0x31);
        return Uint8Array.of(0x62, request[1], request[2], ...data);
      },
    }],
    [0x2a, periodicService({ read, clock, sessions: [3], limit: 2 })],
    [0x2c, dynamic.service()],
    [
      0x83,
      timingService({
        active: () => server.timing,
        set: (timing) => server.setTiming(timing),
        shortest: { p2: 25, p2Star: 1_000 },
      }),
    ],
    [0x86, events.service()],
    [0x87, linkService({ supports: (rate) => rate <= 500_000, transition: (rate) => bitRates.push(rate) })],
  ]);
  const server: UdsServer = new UdsServer({ name: "ECU", clock, services });
  const answers: string[] = [];
  async function ask(request: string, tester = 0x0e00): Promise<string[]> {
    server.handle(bytes(request), { tester, addressing: "physical" }, (it) => answers.push(text(it)));
    await settle();
    return answers.splice(0);
  }
  function client() {
    const transport = new LoopbackTransport(server, { clock });
    return {
      transport,
      client: new UdsClient(transport, { ecu: "ECU", latency: 0, clock, testerPresentInterval: 0 }),
    };
  }
  return { clock, dids, server, events, bitRates, answers, ask, client };
}

Deno.test("2A sends at its rate until it is told to stop", async () => {
  const { ask, answers, clock, dids } = setUp();
  await ask("10 03");
  assert.deepEqual(await ask("2A 02 01"), ["6A"]);
  await clock.advance(200);
  dids.set(0xf201, "00 02");
  await clock.advance(200);
  assert.deepEqual(answers.splice(0), ["6A 01 00 01", "6A 01 00 02"]);
  assert.deepEqual(await ask("2A 04 01"), ["6A"]);
  await clock.advance(1_000);
  assert.deepEqual(answers, []);
});

Deno.test("2A refuses unknown identifiers, modes and too many, and leaves out what cannot be read just now", async () => {
  const { ask, answers, clock, dids } = setUp();
  assert.deepEqual(await ask("2A 01 01"), ["7F 2A 7F"]);
  await ask("10 03");
  assert.deepEqual(await ask("2A"), ["7F 2A 13"]);
  assert.deepEqual(await ask("2A 01"), ["7F 2A 13"]);
  assert.deepEqual(await ask("2A 05 01"), ["7F 2A 31"]);
  assert.deepEqual(await ask("2A 01 77"), ["7F 2A 31"]);
  dids.set(0xf203, "00");
  assert.deepEqual(await ask("2A 01 01 02 03"), ["7F 2A 31"]);
  assert.deepEqual(await ask("2A 03 01 77"), ["6A"]);
  dids.set(0xf201, "?");
  await clock.advance(100);
  assert.deepEqual(answers, []);
});

for (
  const [what, end] of [["the session's end", "10 01"], ["S3", "S3"], ["its tester leaving", "gone"], [
    "a reset",
    "reset",
  ]]
) {
  Deno.test(`2A ends with ${what}`, async () => {
    const { ask, answers, clock, server } = setUp();
    await ask("10 03");
    await ask("2A 03 01");
    if (end === "S3") await clock.advance(5_000);
    else if (end === "gone") server.disconnected(0x0e00);
    else if (end === "reset") server.reset();
    else await ask(end);
    answers.splice(0);
    await clock.advance(1_000);
    assert.deepEqual(answers, []);
    assert.ok(clock.armed <= 1, "no timer is left but S3");
  });
}

Deno.test("the client's periodic iterator gives the data and stops the ECU when it is left", async () => {
  const { clock, client: make } = setUp();
  const { client, transport } = make();
  await client.diagnosticSessionControl(3);
  const stream = client.data.periodic([0x01], { rate: "fast" });
  const first = stream.next();
  await clock.advance(50);
  assert.deepEqual(await first, { done: false, value: { id: 1, data: bytes("00 01") } });
  // A request between two transmissions has its answer, and loses neither.
  const second = stream.next();
  assert.equal(text(await client.readDataByIdentifier(0x0100)), "01 02 03 04");
  await clock.advance(50);
  assert.deepEqual((await second).value, { id: 1, data: bytes("00 01") });
  await stream.return();
  assert.equal(text(transport.sent.at(-1)!), "2A 04 01");
  client.close();
  assert.equal(clock.armed, 1, "S3 alone");
});

Deno.test("a slow reader loses the oldest data, and is told how many", async () => {
  const { clock, client: make } = setUp();
  const { client } = make();
  await client.diagnosticSessionControl(3);
  const stream = client.data.periodic([0x01, 0x02], { rate: "fast", queueLimit: 2 });
  const first = stream.next();
  await clock.advance(50);
  await first;
  await clock.advance(100);
  // Of five that came one was read; two wait.
  assert.equal(stream.dropped, 3);
  await stream.return();
  client.close();
});

Deno.test("a signal ends the iterator and stops the ECU; a closed client fails it", async () => {
  const { clock, client: make } = setUp();
  const { client, transport } = make();
  await client.diagnosticSessionControl(3);
  const stop = new AbortController();
  const stream = client.data.periodic([0x01], { signal: stop.signal });
  const next = stream.next();
  await settle();
  stop.abort();
  assert.deepEqual(await next, { done: true, value: undefined });
  assert.equal(text(transport.sent.at(-1)!), "2A 04 01");
  const other = client.data.periodic([0x01]);
  const failing = assert.rejects(other.next(), UdsTransportError);
  await settle();
  client.close();
  await failing;
  await clock.advance(0);
});

Deno.test("2C puts parts of identifiers and memory together, adds to a definition, and clears", async () => {
  const { ask } = setUp();
  assert.deepEqual(await ask("2C 01 F3 01 01 00 02 02 F2 02 01 01"), ["6C 01 F3 01"]);
  assert.deepEqual(await ask("22 F3 01"), ["62 F3 01 02 03 AA"]);
  assert.deepEqual(await ask("2C 02 F3 01 11 01 02"), ["6C 02 F3 01"]);
  assert.deepEqual(await ask("22 F3 01"), ["62 F3 01 02 03 AA 11 12"]);
  assert.deepEqual(await ask("2C 03 F3 01"), ["6C 03 F3 01"]);
  assert.deepEqual(await ask("22 F3 01"), ["7F 22 31"]);
  assert.deepEqual(await ask("2C 03"), ["6C 03"]);
});

for (
  const [what, request, nrc] of [
    ["a part beyond the source's data", "2C 01 F3 01 01 00 04 02", "31"],
    ["position 0", "2C 01 F3 01 01 00 00 01", "31"],
    ["an unknown source", "2C 01 F3 01 77 77 01 01", "31"],
    ["an identifier that is not dynamic", "2C 01 F1 90 01 00 01 01", "31"],
    ["an identifier with data of its own", "2C 01 F2 01 01 00 01 01", "31"],
    ["memory that cannot be read", "2C 02 F3 01 11 03 02", "31"],
    ["clearing what is not defined", "2C 03 F3 01", "31"],
    ["half a source", "2C 01 F3 01 01 00 01 01 01", "13"],
    ["an unknown definition type", "2C 04 F3 01", "12"],
  ]
) {
  Deno.test(`2C refuses ${what}`, async () => {
    const { ask } = setUp();
    assert.deepEqual(await ask(request), [`7F 2C ${nrc}`]);
  });
}

Deno.test("2C has a limit of definitions", async () => {
  const { ask } = setUp();
  await ask("2C 01 F3 01 01 00 01 01");
  await ask("2C 01 F3 02 01 00 01 01");
  assert.deepEqual(await ask("2C 01 F3 03 01 00 01 01"), ["7F 2C 31"]);
});

Deno.test("an event of a DTC's status is answered once it is started, and not after it is stopped", async () => {
  const { ask, answers, events } = setUp();
  assert.deepEqual(await ask("86 05 02"), ["7F 86 24"]);
  assert.deepEqual(await ask("86 01 02 09 19 01 09"), ["C6 01 00 02 09 19 01 09"]);
  events.dtcStatusChanged(0x01);
  await settle();
  assert.deepEqual(answers, []);
  assert.deepEqual(await ask("86 05 02"), ["C6 05 00 02"]);
  events.dtcStatusChanged(0x40);
  events.dtcStatusChanged(0x08);
  await settle();
  assert.deepEqual(answers.splice(0), ["59 01 FF 01 00 01"]);
  assert.deepEqual(await ask("86 04 02"), ["C6 04 01 01 02 09 19 01 09"]);
  assert.deepEqual(await ask("86 00 02"), ["C6 00 00 02"]);
  events.dtcStatusChanged(0x08);
  await settle();
  assert.deepEqual(answers, []);
});

Deno.test("an event of an identifier's change; a finite window ends with the count of events", async () => {
  const { ask, answers, clock, dids } = setUp();
  await ask("86 03 01 F2 01 22 F2 01");
  await ask("86 05 02");
  await clock.advance(500);
  assert.deepEqual(answers, []);
  dids.set(0xf201, "00 02");
  await clock.advance(500);
  assert.deepEqual(answers.splice(0), ["62 F2 01 00 02"]);
  // Window 01: 10 s in units of 10 s.
  await clock.advance(9_000);
  assert.deepEqual(answers.splice(0), ["C6 03 01 01 F2 01 22 F2 01"]);
  dids.set(0xf201, "00 03");
  await clock.advance(1_000);
  assert.deepEqual(answers, []);
});

Deno.test("an event of a comparison comes once, and again only after the hysteresis", async () => {
  const { ask, answers, clock, dids } = setUp();
  // F201 greater than 100, hysteresis 10 %, 16 bits from bit 0.
  assert.deepEqual(await ask("86 07 02 F2 01 02 00 00 00 64 0A 40 00 22 F2 01"), [
    "C6 07 00 02 F2 01 02 00 00 00 64 0A 40 00 22 F2 01",
  ]);
  await ask("86 05 02");
  const at = async (value: string) => {
    dids.set(0xf201, value);
    await clock.advance(200);
    return answers.splice(0).length;
  };
  assert.equal(await at("00 64"), 0);
  assert.equal(await at("00 65"), 1);
  assert.equal(await at("00 66"), 0);
  // 95 is within 10 % of 100: not armed again.
  assert.equal(await at("00 5F"), 0);
  assert.equal(await at("00 65"), 0);
  assert.equal(await at("00 5A"), 0);
  assert.equal(await at("00 65"), 1);
});

Deno.test("an event of the timer comes at its rate; the client's iterator ends with the window", async () => {
  const { clock, client: make } = setUp();
  const { client } = make();
  const stream = client.events.stream({ event: 2, rate: 1 }, bytes("22 F2 02"), { window: 1 });
  const seen: string[] = [];
  const reading = (async () => {
    for await (const message of stream) {
      seen.push(message.kind === "event" ? text(message.response) : `finished ${message.count}`);
    }
  })();
  await settle();
  await clock.advance(10_000);
  await reading;
  assert.deepEqual(seen.slice(0, 2), ["62 F2 02 AA", "62 F2 02 AA"]);
  assert.equal(seen.at(-1), `finished ${seen.length - 1}`);
  client.close();
});

for (
  const [what, request, nrc] of [
    ["no service to respond to", "86 01 02 09", "13"],
    ["a service that cannot respond", "86 01 02 09 11 01", "31"],
    ["an unknown identifier", "86 03 02 77 77 22 F1 90", "31"],
    ["an unknown rate", "86 02 02 09 22 F2 01", "31"],
    ["a window that is not there", "86 01 00 09 19 01 09", "31"],
    ["a comparison beyond the data", "86 07 02 F2 02 02 00 00 00 64 0A 40 00 22 F2 01", "31"],
    ["an unknown event type", "86 0A 02 01", "12"],
    ["a request cut short", "86 05", "13"],
  ]
) {
  Deno.test(`86 refuses ${what}`, async () => {
    const { ask } = setUp();
    assert.deepEqual(await ask(request), [`7F 86 ${nrc}`]);
  });
}

Deno.test("86 has a limit of events, and clear takes them away", async () => {
  const { ask } = setUp();
  await ask("86 01 02 01 19 01 01");
  await ask("86 01 02 02 19 01 01");
  assert.deepEqual(await ask("86 01 02 04 19 01 01"), ["7F 86 31"]);
  assert.deepEqual(await ask("86 06 02"), ["C6 06 00 02"]);
  assert.deepEqual(await ask("86 05 02"), ["7F 86 24"]);
});

Deno.test("83 reads and sets the timing, not below what the ECU can keep, and a new session undoes it", async () => {
  const { ask, server } = setUp();
  assert.deepEqual(await ask("83 01"), ["C3 01 00 19 00 64"]);
  assert.deepEqual(await ask("83 03"), ["C3 03 00 32 01 F4"]);
  assert.deepEqual(await ask("83 04 00 64 00 C8"), ["C3 04"]);
  assert.deepEqual(server.timing, { p2: 100, p2Star: 2_000 });
  assert.deepEqual(await ask("83 04 00 18 00 C8"), ["7F 83 31"]);
  assert.deepEqual(await ask("83 04 00 64"), ["7F 83 13"]);
  await ask("10 03");
  assert.deepEqual(server.timing, { p2: 50, p2Star: 5_000 });
  await ask("83 04 00 64 00 C8");
  assert.deepEqual(await ask("83 02"), ["C3 02"]);
  assert.deepEqual(server.timing, { p2: 50, p2Star: 5_000 });
});

Deno.test("the client keeps to a timing that it has set", async () => {
  const { client: make } = setUp();
  const { client } = make();
  await client.link.setTiming({ p2: 100, p2Star: 2_000 });
  assert.deepEqual(client.timing, { p2: 100, p2Star: 2_000 });
  assert.deepEqual(await client.link.readTiming("extended"), { p2: 25, p2Star: 1_000 });
  client.close();
});

Deno.test("87 verifies before it goes, and goes after its answer", async () => {
  const { ask, bitRates } = setUp();
  assert.deepEqual(await ask("87 01 12"), ["7F 87 7F"]);
  await ask("10 03");
  assert.deepEqual(await ask("87 03"), ["7F 87 24"]);
  assert.deepEqual(await ask("87 01 13"), ["7F 87 31"]);
  assert.deepEqual(await ask("87 01 12"), ["C7 01"]);
  assert.deepEqual(await ask("87 83"), []);
  assert.deepEqual(bitRates, [500_000]);
  assert.deepEqual(await ask("87 02 02 49 F0"), ["C7 02"]);
  assert.deepEqual(await ask("87 03"), ["C7 03"]);
  assert.deepEqual(bitRates, [500_000, 150_000]);
});

Deno.test("the general checks: session, then security, then authentication, then the sub-function's, then length", async () => {
  let authenticated = false;
  const server = new UdsServer({
    name: "ECU",
    clock: new TestClock(),
    maxResponseLength: 4,
    isAuthenticated: () => authenticated,
    security: [{ level: 1, seedKey: (seed) => seed, seedLength: 2 }],
    services: new Map<number, ServiceDefinition>([
      [0x31, {
        sessions: [3],
        securityLevel: 1,
        authentication: true,
        subFunctions: new Map([[1, { minLength: 4 }], [2, { sessions: [2] }]]),
        handle: () => bytes("71 01 00 00 00"),
      }],
    ]),
  });
  const ask = async (request: string) => {
    const answers: string[] = [];
    server.handle(bytes(request), { tester: 1, addressing: "physical" }, (it) => answers.push(text(it)));
    await settle();
    return answers.join();
  };
  assert.equal(await ask("31 01"), "7F 31 7F");
  await ask("10 03");
  assert.equal(await ask("31 01"), "7F 31 33");
  const seed = (await ask("27 01")).slice(6);
  await ask(`27 02 ${seed}`);
  assert.equal(await ask("31 01"), "7F 31 34");
  authenticated = true;
  assert.equal(await ask("31"), "7F 31 13");
  assert.equal(await ask("31 05"), "7F 31 12");
  assert.equal(await ask("31 02"), "7F 31 7E");
  assert.equal(await ask("31 01"), "7F 31 13");
  assert.equal(await ask("31 01 00 00"), "7F 31 14");
});
