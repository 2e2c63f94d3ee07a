// Which topics and filters are a vehicle's own.

import assert from "node:assert/strict";
import { isOwnFilter, matchesFilter, ownTopic } from "../../../src/server/mqtt/topics.ts";

const names = { vin: "KMHTEST1AAA000001", vmgId: "VMG-001" };

Deno.test("a vehicle publishes on its own channels under either of its names", () => {
  assert.deepEqual(ownTopic("vehicle/VMG-001/telemetry", names), { name: "VMG-001", channel: "telemetry" });
  assert.deepEqual(ownTopic("vehicle/KMHTEST1AAA000001/ota/status", names), {
    name: "KMHTEST1AAA000001",
    channel: "ota/status",
  });
  assert.equal(ownTopic("vehicle/VMG-002/telemetry", names), "another vehicle's topic");
  assert.equal(ownTopic("vehicle/VMG-001/control", names), "a topic of the server");
  assert.equal(ownTopic("vehicle/VMG-001/config", names), "a topic of the server");
  for (
    const topic of ["vehicle/VMG-001/other", "vehicle/VMG-001", "/vehicle/VMG-001/status", "$SYS/x", "a"]
  ) {
    assert.equal(ownTopic(topic, names), "unknown topic", topic);
  }
  assert.equal(
    ownTopic("vehicle/VMG-001/telemetry", { ...names, vmgId: undefined }),
    "another vehicle's topic",
  );
});

Deno.test("a vehicle's filters begin with its own name; wildcards stay behind it", () => {
  for (
    const filter of [
      "vehicle/VMG-001/#",
      "vehicle/VMG-001/control",
      "vehicle/KMHTEST1AAA000001/+",
      "vehicle/VMG-001/ota/+",
    ]
  ) {
    assert.ok(isOwnFilter(filter, names), filter);
  }
  for (
    const filter of [
      "#",
      "+/VMG-001/#",
      "vehicle/#",
      "vehicle/+/control",
      "vehicle/VMG-002/#",
      "vehicle/VMG-001",
      "$SYS/#",
      "vehicle//#",
      "",
    ]
  ) assert.ok(!isOwnFilter(filter, names), filter);
});

Deno.test("topics match filters as in MQTT 3.1.1 section 4.7", () => {
  // The examples of 4.7.1.2 and 4.7.1.3.
  for (
    const topic of [
      "sport/tennis/player1",
      "sport/tennis/player1/ranking",
      "sport/tennis/player1/score/wimbledon",
    ]
  ) {
    assert.ok(matchesFilter(topic, "sport/tennis/player1/#"), topic);
  }
  assert.ok(matchesFilter("sport", "sport/#"));
  assert.ok(matchesFilter("sport/tennis/player1", "sport/tennis/+"));
  assert.ok(!matchesFilter("sport/tennis/player1/ranking", "sport/tennis/+"));
  assert.ok(!matchesFilter("sport", "sport/+"));
  assert.ok(matchesFilter("sport/", "sport/+"));
  assert.ok(matchesFilter("/finance", "+/+"));
  assert.ok(!matchesFilter("/finance", "+"));
});
