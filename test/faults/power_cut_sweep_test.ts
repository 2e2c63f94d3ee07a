// Power is cut, and the gateway killed, wherever an update of three ECUs can be hit: afterwards every ECU boots, all run the
// old software or all the new, and the next try succeeds. ZONEBENCH_FULL_SWEEP=1 makes every cut; without it a part of them.

import assert from "node:assert/strict";
import { ecuIds, type Faults, UpdateWorld } from "./update_world.ts";

const full = Deno.env.get("ZONEBENCH_FULL_SWEEP") === "1";

/** Of the cuts at 1 … n: all, or some that are spread over them. */
function chosen(n: number, few: number): number[] {
  const all = Array.from({ length: n }, (_, at) => at + 1);
  if (full || n <= few) return all;
  return Array.from({ length: few }, (_, at) => all[Math.floor((at + 0.5) * n / few)]);
}

/** What an update without faults does. */
interface Dry {
  operations: Record<string, number>;
  writes: number;
  steps: number;
}

async function dryRun(): Promise<Dry> {
  await using world = await UpdateWorld.start();
  const before = Object.fromEntries(world.bench.ecus.map((ecu) => [ecu.ecuId, ecu.flashOperations]));
  const { end, writes, steps } = await world.run(world.begin("2.0.0", 2));
  assert.equal(end?.status, "completed", end?.error ?? "");
  const operations = Object.fromEntries(
    world.bench.ecus.map((ecu) => [ecu.ecuId, ecu.flashOperations - before[ecu.ecuId]]),
  );
  await world.assertRuns("2.0.0", "without faults");
  assert.deepEqual(world.bench.ecus.map(({ release }) => release), [2, 2, 2], "release counters are raised");
  return { operations, writes, steps };
}

/** One vehicle, one update with these faults, one without. @returns what all ECUs ran after the first */
async function hit(where: string, faults: Faults): Promise<string> {
  await using world = await UpdateWorld.start();
  const update = world.begin("2.0.0", 2);
  const { end } = await world.finish(update, faults);
  const runs = end.status === "completed" ? "2.0.0" : "1.0.0";
  await world.assertRuns(runs, `${where}: ${end.status} ${end.error ?? ""}`);
  const backups = await Array.fromAsync(Deno.readDir(`${world.directory}/backups`)).catch(() => []);
  assert.deepEqual(backups, [], `${where}: backups are deleted`);
  const again = world.begin("3.0.0", 3);
  const second = await world.run(again);
  assert.equal(second.end?.status, "completed", `${where}: the second try: ${second.end?.error}`);
  await world.assertRuns("3.0.0", `${where}: the second try`);
  return runs;
}

/** Counts what came of the cuts, and says it. */
class Tally {
  readonly #runs = new Map<string, number>();
  #cuts = 0;

  async add(where: string, faults: Faults, cuts = 1): Promise<void> {
    const runs = await hit(where, faults);
    this.#cuts += cuts;
    this.#runs.set(runs, (this.#runs.get(runs) ?? 0) + 1);
  }

  /** How often all ECUs ran that version. */
  ran(version: string): number {
    return this.#runs.get(version) ?? 0;
  }

  say(what: string): void {
    const ends = JSON.stringify(Object.fromEntries(this.#runs));
    console.log(`${what}: ${this.#cuts} cuts${full ? "" : " of the sweep"}, all ECUs ran ${ends}`);
    assert.ok(this.#cuts > 0);
  }
}

let dry: Promise<Dry> | undefined;
const measured = () => dry ??= dryRun();

for (const ecuId of ecuIds) {
  Deno.test(`power cut at flash operations of ${ecuId}: all old or all new, and the second try succeeds`, async () => {
    const { operations } = await measured();
    const tally = new Tally();
    // Past the last operation of a good update lie those of rolling back.
    for (const operation of chosen(operations[ecuId] + 2, 6)) {
      await tally.add(`${ecuId} operation ${operation}`, { powerCuts: { [ecuId]: [operation] } });
    }
    tally.say(`${ecuId}, ${operations[ecuId]} flash operations`);
  });
}

for (const ecusToo of [false, true]) {
  const what = ecusToo ? "the gateway and all ECUs lose power" : "the gateway is killed";
  for (const after of [false, true]) {
    Deno.test(`${what} ${after ? "right after" : "right before"} journal writes`, async () => {
      const { writes } = await measured();
      const tally = new Tally();
      for (const write of chosen(writes, 5)) {
        await tally.add(`${what} at write ${write}`, { killAtWrite: { write, after }, ecusToo });
      }
      tally.say(`${what} ${after ? "after" : "before"} each of ${writes} journal writes`);
    });
  }

  Deno.test(`${what} between two steps`, async () => {
    const { steps } = await measured();
    const tally = new Tally();
    for (const step of chosen(steps, 6)) {
      await tally.add(`${what} at step ${step}`, { killAtStep: step, ecusToo });
    }
    tally.say(`${what} before each of ${steps} steps`);
  });
}

Deno.test("the gateway is killed while everything is rolled back", async () => {
  const { operations, writes } = await measured();
  const tally = new Tally();
  // An ECU's last operation but one is its confirmation: without that it goes back, and all others have to.
  const powerCuts = { ECU_001: [operations.ECU_001 - 1] };
  // Going back makes more writes than committing, which do not come then.
  for (const write of chosen(writes + 6, 8)) {
    for (const ecusToo of full ? [false, true] : [write % 2 === 0]) {
      await tally.add(
        `killed at write ${write} of going back`,
        { powerCuts, killAtWrite: { write, after: true }, ecusToo },
        2,
      );
    }
  }
  tally.say("a cut while confirming, and the gateway killed after each journal write");
  assert.ok(tally.ran("1.0.0") > 0, "nothing was rolled back");
});

/** xorshift32 */
function random(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

Deno.test("random double and triple cuts, seeded", async () => {
  const { operations, writes } = await measured();
  const seed = Number(Deno.env.get("ZONEBENCH_SEED") ?? 20261121);
  const next = random(seed);
  const tally = new Tally();
  for (let round = 0; round < (full ? 60 : 6); round++) {
    const count = 2 + round % 2;
    const powerCuts: Record<string, number[]> = {};
    let cuts = count;
    const killAtWrite = next(2) === 0 ? { write: 1 + next(writes), after: next(2) === 0 } : undefined;
    if (killAtWrite !== undefined) cuts--;
    for (let cut = 0; cut < cuts; cut++) {
      const ecuId = ecuIds[next(3)];
      (powerCuts[ecuId] ??= []).push(1 + next(operations[ecuId]));
    }
    const faults = { powerCuts, ...killAtWrite === undefined ? {} : { killAtWrite, ecusToo: next(2) === 0 } };
    await tally.add(`seed ${seed} round ${round} ${JSON.stringify(faults)}`, faults, count);
  }
  tally.say(`random, seed ${seed}`);
});
