// What images ask for, held against a vehicle.

import assert from "node:assert/strict";
import type { VciEcu } from "../../../src/contract/vehicles.ts";
import type { Outdated } from "../../../src/server/ota/outdated.ts";
import {
  checkRequirements,
  conditionsOf,
  findRollback,
  RequirementUnmet,
} from "../../../src/server/ota/requirements.ts";
import type { Image, ImageInput } from "../../../src/server/store/mod.ts";
import { imageInput } from "../store/cases/sample.ts";

function image(changes: Partial<ImageInput>): Image {
  const { segments, conditions = [], dependsOn = [], ...rest } = imageInput(changes);
  return {
    fileName: null,
    download: null,
    blob: null,
    released: true,
    priority: "normal",
    release: null,
    ...rest,
    imageId: crypto.randomUUID(),
    created: new Date(0),
    segments: [...segments],
    conditions: [...conditions],
    dependsOn: [...dependsOn],
  };
}

function ecu(ecu_id: string, ecu_type: string, sw_version?: string, status: VciEcu["status"] = "ok"): VciEcu {
  return { ecu_id, ecu_type, zonal_gateway_id: "ZG", sw_version, hw_version: "HW1", status };
}

function target(of: VciEcu, changes: Partial<ImageInput>): Outdated {
  return {
    ecu: of,
    current: of.sw_version ?? "",
    image: image({ ecuType: of.ecu_type, version: "2.0.0", ...changes }),
  };
}

function order(
  targets: Outdated[],
  ecus: VciEcu[],
  catalogue: Image[] = [],
): Record<string, readonly string[]> {
  const checked = checkRequirements(targets, ecus, catalogue);
  return Object.fromEntries(checked.map((it) => [it.ecu.ecu_id, it.dependsOn ?? []]));
}

function refused(code: string, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof RequirementUnmet, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  };
}

const [body, door1, door2, brake] = [
  ecu("ECU_001", "BODY", "1.0.0"),
  ecu("ECU_002", "DOOR", "1.0.0"),
  ecu("ECU_003", "DOOR", "1.0.0"),
  ecu("ECU_004", "BRAKE", "1.10.0"),
];
const vehicle = [body, door1, door2, brake];
const needs = (ecuType: string, version?: string) => ({ dependsOn: [{ ecuType, version }] });

Deno.test("an ECU is activated after all ECUs of the types that its image needs", () => {
  const targets = [
    target(body, needs("DOOR", "2.0.0")),
    target(door1, needs("BRAKE", "1.9.0")),
    target(door2, {}),
  ];
  assert.deepEqual(order(targets, vehicle), { ECU_001: ["ECU_002", "ECU_003"], ECU_002: [], ECU_003: [] });
});

Deno.test("a needed ECU that is not there, too old or silent refuses the update and says what to do", () => {
  const cases: [Outdated[], VciEcu[], RegExp][] = [
    [
      [target(body, needs("RADIO"))],
      vehicle,
      /ECU_001: 2\.0\.0 needs RADIO, and the vehicle has no other RADIO/,
    ],
    [[target(body, needs("BODY"))], vehicle, /no other BODY/],
    [
      [target(body, needs("DOOR", "1.0.1"))],
      vehicle,
      /needs DOOR@1\.0\.1; ECU_002 runs 1\.0\.0: the catalogue has no 1\.0\.1 or newer for it/,
    ],
    [
      [target(body, needs("DOOR", "3.0.0")), target(door1, {}), target(door2, {})],
      vehicle,
      /ECU_002 gets 2\.0\.0 by this update: the catalogue has no 3\.0\.0 or newer for it/,
    ],
    [
      [target(body, needs("BRAKE", "1.0.0"))],
      [body, ecu("ECU_004", "BRAKE", undefined, "unreachable")],
      /ECU_004 did not say what it runs/,
    ],
  ];
  for (const [targets, ecus, message] of cases) {
    assert.throws(() => order(targets, ecus), refused("dependency_unmet", message));
  }
});

