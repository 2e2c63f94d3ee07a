import assert from "node:assert/strict";
import type { SeedKey } from "../../../hardware/uds/seed_key.ts";
import {
  Refusal,
  type ServiceDefinition,
  UdsServer,
  type UdsServerOptions,
} from "../../../hardware/uds/server.ts";
import type { Addressing } from "../../../hardware/uds/transport.ts";
import { bytes, text } from "./loopback.ts";
import { settle, TestClock } from "./test_clock.ts";

// Key: the seed with every bit turned over.
const inverse: SeedKey = (seed) => seed.map((value) => value ^ 0xff);

interface SetUp {
  services?: [number, ServiceDefinition][];
  options?: Partial<UdsServerOptions>;
}

function setUp({ services = [], options = {} }: SetUp = {}) {
  const clock = new TestClock();
  let seeds = 0;
  const sessions: number[] = [];
  const server = new UdsServer({
    name: "ECU",
    services: new Map(services),
    security: [{ level: 1, seedKey: inverse, seedLength: 2 }],
    clock,
    random: (length) => new Uint8Array(length).fill(++seeds),
    onSession: (session) => sessions.push(session),
    ...options,
  });
  const answers: string[] = [];
  /** Sends a request and gives what came back at once and so far unseen. */
  async function ask(request: string, addressing: Addressing = "physical"): Promise<string[]> {
    server.handle(bytes(request), { tester: 0x0e00, addressing }, (response) => answers.push(text(response)));
    await settle();
    return answers.splice(0);
  }
  return { clock, server, answers, sessions, ask };
}

Deno.test("a session's answer announces P2 in 1 ms and P2* in 10 ms", async () => {
  const { ask, sessions } = setUp();
  assert.deepEqual(await ask("10 03"), ["50 03 00 32 01 F4"]);
  assert.deepEqual(sessions, [3]);
});

for (
  const [name, request, answer] of [
    ["an unknown service", "BA 00", "7F BA 11"],
    ["a sub-function that is not there", "10 04", "7F 10 12"],
    ["a request without its sub-function", "10", "7F 10 13"],
    ["a request that is too long", "10 03 00", "7F 10 13"],
    ["a service that another session has", "27 01", "7F 27 7F"],
    ["a service behind security", "34 00", "7F 34 33"],
    ["a sub-function that another session has", "31 02", "7F 31 7E"],
    ["a sub-function behind security", "31 03", "7F 31 33"],
    ["a sub-function's length", "31 01", "7F 31 13"],
  ] as const
) {
  Deno.test(`the general checks refuse ${name}`, async () => {
    const { ask } = setUp({
      services: [
        [0x34, { securityLevel: 1, handle: () => assert.fail("must not be reached") }],
        [0x31, {
          subFunctions: new Map([[1, { minLength: 4 }], [2, { sessions: [3] }], [3, { securityLevel: 1 }]]),
          handle: () => assert.fail("must not be reached"),
        }],
      ],
    });
    assert.deepEqual(await ask(request), [answer]);
  });
}

for (const nrc of [0x11, 0x12, 0x31, 0x7e, 0x7f]) {
  Deno.test(`NRC 0x${nrc.toString(16)} is not sent to a functional request, and is to a physical one`, async () => {
    const { ask } = setUp({
      services: [[0x22, {
        handle: () => {
          throw new Refusal(nrc);
        },
      }]],
    });
    assert.deepEqual(await ask("22 F1 90", "functional"), []);
    assert.deepEqual(await ask("22 F1 90"), [`7F 22 ${nrc.toString(16).toUpperCase()}`]);
  });
}

Deno.test("other refusals are sent to functional requests too", async () => {
  const { ask } = setUp();
  assert.deepEqual(await ask("10", "functional"), ["7F 10 13"]);
});

Deno.test("bit 7 suppresses the positive answer and only that", async () => {
  const { ask, server } = setUp();
  assert.deepEqual(await ask("10 83"), []);
  assert.equal(server.session, 3);
  assert.deepEqual(await ask("3E 80"), []);
  assert.deepEqual(await ask("3E 00"), ["7E 00"]);
  assert.deepEqual(await ask("10 84"), ["7F 10 12"]);
});

Deno.test("S3 ends a session after 5,000 ms without a request, and each request starts it anew", async () => {
  const { ask, server, clock, sessions } = setUp();
  await ask("10 03");
  await clock.advance(4_999);
  await ask("3E 80");
  await clock.advance(4_999);
  assert.equal(server.session, 3);
  await clock.advance(1);
  assert.equal(server.session, 1);
  assert.deepEqual(sessions, [3, 1]);
  assert.equal(clock.armed, 0);
});

