import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import {
  initAuthority,
  issueBroker,
  issueOperator,
  issueServer,
  issueVehicle,
} from "../../src/pqc/authority.ts";
import {
  AuthorityMissing,
  BadPkiFile,
  CredentialsMissing,
  InvalidName,
  PkiLocked,
} from "../../src/pqc/errors.ts";
import { withLock } from "../../src/pqc/files.ts";
import { loadCredentials, showCertificates } from "../../src/pqc/pki_directory.ts";
import { importSigningKey, importVerifyKey } from "../../src/pqc/signature.ts";

const vin = "KMHXX00XXXX000001";
const day = 24 * 60 * 60 * 1000;

async function withDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const parent = await Deno.makeTempDir();
  try {
    await run(join(parent, "pki"));
  } finally {
    await Deno.remove(parent, { recursive: true });
  }
}

async function listing(directory: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for await (const { name } of Deno.readDir(directory)) {
    files[name] = await Deno.readTextFile(join(directory, name));
  }
  return files;
}

Deno.test("initAuthority() makes the authority and the signing key once, and never overwrites them", async () => {
  await withDirectory(async (directory) => {
    assert.deepEqual(await initAuthority({ directory }), { created: true });
    const before = await listing(directory);
    assert.deepEqual(Object.keys(before).sort(), [".lock", "ca.crt", "ca.key", "signing.key", "signing.pub"]);
    assert.deepEqual(await initAuthority({ directory }), { created: false });
    assert.deepEqual(await listing(directory), before);
    const signing = await importSigningKey(before["signing.key"]);
    assert.equal(signing.publicKey.keyId, (await importVerifyKey(before["signing.pub"])).keyId);
  });
});

Deno.test("keys are readable by their owner alone, and so is the directory", {
  ignore: Deno.build.os === "windows",
}, async () => {
  await withDirectory(async (directory) => {
    await Deno.mkdir(directory, { mode: 0o755 });
    await initAuthority({ directory });
    await issueServer({ directory });
    await issueVehicle(vin, { directory });
    await issueOperator("bench", { directory });
    assert.equal((await Deno.stat(directory)).mode! & 0o777, 0o700);
    for (const name of Object.keys(await listing(directory))) {
      const mode = (await Deno.stat(join(directory, name))).mode! & 0o777;
      if (name.endsWith(".key")) assert.equal(mode, 0o600, name);
    }
  });
});

Deno.test("programs that start at once make one authority", async () => {
  await withDirectory(async (directory) => {
    const made = await Promise.all(Array.from({ length: 5 }, () => initAuthority({ directory })));
    assert.equal(made.filter(({ created }) => created).length, 1);
    const issued = await Promise.all(Array.from({ length: 4 }, () => issueVehicle(vin, { directory })));
    assert.equal(issued.filter((result) => result.issued).length, 1);
    await loadCredentials(directory, `vehicle-${vin}`);
  });
});

Deno.test("a lock that another program keeps is waited for, but not for ever", async () => {
  await withDirectory(async (directory) => {
    await initAuthority({ directory });
    await withLock(directory, 1000, async () => {
      await assert.rejects(initAuthority({ directory, lockTimeout: 100 }), PkiLocked);
    });
    assert.deepEqual(await initAuthority({ directory }), { created: false });
  });
});

Deno.test("an interrupted start is taken up where it ended", async () => {
  await withDirectory(async (directory) => {
    await initAuthority({ directory });
    const key = await Deno.readTextFile(join(directory, "ca.key"));
    await Deno.remove(join(directory, "ca.crt"));
    await Deno.remove(join(directory, "signing.pub"));
    assert.deepEqual(await initAuthority({ directory }), { created: true });
    assert.equal(await Deno.readTextFile(join(directory, "ca.key")), key);
    await issueServer({ directory });
    await importVerifyKey(await Deno.readTextFile(join(directory, "signing.pub")));
  });
});

Deno.test("a leaf whose key was replaced alone is issued anew", async () => {
  await withDirectory(async (directory) => {
    await initAuthority({ directory });
    await issueVehicle(vin, { directory });
    await issueOperator("bench", { directory });
    await Deno.copyFile(join(directory, "operator-bench.key"), join(directory, `vehicle-${vin}.key`));
    await assert.rejects(loadCredentials(directory, `vehicle-${vin}`), BadPkiFile);
    assert.equal((await issueVehicle(vin, { directory })).issued, true);
    await loadCredentials(directory, `vehicle-${vin}`);
  });
});

