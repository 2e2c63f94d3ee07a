// Reports of a vehicle whose ECUs have keys in the inventory: what their keys bear out is believed, what they contradict is refused.

import assert from "node:assert/strict";
import { ProblemError } from "../../../src/contract/client.ts";
import { routes } from "../../../src/contract/routes.ts";
import type { SignedDocument } from "../../../src/contract/uptane.ts";
import { signedDocument } from "../../../src/contract/uptane.ts";
import type { Vci, VciEcu } from "../../../src/contract/vehicles.ts";
import { generateSigner, type Signer } from "../../../src/uptane/keys.ts";
import { type EcuReport, makeManifest, makeReport, type SignedReport } from "../../../src/uptane/report.ts";
import { makeNonce } from "../../../src/uptane/time.ts";
import { sampleBytes } from "../../support/firmware_files.ts";
import { chunks, ecu, raw, report, startTestServer, type TestServer, vinA, vinB } from "../running_server.ts";

const sha256 = (digit: string) => digit.repeat(64);
const vmg = "VMG-A";

/** A vehicle of two ECUs and a gateway, with their keys. */
interface Signers {
  readonly gateway: Signer;
  readonly ecu1: Signer;
  readonly ecu2: Signer;
}

interface Changes {
  /** Of the report of ECU_001. */
  readonly ecu1?: Partial<EcuReport>;
  readonly vehicleId?: string;
  readonly reports?: (reports: SignedReport[]) => SignedReport[];
  readonly signers?: Partial<Signers>;
}

const running = (ecuId: string, version: string): EcuReport => ({
  ecuId,
  installed: {
    filename: `BODY_CONTROLLER/HW1/${version}.bin`,
    length: 4096,
    hashes: { sha256: sha256("a") },
  },
  attacksDetected: [],
  time: new Date(),
  nonce: makeNonce(),
});

async function manifest(
  signers: Signers,
  { ecu1, vehicleId = vinA, reports, signers: others }: Changes = {},
) {
  const by = { ...signers, ...others };
  const made = [
    await makeReport({
      ...running(vmg, "1.0.0"),
      installed: { filename: "VMG/1/1.0.0.bin", length: 1, hashes: { sha256: sha256("b") } },
    }, [by.gateway]),
    await makeReport({ ...running("ECU_001", "1.0.0"), ...ecu1 }, [by.ecu1]),
    await makeReport(running("ECU_002", "1.0.0"), [by.ecu2]),
  ];
  const bytes = await makeManifest(
    { vehicleId, primaryEcuId: vmg, reports: reports?.(made) ?? made },
    [by.gateway],
  );
  return signedDocument.parse(JSON.parse(new TextDecoder().decode(bytes)));
}

function vci(version_manifest?: SignedDocument, ecus?: VciEcu[]): Vci {
  return {
    ...report(vinA, vmg, ecus ?? [ecu("ECU_001", "1.0.0"), ecu("ECU_002", "1.0.0")]),
    ...version_manifest === undefined ? {} : { version_manifest },
  };
}

const send = async (server: TestServer, body: Vci) =>
  await server.vehicleA.rest.call(routes.submitVci, { path: { vin: vinA }, body });

async function refused(server: TestServer, code: string, body: Vci): Promise<void> {
  await assert.rejects(send(server, body), (error) => {
    assert.ok(error instanceof ProblemError);
    assert.deepEqual([error.status, error.code], [422, code], error.message);
    return true;
  });
}

const state = async (server: TestServer) => {
  const vehicle = await server.operator.rest.call(routes.getVehicle, { path: { vin: vinA } });
  const { verified, unverified_reason, last_verified, signed_by_gateway } = vehicle;
  return { verified, unverified_reason, last_verified, signed_by_gateway, reported: vehicle.vci?.timestamp };
};

async function attacks(server: TestServer): Promise<string[]> {
  const { anomalies } = await server.operator.rest.call(routes.listAnomalies, {
    path: { vin: vinA },
    query: {},
  });
  return anomalies.filter(({ rule }) => rule === "attack").map(({ metric }) => metric);
}

