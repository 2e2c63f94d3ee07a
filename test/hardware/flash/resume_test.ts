// A connection that is lost in the middle of a flash: it is had again, and the download goes on where the ECU says, or the
// flash starts over.

import assert from "node:assert/strict";
import { memoryImage } from "../../../hardware/flash/format/memory_image.ts";
import type { FirmwareImage } from "../../../hardware/flash/image.ts";
import type { FlashPlan } from "../../../hardware/flash/plan.ts";
import { readMemory } from "../../../hardware/flash/read_memory.ts";
import { askResumePoint } from "../../../hardware/flash/resume.ts";
import { flashEcu, FlashError } from "../../../hardware/flash/sequence.ts";
import type { SimulatedEcu } from "../../../hardware/sim/ecu.ts";
import { UdsClient } from "../../../hardware/uds/client.ts";
import { UdsTransportError } from "../../../hardware/uds/transport.ts";
import { bootedEcu, fingerprint, payload, plan } from "../sim/fixtures.ts";
import { bytes, LoopbackTransport, ScriptedTransport, text } from "../uds/loopback.ts";
import { systemClock } from "../../../hardware/clock.ts";

const resumeDid = 0xfd01;
const quick: FlashPlan = { ...plan, reconnectDelay: 1, reconnectTimeout: 50, cleanUpTimeout: 50 };
const resuming: FlashPlan = { ...quick, resume: { did: resumeDid } };

const image: FirmwareImage = memoryImage(
  [{ address: 0x400, length: 1_000 }, { address: 0x1000_1000, length: 300 }],
  payload(1_300, 5),
);

/** Cuts itself off when the n-th request of a service was answered, or before it is sent. */
class CutTransport extends LoopbackTransport {
  #left: number;
  readonly #cut: { service: number; when: "unsent" | "unanswered" } | undefined;

  constructor(
    ecu: SimulatedEcu,
    cut?: { service: number; occurrence: number; when: "unsent" | "unanswered" },
  ) {
    super(ecu);
    this.#cut = cut;
    this.#left = cut?.occurrence ?? Infinity;
  }

