// An update's state in words.

import assert from "node:assert/strict";
import { describeUpdate, nextStep } from "../../src/commands/update_text.ts";
import type { Update } from "../../src/contract/ota.ts";

const id = "91ad763c-1c76-45db-81f6-b23113beac07";

function ecu(changes: Partial<Update["ecus"][number]>): Update["ecus"][number] {
  return {
    ecu_id: "ECU_001",
    zonal_gateway_id: "ZG",
    from_version: "1.0.0",
    to_version: "2.0.0",
    status: "pending",
    progress: 0,
    step: null,
    bytes: null,
    speed: null,
    time_left: null,
    error: null,
    ...changes,
  };
}

function update(changes: Partial<Update>): Update {
  return {
    update_id: id,
    vin: "KMHTEST1AAA000001",
    package_id: null,
    initiator: "operator",
    status: "installing",
    progress: 50,
    error: null,
    cancel_requested: false,
    mode: "forced",
    attempt: 1,
    attempts: 1,
    retry_of: null,
    retried_by: null,
    deadline: null,
    approved: null,
    waiting: null,
    created: "2026-11-21T12:00:00Z",
    last_report: null,
    ended: null,
    ecus: [],
    ...changes,
  };
}

Deno.test("what an ECU does is told with its share, bytes, speed and time left", () => {
  const ecus = [
    ecu({ status: "completed" }),
    ecu({
      ecu_id: "ECU_002",
      status: "installing",
      step: "transfer_data",
      progress: 41.7,
      bytes: 65_536,
      speed: 20_480,
      time_left: 150,
    }),
    ecu({ ecu_id: "ECU_003", status: "installing", step: "wait_for_restart", progress: 90 }),
  ];
  assert.equal(
    describeUpdate(update({ ecus, attempt: 2, attempts: 3 })),
    "installing, 1 of 3 ECUs done, attempt 2 of 3, ECU_002 transferring (41 %, 64 KiB, at 20 KiB/s, 3 min left), " +
      "ECU_003 restarting (90 %)",
  );
});

Deno.test("what an update waits for is told, and what somebody can do about it", () => {
  const waits = (what: NonNullable<Update["waiting"]>["for"], detail: string, until: string | null = null) =>
    update({ status: "verifying", waiting: { for: what, detail, until } });
  const cases: [Update, RegExp, RegExp][] = [
    [
      waits("approval", "x"),
      /waits for approval$/,
      new RegExp(`update approve ${id}, .*vehicle approve ${id}$`),
    ],
    [waits("parked", "speed: 3"), /waits until the vehicle is parked \(speed: 3\)$/, /update cancel/],
    [waits("conditions", "soc: 3"), /waits for a condition \(soc: 3\)$/, /goes on by itself/],
    [waits("vehicle", "it is offline"), /waits for the vehicle: it is offline$/, /link status/],
    [
      waits("retry", "attempt 2 of 3", "2026-11-21T12:00:30Z"),
      /attempt 2 of 3 begins at 2026-11-21T12:00:30Z$/,
      /cancel/,
    ],
  ];
  for (const [it, text, next] of cases) {
    assert.match(describeUpdate(it), text);
    assert.match(nextStep(it) ?? "", next);
  }
  assert.equal(nextStep(update({})), undefined);
});
