// What must be refused, each with its own error and alert, at the end that refuses and at the other.

import "reflect-metadata";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";
import assert from "node:assert/strict";
import type { TlsError } from "../../../src/tls/errors.ts";
import type { EngineConnection } from "../../../src/tls/engine/connection.ts";
import { EngineClient, EngineServer } from "../../../src/tls/engine/endpoint.ts";
import { generateKeyPair, type LeafRequest } from "../../../src/pqc/certificates.ts";
import {
  client,
  deliver,
  handshake,
  issue,
  makePki,
  offer,
  pki,
  profiles,
  server,
  settle,
  type TestCredentials,
} from "./support.ts";

/** What an end is expected to say. */
interface Expected {
  error: string;
  alert?: string;
}

function assertFailed(failure: TlsError | undefined, { error, alert }: Expected): void {
  assert.equal(failure?.name, error, `${failure?.name}: ${failure?.message} (${failure?.alert})`);
  assert.equal(failure?.alert, alert);
}

/** The refusing end fails with an error of its own, the other one by the alert that it was sent. */
function assertRefused(refusing: EngineConnection, other: EngineConnection, expected: Expected): void {
  assertFailed(refusing.failure, expected);
  assertFailed(other.failure, { error: "PeerAlert", alert: expected.alert });
}

/** A client on profile 2 with other credentials than the good ones. */
async function clientWith(credentials: TestCredentials): Promise<EngineClient> {
  return await client(2, { offer: offer(profiles[2], credentials) });
}

/** A server on profile 2 with other credentials than the good ones. */
async function serverWith(credentials: TestCredentials): Promise<EngineServer> {
  return await server(2, { offers: [offer(profiles[2], credentials)] });
}

/** The same certificate with a bit of its serial number flipped: all else, the key above all, is as it was. */
function tampered({ certificateChain, privateKey }: TestCredentials): TestCredentials {
  const changed = certificateChain[0].slice();
  // Certificate, TBSCertificate (4 octets of header each), version (5), header of the serial number (2).
  changed[4 + 4 + 5 + 2 + 3] ^= 1;
  return { certificateChain: [changed], privateKey };
}

type Leaf = Partial<LeafRequest> & { begins?: number };

const badCertificates: Record<string, { leaf: Leaf; expected: Expected }> = {
  "has ended": {
    leaf: { begins: -60 },
    expected: { error: "CertificateExpired", alert: "certificate_expired" },
  },
  "is not valid yet": {
    leaf: { begins: 5 },
    expected: { error: "CertificateNotYetValid", alert: "certificate_expired" },
  },
};

for (const [what, { leaf, expected }] of Object.entries(badCertificates)) {
  Deno.test(`a client whose certificate ${what} is refused`, async () => {
    const { authority } = await pki("ECDSA P-256");
    const { near, far } = handshake(
      await clientWith(await issue(authority, { purpose: "client", ...leaf })),
      await server(2),
    );
    assertRefused(far, near, expected);
  });

  Deno.test(`a server whose certificate ${what} is refused`, async () => {
    const { authority } = await pki("ECDSA P-256");
    const { near, far } = handshake(
      await client(2),
      await serverWith(await issue(authority, { purpose: "server", ...leaf })),
    );
    assertRefused(near, far, expected);
  });
}

Deno.test("a vehicle's certificate shown as the server's is refused, and the other way", async () => {
  const { server: ofServer, authority } = await pki("ECDSA P-256");
  const expected = { error: "WrongKeyUsage", alert: "unsupported_certificate" };
  const posing = await issue(authority, { purpose: "client", names: ["localhost"] });
  const one = handshake(await client(2), await serverWith(posing));
  assertRefused(one.near, one.far, expected);
  const other = handshake(await clientWith(ofServer), await server(2));
  assertRefused(other.far, other.near, expected);
});

/** A certificate of the authority, for the client, with these extensions and no others. */
async function clientWithExtensions(extensions: Extension[]): Promise<TestCredentials> {
  const { authority } = await pki("ECDSA P-256");
  const keys = await generateKeyPair();
  const certificate = await X509CertificateGenerator.create({
    serialNumber: "01",
    subject: "CN=client",
    issuer: authority.certificate.subject,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 60_000),
    publicKey: keys.publicKey,
    signingKey: authority.privateKey,
    signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
    extensions,
  });
  return {
    certificateChain: [new Uint8Array(certificate.rawData)],
    privateKey: new Uint8Array(await crypto.subtle.exportKey("pkcs8", keys.privateKey)),
  };
}