  override send(request: Uint8Array): Promise<void> {
    if (request[0] !== this.#cut?.service || --this.#left > 0) return super.send(request);
    if (this.#cut.when === "unanswered") void super.send(request);
    this.close();
    return Promise.reject(new UdsTransportError("loopback: the cable was pulled"));
  }
}

interface Run {
  ecu: SimulatedEcu;
  first: LoopbackTransport;
  second: LoopbackTransport;
  log: string[];
}

/** Flashes over a path that is cut once. */
async function flashCut(
  flashPlan: FlashPlan,
  cut: ConstructorParameters<typeof CutTransport>[1],
  resumable: boolean,
): Promise<Run> {
  const ecu = await bootedEcu(resumable ? { flash: { resume: { did: resumeDid } } } : {});
  const first = new CutTransport(ecu, cut);
  const second = new LoopbackTransport(ecu);
  const log: string[] = [];
  using client = new UdsClient(first, { ecu: "ECU_001", latency: 50 });
  const result = await flashEcu(client, image, {
    plan: flashPlan,
    version: "2.0.0",
    fingerprint,
    log: (message) => log.push(message),
    reconnect: () => {
      // The gateway tells the ECU that its tester has gone.
      ecu.disconnected(0x0e00);
      return Promise.resolve(new UdsClient(second, { ecu: "ECU_001", latency: 50 }));
    },
  });
  assert.equal(result.version, "2.0.0");
  assert.equal(result.bytes, 1_300);
  await assertHolds(ecu);
  return { ecu, first, second, log };
}

/** Reads the memory back with service 23, not through the simulator's own way. */
async function assertHolds(ecu: SimulatedEcu): Promise<void> {
  using client = new UdsClient(new LoopbackTransport(ecu), { latency: 50 });
  const found: number[] = [];
  for await (const { data } of readMemory(client, image.segments, { chunkSize: 200 })) found.push(...data);
  assert.deepEqual(Uint8Array.from(found), payload(1_300, 5));
}

/** Addresses and sizes of the downloads that were asked for, and the bytes of data sent. */
function downloads(transport: LoopbackTransport): { asked: string[]; sent: number; erased: number } {
  return {
    asked: transport.sent.filter(([sid]) => sid === 0x34).map((request) => text(request.subarray(3))),
    sent: transport.sent.reduce((sum, it) => it[0] === 0x36 ? sum + it.length - 2 : sum, 0),
    erased: transport.sent.filter((it) => it[0] === 0x31 && it[2] === 0xff && it[3] === 0x00).length,
  };
}

Deno.test("cut off before a block is sent: the download goes on there, and no byte is sent twice", async () => {
  const { first, second } = await flashCut(resuming, { service: 0x36, occurrence: 3, when: "unsent" }, true);
  assert.deepEqual(downloads(first), {
    asked: ["00 00 04 00 00 00 03 E8"],
    sent: 512,
    erased: 2,
  });
  // 400 + 2 × 256 = 600; 1000 - 512 = 1E8.
  assert.deepEqual(downloads(second), {
    asked: ["00 00 06 00 00 00 01 E8", "10 00 10 00 00 00 01 2C"],
    sent: 788,
    erased: 0,
  });
  assert.equal(text(second.sent.find(([sid]) => sid === 0x36)!.subarray(0, 2)), "36 01");
});

Deno.test("cut off before a block is answered: the ECU has it, and it is not sent again", async () => {
  const { first, second } = await flashCut(
    resuming,
    { service: 0x36, occurrence: 3, when: "unanswered" },
    true,
  );
  assert.equal(downloads(first).sent + downloads(second).sent, 1_300);
  assert.equal(downloads(second).asked[0], "00 00 07 00 00 00 00 E8");
});

Deno.test("cut off between two segments: the second one follows", async () => {
  for (const when of ["unsent", "unanswered"] as const) {
    const { first, second } = await flashCut(resuming, { service: 0x37, occurrence: 1, when }, true);
    assert.equal(downloads(first).sent, 1_000);
    assert.deepEqual(downloads(second).asked, ["10 00 10 00 00 00 01 2C"]);
  }
});

Deno.test("cut off when everything is transferred: only its check is left", async () => {
  const { second } = await flashCut(resuming, { service: 0x37, occurrence: 2, when: "unanswered" }, true);
  assert.deepEqual(downloads(second), { asked: [], sent: 0, erased: 0 });
});

Deno.test("cut off at the reset: the ECU is reset again, and nothing else", async () => {
  const { second } = await flashCut(resuming, { service: 0x11, occurrence: 1, when: "unsent" }, true);
  assert.equal(text(second.sent[0]), "11 01");
  assert.equal(downloads(second).sent, 0);
});

Deno.test("an ECU that cannot go on is erased and flashed from the beginning", async () => {
  const { second, log } = await flashCut(resuming, { service: 0x36, occurrence: 3, when: "unsent" }, false);
  assert.deepEqual(downloads(second), {
    asked: ["00 00 04 00 00 00 03 E8", "10 00 10 00 00 00 01 2C"],
    sent: 1_300,
    erased: 2,
  });
  assert.ok(
    log.some((line) => /cannot go on where it was, it starts over: .*0x31/.test(line)),
    log.join("\n"),
  );
});

Deno.test("a plan without a resume question starts over, whatever the ECU could do", async () => {
  const { second } = await flashCut(quick, { service: 0x36, occurrence: 3, when: "unsent" }, true);
  assert.equal(downloads(second).sent, 1_300);
  assert.ok(!second.sent.some((it) => it[0] === 0x22 && it[1] === 0xfd));
});

Deno.test("a flash is begun as often as its plan says and fails with what it met first", async () => {
  for (const attempts of [1, 3]) {
    const ecu = await bootedEcu();
    let opened = 0;
    const open = () => {
      opened++;
      const cut = { service: 0x36, occurrence: 2, when: "unsent" } as const;
      return new UdsClient(new CutTransport(ecu, cut), { ecu: "ECU_001", latency: 50 });
    };
    using client = open();
    await assert.rejects(
      flashEcu(client, image, {
        plan: { ...quick, attempts },
        version: "2.0.0",
        fingerprint,
        reconnect: () => Promise.resolve(open()),
      }),
      (error) => error instanceof FlashError && error.step === "transfer_data" && /cable/.test(error.message),
    );
    assert.equal(opened, attempts);
    assert.equal(ecu.version, "1.0.0");
  }
});

Deno.test("a path that does not come back fails the flash at the step where it was lost", async () => {
  const ecu = await bootedEcu();
  const cut = { service: 0x36, occurrence: 2, when: "unsent" } as const;
  using client = new UdsClient(new CutTransport(ecu, cut), { ecu: "ECU_001", latency: 50 });
  let tries = 0;
  await assert.rejects(
    flashEcu(client, image, {
      plan: quick,
      version: "2.0.0",
      fingerprint,
      reconnect: () => {
        tries++;
        return Promise.reject(new Error("no such gateway"));
      },
    }),
    /ECU_001: flash failed at transfer_data: .*cable was pulled; connecting again: no such gateway/,
  );
  assert.ok(tries > 1);
});

Deno.test("a further attempt that does not get to the memory leaves the first failure to be told", async () => {
  const ecu = await bootedEcu();
  const cut = { service: 0x36, occurrence: 2, when: "unsent" } as const;
  const silent = { service: 0x10, occurrence: 1, when: "unsent" } as const;
  using client = new UdsClient(new CutTransport(ecu, cut), { ecu: "ECU_001", latency: 50 });
  await assert.rejects(
    flashEcu(client, image, {
      plan: quick,
      version: "2.0.0",
      fingerprint,
      reconnect: () => Promise.resolve(new UdsClient(new CutTransport(ecu, silent), { ecu: "ECU_001" })),
    }),
    (error) =>
      error instanceof FlashError && error.step === "transfer_data" &&
      /a further attempt failed at extended_session/.test(error.message),
  );
});

const segments = [{ address: 0x400, length: 1_000 }, { address: 0x800, length: 16 }];
const format = { addressBytes: 4, sizeBytes: 2 };
const answers: {
  name: string;
  question: { did: number } | { routine: number };
  answer: string;
  /** Bytes of the first segment that were handed to the bus. */
  sent?: number;
  point: unknown;
}[] = [
  {
    name: "in the middle",
    question: { did: 0xfd01 },
    answer: "62 FD 01 00 00 06 00 01 E8",
    point: { segment: 0, done: 512 },
  },
  {
    name: "by a routine",
    question: { routine: 0x0310 },
    answer: "71 01 03 10 00 00 00 06 00 01 E8",
    point: { segment: 0, done: 512 },
  },
  {
    name: "at a segment's end",
    question: { did: 0xfd01 },
    answer: "62 FD 01 00 00 07 E8 00 00",
    sent: 1_000,
    point: { segment: 1, done: 0 },
  },
  {
    name: "at the very end, not sent",
    question: { did: 0xfd01 },
    answer: "62 FD 01 00 00 08 10 00 00",
    point: /at most what was sent/,
  },
  {
    name: "beyond what was sent",
    question: { did: 0xfd01 },
    answer: "62 FD 01 00 00 06 01 01 E7",
    point: /at most what was sent/,
  },
  {
    name: "in no segment",
    question: { did: 0xfd01 },
    answer: "62 FD 01 00 00 03 00 01 E8",
    point: /no segment has 488 bytes missing/,
  },
  {
    name: "with another end",
    question: { did: 0xfd01 },
    answer: "62 FD 01 00 00 06 00 01 00",
    point: /no segment/,
  },
  {
    name: "too short",
    question: { did: 0xfd01 },
    answer: "62 FD 01 00 00",
    point: /expected a record of 6 bytes, got 2/,
  },
  {
    name: "a routine that failed",
    question: { routine: 0x0310 },
    answer: "71 01 03 10 01",
    point: /status is 0x01/,
  },
  { name: "a refusal", question: { did: 0xfd01 }, answer: "7F 22 31", point: /0x31/ },
];

for (const { name, question, answer, sent = 512, point } of answers) {
  Deno.test(`where a download goes on: ${name}`, async () => {
    const transport = new ScriptedTransport(systemClock);
    transport.answers = [[answer]];
    using client = new UdsClient(transport);
    const found = await askResumePoint(client, question, segments, { segment: 0, sent }, format, 0, {});
    if (point instanceof RegExp) assert.match(String(found), point);
    else assert.deepEqual(found, point);
    assert.deepEqual(transport.sent[0], "did" in question ? bytes("22 FD 01") : bytes("31 01 03 10"));
  });
}
