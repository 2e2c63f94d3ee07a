// What an image asks for, as text and as values.

import assert from "node:assert/strict";
import {
  conditionList,
  dependencyList,
  formatCondition,
  formatDependency,
  mergeConditions,
  parseCondition,
  parseDependency,
} from "../../src/contract/requirements.ts";

Deno.test("a condition is a signal with a limit", () => {
  assert.deepEqual(parseCondition("speed<=0"), { signal: "speed", max: 0 });
  assert.deepEqual(parseCondition(" battery_soc >= 30.5 "), { signal: "battery_soc", min: 30.5 });
  assert.deepEqual(parseCondition("gear=-1"), { signal: "gear", min: -1, max: -1 });
  assert.deepEqual(parseCondition("temp>=1e1"), { signal: "temp", min: 10 });
  for (
    const wrong of ["speed<0", "speed", "<=0", "speed<=", "speed<=x", "1speed<=0", "speed<=0;x", "a=1e999"]
  ) {
    assert.throws(
      () => parseCondition(wrong),
      (error) => error instanceof RangeError && error.message.includes(`got "${wrong}"`),
      wrong,
    );
  }
  assert.equal(formatCondition({ signal: "temp", min: 5, max: 60 }), "temp>=5 and temp<=60");
  for (const text of ["speed<=0", "battery_soc>=30", "gear=0"]) {
    assert.equal(formatCondition(parseCondition(text)), text);
  }
});

Deno.test("a dependency is an ECU type, and the least version where one is named", () => {
  assert.deepEqual(parseDependency("DOOR_MODULE"), { ecu_type: "DOOR_MODULE" });
  assert.deepEqual(parseDependency("DOOR_MODULE@1.10.0"), { ecu_type: "DOOR_MODULE", version: "1.10.0" });
  assert.equal(formatDependency(parseDependency("DOOR_MODULE@1.10.0")), "DOOR_MODULE@1.10.0");
  for (const wrong of ["", "DOOR MODULE", "DOOR@", "DOOR@1.0", "DOOR@1.0.0@2.0.0"]) {
    assert.throws(() => parseDependency(wrong), RangeError, wrong);
  }
});

Deno.test("lists in a query are bounded, and what is wrong in them is quoted", () => {
  assert.deepEqual(dependencyList.parse("A@1.0.0, B"), [{ ecu_type: "A", version: "1.0.0" }, {
    ecu_type: "B",
  }]);
  assert.deepEqual(conditionList.parse("speed<=0,soc>=3").length, 2);
  const wrong = conditionList.safeParse("speed<=0,speed!0");
  assert.match(String(wrong.error), /speed!0/);
  assert.equal(dependencyList.safeParse(Array(33).fill("A").join(",")).success, false);
});

Deno.test("conditions on one signal become the narrowest, and none that no value meets", () => {
  assert.deepEqual(
    mergeConditions([
      { signal: "temp", min: 5 },
      { signal: "speed", max: 5 },
      { signal: "temp", min: 0, max: 60 },
      { signal: "speed", max: 0 },
    ]),
    [{ signal: "speed", max: 0 }, { signal: "temp", min: 5, max: 60 }],
  );
  assert.throws(
    () => mergeConditions([{ signal: "temp", min: 61 }, { signal: "temp", max: 60 }]),
    /temp would have to be at least 61 and at most 60/,
  );
});