Deno.test("a needed ECU that could be updated and was not named is told", () => {
  const targets = [target(body, needs("DOOR", "2.0.0")), target(door1, {})];
  const outdated = [...targets, target(door2, {})];
  assert.throws(
    () => checkRequirements(targets, vehicle, [], outdated),
    refused("dependency_unmet", /ECU_003 runs 1\.0\.0: update it as well, --ecu ECU_001 ECU_003$/),
  );
});

Deno.test("an ECU that is new enough and not part of the update is waited for by nobody", () => {
  assert.deepEqual(order([target(body, needs("BRAKE", "1.9.0"))], vehicle), { ECU_001: [] });
});

Deno.test("ECUs that need each other in a circle refuse the update, and the circle is named", () => {
  const waits = ecu("ECU_005", "WAITS", "1.0.0");
  const targets = [
    target(waits, needs("BODY")),
    target(body, needs("DOOR")),
    target(door1, needs("BRAKE")),
    target(door2, {}),
    target(brake, { ...needs("BODY"), version: "2.0.0" }),
  ];
  assert.throws(
    () => order(targets, [waits, ...vehicle]),
    refused("dependency_cycle", /: ECU_001 needs ECU_002 needs ECU_004 needs ECU_001$/),
  );
});

Deno.test("a release below that of the version that runs refuses the update", () => {
  const running = image({ ecuType: "BODY", version: "1.0.0", release: 5 });
  const next = target(body, { release: 4 });
  assert.throws(
    () => order([next], vehicle, [running, next.image]),
    refused(
      "release_rollback",
      /ECU_001 runs 1\.0\.0, which is release 5; 2\.0\.0 is release 4.*--release 5 or more/,
    ),
  );
  assert.throws(
    () => order([target(body, {})], vehicle, [running]),
    refused("release_rollback", /is release 0/),
  );
  assert.deepEqual(order([target(body, { release: 5 })], vehicle, [running]), { ECU_001: [] });
  // An ECU that writes its version with a v runs that version all the same.
  const spelled = ecu("ECU_001", "BODY", "v1.0.0");
  assert.throws(
    () => order([target(spelled, {})], [spelled], [running]),
    refused("release_rollback", /release 5/),
  );
});

Deno.test("conditions of all images hold together; those that cannot refuse the update", () => {
  const targets = [
    target(body, { conditions: [{ signal: "speed", max: 0 }] }),
    target(door1, { conditions: [{ signal: "speed", max: 5 }, { signal: "soc", min: 30 }] }),
  ];
  assert.deepEqual(conditionsOf(targets), [{ signal: "soc", min: 30 }, { signal: "speed", max: 0 }]);
  const wrong = target(brake, { conditions: [{ signal: "speed", min: 1 }] });
  assert.throws(
    () => order([...targets, wrong], vehicle),
    refused("conditions_contradict", /speed would have to be at least 1 and at most 0/),
  );
});

Deno.test("a newer version must not have a lower release counter, whichever was entered first", () => {
  const [one, three] = [image({ version: "1.0.0", release: 5 }), image({ version: "3.0.0", release: 7 })];
  const at = (version: string, release: number | null) => {
    const found = findRollback({ version, release }, [one, three]);
    return found && [found.older.version, found.newer.version];
  };
  assert.deepEqual(at("2.0.0", 4), ["1.0.0", "2.0.0"]);
  assert.deepEqual(at("2.0.0", null), ["1.0.0", "2.0.0"]);
  assert.deepEqual(at("2.0.0", 8), ["2.0.0", "3.0.0"]);
  assert.equal(at("2.0.0", 5), undefined);
  assert.equal(at("2.0.0", 7), undefined);
  assert.equal(at("1.0.0", 0), undefined, "the same version is compared elsewhere");
});