Deno.test("a certificate whose key usage does not allow signing is refused; without key usage it is good", async () => {
  const purpose = new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth]);
  const keyAgreement = await clientWithExtensions([
    purpose,
    new KeyUsagesExtension(KeyUsageFlags.keyAgreement, true),
  ]);
  const refused = handshake(await clientWith(keyAgreement), await server(2));
  assertRefused(refused.far, refused.near, { error: "WrongKeyUsage", alert: "unsupported_certificate" });
  const accepted = handshake(await clientWith(await clientWithExtensions([purpose])), await server(2));
  assert.equal(accepted.far.established, true);
});

Deno.test("an issuer whose key usage does not allow it to certify is none", async () => {
  const { authority } = await pki("ECDSA P-256");
  const chain = async (usage: KeyUsageFlags) => {
    const keys = await generateKeyPair();
    const intermediate = await X509CertificateGenerator.create({
      serialNumber: "02",
      subject: "CN=Intermediate",
      issuer: authority.certificate.subject,
      notBefore: new Date(Date.now() - 60_000),
      notAfter: new Date(Date.now() + 60_000),
      publicKey: keys.publicKey,
      signingKey: root.privateKey,
      signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
      extensions: [new BasicConstraintsExtension(true, 0, true), new KeyUsagesExtension(usage, true)],
    });
    const leaf = await issue({ certificate: intermediate, privateKey: keys.privateKey }, {
      purpose: "client",
    });
    return { ...leaf, certificateChain: [...leaf.certificateChain, new Uint8Array(intermediate.rawData)] };
  };
  // The shared authority may have no issuers below it: one that may.
  const root = await generateKeyPair();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: "03",
    name: authority.certificate.subject,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 60_000),
    keys: root,
    signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
    extensions: [
      new BasicConstraintsExtension(true, 1, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true),
    ],
  });
  const { trust } = await pki("ECDSA P-256");
  const engineServer = await server(2, { trust: [...trust, new Uint8Array(certificate.rawData)] });
  const good = handshake(await clientWith(await chain(KeyUsageFlags.keyCertSign)), engineServer);
  assert.equal(good.far.failure, undefined);
  assert.equal(good.far.established, true);
  const bad = handshake(await clientWith(await chain(KeyUsageFlags.digitalSignature)), engineServer);
  assertRefused(bad.far, bad.near, { error: "UnknownIssuer", alert: "unknown_ca" });
});

Deno.test("a certificate for another name is refused", async () => {
  const near = (await client(2)).connect("other.example");
  const far = (await server(2)).accept();
  settle(near, far);
  assertRefused(near, far, { error: "NameMismatch", alert: "bad_certificate" });
});

for (const algorithm of ["ECDSA P-256", "ML-DSA-65"] as const) {
  const profile = profiles[algorithm === "ECDSA P-256" ? 2 : 8];

  Deno.test(`certificates of a foreign authority with ${algorithm} are refused`, async () => {
    const foreign = await makePki(algorithm, "Foreign CA");
    const expected = { error: "UnknownIssuer", alert: "unknown_ca" };
    const one = handshake(
      await client(profile.id, { offer: offer(profile, foreign.client) }),
      await server(profile.id),
    );
    assertRefused(one.far, one.near, expected);
    const other = handshake(
      await client(profile.id),
      await server(profile.id, { offers: [offer(profile, foreign.server)] }),
    );
    assertRefused(other.near, other.far, expected);
  });

  Deno.test(`certificates of an authority that only bears the name, with ${algorithm}, are refused`, async () => {
    const { trust } = await pki(algorithm);
    const posing = await makePki(algorithm, `Test CA ${algorithm}`);
    const expected = { error: "BadCertificateSignature", alert: "decrypt_error" };
    const { near, far } = handshake(
      await client(profile.id, { offer: offer(profile, posing.client) }),
      await server(profile.id, { trust }),
    );
    assertRefused(far, near, expected);
  });

  Deno.test(`a tampered certificate with ${algorithm} is refused`, async () => {
    const { server: ofServer, client: ofClient } = await pki(algorithm);
    const expected = { error: "BadCertificateSignature", alert: "decrypt_error" };
    const one = handshake(
      await client(profile.id, { offer: offer(profile, tampered(ofClient)) }),
      await server(profile.id),
    );
    assertRefused(one.far, one.near, expected);
    const other = handshake(
      await client(profile.id),
      await server(profile.id, { offers: [offer(profile, tampered(ofServer))] }),
    );
    assertRefused(other.near, other.far, expected);
  });
}

Deno.test("a client that shows no certificate is refused", async () => {
  // Its only certificate is of an algorithm that the server does not ask for, so it sends an empty list.
  const { client: ofClient } = await pki("ML-DSA-44");
  const { near, far } = handshake(
    await client(2, { offer: offer(profiles[2], ofClient) }),
    await server(2),
  );
  assertRefused(far, near, { error: "CertificateRequired", alert: "certificate_required" });
});

