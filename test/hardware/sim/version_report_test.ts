// Version reports of simulated ECUs: what is signed is what the flash holds. Signatures are verified by node:crypto and noble.
import assert from "node:assert/strict";
import { createHash, createPublicKey, verify } from "node:crypto";
import { ml_dsa65 } from "@noble/post-quantum/ml-dsa.js";
import { memoryImage } from "../../../hardware/flash/format/memory_image.ts";
import { flashEcu } from "../../../hardware/flash/sequence.ts";
import { type EcuVersionReport, readVersionReport } from "../../../hardware/flash/version_report.ts";
import type { SimulatedEcu } from "../../../hardware/sim/ecu.ts";
import { NegativeResponseError } from "../../../hardware/uds/errors.ts";
import { bootedEcu, clientOf, fingerprint, payload, plan } from "./fixtures.ts";

const nonce = new Uint8Array(32).fill(7);
const time = new Date("2026-11-21T10:00:00Z");

async function reportOf(ecu: SimulatedEcu): Promise<EcuVersionReport> {
  using client = clientOf(ecu);
  return await readVersionReport(client, { nonce, time });
}

function text({ report }: EcuVersionReport): string {
  return new TextDecoder().decode(report);
}

function hash(...parts: Uint8Array[]): string {
  const digest = createHash("sha256");
  for (const part of parts) digest.update(part);
  return digest.digest("hex");
}

async function signedBy(ecu: SimulatedEcu, report: EcuVersionReport): Promise<boolean> {
  const pem = await ecu.reportPublicKey();
  assert.ok(pem !== undefined);
  if (report.algorithm === "ecdsa-p256") {
    return verify("sha256", report.report, createPublicKey(pem), report.signature);
  }
  const spki = Uint8Array.fromBase64(pem.replaceAll(/-----[A-Z ]+-----/g, ""));
  const digest = createHash("sha512").update(report.report).digest();
  const message = Uint8Array.from([...new TextEncoder().encode("tuf"), 1, ...digest]);
  return ml_dsa65.verify(report.signature, message, spki.slice(-1952));
}

Deno.test("an ECU reports the software that it left the factory with, from its flash", async () => {
  const ecu = await bootedEcu({ versionReport: {} });
  const report = await reportOf(ecu);
  assert.equal(
    text(report),
    `{"_type":"ecu-version-report","attacks_detected":[],"ecu_id":"ECU_001",` +
      `"installed":{"filename":"BCM/H1/1.0.0.bin","hashes":{"sha256":"${
        hash(ecu.readMemory(0, 600))
      }"},"length":600},` +
      `"nonce":"${"07".repeat(32)}","spec_version":"1.0.31","time":"2026-11-21T10:00:00Z"}`,
  );
  assert.equal(report.algorithm, "ecdsa-p256");
  assert.ok(await signedBy(ecu, report));
});

Deno.test("an ECU signs with ML-DSA-65 where it is told to", async () => {
  const ecu = await bootedEcu({ versionReport: { algorithm: "ml-dsa-65" } });
  const report = await reportOf(ecu);
  assert.equal(report.algorithm, "ml-dsa-65");
  assert.ok(await signedBy(ecu, report));
});

Deno.test("the key's identifier covers type, scheme and public key", async () => {
  const ecu = await bootedEcu({ versionReport: {} });
  const pem = await ecu.reportPublicKey();
  const form = `{"keytype":"ecdsa","keyval":{"public":"${pem}"},"scheme":"ecdsa-sha2-nistp256"}`;
  assert.equal((await reportOf(ecu)).keyid, hash(new TextEncoder().encode(form)));
});

for (const banks of [1, 2] as const) {
  Deno.test(`after a flash an ECU with banks: ${banks} reports what lies in all segments`, async () => {
    const ecu = await bootedEcu({ versionReport: {}, banks });
    const [first, second] = [payload(1_500, 3), payload(33, 4)];
    const image = memoryImage(
      [{ address: 0x200, length: 1_500 }, { address: 0x1000_1000, length: 33 }],
      Uint8Array.from([...first, ...second]),
    );
    using client = clientOf(ecu);
    await flashEcu(client, image, { plan, fingerprint, version: "1.1.0" });
    const { installed } = JSON.parse(text(await reportOf(ecu)));
    assert.deepEqual(installed, {
      filename: "BCM/H1/1.1.0.bin",
      length: 1_533,
      hashes: { sha256: hash(first, second) },
    });
  });
}

Deno.test("a memory check that failed stands in the next report", async () => {
  const ecu = await bootedEcu({ versionReport: {} });
  const right = memoryImage([{ address: 0, length: 700 }], payload(700, 5));
  using client = clientOf(ecu);
  await assert.rejects(
    flashEcu(client, { ...right, sha256: new Uint8Array(32) }, { plan, fingerprint, version: "1.1.0" }),
  );
  const { attacks_detected, installed } = JSON.parse(text(await reportOf(ecu)));
  assert.deepEqual(attacks_detected, ["image_hash"]);
  assert.equal(installed.filename, "BCM/H1/1.0.0.bin");
});

Deno.test("what names of images do not take is escaped", async () => {
  const ecu = await bootedEcu({ versionReport: {}, hwVersion: "HW 2/é" });
  const { installed } = JSON.parse(text(await reportOf(ecu)));
  assert.equal(installed.filename, "BCM/HW~202~2f~c3~a9/1.0.0.bin");
});

Deno.test("a boot loader alone, a wrong question and an ECU without the routine are refused", async () => {
  const code = async (ecu: SimulatedEcu, record?: Uint8Array) => {
    using client = clientOf(ecu);
    const asked = record === undefined
      ? readVersionReport(client, { nonce, time })
      : client.startRoutine(0x0220, record);
    try {
      await asked;
    } catch (error) {
      assert.ok(error instanceof NegativeResponseError, String(error));
      return error.nrc;
    }
    assert.fail("expected a refusal");
  };
  const ecu = await bootedEcu({ versionReport: {}, banks: 1 });
  assert.equal(await code(ecu, Uint8Array.of(1, 16)), 0x13);
  ecu.inject({ kind: "power_cut", operation: 5 });
  using client = clientOf(ecu);
  const image = memoryImage([{ address: 0, length: 700 }], payload(700, 5));
  await assert.rejects(
    flashEcu(client, image, { plan: { ...plan, cleanUpTimeout: 100 }, fingerprint, version: "1.1.0" }),
  );
  await ecu.powerOn();
  assert.equal(ecu.state, "boot");
  assert.equal(await code(ecu), 0x22);
  assert.equal(await code(await bootedEcu()), 0x31);
});

Deno.test("the key is made once, for its owner alone, and its public half lies beside it", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const keyFile = `${directory}/keys/ECU_001.key`;
    const first = await bootedEcu({ versionReport: {} }, { keyFile });
    const pem = await first.reportPublicKey();
    assert.equal(await Deno.readTextFile(`${directory}/keys/ECU_001.pub`), pem);
    const { mode } = await Deno.stat(keyFile);
    assert.equal((mode ?? 0) & 0o777, 0o600);
    assert.deepEqual([...Deno.readDirSync(`${directory}/keys`)].map(({ name }) => name).sort(), [
      "ECU_001.key",
      "ECU_001.pub",
    ]);
    const second = await bootedEcu({ versionReport: {} }, { keyFile });
    assert.equal(await second.reportPublicKey(), pem);
    await Deno.writeTextFile(keyFile, "no key");
    const third = await bootedEcu({ versionReport: {} }, { keyFile });
    await assert.rejects(third.reportPublicKey(), /expected a private key for ecdsa-p256/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
