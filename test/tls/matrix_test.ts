// All thirteen profiles, both ends the product's own: HTTPS and MQTT over mutual TLS, and what the wire says of the group.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { Aedes } from "aedes";
import { Hono } from "hono";
import { getRequestListener } from "@hono/node-server";
import { MqttClient } from "mqtt";
import { request } from "undici";
import { generateKeyPair, makeAuthority } from "../../src/pqc/certificates.ts";
import {
  type CertificateAlgorithm,
  loadProfiles,
  type Profile,
  profileById,
} from "../../src/pqc/profiles.ts";
import { connect } from "../../src/tls/connect.ts";
import { NoCommonGroup, NoCommonSignatureScheme, PeerAlert } from "../../src/tls/engine/failures.ts";
import { NoCommonParameters } from "../../src/tls/errors.ts";
import { httpsAgent } from "../../src/tls/https_agent.ts";
import { listen } from "../../src/tls/listen.ts";
import type { Credentials, TlsConnection } from "../../src/tls/types.ts";
import { clientLeaf, serverLeaf, type TestAuthority } from "../support/certificates.ts";
import { certificatePem } from "../../src/pqc/certificates.ts";
import { Arrivals, withBench } from "./bench.ts";
import { groupNumbers, groupOnWire } from "./engine/support.ts";

interface Pki {
  server: Credentials;
  client: Credentials;
  trust: string;
}

async function makePki(algorithm: CertificateAlgorithm): Promise<Pki> {
  const { privateKey, publicKey } = await generateKeyPair(algorithm);
  const certificate = await makeAuthority(
    { privateKey, publicKey },
    [{ CN: [`CA ${algorithm}`] }],
    30,
    new Date(),
  );
  const authority: TestAuthority = {
    issued: { certificate, privateKey },
    trust: certificatePem(certificate),
  };
  return { server: await serverLeaf(authority), client: await clientLeaf(authority), trust: authority.trust };
}

const made = new Map<CertificateAlgorithm, Promise<Pki>>();
function pkiOf({ certificateAlgorithm }: Profile): Promise<Pki> {
  const found = made.get(certificateAlgorithm) ?? makePki(certificateAlgorithm);
  made.set(certificateAlgorithm, found);
  return found;
}

/** draft-ietf-tls-mldsa section 3, RFC 8446 section 4.2.3. */
const schemes: Record<CertificateAlgorithm, string> = {
  "ECDSA P-256": "ecdsa_secp256r1_sha256",
  "ML-DSA-44": "mldsa44",
  "ML-DSA-65": "mldsa65",
  "ML-DSA-87": "mldsa87",
};

/** Passes connections on to a port and keeps the first bytes that came back on each. */
class Relay implements AsyncDisposable {
  readonly flights: Uint8Array[] = [];
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #open = new Set<Deno.TcpConn>();
  readonly #running: Promise<void>;

  constructor(target: number) {
    this.#running = this.#accept(target);
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  async #accept(target: number): Promise<void> {
    const copies: Promise<void>[] = [];
    for await (const near of this.#listener) {
      const far = await Deno.connect({ hostname: "127.0.0.1", port: target });
      this.#open.add(near).add(far);
      const index = this.flights.push(new Uint8Array()) - 1;
      copies.push(
        copy(near, far),
        copy(far, near, (bytes) => {
          const before = this.flights[index];
          if (before.length < 2_048) this.flights[index] = Uint8Array.from([...before, ...bytes]);
        }),
      );
    }
    await Promise.all(copies);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of this.#open) conn.close();
    await this.#running;
  }
}

async function copy(from: Deno.TcpConn, to: Deno.TcpConn, see?: (bytes: Uint8Array) => void): Promise<void> {
  const buffer = new Uint8Array(65_536);
  try {
    for (let length = await from.read(buffer); length !== null; length = await from.read(buffer)) {
      see?.(buffer.slice(0, length));
      for (let sent = 0; sent < length;) sent += await to.write(buffer.subarray(sent, length));
    }
    await to.closeWrite();
  } catch {
    // The test has closed it.
  }
}

const app = new Hono();
app.get("/hello", (context) => context.text("hello over TLS"));
app.post("/length", async (context) => context.text(String((await context.req.arrayBuffer()).byteLength)));

