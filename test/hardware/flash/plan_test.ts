import assert from "node:assert/strict";
import { flashSteps, optionalFlashSteps, resolveFlashPlan } from "../../../hardware/flash/plan.ts";

const seedKey = { algorithm: "xor", constant: "A5" } as const;

Deno.test("a plan without fields is the usual one", () => {
  const plan = resolveFlashPlan({ seedKey });
  assert.equal(plan.skipped.size, 0);
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
    "request_download",
    "transfer_data",
    "transfer_exit",
    "verify_version",
  ]);
  const steps = { check_memory: true, verify_version: false };
  assert.throws(() => resolveFlashPlan({ seedKey, steps }), /steps: expected one of .*, got verify_version/);
});

Deno.test("authentication by certificate takes the place of the key, unless both are asked for", () => {
  const authentication = () => Promise.reject(new Error("nobody asks"));
  assert.ok(resolveFlashPlan({ authentication }).skipped.has("security_access"));
  const both = { authentication, seedKey, steps: { security_access: true } };
  assert.equal(resolveFlashPlan(both).skipped.size, 0);
});

Deno.test("a step that is set to true is done", () => {
  assert.equal(resolveFlashPlan({ seedKey, steps: { check_memory: true } }).skipped.size, 0);
  assert.deepEqual([...resolveFlashPlan({ steps: { security_access: false } }).skipped], ["security_access"]);
});
