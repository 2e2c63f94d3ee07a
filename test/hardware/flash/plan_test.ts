import assert from "node:assert/strict";
import { flashSteps, optionalFlashSteps, resolveFlashPlan } from "../../../hardware/flash/plan.ts";

const seedKey = { algorithm: "xor", constant: "A5" } as const;

Deno.test("a plan without fields is the usual one", () => {
  const plan = resolveFlashPlan({ seedKey });
  assert.deepEqual([...plan.skipped], ["confirm", "roll_back", "activate", "commit"], "the ECU has no trial");
  assert.deepEqual(
    [plan.preconditions, plan.eraseRoutine, plan.checkMemoryRoutine, plan.checkDependenciesRoutine],
    [[{ routine: 0x0203 }], 0xff00, 0x0202, 0xff01],
  );
  assert.deepEqual([plan.fingerprintDid, plan.versionDid], [0xf15a, 0xf189]);
});

Deno.test("what makes a flash trustworthy cannot be left out", () => {
  const fixed = flashSteps.filter((step) => !optionalFlashSteps.some((optional) => optional === step));
  assert.deepEqual(fixed, [
    "programming_session",
    "authentication",
    "read_memory",
    "request_download",
    "transfer_data",
    "transfer_exit",
    "activate",
    "verify_version",
    "confirm",
    "commit",
    "roll_back",
  ]);
  const steps = { check_memory: true, verify_version: false };
  assert.throws(() => resolveFlashPlan({ seedKey, steps }), /steps: expected one of .*, got verify_version/);
});

Deno.test("authentication by certificate takes the place of the key, unless both are asked for", () => {
  const authentication = () => Promise.reject(new Error("nobody asks"));
  assert.ok(resolveFlashPlan({ authentication }).skipped.has("security_access"));
  const both = { authentication, seedKey, trial: true, steps: { security_access: true } };
  assert.equal(resolveFlashPlan(both).skipped.size, 0);
});

Deno.test("a step that is set to true is done", () => {
  assert.equal(resolveFlashPlan({ seedKey, trial: true, steps: { check_memory: true } }).skipped.size, 0);
  assert.deepEqual([...resolveFlashPlan({ trial: true, steps: { security_access: false } }).skipped], [
    "security_access",
  ]);
});

Deno.test("an ECU with trial is told of releases, unless it does not count", () => {
  const { trial, releaseCounting, activateRoutine, confirmRoutine, rollBackRoutine, commitRoutine } =
    resolveFlashPlan({ seedKey, trial: true });
  assert.deepEqual(
    { trial, releaseCounting, activateRoutine, confirmRoutine, rollBackRoutine, commitRoutine },
    {
      trial: true,
      releaseCounting: true,
      activateRoutine: 0x0210,
      confirmRoutine: 0x0211,
      rollBackRoutine: 0x0212,
      commitRoutine: 0x0213,
    },
  );
  const counting = resolveFlashPlan({ seedKey, releaseCounting: true });
  assert.deepEqual([...counting.skipped], ["confirm", "roll_back"]);
  assert.throws(
    () => resolveFlashPlan({ seedKey, memory: [{ address: 0, size: 10, sectorSize: 11 }] }),
    /memory sectorSize: expected 0x01 … 0x0A, got 11/,
  );
});
