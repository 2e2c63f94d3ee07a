// The path to an ECU is cut after every message of a small flash, one run each: each ends flashed, or failed with the ECU
// still bootable, and says "done" only when it is. The bus is an argument: whoever can count what crosses a path and cut it
// runs the same sweep.

import assert from "node:assert/strict";
import { memoryImage } from "../../hardware/flash/format/memory_image.ts";
import type { FirmwareImage } from "../../hardware/flash/image.ts";
import type { FlashPlan } from "../../hardware/flash/plan.ts";
import { flashEcu, FlashError } from "../../hardware/flash/sequence.ts";
import type { SimulatedEcu } from "../../hardware/sim/ecu.ts";
import { ecuOptions, fingerprint, holds, payload, plan } from "../hardware/sim/fixtures.ts";
import type { SimulatedEcuOptions } from "../../hardware/sim/options.ts";
import type { CuttablePath, CuttablePaths } from "./cuttable_paths.ts";

/** Two segments, three blocks. */
const image = (seed: number): FirmwareImage =>
  memoryImage([{ address: 0, length: 300 }, { address: 0x1000_1000, length: 33 }], payload(333, seed));

const quickPlan: FlashPlan = {
  ...plan,
  restartPoll: 2,
  restartTimeout: 2_000,
  cleanUpTimeout: 200,
  reconnectDelay: 1,
  reconnectTimeout: 2_000,
};

const resumeDid = 0xfd01;

interface Outcome {
  done: boolean;
  crossed: number;
}

/** Flashes over a path that is cut once, and a second one where `reconnects`. */
async function flashOver(
  paths: CuttablePaths,
  cutAfter: number,
  { seed, version, flashPlan, reconnects }: {
    seed: number;
    version: string;
    flashPlan: FlashPlan;
    reconnects: boolean;
  },
): Promise<Outcome> {
  const opened: CuttablePath[] = [];
  const open = async (after: number) => {
    const path = await paths.open(after);
    opened.push(path);
    return path.client;
  };
  try {
    const client = await open(cutAfter);
    await flashEcu(client, image(seed), {
      plan: flashPlan,
      version,
      fingerprint,
      ...reconnects ? { reconnect: () => open(Infinity) } : {},
    });
    return { done: true, crossed: opened[0].crossed };
  } catch (error) {
    assert.ok(error instanceof FlashError, `cut after ${cutAfter}: ${Deno.inspect(error)}`);
    return { done: false, crossed: opened[0].crossed };
  } finally {
    for (const path of opened) {
      path.client.close();
      await path.close();
    }
  }
}

/** What the ECU runs after its power was off: a whole application, or with one bank its boot loader. */
async function runsAfterPowerCycle(ecu: SimulatedEcu, banks: 1 | 2, where: string): Promise<string> {
  ecu.powerOff();
  await ecu.powerOn();
  const runs = ecu.version ?? ecu.state;
  if (runs === "2.0.0") assert.ok(await holds(ecu, image(2)), `${where}: the new software is not whole`);
  else if (runs === "boot") assert.equal(banks, 1, `${where}: two banks, and nothing to boot`);
  else assert.equal(runs, "1.0.0", where);
  return runs;
}

/**
 * Runs the sweep until a flash ends before its cut.
 * @param start a fresh ECU with the ways to it
 * @param options how many banks it has, whether a new path is opened after the cut, and whether the download then goes on
 */
export async function interruptSweep(
  start: (ecu: SimulatedEcuOptions) => Promise<CuttablePaths>,
  options: { banks: 1 | 2; reconnects: boolean; resumes: boolean },
): Promise<void> {
  const { banks, reconnects, resumes } = options;
  const flashPlan: FlashPlan = resumes ? { ...quickPlan, resume: { did: resumeDid } } : quickPlan;
  const ends = new Map<string, number>();
  for (let cutAfter = 0;; cutAfter++) {
    await using paths = await start(
      ecuOptions({ banks, ...resumes ? { flash: { resume: { did: resumeDid } } } : {} }),
    );
    const where = `cut after ${cutAfter} ${paths.unit}`;
    const { ecu } = paths;
    const { done, crossed } = await flashOver(paths, cutAfter, {
      seed: 2,
      version: "2.0.0",
      flashPlan,
      reconnects,
    });
    if (done) {
      await ecu.ready();
      assert.equal(ecu.version, "2.0.0", `${where}: done, and the ECU runs something else`);
      assert.ok(await holds(ecu, image(2)), `${where}: done, and the memory holds something else`);
    } else assert.equal(reconnects, false, `${where}: a path that can be had again was not enough`);
    const runs = await runsAfterPowerCycle(ecu, banks, where);
    if (done) assert.equal(runs, "2.0.0", where);
    ends.set(
      `${done ? "done" : "failed"}, ${runs}`,
      (ends.get(`${done ? "done" : "failed"}, ${runs}`) ?? 0) + 1,
    );
    if (!done) {
      const again = await flashOver(paths, Infinity, {
        seed: 3,
        version: "3.0.0",
        flashPlan,
        reconnects: false,
      });
      assert.ok(again.done, `${where}: flashing it again failed`);
      assert.ok(await holds(ecu, image(3)), where);
    }
    if (crossed < cutAfter) {
      assert.ok(cutAfter > 60, `only ${cutAfter} ${paths.unit} in a whole flash`);
      console.log(`${cutAfter} cuts: ${JSON.stringify(Object.fromEntries(ends))}`);
      assert.ok(done);
      return;
    }
  }
}