Deno.test("a long operation is announced within P2, again before P2* ends, and then answered", async () => {
  let finish = (_: Uint8Array) => {};
  const { ask, answers, clock } = setUp({
    services: [[0x31, { handle: () => new Promise((resolve) => finish = resolve) }]],
  });
  assert.deepEqual(await ask("31 01 FF 00"), []);
  await clock.advance(49);
  assert.deepEqual(answers.splice(0), ["7F 31 78"]);
  await clock.advance(4_900);
  assert.deepEqual(answers.splice(0), ["7F 31 78"]);
  finish(bytes("71 01 FF 00"));
  await settle();
  assert.deepEqual(answers.splice(0), ["71 01 FF 00"]);
  await clock.advance(60_000);
  assert.deepEqual(answers, []);
});

Deno.test("S3 stands still while a request is under way", async () => {
  let finish = (_: Uint8Array) => {};
  const { ask, clock, server } = setUp({
    services: [[0x31, { handle: () => new Promise((resolve) => finish = resolve) }]],
  });
  await ask("10 03");
  await ask("31 01 FF 00");
  await clock.advance(60_000);
  assert.equal(server.session, 3);
  finish(bytes("71 01 FF 00"));
  await clock.advance(4_999);
  assert.equal(server.session, 3);
  await clock.advance(1);
  assert.equal(server.session, 1);
});

Deno.test("a second request meets 0x21 while one is under way, TesterPresent meets nothing", async () => {
  let finish = (_: Uint8Array) => {};
  const { ask } = setUp({
    services: [[0x31, { handle: () => new Promise((resolve) => finish = resolve) }]],
  });
  await ask("31 01 FF 00");
  assert.deepEqual(await ask("22 F1 90"), ["7F 22 21"]);
  assert.deepEqual(await ask("3E 80", "functional"), []);
  finish(bytes("71 01 FF 00"));
  await settle();
});

Deno.test("a suppressed answer is sent after all once 0x78 went out", async () => {
  let finish = (_: Uint8Array) => {};
  const { ask, answers, clock } = setUp({
    services: [[0x31, {
      subFunctions: new Map([[1, {}]]),
      handle: () => new Promise((resolve) => finish = resolve),
    }]],
  });
  await ask("31 81 FF 00");
  await clock.advance(40);
  finish(bytes("71 01 FF 00"));
  await settle();
  assert.deepEqual(answers, ["7F 31 78", "71 01 FF 00"]);
});

Deno.test("a quick asynchronous answer stays suppressed", async () => {
  const { ask } = setUp({
    services: [[0x31, {
      subFunctions: new Map([[1, {}]]),
      handle: () => Promise.resolve(bytes("71 01 FF 00")),
    }]],
  });
  assert.deepEqual(await ask("31 81 FF 00"), []);
});

Deno.test("a reset drops what is under way, locks and returns to the default session", async () => {
  let finish = (_: Uint8Array) => {};
  const { ask, answers, server, clock } = setUp({
    services: [[0x31, { handle: () => new Promise((resolve) => finish = resolve) }]],
  });
  await ask("10 03");
  await ask("31 01 FF 00");
  server.reset();
  finish(bytes("71 01 FF 00"));
  await clock.advance(10_000);
  assert.deepEqual(answers, []);
  assert.equal(server.session, 1);
  assert.equal(clock.armed, 0);
});

Deno.test("an answer finds nobody once its tester is gone", async () => {
  let finish = (_: Uint8Array) => {};
  const { ask, answers, server } = setUp({
    services: [[0x31, { handle: () => new Promise((resolve) => finish = resolve) }]],
  });
  await ask("31 01 FF 00");
  server.disconnected(0x0e00);
  finish(bytes("71 01 FF 00"));
  await settle();
  assert.deepEqual(answers, []);
});

Deno.test("what a service asked for happens after its answer", async () => {
  const order: string[] = [];
  const { server } = setUp({
    services: [[0x11, {
      handle: ({ afterAnswer }) => {
        afterAnswer(() => order.push("reset"));
        return bytes("51 01");
      },
    }]],
  });
  server.handle(bytes("11 01"), { tester: 1, addressing: "physical" }, () => order.push("answer"));
  await settle();
  assert.deepEqual(order, ["answer", "reset"]);
});

