// Software on trial, and what keeps older software out: phases of a flash, one by one, on the wire and in the ECU.
import assert from "node:assert/strict";
import type { FlashPlan } from "../../../hardware/flash/plan.ts";
import {
  activateEcu,
  commitEcu,
  confirmEcu,
  flashEcu,
  FlashError,
  rollBackEcu,
  stageEcu,
  verifyStaged,
} from "../../../hardware/flash/sequence.ts";
import type { SimulatedEcu } from "../../../hardware/sim/ecu.ts";
import { TestClock } from "../uds/test_clock.ts";
import { bootedEcu, clientOf, fingerprint, holds, plan, smallImage } from "./fixtures.ts";

const trialPlan: FlashPlan = { ...plan, trial: true };

function options(version: string, differs: Partial<{ plan: FlashPlan; releaseCounter: number }> = {}) {
  return { plan: trialPlan, version, fingerprint, ...differs };
}

async function powerCycle(ecu: SimulatedEcu): Promise<void> {
  ecu.powerOff();
  await ecu.powerOn();
}

async function staged(seed = 2): Promise<SimulatedEcu> {
  const ecu = await bootedEcu();
  using client = clientOf(ecu);
  await stageEcu(client, smallImage(seed), options("2.0.0"));
  return ecu;
}

Deno.test("what was staged does not run, over a restart, until it is activated", async () => {
  const ecu = await staged();
  assert.deepEqual([ecu.version, ecu.session], ["1.0.0", 1]);
  await powerCycle(ecu);
  assert.equal(ecu.version, "1.0.0");
  using client = clientOf(ecu);
  await verifyStaged(client, smallImage(), options("2.0.0"));
  await activateEcu(client, undefined, options("2.0.0"));
  assert.deepEqual([ecu.version, ecu.onTrial], ["2.0.0", true]);
  assert.ok(await holds(ecu, smallImage()));
  ecu.close();
});

Deno.test("another image than the staged one is found out", async () => {
  const ecu = await staged();
  using client = clientOf(ecu);
  await assert.rejects(
    verifyStaged(client, smallImage(9), options("2.0.0")),
    /routine 0x0202 ended with status/,
  );
  ecu.close();
});

Deno.test("a reset without a confirmation goes back, and what was on trial can be activated once more", async () => {
  const ecu = await staged();
  using client = clientOf(ecu);
  await activateEcu(client, undefined, options("2.0.0"));
  await powerCycle(ecu);
  assert.deepEqual([ecu.version, ecu.onTrial], ["1.0.0", false]);
  const operations = ecu.flashOperations;
  using again = clientOf(ecu);
  await activateEcu(again, undefined, options("2.0.0"));
  assert.equal(ecu.version, "2.0.0");
  // Announced, accepted, taken over.
  assert.equal(ecu.flashOperations - operations, 3, "nothing is transferred again");
  ecu.close();
});

Deno.test("confirmed software stays over a reset, and can be gone back from until it is committed", async () => {
  const ecu = await staged();
  {
    using client = clientOf(ecu);
    await activateEcu(client, undefined, options("2.0.0"));
    await confirmEcu(client, options("2.0.0"));
    await confirmEcu(client, options("2.0.0"));
  }
  await powerCycle(ecu);
  assert.deepEqual([ecu.version, ecu.onTrial], ["2.0.0", false]);
  using client = clientOf(ecu);
  await rollBackEcu(client, options("1.0.0"));
  assert.equal(ecu.version, "1.0.0");
  // Once more does not go forward again.
  await rollBackEcu(client, options("1.0.0"));
  assert.equal(ecu.version, "1.0.0");
  ecu.close();
});

Deno.test("committed software is not gone back from", async () => {
  const ecu = await staged();
  using client = clientOf(ecu);
  await activateEcu(client, undefined, options("2.0.0"));
  await confirmEcu(client, options("2.0.0"));
  await commitEcu(client, options("2.0.0"));
  await commitEcu(client, options("2.0.0"));
  await assert.rejects(rollBackEcu(client, options("1.0.0")), /verify_version: expected version 1\.0\.0/);
  assert.equal(ecu.version, "2.0.0");
  ecu.close();
});

Deno.test("accepted software that never started is dropped by going back", async () => {
  const ecu = await staged();
  using client = clientOf(ecu);
  // 31 01 0210, then 31 01 FF01, and no reset.
  await client.diagnosticSessionControl(3);
  await client.diagnosticSessionControl(2);
  await client.unlock(1, (seed) => seed.map((byte) => byte ^ 0xa5));
  assert.deepEqual([...await client.startRoutine(0x0210)], [0]);
  assert.deepEqual([...await client.startRoutine(0xff01, new TextEncoder().encode("2.0.0"))], [0]);
  await rollBackEcu(client, options("1.0.0"));
  await powerCycle(ecu);
  assert.equal(ecu.version, "1.0.0");
  ecu.close();
});

