import assert from "node:assert/strict";
import { simulatedSignals } from "../../src/commands/simulated_signals.ts";

function at(seconds: number): Readonly<Record<string, number>> {
  let now = 5000;
  const source = simulatedSignals(() => now);
  now += seconds * 1000;
  return source.read() as Readonly<Record<string, number>>;
}

Deno.test("the simulated vehicle says that it is simulated", () => {
  assert.equal(simulatedSignals().name, "simulated vehicle");
});

Deno.test("the simulated drive stands, moves and repeats", () => {
  assert.deepEqual(at(0), { battery_soc: 90, speed: 0, temp: 20 });
  assert.equal(at(13).speed, 7.5);
  assert.equal(at(70).speed, 32);
  assert.equal(at(150).speed, 50);
  assert.equal(at(195).speed, 0);
  assert.equal(at(195 + 150).speed, 50);
});

Deno.test("the battery empties while driving and fills while charging", () => {
  assert.equal(at(5400).battery_soc, 20);
  assert.equal(at(6300).battery_soc, 55);
  assert.equal(at(6300).speed, 0);
  assert.equal(at(7200).battery_soc, 90);
});

Deno.test("every second of two hours gives finite values within bounds", () => {
  for (let second = 0; second < 7200; second++) {
    const { battery_soc, speed, temp } = at(second);
    assert.ok(
      battery_soc >= 20 && battery_soc <= 90 && speed >= 0 && speed <= 50 && temp >= 20 && temp <= 85,
    );
  }
});
