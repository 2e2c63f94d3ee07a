import assert from "node:assert/strict";
import { resolve } from "node:path";
import { optionalFlashSteps, resolveFlashPlan } from "../../hardware/flash/plan.ts";
import { flashPlanOf, seedKeyOf } from "../../src/commands/flash_plan.ts";
import { optionalSteps } from "../../src/config/ecu_type.ts";
import { ConfigError, loadConfig } from "../../src/config/load.ts";
import type { BenchEcuType } from "../../src/config/schema.ts";

async function doorModule(...set: string[]): Promise<BenchEcuType> {
  const { bench } = await loadConfig({ set: set.map((it) => `bench.ecu_types.DOOR_MODULE.${it}`) });
  return bench.ecu_types.DOOR_MODULE;
}

async function refusal(set: string): Promise<string> {
  try {
    await doorModule(set);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message;
  }
  return assert.fail("the setting was taken");
}

Deno.test("the bench file knows the steps that a flash can do without", () => {
  assert.deepEqual([...optionalSteps], [...optionalFlashSteps]);
});

Deno.test("an ECU type without flash settings is flashed in the usual way", async () => {
  const type = await doorModule();
  const plan = resolveFlashPlan(flashPlanOf(type));
  assert.deepEqual({ ...plan, seedKey: undefined }, {
    ...resolveFlashPlan({ seedKey: seedKeyOf(type) }),
    seedKey: undefined,
    memory: plan.memory,
  });
  const [first] = plan.memory;
  assert.deepEqual(first, { address: 0, size: type.memory[0].size, sectorSize: type.memory[0].sector_size });
});

Deno.test("each flash setting of an ECU type reaches the plan", async () => {
  const type = await doorModule(
    `flash={steps: {check_preconditions: false}, extended_session: 0x40, programming_session: 0x42,
      preconditions: [{routine: 0x0205, option: "0102"}, {did: 0xF40D, name: volts, length: 2, scale: 0.1, min: 12}],
      communication_first: true, communication_control: 1, communication_type: 3, fingerprint_did: 0xF15C,
      fingerprint: [{date: yymmdd}, {hex: "00FF"}, {text: T1, length: 4, fill: 0}], erase: all, erase_routine: 0xFF05,
      erase_option: "01", address_bytes: 3, size_bytes: 2, data_format: 0x11, compression: zlib, max_block_length: 130, block_repeats: 3,
      call_routine: 0x0302, check_routine: 0x0212, check_method: crc16, check_scope: segments,
      dependencies_routine: 0xFF11, dependencies_option: "CAFE", routine_ok: 0x10, reset_type: 3,
      restart_timeout_ms: 9000, version_did: 0x0105, attempts: 4, reconnect_timeout_ms: 3000, resume: {routine: 0x0310},
      trial: true, release_counting: false, backup: false, activate_routine: 0x0220, confirm_routine: 0x0221,
      roll_back_routine: 0x0222, commit_routine: 0x0223, release_counter_did: 0xF1B0, software_ranges_did: 0xF1B1}`,
  );
  const { seedKey, ...plan } = flashPlanOf(type);
  assert.deepEqual(seedKey, { algorithm: "hmac-sha256", key: type.security.secret });
  assert.deepEqual(plan, {
    securityLevel: 1,
    steps: { check_preconditions: false },
    extendedSession: 0x40,
    programmingSession: 0x42,
    preconditions: [
      { routine: 0x0205, option: Uint8Array.of(1, 2) },
      { did: 0xf40d, name: "volts", length: 2, scale: 0.1, min: 12, equals: undefined },
    ],
    communicationFirst: true,
    communicationControl: 1,
    communicationType: 3,
    fingerprintDid: 0xf15c,
    fingerprint: [{ date: "yymmdd" }, { bytes: Uint8Array.of(0, 0xff) }, { text: "T1", length: 4, fill: 0 }],
    erase: "all",
    eraseRoutine: 0xff05,
    eraseOption: Uint8Array.of(1),
    addressBytes: 3,
    sizeBytes: 2,
    dataFormat: 0x11,
    compression: "zlib",
    maxBlockLength: 130,
    blockRepeats: 3,
    callRoutine: 0x0302,
    checkMemoryRoutine: 0x0212,
    checkMethod: "crc16",
    checkScope: "segments",
    checkDependenciesRoutine: 0xff11,
    checkDependenciesOption: Uint8Array.of(0xca, 0xfe),
    routineOk: 0x10,
    trial: true,
    releaseCounting: false,
    backup: false,
    activateRoutine: 0x0220,
    confirmRoutine: 0x0221,
    rollBackRoutine: 0x0222,
    commitRoutine: 0x0223,
    releaseCounterDid: 0xf1b0,
    softwareRangesDid: 0xf1b1,
    memory: type.memory.map(({ start, size, sector_size }) => ({
      address: start,
      size,
      sectorSize: sector_size,
    })),
    resetType: 3,
    restartTimeout: 9000,
    versionDid: 0x0105,
    attempts: 4,
    reconnectTimeout: 3000,
    resume: { routine: 0x0310 },
  });
  resolveFlashPlan({ ...plan, seedKey });
});