Deno.test("the routines that end a trial want the key, and nothing behind them", async () => {
  const ecu = await bootedEcu();
  using client = clientOf(ecu);
  await client.diagnosticSessionControl(3);
  for (const routine of [0x0211, 0x0212, 0x0213]) {
    await assert.rejects(client.startRoutine(routine), /NRC 0x33 securityAccessDenied/);
  }
  await client.unlock(1, (seed) => seed.map((byte) => byte ^ 0xa5));
  for (const routine of [0x0211, 0x0212, 0x0213]) {
    await assert.rejects(client.startRoutine(routine, Uint8Array.of(1)), /NRC 0x13/);
  }
  // Announcing belongs to programming.
  await assert.rejects(client.startRoutine(0x0210), /NRC 0x31 requestOutOfRange/);
  ecu.close();
});

Deno.test("a release below the committed one is refused; the counter is raised by the commitment alone, and kept", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const ecu = await bootedEcu({}, { directory });
    const counter = async () => {
      using client = clientOf(ecu);
      return [...await client.readDataByIdentifier(0xf1aa)];
    };
    {
      using client = clientOf(ecu);
      await stageEcu(client, smallImage(), options("2.0.0"));
      await activateEcu(client, undefined, options("2.0.0", { releaseCounter: 0x0102 }));
      await confirmEcu(client, options("2.0.0"));
      assert.deepEqual(await counter(), [0, 0, 0, 0]);
      await commitEcu(client, options("2.0.0", { releaseCounter: 0x0102 }));
    }
    assert.deepEqual(await counter(), [0, 0, 1, 2]);
    await powerCycle(ecu);
    assert.deepEqual(await counter(), [0, 0, 1, 2]);
    using client = clientOf(ecu);
    const error = await flashEcu(client, smallImage(3), options("1.5.0", { releaseCounter: 0x0101 })).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof FlashError);
    assert.deepEqual([error.step, error.nrc], ["activate", 0x31]);
    await powerCycle(ecu);
    assert.equal(ecu.version, "2.0.0");
    ecu.close();
    const kept = await bootedEcu({}, { directory });
    assert.deepEqual([kept.version, kept.release], ["2.0.0", 0x0102]);
    kept.close();
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("an ECU with one bank counts releases too, and has nothing to go back to", async () => {
  const counting: FlashPlan = { ...plan, releaseCounting: true };
  const ecu = await bootedEcu({ banks: 1 });
  using client = clientOf(ecu);
  await flashEcu(client, smallImage(), options("2.0.0", { plan: counting, releaseCounter: 7 }));
  assert.deepEqual([ecu.version, ecu.onTrial, ecu.release], ["2.0.0", false, 7]);
  await assert.rejects(
    flashEcu(client, smallImage(3), options("1.0.0", { plan: counting, releaseCounter: 6 })),
    /failed at activate: .*NRC 0x31/,
  );
  ecu.close();
});

Deno.test("a flash in one go confirms and commits", async () => {
  const ecu = await bootedEcu();
  using client = clientOf(ecu);
  await flashEcu(client, smallImage(), options("2.0.0", { releaseCounter: 3 }));
  await powerCycle(ecu);
  assert.deepEqual([ecu.version, ecu.onTrial, ecu.release], ["2.0.0", false, 3]);
  ecu.close();
});

Deno.test("who does not announce a trial gets none: accepted software stays", async () => {
  const ecu = await bootedEcu();
  using client = clientOf(ecu);
  await flashEcu(client, smallImage(), options("2.0.0", { plan }));
  await powerCycle(ecu);
  assert.deepEqual([ecu.version, ecu.onTrial], ["2.0.0", false]);
  ecu.close();
});

Deno.test("what the other bank holds is not erased during a trial", async () => {
  const ecu = await staged();
  using client = clientOf(ecu);
  await activateEcu(client, undefined, options("2.0.0"));
  await assert.rejects(stageEcu(client, smallImage(3), options("3.0.0")), /erase_memory: .*NRC 0x22/);
  ecu.close();
});

Deno.test("a trial that nobody confirms in its time ends by a restart", async () => {
  const clock = new TestClock();
  const ecu = await bootedEcu({ trialTime: 1_000 }, { clock });
  using client = clientOf(ecu);
  await stageEcu(client, smallImage(), options("2.0.0"));
  await activateEcu(client, undefined, options("2.0.0"));
  assert.equal(ecu.version, "2.0.0");
  await clock.advance(999);
  assert.equal(ecu.version, "2.0.0");
  await clock.advance(1);
  await ecu.ready();
  assert.equal(ecu.version, "1.0.0");
  ecu.close();
});