Deno.test("the server's certificate is issued anew when its names no longer do, when it ends soon, or when forced", async () => {
  await withDirectory(async (directory) => {
    await initAuthority({ directory });
    const options = { directory, hostname: "Rack-7" };
    assert.equal((await issueServer(options)).issued, true);
    const first = (await showCertificates(directory)).find(({ file }) => file === "server.crt");
    assert.deepEqual(first?.names, ["localhost", "127.0.0.1", "::1", "rack-7"]);
    assert.equal((await issueServer(options)).issued, false);
    assert.equal((await issueServer({ ...options, names: ["ota.example", "10.0.0.5"] })).issued, true);
    assert.equal((await issueServer({ ...options, names: ["OTA.example"] })).issued, false);
    assert.equal(
      (await issueServer({ ...options, now: () => new Date(Date.now() + 699 * day) })).issued,
      false,
    );
    assert.equal(
      (await issueServer({ ...options, now: () => new Date(Date.now() + 701 * day) })).issued,
      true,
    );
    assert.equal((await issueServer({ ...options, force: true })).issued, true);
  });
});

Deno.test("a broker's certificate covers a load balancer's name too, and is issued anew when that is added", async () => {
  await withDirectory(async (directory) => {
    await initAuthority({ directory });
    const { certificateFile } = await issueBroker("mosquitto", { directory });
    const names = ["balancer", "192.0.2.7", "mosquitto"];
    assert.equal((await issueBroker("mosquitto", { directory, names })).issued, true);
    const certificate = new X509Certificate(await Deno.readTextFile(certificateFile));
    assert.equal(certificate.subjectAltName, "DNS:mosquitto, DNS:balancer, IP Address:192.0.2.7");
    assert.equal((await issueBroker("mosquitto", { directory, names })).issued, false);
  });
});

Deno.test("a leaf of another authority is issued anew, and none outlives its authority", async () => {
  await withDirectory(async (directory) => {
    await initAuthority({ directory });
    await issueVehicle(vin, { directory });
    await Deno.remove(join(directory, "ca.crt"));
    await Deno.remove(join(directory, "ca.key"));
    await initAuthority({ directory, days: 10 });
    const result = await issueVehicle(vin, { directory });
    assert.equal(result.issued, true);
    const [authority, leaf] = await showCertificates(directory);
    assert.equal(leaf.notAfter.getTime(), authority.notAfter.getTime());
    assert.equal((await issueVehicle(vin, { directory })).issued, false);
  });
});

Deno.test("issuing needs the authority and its key", async () => {
  await withDirectory(async (directory) => {
    await assert.rejects(issueVehicle(vin, { directory }), AuthorityMissing);
    await initAuthority({ directory });
    await Deno.remove(join(directory, "ca.key"));
    await assert.rejects(issueVehicle(vin, { directory }), AuthorityMissing);
    assert.deepEqual(await initAuthority({ directory }), { created: false });
    await assert.rejects(Deno.stat(join(directory, "ca.key")), Deno.errors.NotFound);
  });
});

