// Anomaly rules on single values.

import assert from "node:assert/strict";
import { type AnomalyRule, checkRules, examine } from "../../../src/server/telemetry/rules.ts";

const vin = "KMHTEST1AAA000001";

function run(rule: Omit<AnomalyRule, "metric">, values: [seconds: number, value: number][]): string[] {
  let state: Parameters<typeof examine>[2];
  const found: string[] = [];
  for (const [seconds, value] of values) {
    const at = { vin, metric: "temp", value, timestamp: new Date(seconds * 1000) };
    const result = examine([{ metric: "temp", ...rule }], at, state);
    state = result.state;
    found.push(...result.anomalies.map((anomaly) => `${anomaly.rule} ${anomaly.value}`));
  }
  return found;
}

Deno.test("values outside the limits are anomalies, the limits themselves are not", () => {
  assert.deepEqual(run({ min: -40, max: 125 }, [[0, -40], [1, 125], [2, 125.1], [3, -41]]), [
    "limit 125.1",
    "limit -41",
  ]);
});

Deno.test("a change faster than the rate is an anomaly; late and simultaneous values have no rate", () => {
  assert.deepEqual(run({ maxRate: 10 }, [[0, 0], [1, 10], [2, 21], [3, 20], [1, 500], [3, 900], [4, 30]]), [
    "rate 21",
  ]);
});

Deno.test("a value far from the vehicle's own mean is an anomaly once enough were seen", () => {
  // 1, 3, 1, 3, …: mean 2, sample deviation sqrt(10/9) ≈ 1.054; three deviations reach to 5.16.
  const calm: [number, number][] = Array.from({ length: 10 }, (_, i) => [i, i % 2 === 0 ? 1 : 3]);
  assert.deepEqual(run({ maxDeviation: 3, minSamples: 10 }, [...calm, [10, 5.1]]), []);
  assert.deepEqual(run({ maxDeviation: 3, minSamples: 10 }, [...calm, [10, 5.3]]), ["deviation 5.3"]);
  assert.deepEqual(run({ maxDeviation: 3, minSamples: 11 }, [...calm, [10, 500]]), []);
});

Deno.test("a metric that never moved has no deviation to be beyond", () => {
  const flat: [number, number][] = Array.from({ length: 50 }, (_, i) => [i, 7]);
  assert.deepEqual(run({ maxDeviation: 3 }, [...flat, [50, 8]]), []);
});

Deno.test("a rule that contradicts itself is refused by name", () => {
  assert.throws(() => checkRules([{ metric: "speed", min: 2, max: 1 }]), /speed: min 2 is above max 1/);
  assert.throws(() => checkRules([{ metric: "speed", maxRate: 0 }]), /maxRate must be above 0/);
  assert.throws(() => checkRules([{ metric: "speed", maxDeviation: 2, minSamples: 1 }]), /minSamples/);
});