Deno.test("a client with classical groups alone is refused on every profile but 0", async () => {
  for (const profile of profiles.slice(1)) {
    const { trust, client: ofClient } = await pki(profile.certificateAlgorithm);
    const classical = new EngineClient({
      offer: offer({ ...profile, groups: ["X25519"] }, ofClient),
      trust,
    });
    const { near, far } = handshake(classical, await server(profile.id));
    assertRefused(far, near, { error: "NoCommonGroup", alert: "handshake_failure" });
    assert.deepEqual(far.offered()?.groups, ["X25519"]);
  }
});

Deno.test("a client that cannot check the server's signature scheme is refused, and what it offered is told", async () => {
  const { near, far } = handshake(
    await client(8, {
      offer: offer({ ...profiles[8], certificateAlgorithm: "ML-DSA-44" }, (await pki("ML-DSA-44")).client),
    }),
    await server(8),
  );
  assertRefused(far, near, { error: "NoCommonSignatureScheme", alert: "handshake_failure" });
  assert.deepEqual(far.offered()?.signatureSchemes, ["mldsa44"]);
});

Deno.test("a group of one profile with a scheme of another is no profile", async () => {
  const ecdsa = await pki("ECDSA P-256");
  const mlDsa = await pki("ML-DSA-87");
  const both = new EngineServer({
    offers: [offer(profiles[12], mlDsa.server), offer(profiles[2], ecdsa.server)],
    trust: [...mlDsa.trust, ...ecdsa.trust],
  });
  const { near, far } = handshake(
    await client(2, { offer: offer({ ...profiles[2], groups: ["MLKEM1024"] }, ecdsa.client) }),
    both,
  );
  assertRefused(far, near, { error: "NoCommonGroup", alert: "handshake_failure" });
  assert.match(far.failure?.message ?? "", /profile/);
});

Deno.test("two ends without a cipher suite in common are told so", async () => {
  const { near, far } = handshake(
    await client(2, { cipherSuites: ["TLS_AES_128_GCM_SHA256"] }),
    await server(2, { cipherSuites: ["TLS_CHACHA20_POLY1305_SHA256"] }),
  );
  assertRefused(far, near, { error: "NoCommonCipherSuite", alert: "handshake_failure" });
});

Deno.test("two ends without an application protocol in common are told so", async () => {
  const { near, far } = handshake(
    await client(2, { applicationProtocols: ["mqtt"] }),
    await server(2, { applicationProtocols: ["http/1.1"] }),
  );
  assertRefused(far, near, { error: "NoCommonProtocol", alert: "no_application_protocol" });
});

/** A ClientHello of TLS 1.2 by hand (RFC 5246 section 7.4.1.2): no supported_versions. */
const tls12Hello = Uint8Array.fromHex(
  "160301003f" + // handshake record, 63 bytes
    "0100003b" + "0303" + "00".repeat(32) + "00" + // ClientHello, 1.2, random, no session
    "0002c02b" + "0100" + // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, no compression
    "0010" + // extensions:
    "000a00040002001d" + // supported_groups: X25519
    "000d000400020403", // signature_algorithms: ecdsa_secp256r1_sha256
);

Deno.test("a client of TLS 1.2 is refused", async () => {
  const far = (await server(0)).accept();
  far.feed(tls12Hello);
  assertFailed(far.failure, { error: "ProtocolVersion", alert: "protocol_version" });
  assert.equal(far.take()?.toHex(), "15030300020246"); // alert, fatal, 70
});