for (const profile of loadProfiles()) {
  const { id, groups, certificateAlgorithm } = profile;

  Deno.test(`profile ${id}: HTTPS and MQTT agree on ${groups[0]} and ${certificateAlgorithm}, as the wire shows`, async () => {
    const { server, client, trust } = await pkiOf(profile);
    const http = createServer(getRequestListener(app.fetch, { overrideGlobalObjects: false }));
    Object.defineProperty(http, "listening", { value: true });
    const broker = await Aedes.createBroker();
    const accepted = new Arrivals<TlsConnection>();
    const common = { hostname: "127.0.0.1", port: 0, offers: [{ profile, credentials: server }], trust };
    const https = await listen({
      ...common,
      onConnection: (connection) => {
        accepted.push(connection);
        http.emit("connection", connection.stream);
      },
    });
    const mqtt = await listen({
      ...common,
      onConnection: (connection) => {
        accepted.push(connection);
        broker.handle(connection.stream);
      },
    });
    const check = (connection: TlsConnection, peer: string) => {
      assert.equal(connection.negotiated.protocol, "TLSv1.3");
      assert.equal(connection.negotiated.group, groups[0]);
      assert.equal(connection.negotiated.signatureScheme, schemes[certificateAlgorithm]);
      assert.equal(connection.peer.commonName, peer);
      assert.equal(connection.peer.keyAlgorithm, certificateAlgorithm);
    };
    await using httpsRelay = new Relay(https.port);
    await using mqttRelay = new Relay(mqtt.port);
    const dispatcher = httpsAgent({
      credentials: client,
      profile,
      trust,
      connections: 1,
      onConnected: (connection) => check(connection, "server"),
    });
    try {
      const origin = `https://127.0.0.1:${httpsRelay.port}`;
      const get = await request(`${origin}/hello`, { dispatcher });
      assert.equal(await get.body.text(), "hello over TLS");
      const post = await request(`${origin}/length`, {
        dispatcher,
        method: "POST",
        body: new Uint8Array(300_000),
      });
      assert.equal(await post.body.text(), "300000");
      check(await accepted.next(), "vehicle-KMHXX00XXXX000001");

      // Credentials of its own: a session of the first connection would spare the signatures.
      const connection = await connect({
        hostname: "127.0.0.1",
        port: mqttRelay.port,
        credentials: { ...client },
        profile,
        trust,
      });
      check(connection, "server");
      assert.equal(connection.negotiated.resumed, false);
      connection.stream.once("end", () => connection.stream.destroy());
      const publisher = new MqttClient(() => connection.stream, { reconnectPeriod: 0, protocolVersion: 4 });
      const heard = new Promise<string>((resolve) =>
        publisher.once("message", (_topic, payload) => resolve(payload.toString()))
      );
      await publisher.subscribeAsync("a/b", { qos: 1 });
      await publisher.publishAsync("a/b", "over MQTT", { qos: 1 });
      assert.equal(await heard, "over MQTT");
      check(await accepted.next(), "vehicle-KMHXX00XXXX000001");
      await publisher.endAsync();

      for (const { flights } of [httpsRelay, mqttRelay]) {
        assert.deepEqual(flights.map((flight) => groupOnWire(flight)), [groupNumbers[groups[0]]]);
      }
    } finally {
      await dispatcher.destroy();
      http.closeAllConnections();
      await new Promise<void>((resolve) => broker.close(() => resolve()));
      await https.close();
      await mqtt.close();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  if (id === 0) continue;
  Deno.test(`profile ${id}: a client with classical groups alone is refused, and told what it offered`, async () => {
    const { server, trust } = await pkiOf(profile);
    const classical = profileById(0);
    const { client } = await pkiOf(classical);
    await withBench({ profiles: [id], credentials: server, trust }, async ({ dial, refusals }) => {
      await assert.rejects(dial({ credentials: client, profile: classical, trust }), (error) => {
        return error instanceof PeerAlert && error.alert === "handshake_failure";
      });
      const refusal = await refusals.next();
      assert.ok(
        refusal instanceof NoCommonGroup || refusal instanceof NoCommonSignatureScheme,
        String(refusal),
      );
      assert.ok(refusal instanceof NoCommonParameters);
      assert.equal(refusal.alert, "handshake_failure");
      assert.match(
        refusal.message,
        /the client offered .*groups X25519; signature schemes ecdsa_secp256r1_sha256$/,
      );
    });
  });
}

Deno.test("a server of several profiles picks the first that the client has, with that profile's certificate", async () => {
  const offers = await Promise.all(
    [12, 2, 0].map(async (id) => {
      const profile = profileById(id);
      return { profile, credentials: (await pkiOf(profile)).server };
    }),
  );
  const pkis = await Promise.all(offers.map(({ profile }) => pkiOf(profile)));
  const trust = [...new Set(pkis.map((pki) => pki.trust))].join("");
  await withBench({ offers, trust }, async ({ dial, connections }) => {
    for (const [index, { profile }] of offers.entries()) {
      const near = await dial({ credentials: pkis[index].client, profile, trust });
      const far = await connections.next();
      for (const { negotiated } of [near, far]) {
        assert.equal(negotiated.group, profile.groups[0]);
        assert.equal(negotiated.signatureScheme, schemes[profile.certificateAlgorithm]);
      }
    }
  });
});

Deno.test("a connection that comes back is resumed, and says what its session was signed with", async () => {
  const profile = profileById(8);
  const { server, client, trust } = await pkiOf(profile);
  await withBench({ profiles: [8], credentials: server, trust }, async ({ dial, connections }) => {
    const credentials = { ...client };
    for (const resumed of [false, true]) {
      const near = await dial({ credentials, profile, trust });
      const far = await connections.next();
      for (const { negotiated } of [near, far]) {
        assert.equal(negotiated.resumed, resumed);
        assert.equal(negotiated.signatureScheme, "mldsa65");
      }
      // The ticket comes with the server's first bytes.
      far.stream.write("x");
      await new Promise((resolve) => near.stream.once("data", resolve));
    }
  });
});