Deno.test("files that are not what they should be are named, and keys not repeated", async () => {
  await withDirectory(async (directory) => {
    await initAuthority({ directory });
    const secret = "c2VjcmV0IGtleSBtYXRlcmlhbA==";
    await Deno.writeTextFile(
      join(directory, "ca.key"),
      `-----BEGIN PRIVATE KEY-----\n${secret}\n-----END PRIVATE KEY-----\n`,
    );
    await assert.rejects(issueVehicle(vin, { directory }), (error: unknown) => {
      assert.ok(error instanceof BadPkiFile);
      assert.match(error.message, /ca\.key: expected a private key as PKCS#8 PEM, ECDSA P-256 or ML-DSA/);
      assert.ok(!Deno.inspect(error).includes(secret));
      return true;
    });
    await Deno.writeTextFile(join(directory, "ca.crt"), "nothing");
    await assert.rejects(initAuthority({ directory }), /ca\.crt: expected a certificate/);
  });
});

Deno.test("names that no certificate or file should carry are refused, and quoted", async () => {
  await withDirectory(async (directory) => {
    await initAuthority({ directory });
    for (
      const bad of [
        "",
        "KMHXX00XXXX00000",
        "KMHXX00XXXX00000I",
        "kmhxx00xxxx000001",
        "../../../../../etc",
        `${vin}\n`,
      ]
    ) {
      await assert.rejects(issueVehicle(bad, { directory }), (error: unknown) => {
        return error instanceof InvalidName && error.message.includes(JSON.stringify(bad));
      });
    }
    for (const bad of ["", ".hidden", "a/b", "..", "a b", "x".repeat(41), "a,CN=vehicle", "bench\n"]) {
      await assert.rejects(issueOperator(bad, { directory }), InvalidName);
    }
    for (const bad of ["", "a b", "-x", "x".repeat(64), "http://x", "*"]) {
      await assert.rejects(issueServer({ directory, names: [bad] }), InvalidName);
    }
    await assert.rejects(issueServer({ directory, days: 0 }), /days: .* got 0/);
    await assert.rejects(loadCredentials(directory, "../secret"), CredentialsMissing);
    await assert.rejects(loadCredentials(directory, "operator-nobody"), CredentialsMissing);
  });
});

Deno.test("showCertificates() lists the authority first, with names, validity and days left", async () => {
  await withDirectory(async (directory) => {
    await assert.rejects(showCertificates(directory), CredentialsMissing);
    const now = new Date("2026-03-01T12:00:00Z");
    await initAuthority({ directory, now: () => now });
    await issueVehicle(vin, { directory, now: () => now, days: 100 });
    await issueOperator("bench", { directory, now: () => now });
    const shown = await showCertificates(directory, now);
    assert.deepEqual(shown.map(({ file }) => file), ["ca.crt", "operator-bench.crt", `vehicle-${vin}.crt`]);
    const [authority, operator, vehicle] = shown;
    assert.match(authority.subject, /^O=Zonebench, CN=Zonebench CA [0-9a-f]{8}$/);
    assert.equal(operator.subject, "O=Zonebench, OU=operator, CN=operator-bench");
    assert.equal(vehicle.subject, `O=Zonebench, OU=vehicle, CN=vehicle-${vin}`);
    assert.equal(vehicle.issuer, authority.subject);
    assert.equal(vehicle.algorithm, "ECDSA P-256");
    assert.equal(vehicle.notBefore.toISOString(), "2026-03-01T11:00:00.000Z");
    assert.equal(vehicle.notAfter.toISOString(), "2026-06-09T12:00:00.000Z");
    assert.equal(vehicle.daysLeft, 100);
    assert.equal(vehicle.hasKey, true);
    assert.equal((await showCertificates(directory, new Date("2026-06-09T13:00:00Z")))[2].daysLeft, -1);
  });
});

Deno.test("each algorithm has an authority of its own, and ca.crt holds them with ECDSA's first", async () => {
  await withDirectory(async (directory) => {
    assert.deepEqual(await initAuthority({ directory, algorithms: ["ML-DSA-87"] }), { created: true });
    const before = await listing(directory);
    assert.ok("ca.key" in before && "ca-ml-dsa-87.key" in before);
    assert.deepEqual(await initAuthority({ directory, algorithms: ["ML-DSA-87"] }), { created: false });
    assert.deepEqual(await listing(directory), before);
    assert.equal((await issueServer({ directory })).name, "server");
    assert.equal((await issueServer({ directory, algorithm: "ML-DSA-87" })).name, "server-ml-dsa-87");
    const shown = await showCertificates(directory);
    assert.deepEqual(shown.map(({ file, algorithm, hasKey }) => [file, algorithm, hasKey]), [
      ["ca.crt", "ECDSA P-256", true],
      ["ca.crt", "ML-DSA-87", true],
      ["server-ml-dsa-87.crt", "ML-DSA-87", true],
      ["server.crt", "ECDSA P-256", true],
    ]);
    assert.equal(shown[2].issuer, shown[1].subject);
    assert.equal(shown[3].issuer, shown[0].subject);
    const { algorithm, trust } = await loadCredentials(directory, "server-ml-dsa-87");
    assert.equal(algorithm, "ML-DSA-87");
    assert.equal(trust.split("BEGIN CERTIFICATE").length, 3);
  });
});

Deno.test("a vehicle's certificate of another algorithm than is wanted is issued anew", async () => {
  await withDirectory(async (directory) => {
    await initAuthority({ directory });
    assert.equal((await issueVehicle(vin, { directory })).issued, true);
    for (const algorithm of ["ML-DSA-44", "ECDSA P-256"] as const) {
      assert.equal((await issueVehicle(vin, { directory, algorithm })).issued, true);
      assert.equal((await issueVehicle(vin, { directory, algorithm })).issued, false);
      assert.equal((await loadCredentials(directory, `vehicle-${vin}`)).algorithm, algorithm);
    }
  });
});

Deno.test("no further authority is trusted where the first one's key is not kept", async () => {
  await withDirectory(async (directory) => {
    await initAuthority({ directory });
    await Deno.remove(join(directory, "ca.key"));
    const before = await Deno.readTextFile(join(directory, "ca.crt"));
    await assert.rejects(initAuthority({ directory, algorithms: ["ML-DSA-65"] }), AuthorityMissing);
    await assert.rejects(issueVehicle(vin, { directory, algorithm: "ML-DSA-65" }), AuthorityMissing);
    assert.equal(await Deno.readTextFile(join(directory, "ca.crt")), before);
  });
});