Deno.test("what is not TLS at all is refused", async () => {
  const far = (await server(2)).accept();
  far.feed(new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  assert.notEqual(far.failure, undefined);
  assert.equal(far.take()?.[0], 21); // An alert, in the clear.
});

Deno.test("a record that is flipped on its way is refused, in the handshake and after it", async () => {
  const flipLast = (ciphertext: Uint8Array) => {
    const changed = ciphertext.slice();
    changed[changed.length - 1] ^= 1;
    return changed;
  };
  const expected = { error: "BadRecord", alert: "bad_record_mac" };

  // The last record of the client's second flight is Finished.
  const near = (await client(2)).connect("localhost");
  const far = (await server(2)).accept();
  deliver(near, far);
  deliver(far, near);
  deliver(near, far, flipLast);
  settle(near, far);
  assertRefused(far, near, expected);

  const later = handshake(await client(2), await server(2));
  later.near.write(Uint8Array.of(1, 2, 3));
  deliver(later.near, later.far, flipLast);
  settle(later.far, later.near);
  assertRefused(later.far, later.near, expected);
});

Deno.test("a first flight that is sent again is no handshake", async () => {
  const near = (await client(2)).connect("localhost");
  const first = near.take() ?? new Uint8Array();
  const engineServer = await server(2);
  const far = engineServer.accept();
  far.feed(first);
  near.feed(far.take() ?? new Uint8Array());

  // Another connection gets the same ClientHello, and then the second flight that belongs to the first connection.
  const second = near.take() ?? new Uint8Array();
  const replayed = engineServer.accept();
  replayed.feed(first);
  replayed.feed(second);
  assertFailed(replayed.failure, { error: "BadRecord", alert: "bad_record_mac" });
  assert.equal(replayed.established, false);
});

Deno.test("a record of 16 KiB + 1 is refused in the clear, and beyond what encryption may add after the handshake", async () => {
  const expected = { error: "RecordOverflow", alert: "record_overflow" };
  const far = (await server(2)).accept();
  far.feed(Uint8Array.of(22, 3, 1, 0x40, 0x01));
  far.feed(new Uint8Array(16_385));
  assertFailed(far.failure, expected);
  assert.equal(far.take()?.toHex(), "15030300020216"); // alert, fatal, 22

  const later = handshake(await client(2), await server(2));
  // RFC 8446 section 5.2: 2^14 + 256 at most.
  later.far.feed(Uint8Array.of(23, 3, 3, 0x41, 0x01));
  settle(later.far, later.near);
  assertRefused(later.far, later.near, expected);
});

Deno.test("a connection that ends without close_notify is truncated, and what came can be read", async () => {
  const { near, far } = handshake(await client(2), await server(2));
  near.write(Uint8Array.of(1, 2, 3));
  deliver(near, far);
  far.endOfInput();
  assertFailed(far.failure, { error: "Truncated" });
  assert.deepEqual([...far.read() ?? []], [1, 2, 3]);
  assert.equal(far.peerClosed, false);

  const early = (await server(2)).accept();
  early.feed((await client(2)).connect("localhost").take()?.subarray(0, 100) ?? new Uint8Array());
  early.endOfInput();
  assertFailed(early.failure, { error: "Truncated" });
});

Deno.test("a server serves on after every refusal", async () => {
  const engineServer = await server(2);
  for (let round = 0; round < 20; round++) {
    const far = engineServer.accept();
    far.feed(crypto.getRandomValues(new Uint8Array(200)));
    far.free();
  }
  const { near, far } = handshake(await client(2), engineServer);
  assert.equal(near.established && far.established, true);
});

Deno.test("settings that cannot work are refused at once, and say why", async () => {
  const ecdsa = await pki("ECDSA P-256");
  const mlDsa = await pki("ML-DSA-44");
  const good = offer(profiles[2], ecdsa.server);
  const refused = (
    settings: ConstructorParameters<typeof EngineServer>[0],
    expected: RegExp,
    name = "BadCredentials",
  ) =>
    assert.throws(() => new EngineServer(settings), (error: unknown) => {
      assert.ok(error instanceof Error);
      assert.equal(error.name, name);
      assert.match(error.message, expected);
      return true;
    });
  refused({ offers: [], trust: ecdsa.trust }, /offers: expected at least one, got none/);
  refused({ offers: [good], trust: [] }, /trusted certificates: expected at least one/);
  refused({ offers: [good], trust: [Uint8Array.of(1)] }, /trusted certificate 0/);
  refused(
    { offers: [{ ...good, privateKey: ecdsa.client.privateKey }], trust: ecdsa.trust },
    /got another one/,
  );
  refused(
    { offers: [{ ...good, privateKey: mlDsa.server.privateKey }], trust: ecdsa.trust },
    /got another one/,
  );
  refused({ offers: [{ ...good, privateKey: Uint8Array.of(1, 2) }], trust: ecdsa.trust }, /expected PKCS#8/);
  refused(
    { offers: [{ ...good, certificateChain: [] }], trust: ecdsa.trust },
    /expected at least one certificate/,
  );
  refused({ offers: [{ ...good, groups: [] }], trust: ecdsa.trust }, /groups: expected at least one/);
  refused({ offers: [{ ...good, groups: ["secp521r1"] }], trust: ecdsa.trust }, /group 0x0019: not one of/);
  refused({ offers: [{ ...good, groups: ["KYBER"] }], trust: ecdsa.trust }, /got KYBER/, "RangeError");
  refused({ offers: [good], trust: ecdsa.trust, sessions: -1 }, /sessions: .* got -1/, "RangeError");
  assert.throws(
    () => new EngineClient({ offer: good, trust: ecdsa.trust }).connect("not a name"),
    /got not a name/,
  );
});