Deno.test("a vehicle's report is held against its ECUs' keys", async (t) => {
  await using server = await startTestServer("127.0.86.1");
  const signers = {
    gateway: await generateSigner("ml-dsa-65"),
    ecu1: await generateSigner("ecdsa-p256"),
    ecu2: await generateSigner("ecdsa-p256"),
  };
  await server.vehicleA.rest.call(routes.registerVehicle, {
    body: { vin: vinA, vmg_id: vmg, vehicle_model: "Test", vehicle_year: 2026 },
  });
  const enter = (ecu_id: string, key: Signer, primary = false) =>
    server.operator.rest.call(routes.addToInventory, {
      body: { vin: vinA, ecu_id, primary, keys: [key.key.keyval.public] },
    });

  await t.step(
    "without keys in the inventory the certificate alone is believed, and that is shown",
    async () => {
      assert.equal((await send(server, vci())).verified, false);
      const { verified, unverified_reason, last_verified } = await state(server);
      assert.deepEqual([verified, unverified_reason, last_verified], [
        false,
        "the inventory has no keys of the vehicle's ECUs",
        null,
      ]);
    },
  );

  await t.step("keys are entered, shown and refused where they are none", async () => {
    const entry = await enter(vmg, signers.gateway, true);
    assert.deepEqual([entry.primary, entry.signed_by, entry.keys[0].algorithm, entry.keys[0].keyid], [
      true,
      "ecu",
      "ml-dsa-65",
      signers.gateway.keyid,
    ]);
    await enter("ECU_001", signers.ecu1);
    await enter("ECU_002", signers.ecu2);
    const conflict = enter("ECU_002", signers.ecu2, true);
    await assert.rejects(conflict, /VMG-A is the Primary of KMHTEST1AAA000001 already/);
    await assert.rejects(
      server.operator.rest.call(routes.addToInventory, {
        body: {
          vin: vinA,
          ecu_id: "ECU_003",
          keys: ["-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"],
        },
      }),
      /keys\.0/,
    );
    const { ecus } = await server.operator.rest.call(routes.listInventory, { query: { vin: vinA } });
    assert.deepEqual(ecus.map(({ ecu_id, last_report }) => [ecu_id, last_report]), [
      ["ECU_001", null],
      ["ECU_002", null],
      [vmg, null],
    ]);
  });

  await t.step("a manifest whose signatures and versions are good is believed", async () => {
    const answer = await send(server, vci(await manifest(signers)));
    assert.equal(answer.verified, true);
    const { verified, unverified_reason, last_verified, reported } = await state(server);
    assert.deepEqual([verified, unverified_reason], [true, null]);
    assert.equal(new Date(last_verified ?? 0).getTime(), new Date(reported ?? 1).getTime());
    const { vehicles } = await server.operator.rest.call(routes.listVehicles, { query: {} });
    assert.deepEqual(vehicles.map((it) => it.verified), [true]);
  });

  await t.step(
    "what the keys contradict is refused by name of its check, and nothing of it is stored",
    async () => {
      const replayed = await manifest(signers);
      await send(server, vci(replayed));
      const { reported } = await state(server);
      const cases: [code: string, manifest: SignedDocument, ecus?: VciEcu[]][] = [
        ["report_nonce", replayed],
        ["report_time", await manifest(signers, { ecu1: { time: new Date(Date.now() - 60_000) } })],
        ["report_future", await manifest(signers, { ecu1: { time: new Date(Date.now() + 3_600_000) } })],
        ["manifest_vehicle", await manifest(signers, { vehicleId: vinB })],
        ["manifest_signed", await manifest(signers, { signers: { gateway: signers.ecu1 } })],
        ["report_signed", await manifest(signers, { signers: { ecu2: signers.gateway } })],
        ["manifest_complete", await manifest(signers, { reports: (all) => all.slice(0, 2) })],
        ["manifest_known_ecus", await manifest(signers, { reports: (all) => [...all, all[1]] })],
        [
          "manifest_agrees",
          await manifest(signers, { ecu1: running("ECU_001", "0.9.0") }),
        ],
        ["manifest_agrees", await manifest(signers), [ecu("ECU_001", "9.9.9"), ecu("ECU_002", "1.0.0")]],
        [
          "manifest_agrees",
          await manifest(signers),
          [ecu("ECU_001", "1.0.0", { hw_version: "HW2" }), ecu("ECU_002", "1.0.0")],
        ],
        ["manifest_form", { signed: {}, signatures: [] }],
      ];
      const before = (await attacks(server)).length;
      for (const [code, sent, ecus] of cases) await refused(server, code, vci(sent, ecus));
      assert.equal((await state(server)).reported, reported);
      assert.deepEqual(
        (await attacks(server)).slice(0, -before || undefined),
        cases.map(([code]) => code).reverse(),
      );
      const { text } = await raw(server, server.operator, "GET", "/metrics");
      assert.match(text, /zonebench_version_reports_total\{result="refused"\} 12/);
      assert.match(text, /zonebench_attacks_total\{check="manifest_agrees"\} 3/);
      assert.ok(
        server.lines.some((line) =>
          /WARN.*Report of KMHTEST1AAA000001 refused: report of ECU_001/.test(line)
        ),
      );
    },
  );

  await t.step(
    "nothing is remembered of a refused manifest: what was good in it may come again",
    async () => {
      const good = await makeReport(running("ECU_002", "1.0.0"), [signers.ecu2]);
      const withIt = (changes: Changes) =>
        manifest(signers, { ...changes, reports: ([gateway, first]) => [gateway, first, good] });
      await refused(server, "report_signed", vci(await withIt({ signers: { ecu1: signers.gateway } })));
      assert.equal((await send(server, vci(await withIt({})))).verified, true);
    },
  );

  await t.step("of two at once with the same reports one is taken", async () => {
    const twice = vci(await manifest(signers));
    const results = await Promise.allSettled([send(server, twice), send(server, twice)]);
    assert.deepEqual(results.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
  });

  await t.step("an ECU that does not answer need not sign", async () => {
    const silent = ecu("ECU_002", "1.0.0", {
      status: "unreachable",
      sw_version: undefined,
      error: "no answer",
    });
    const sent = await manifest(signers, { reports: (all) => all.slice(0, 2) });
    assert.equal((await send(server, vci(sent, [ecu("ECU_001", "1.0.0"), silent]))).verified, true);
  });

  await t.step("an ECU without a key leaves the report unverified", async () => {
    const ecus = [ecu("ECU_001", "1.0.0"), ecu("ECU_002", "1.0.0"), ecu("ECU_009", "1.0.0")];
    assert.equal((await send(server, vci(await manifest(signers), ecus))).verified, false);
    assert.equal((await state(server)).unverified_reason, "the inventory has no keys of ECU_009");
  });

  await t.step("attacks that ECUs saw are kept and shown", async () => {
    await send(server, vci(await manifest(signers, { ecu1: { attacksDetected: ["timestamp_rollback"] } })));
    const { anomalies } = await server.operator.rest.call(routes.listAnomalies, {
      path: { vin: vinA },
      query: { limit: 1 },
    });
    assert.deepEqual(anomalies.map(({ metric, rule, message }) => ({ metric, rule, message })), [{
      metric: "timestamp_rollback",
      rule: "attack",
      message: "ECU_001 refused what it was given: timestamp_rollback (rollback)",
    }]);
    await refused(
      server,
      "report_form",
      vci(await manifest(signers, { ecu1: { attacksDetected: ["\u0000"] } })),
    );
  });

  await t.step(
    "a report without signatures is stored, but updates follow the last one that has them",
    async () => {
      await send(server, vci(await manifest(signers)));
      const believed = (await state(server)).last_verified;
      for (const [version, seed] of [["1.1.0", 1], ["1.2.0", 2]] as const) {
        await server.operator.rest.upload(routes.addFirmware, {
          query: {
            ecu_type: "BODY_CONTROLLER",
            hw_version: "HW1",
            version,
            format: "binary",
            base_address: 0,
          },
          stream: chunks(sampleBytes(4096, seed)),
        });
      }
      await send(server, vci(undefined, [ecu("ECU_001", "1.2.0"), ecu("ECU_002", "1.2.0")]));
      const { verified, unverified_reason, last_verified } = await state(server);
      assert.deepEqual([verified, unverified_reason, last_verified], [
        false,
        "it came without version_manifest",
        believed,
      ]);
      const { outdated_ecus } = await server.operator.rest.call(routes.checkUpdate, {
        body: { vehicle_id: vinA },
      });
      assert.deepEqual(outdated_ecus.map(({ current, latest }) => [current, latest]), [
        ["1.0.0", "1.2.0"],
        ["1.0.0", "1.2.0"],
      ]);
    },
  );

  await t.step("an ECU that runs a released version with other bytes is refused", async () => {
    const sent = await manifest(signers, { ecu1: running("ECU_001", "1.1.0") });
    await refused(server, "manifest_images", vci(sent, [ecu("ECU_001", "1.1.0"), ecu("ECU_002", "1.0.0")]));
  });

  await t.step("an ECU that cannot sign is signed for by the gateway, and everybody is told", async () => {
    await enter("ECU_002", signers.gateway);
    assert.equal(
      (await send(server, vci(await manifest(signers, { signers: { ecu2: signers.gateway } })))).verified,
      true,
    );
    assert.deepEqual((await state(server)).signed_by_gateway, ["ECU_002"]);
    const { ecus } = await server.operator.rest.call(routes.listInventory, { query: { vin: vinA } });
    assert.deepEqual(ecus.map(({ ecu_id, signed_by }) => [ecu_id, signed_by]), [
      ["ECU_001", "ecu"],
      ["ECU_002", "gateway"],
      [vmg, "ecu"],
    ]);
  });

  await t.step("keys that were removed and entered again make no old report good", async () => {
    const old = await manifest(signers, { signers: { ecu2: signers.gateway } });
    await send(server, vci(old));
    for (const ecu_id of ["ECU_001", "ECU_002", vmg]) {
      await server.operator.rest.call(routes.removeFromInventory, { body: { vin: vinA, ecu_id } });
    }
    assert.equal((await server.operator.rest.call(routes.listInventory, { query: {} })).total, 0);
    await assert.rejects(
      server.operator.rest.call(routes.removeFromInventory, { body: { vin: vinA, ecu_id: "ECU_001" } }),
      (error) => error instanceof ProblemError && error.status === 404,
    );
    await enter(vmg, signers.gateway, true);
    await enter("ECU_001", signers.ecu1);
    await enter("ECU_002", signers.gateway);
    await refused(server, "report_nonce", vci(old));
  });
});

Deno.test("an ECU of which the gateway says why there is no report leaves the report of its vehicle unverified", async (t) => {
  const signers = {
    gateway: await generateSigner("ecdsa-p256"),
    ecu1: await generateSigner("ecdsa-p256"),
    ecu2: await generateSigner("ecdsa-p256"),
  };
  const inventory = Object.entries({ [vmg]: signers.gateway, ECU_001: signers.ecu1, ECU_002: signers.ecu2 })
    .map(([ecu_id, { key }]) => ({
      vin: vinA,
      ecu_id,
      primary: ecu_id === vmg,
      keys: [key.keyval.public],
    }));
  await using server = await startTestServer("127.0.204.1", { uptane: { inventory } });
  await server.vehicleA.rest.call(routes.registerVehicle, {
    body: { vin: vinA, vmg_id: vmg, vehicle_model: "Test", vehicle_year: 2026 },
  });
  await server.operator.rest.upload(routes.addFirmware, {
    query: {
      ecu_type: "BODY_CONTROLLER",
      hw_version: "HW1",
      version: "1.2.0",
      format: "binary",
      base_address: 0,
    },
    stream: chunks(sampleBytes(4096, 3)),
  });
  await send(server, vci(await manifest(signers)));
  const believed = (await state(server)).last_verified;
  const good = ecu("ECU_001", "1.0.0");
  const error = "no version report: NRC 0x31 requestOutOfRange";
  const without = (changes: Changes = {}) =>
    manifest(signers, { ...changes, reports: (all) => all.slice(0, 2) });

  await t.step("what it says is shown with the reason, and directs no update", async () => {
    const sent = vci(await without(), [good, ecu("ECU_002", "1.2.0", { error })]);
    assert.equal((await send(server, sent)).verified, false);
    const { verified, unverified_reason, last_verified, vci: shown, outdated_ecus } = await server.operator
      .rest.call(routes.getVehicle, { path: { vin: vinA } });
    assert.deepEqual([verified, unverified_reason, last_verified], [
      false,
      `there is no report of ECU_002, "${error}"`,
      believed,
    ]);
    assert.deepEqual(shown?.ecus.map((it) => [it.sw_version, it.status, it.error]), [
      ["1.0.0", "ok", undefined],
      ["1.2.0", "ok", error],
    ]);
    // By its word it is up to date; by the last that it signed it is not.
    assert.deepEqual(outdated_ecus.map(({ ecu_id, current }) => [ecu_id, current]), [
      ["ECU_001", "1.0.0"],
      ["ECU_002", "1.0.0"],
    ]);
    await refused(server, "report_nonce", sent);
  });

  await t.step(
    "a reason excuses neither another ECU nor what a report says, and none is no reason",
    async () => {
      const bad = ecu("ECU_002", "1.0.0", { error });
      const cases: [code: string, manifest: SignedDocument, ecus: VciEcu[]][] = [
        ["manifest_complete", await without(), [good, ecu("ECU_002", "1.0.0")]],
        ["manifest_complete", await without(), [good, ecu("ECU_002", "1.0.0", { error: "" })]],
        ["manifest_complete", await without(), [{ ...good, error }, ecu("ECU_002", "1.0.0")]],
        ["manifest_complete", await without(), [good]],
        ["report_signed", await manifest(signers, { signers: { ecu2: signers.gateway } }), [good, bad]],
        ["report_signed", await without({ signers: { ecu1: signers.gateway } }), [good, bad]],
        ["manifest_signed", await without({ signers: { gateway: signers.ecu1 } }), [good, bad]],
        ["manifest_agrees", await manifest(signers), [good, { ...bad, sw_version: "1.1.0" }]],
        ["manifest_agrees", await without(), [{ ...good, sw_version: "1.1.0" }, bad]],
      ];
      for (const [code, sent, ecus] of cases) await refused(server, code, vci(sent, ecus));
      assert.equal((await state(server)).last_verified, believed);
    },
  );

  await t.step("it is told apart from an ECU without a key", async () => {
    const ecus = [good, ecu("ECU_002", "1.0.0", { error }), ecu("ECU_009", "1.0.0", { error })];
    await send(server, vci(await without(), ecus));
    assert.equal(
      (await state(server)).unverified_reason,
      `there is no report of ECU_002, "${error}"; the inventory has no keys of ECU_009`,
    );
  });

  await t.step("an ECU without software says nothing that could be verified", async () => {
    const blank = ecu("ECU_002", "1.0.0", { sw_version: undefined, error });
    assert.equal((await send(server, vci(await without(), [good, blank]))).verified, true);
  });

  await t.step("with its report the vehicle is verified again", async () => {
    assert.equal((await send(server, vci(await manifest(signers)))).verified, true);
    assert.equal((await state(server)).unverified_reason, null);
  });

  await t.step("where version reports are required it is refused", async () => {
    await using strict = await startTestServer("127.0.204.2", {
      uptane: { inventory, versionReports: "required" },
    });
    await strict.vehicleA.rest.call(routes.registerVehicle, {
      body: { vin: vinA, vmg_id: vmg, vehicle_model: "Test", vehicle_year: 2026 },
    });
    const sent = vci(await without(), [good, ecu("ECU_002", "1.0.0", { error })]);
    await refused(strict, "manifest_required", sent);
    assert.equal((await state(strict)).reported, undefined);
  });
});

Deno.test("where version reports are required, a vehicle without them is refused", async () => {
  await using server = await startTestServer("127.0.86.2", { uptane: { versionReports: "required" } });
  await server.vehicleA.rest.call(routes.registerVehicle, {
    body: { vin: vinA, vmg_id: vmg, vehicle_model: "Test", vehicle_year: 2026 },
  });
  await refused(server, "manifest_required", vci());
  assert.equal((await state(server)).reported, undefined);
});

Deno.test("a manifest of a thousand ECUs whose reports bear ML-DSA-65 fits, and is checked", async () => {
  const signer = await generateSigner("ml-dsa-65");
  const ids = Array.from({ length: 999 }, (_, at) => `ECU_${at}`);
  const keys = [signer.key.keyval.public];
  await using server = await startTestServer("127.0.86.3", {
    uptane: {
      inventory: [vmg, ...ids].map((ecu_id) => ({ vin: vinA, ecu_id, primary: ecu_id === vmg, keys })),
    },
  });
  await server.vehicleA.rest.call(routes.registerVehicle, {
    body: { vin: vinA, vmg_id: vmg, vehicle_model: "Test", vehicle_year: 2026 },
  });
  const reports = await Promise.all([vmg, ...ids].map((id) => makeReport(running(id, "1.0.0"), [signer])));
  const bytes = await makeManifest({ vehicleId: vinA, primaryEcuId: vmg, reports }, [signer]);
  assert.ok(bytes.length > 6_000_000);
  const sent = signedDocument.parse(JSON.parse(new TextDecoder().decode(bytes)));
  const ecus = ids.map((id) => ecu(id, "1.0.0"));
  assert.equal((await send(server, vci(sent, ecus))).verified, true);
  await refused(server, "report_nonce", vci(sent, ecus));
});
