// Authentication (0x29) with real keys and certificates, ECDSA P-256 and ML-DSA, client against server.
import assert from "node:assert/strict";
import { algorithmIndicator, proofInput } from "../../../hardware/uds/authentication.ts";
import { knownX509, x509Check, x509Identity } from "../../../hardware/uds/authentication_x509.ts";
import { UdsClient } from "../../../hardware/uds/client.ts";
import { ServerNotAuthenticError } from "../../../hardware/uds/client/authentication.ts";
import { NegativeResponseError } from "../../../hardware/uds/errors.ts";
import { UdsServer } from "../../../hardware/uds/server.ts";
import {
  type AuthenticationServiceOptions,
  ServerAuthentication,
} from "../../../hardware/uds/server/authentication.ts";
import { bytes, LoopbackTransport, text } from "./loopback.ts";
import { testPki } from "./pki.ts";

function setUp(options: AuthenticationServiceOptions) {
  const authentication = new ServerAuthentication(options);
  const server = new UdsServer({
    name: "ECU",
    services: new Map([[0x29, authentication.service()]]),
    isAuthenticated: () => authentication.subject !== undefined,
  });
  const transport = new LoopbackTransport(server);
  return {
    authentication,
    server,
    transport,
    client: new UdsClient(transport, { ecu: "ECU", testerPresentInterval: 0 }),
  };
}

/** The NRC with which a promise is refused. */
async function refusal(promise: Promise<unknown>): Promise<number> {
  const error = await promise.then(() => assert.fail("expected a refusal"), (error) => error);
  assert.ok(error instanceof NegativeResponseError, String(error));
  return error.nrc;
}