Deno.test("an error in a service is a general reject and is told to the log", async () => {
  const log: string[] = [];
  const { ask } = setUp({
    services: [[0x22, {
      handle: () => {
        throw new TypeError("oops");
      },
    }]],
    options: { log: (message) => log.push(message) },
  });
  assert.deepEqual(await ask("22 F1 90"), ["7F 22 10"]);
  assert.match(log[0], /^ECU: ReadDataByIdentifier: TypeError: oops/);
});

Deno.test("a session may be refused and may be entered from some sessions only", async () => {
  const { ask } = setUp({
    options: {
      sessions: [{ id: 1 }, { id: 2, from: [3] }, { id: 3 }],
      allowSession: (session) => session === 3 ? 0x22 : undefined,
    },
  });
  assert.deepEqual(await ask("10 02"), ["7F 10 7E"]);
  assert.deepEqual(await ask("10 03"), ["7F 10 22"]);
});

Deno.test("the right key unlocks, and an unlocked level answers with a seed of zeros", async () => {
  const { ask, server } = setUp();
  await ask("10 03");
  assert.deepEqual(await ask("27 01"), ["67 01 01 01"]);
  assert.deepEqual(await ask("27 02 FE FE"), ["67 02"]);
  assert.equal(server.security.unlocked, 1);
  assert.deepEqual(await ask("27 01"), ["67 01 00 00"]);
});

Deno.test("a session change locks, also one to the same session", async () => {
  const { ask, server } = setUp();
  await ask("10 03");
  await ask("27 01");
  await ask("27 02 FE FE");
  await ask("10 03");
  assert.equal(server.security.unlocked, 0);
});

Deno.test("a key without a seed, and a second key for one seed, are out of sequence", async () => {
  const { ask } = setUp();
  await ask("10 03");
  assert.deepEqual(await ask("27 02 FE FE"), ["7F 27 24"]);
  await ask("27 01");
  assert.deepEqual(await ask("27 02 00 00"), ["7F 27 35"]);
  assert.deepEqual(await ask("27 02 FE FE"), ["7F 27 24"]);
});

Deno.test("a key of the wrong length is a wrong key, none at all is a wrong length", async () => {
  const { ask } = setUp();
  await ask("10 03");
  await ask("27 01");
  assert.deepEqual(await ask("27 02"), ["7F 27 13"]);
  assert.deepEqual(await ask("27 02 FE FE FE"), ["7F 27 35"]);
});

Deno.test("a level that does not exist is a sub-function that does not exist", async () => {
  const { ask } = setUp();
  await ask("10 03");
  assert.deepEqual(await ask("27 03"), ["7F 27 12"]);
});

Deno.test("too many wrong keys end in 36, then 37 until the delay has passed, also over a reset", async () => {
  const { ask, clock, server } = setUp();
  await ask("10 03");
  for (const answer of ["7F 27 35", "7F 27 35", "7F 27 36"]) {
    await ask("27 01");
    assert.deepEqual(await ask("27 02 00 00"), [answer]);
  }
  assert.deepEqual(await ask("27 01"), ["7F 27 37"]);
  server.reset();
  await ask("10 03");
  assert.deepEqual(await ask("27 01"), ["7F 27 37"]);
  await clock.advance(10_000);
  await ask("10 03");
  await ask("27 01");
  // One attempt is free after the delay, not three.
  assert.deepEqual(await ask("27 02 00 00"), ["7F 27 36"]);
  assert.deepEqual(await ask("27 01"), ["7F 27 37"]);
});

Deno.test("the right key makes all attempts free again", async () => {
  const { ask } = setUp();
  await ask("10 03");
  for (let round = 0; round < 3; round++) {
    await ask("10 03");
    await ask("27 01");
    assert.deepEqual(await ask("27 02 00 00"), ["7F 27 35"]);
    const [seed] = await ask("27 01");
    const value = (parseInt(seed.slice(6, 8), 16) ^ 0xff).toString(16).padStart(2, "0").toUpperCase();
    assert.deepEqual(await ask(`27 02 ${value} ${value}`), ["67 02"]);
  }
});

Deno.test("a seed is never all zeros: that would say unlocked", async () => {
  const randoms = [0, 0, 7];
  const { ask } = setUp({
    options: { random: (length) => new Uint8Array(length).fill(randoms.shift() ?? 1) },
  });
  await ask("10 03");
  assert.deepEqual(await ask("27 01"), ["67 01 07 07"]);
});
