import assert from "node:assert/strict";
import { flashEcu, FlashError } from "../../../hardware/flash/sequence.ts";
import { UdsClient } from "../../../hardware/uds/client.ts";
import { LoopbackTransport } from "../uds/loopback.ts";
import { SimulatedEcu } from "../../../hardware/sim/ecu.ts";
import { bootedEcu, clientOf, ecuOptions, fingerprint, holds, plan, smallImage, vin } from "./fixtures.ts";

const quickPlan = { ...plan, restartPoll: 3, restartTimeout: 1_000, blockRepeats: 0 };

/** Tells that an ECU lost its power, as a gateway does; without it each test would wait for answers that never come. */
class PowerWatch {
  readonly #transports = new Map<string, LoopbackTransport>();

  log = (message: string): void => {
    if (message.endsWith("power off")) this.#transports.get(message.split(":")[0])?.close();
  };

  /** Flashes. @returns whether it says done */
  async flash(ecu: SimulatedEcu, seed: number, version: string): Promise<boolean> {
    const transport = new LoopbackTransport(ecu);
    this.#transports.set(ecu.ecuId, transport);
    using client = new UdsClient(transport, { ecu: ecu.ecuId });
    try {
      await flashEcu(client, smallImage(seed), { plan: quickPlan, version, fingerprint });
      return true;
    } catch (error) {
      assert.ok(error instanceof FlashError, String(error));
      return false;
    }
  }
}

/** How many flash operations an update takes. */
async function operationsOfUpdate(banks: 1 | 2): Promise<number> {
  const watch = new PowerWatch();
  const ecu = await bootedEcu({ banks });
  assert.ok(await watch.flash(ecu, 1, "1.5.0"));
  const before = ecu.flashOperations;
  assert.ok(await watch.flash(ecu, 2, "2.0.0"));
  return ecu.flashOperations - before;
}

for (const banks of [2, 1] as const) {
  Deno.test(`power cut at every flash operation, ${banks} bank(s): old or new whole, or the boot loader, and a second try succeeds`, async () => {
    const operations = await operationsOfUpdate(banks);
    assert.ok(operations > 10, `only ${operations} operations`);
    const outcomes = new Map<string, number>();
    for (let operation = 1; operation <= operations; operation++) {
      const watch = new PowerWatch();
      const ecu = await bootedEcu({ banks }, { log: watch.log });
      assert.ok(await watch.flash(ecu, 1, "1.5.0"));
      ecu.inject({ kind: "power_cut", operation });
      const done = await watch.flash(ecu, 2, "2.0.0");
      assert.equal(done, false, `operation ${operation}: the flash says done without power`);
      assert.equal(ecu.state, "off", `operation ${operation}`);
      await ecu.powerOn();
      const outcome = ecu.version ?? ecu.state;
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      if (outcome === "1.5.0") {
        assert.ok(await holds(ecu, smallImage(1)), `operation ${operation}: old, not whole`);
      } else if (outcome === "2.0.0") {
        assert.ok(await holds(ecu, smallImage(2)), `operation ${operation}: new, not whole`);
      } else assert.equal(banks === 1 && outcome, "boot", `operation ${operation}`);
      assert.ok(await watch.flash(ecu, 3, "3.0.0"), `operation ${operation}: the second try`);
      assert.equal(ecu.version, "3.0.0");
      assert.ok(await holds(ecu, smallImage(3)));
    }
    console.log(`${operations} cuts with ${banks} bank(s): ${JSON.stringify(Object.fromEntries(outcomes))}`);
    assert.ok((outcomes.get("1.5.0") ?? 0) > 0);
    assert.ok((outcomes.get("2.0.0") ?? 0) > 0);
    if (banks === 1) assert.ok((outcomes.get("boot") ?? 0) > 0);
  });
}

Deno.test("power cut at every flash operation of a kept ECU: a restart of the program sees the same", async () => {
  for (let operation = 1;; operation++) {
    const directory = await Deno.makeTempDir();
    try {
      const watch = new PowerWatch();
      const first = await bootedEcu({}, { directory, log: watch.log });
      first.inject({ kind: "power_cut", operation });
      const done = await watch.flash(first, 2, "2.0.0");
      // Not closed: a killed process closes nothing.
      const second = new SimulatedEcu(ecuOptions(), { vin, directory });
      await second.powerOn();
      if (second.version === "2.0.0") assert.ok(await holds(second, smallImage(2)), `operation ${operation}`);
      else assert.equal(second.version, "1.0.0", `operation ${operation}`);
      first.close();
      second.close();
      if (done) break;
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  }
});

Deno.test("a boot loader does not boot an application that lost a bit", async () => {
  for (const banks of [1, 2] as const) {
    const directory = await Deno.makeTempDir();
    try {
      const first = await bootedEcu({ banks }, { directory });
      first.close();
      const path = `${directory}/flash/main.0/00000000.bin`;
      const bytes = await Deno.readFile(path);
      bytes[599] ^= 0x10;
      await Deno.writeFile(path, bytes);
      const second = await bootedEcu({ banks }, { directory });
      assert.equal(second.state, "boot");
      assert.equal(second.version, undefined);
      assert.ok(await new PowerWatch().flash(second, 2, "2.0.0"));
      assert.equal(second.version, "2.0.0");
      second.close();
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  }
});

Deno.test("a new application that is not whole at the start is dropped for the one that ran", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const first = await bootedEcu({}, { directory });
    using client = clientOf(first);
    first.inject({ kind: "silence", service: 0x11, occurrence: 1 });
    await assert.rejects(
      flashEcu(client, smallImage(2), {
        plan: { ...plan, cleanUpTimeout: 50 },
        version: "2.0.0",
        fingerprint,
      }),
      /ecu_reset/,
    );
    first.close();
    const path = `${directory}/flash/main.1/00000000.bin`;
    const bytes = await Deno.readFile(path);
    bytes[1] ^= 0x01;
    await Deno.writeFile(path, bytes);
    const second = await bootedEcu({}, { directory });
    assert.equal(second.version, "1.0.0");
    second.close();
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