for (const algorithm of ["ECDSA P-256", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"] as const) {
  Deno.test(`${algorithm}: certificate and proof authenticate a tester, one way and both ways`, async () => {
    const pki = await testPki(algorithm);
    const tester = await pki.issue("tester");
    const ecu = await pki.issue("ecu");
    const checkCertificate = x509Check({ trustAnchors: [pki.anchor] });
    const { authentication, client, server } = setUp({ checkCertificate, identity: ecu });
    await client.diagnosticSessionControl(3);
    assert.equal(await client.authentication.configuration(), 0x02);
    assert.equal((await client.authentication.withCertificate(tester)).result, 0x12);
    assert.equal(authentication.subject, "tester");
    await client.authentication.deAuthenticate();
    assert.equal(authentication.subject, undefined);
    const verifyServer = x509Check({ trustAnchors: [pki.anchor] });
    await client.authentication.withCertificate(tester, { verifyServer });
    assert.equal(authentication.subject, "tester");
    // The session's end takes it away.
    await client.diagnosticSessionControl(1);
    assert.equal(authentication.subject, undefined);
    assert.equal(server.session, 1);
    client.close();
  });

  Deno.test(`${algorithm}: challenge and response authenticate a tester that the ECU knows`, async () => {
    const pki = await testPki(algorithm);
    const tester = await pki.issue("tester");
    const stranger = await pki.issue("stranger");
    const ecu = await pki.issue("ecu");
    const { authentication, client } = setUp({
      knownClients: [knownX509(tester.certificate)],
      identity: ecu,
    });
    assert.equal(await client.authentication.configuration(), 0x03);
    await client.authentication.withChallenge(tester);
    assert.equal(authentication.subject, "tester");
    await client.authentication.deAuthenticate();
    const verifyServer = x509Check({ trustAnchors: [pki.anchor] });
    await client.authentication.withChallenge(tester, { verifyServer, serverCertificate: ecu.certificate });
    await client.authentication.deAuthenticate();
    assert.equal(await refusal(client.authentication.withChallenge(stranger)), 0x58);
    assert.equal(authentication.subject, undefined);
    client.close();
  });
}

Deno.test("each fault of a certificate has its code", async () => {
  const pki = await testPki("ECDSA P-256");
  const other = await testPki("ECDSA P-256");
  const tester = await pki.issue("tester");
  const check = (more: Partial<Parameters<typeof x509Check>[0]> = {}) =>
    setUp({ checkCertificate: x509Check({ trustAnchors: [pki.anchor], ...more }) }).client.authentication;
  const year = 365 * 24 * 60 * 60 * 1000;
  const later = () => new Date(Date.now() + 20 * year);
  assert.equal(await refusal(check({ now: later }).withCertificate(tester)), 0x50);
  const forged = tester.certificate.slice();
  forged[forged.length - 1] ^= 1;
  assert.equal(await refusal(check().withCertificate({ ...tester, certificate: forged })), 0x51);
  assert.equal(await refusal(check({ trustAnchors: [other.anchor] }).withCertificate(tester)), 0x52);
  assert.equal(await refusal(check().withCertificate({ ...tester, certificate: pki.anchor })), 0x53);
  assert.equal(
    await refusal(check().withCertificate({ ...tester, certificate: bytes("30 03 02 01") })),
    0x54,
  );
  assert.equal(await refusal(check({ inScope: () => false }).withCertificate(tester)), 0x56);
  assert.equal(await check().transmitCertificate(1, tester.certificate), 0x13);
});

Deno.test("a proof is good once, for its challenge, from its key", async () => {
  const pki = await testPki("ECDSA P-256");
  const tester = await pki.issue("tester");
  const thief = await pki.issue("thief");
  const { client, authentication } = setUp({ checkCertificate: x509Check({ trustAnchors: [pki.anchor] }) });
  const proofOf = { task: 3, proof: bytes("01"), ephemeralPublicKey: bytes("") } as const;
  assert.equal(await refusal(client.authentication.request(proofOf)), 0x24);
  // Somebody else's certificate without the key to it.
  const borrowed = { ...thief, certificate: tester.certificate };
  assert.equal(await refusal(client.authentication.withCertificate(borrowed)), 0x58);
  // After a wrong proof the challenge is used up.
  const answer = await client.authentication.request({
    task: 1,
    communicationConfiguration: 0,
    certificate: tester.certificate,
    challenge: bytes(""),
  });
  assert.ok(answer.task === 1);
  const good = await tester.sign(proofInput("client", answer.challenge, bytes("")));
  assert.equal(await refusal(client.authentication.request(proofOf)), 0x58);
  assert.equal(await refusal(client.authentication.request({ ...proofOf, proof: good })), 0x24);
  assert.equal(authentication.subject, undefined);
  const secured = {
    task: 1,
    communicationConfiguration: 1,
    certificate: bytes("01"),
    challenge: bytes(""),
  } as const;
  assert.equal(await refusal(client.authentication.request(secured)), 0x5c);
  client.close();
});

Deno.test("an ECU with another authority's certificate gets no proof of the tester", async () => {
  const pki = await testPki("ECDSA P-256");
  const other = await testPki("ECDSA P-256");
  const tester = await pki.issue("tester");
  const { client, transport } = setUp({
    checkCertificate: x509Check({ trustAnchors: [pki.anchor] }),
    identity: await other.issue("impostor"),
  });
  const verifyServer = x509Check({ trustAnchors: [pki.anchor] });
  await assert.rejects(
    client.authentication.withCertificate(tester, { verifyServer }),
    (error) =>
      error instanceof ServerNotAuthenticError && /issued by none of the trust anchors/.test(error.message),
  );
  assert.deepEqual(transport.sent.map((request) => request[1]), [2]);
  client.close();
});

Deno.test("tasks that the ECU has not are sub-functions that it has not", async () => {
  const { client } = setUp({});
  const task = { communicationConfiguration: 0, certificate: bytes("01"), challenge: bytes("") };
  assert.equal(await refusal(client.authentication.request({ task: 1, ...task })), 0x12);
  assert.equal(
    await refusal(client.authentication.request({
      task: 5,
      communicationConfiguration: 0,
      algorithm: algorithmIndicator("1.2.840.10045.4.3.2"),
    })),
    0x12,
  );
  assert.equal(await client.authentication.configuration(), 0x03);
  client.close();
});

Deno.test("algorithm indicators are object identifiers in BER", () => {
  // RFC 5758: ecdsa-with-SHA256; RFC 9881: id-ml-dsa-65.
  assert.equal(
    text(algorithmIndicator("1.2.840.10045.4.3.2")),
    "06 08 2A 86 48 CE 3D 04 03 02 00 00 00 00 00 00",
  );
  assert.equal(
    text(algorithmIndicator("2.16.840.1.101.3.4.3.18")),
    "06 09 60 86 48 01 65 03 04 03 12 00 00 00 00 00",
  );
  assert.throws(() => algorithmIndicator("P-256"), /expected a dotted object identifier, got "P-256"/);
});

Deno.test("an authority's certificate is wanted as trust anchor", async () => {
  const pki = await testPki("ECDSA P-256");
  const tester = await pki.issue("tester");
  assert.throws(() => x509Check({ trustAnchors: [tester.certificate] }), /no authority's certificate/);
  await assert.rejects(x509Identity(bytes("00"), new Uint8Array(1)), /certificate: expected/);
});