Deno.test("a seed-key file is looked for beside the bench file that names it", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const text = await Deno.readTextFile("config/bench.yaml");
    const security =
      /security: \{ level: 1, algorithm: hmac-sha256, secret: d42f6b8807e94c1aa35e90c7b16d48f2 \}/;
    assert.match(text, security);
    const benchFile = `${folder}/my-bench.yaml`;
    await Deno.writeTextFile(
      benchFile,
      text.replace(security, "security: { level: 1, module: ./keys/door.ts }"),
    );
    await assert.rejects(
      loadConfig({ benchFile }),
      /my-bench\.yaml:\d+: bench\.ecu_types\.DOOR_MODULE\.security\.module: must be a file that is there, got "\.\/keys\/door\.ts"/,
    );
    await Deno.mkdir(`${folder}/keys`);
    await Deno.writeTextFile(
      `${folder}/keys/door.ts`,
      "export default (seed: Uint8Array) => seed.toReversed();",
    );
    const { bench } = await loadConfig({ benchFile });
    const type = bench.ecu_types.DOOR_MODULE;
    const path = resolve(folder, "keys/door.ts");
    assert.deepEqual(seedKeyOf(type), { algorithm: "module", path });
    const { seedKey } = resolveFlashPlan(flashPlanOf(type));
    assert.deepEqual(await seedKey?.(Uint8Array.of(1, 2, 3), 1), Uint8Array.of(3, 2, 1));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the other algorithms are taken with what they need", async () => {
  const linear = await doorModule(
    "security={level: 3, algorithm: linear, multiplier: 0x41C64E6D, addend: 0x3039}",
  );
  assert.deepEqual(seedKeyOf(linear), { algorithm: "linear", multiplier: 0x41c64e6d, addend: 0x3039 });
  const xor = await doorModule("security={level: 3, algorithm: xor, secret: A5}");
  assert.deepEqual(seedKeyOf(xor), { algorithm: "xor", constant: "A5" });
});

const wrong: [string, RegExp][] = [
  ["flash={steps: {verify_version: false}}", /flash\.steps\.verify_version: no such setting/],
  ["flash={erase: sectors}", /flash\.erase: must be segments, range or all, got "sectors"/],
  ["flash={resume: {did: 1, routine: 2}}", /flash\.resume: must have did or routine, and not both/],
  ["flash={resume: {}}", /flash\.resume: must have did or routine/],
  [
    "flash={preconditions: [{did: 1}]}",
    /preconditions\[0\]: must say what the value of did is compared with/,
  ],
  [
    "flash={preconditions: [{routine: 1, did: 1, min: 1}]}",
    /preconditions\[0\]: must have routine or did, and not both/,
  ],
  [
    "flash={fingerprint: [{date: iso}]}",
    /fingerprint\[0\]\.date: must be yymmdd, yyyymmdd or ddmmyy, got "iso"/,
  ],
  ["flash={fingerprint: [{hex: '00', length: 2}]}", /must have length and fill with text alone/],
  ["flash={dependencies_option: x}", /must be "version" or hexadecimal digits/],
  ["flash={checks: sha256}", /flash\.checks: no such setting/],
  ["security={level: 1, module: ./key.py}", /security\.module: must be a file \.ts, \.js, \.mjs or \.wasm/],
  ["security={level: 1, algorithm: xor}", /security\.secret: must stand with algorithm hmac-sha256 or xor/],
  ["security={level: 1, algorithm: linear, secret: A5}", /linear takes multiplier and addend/],
  ["security={level: 2, algorithm: xor, secret: A5}", /security\.level: must be odd/],
];

for (const [set, message] of wrong) {
  Deno.test(`a bench file with ${set} is refused`, async () => {
    assert.match(await refusal(set), message);
  });
}

Deno.test("a secret that stands with the wrong algorithm is not repeated", async () => {
  const message = await refusal("security={level: 1, algorithm: linear, secret: 6b1f0c5e93d24a77}");
  assert.ok(!message.includes("6b1f0c5e"), message);
});
