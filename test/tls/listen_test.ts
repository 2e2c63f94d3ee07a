import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { profileById } from "../../src/pqc/profiles.ts";
import {
  BadCredentials,
  CertificateExpired,
  CertificateNotYetValid,
  CertificateRequired,
  ConnectionFailed,
  HandshakeTimeout,
  ProtocolVersion,
  ProtocolViolation,
  TlsError,
  TooManyConnections,
  UnknownIssuer,
  WrongKeyUsage,
} from "../../src/tls/errors.ts";
import { BadCertificateSignature, PeerAlert, Truncated } from "../../src/tls/engine/failures.ts";
import { listen } from "../../src/tls/listen.ts";
import type { Credentials } from "../../src/tls/types.ts";
import { clientLeaf, serverLeaf } from "../support/certificates.ts";
import {
  authority,
  type Bench,
  foreignAuthority,
  readText,
  server,
  trust,
  vehicle,
  withBench,
} from "./bench.ts";

const profile = profileById(2);
const offers = [{ profile, credentials: server }];

/** A good client is served: whatever came before has not harmed the listener. */
async function servesOn({ connections, dial }: Bench): Promise<void> {
  const client = await dial();
  const accepted = await connections.next();
  accepted.stream.end("served");
  assert.equal(await readText(client.stream), "served");
  client.stream.end();
}

Deno.test("listen() says who connected and what was negotiated", async () => {
  await withBench({}, async ({ listener, connections, dial }) => {
    const client = await dial();
    const { peer, negotiated, localPort, remoteAddress, remotePort } = await connections.next();
    assert.equal(peer.commonName, "vehicle-KMHXX00XXXX000001");
    assert.deepEqual(peer.organizationalUnits, ["fleet", "vehicle"]);
    assert.match(peer.fingerprint, /^[0-9a-f]{64}$/);
    assert.match(peer.serialNumber, /^[0-9a-f]{32}$/);
    assert.ok(peer.notAfter > new Date());
    assert.equal(negotiated.protocol, "TLSv1.3");
    assert.match(
      negotiated.cipherSuite,
      /^TLS_(AES_(128_GCM_SHA256|256_GCM_SHA384)|CHACHA20_POLY1305_SHA256)$/,
    );
    assert.equal(negotiated.group, "X25519MLKEM768");
    assert.equal(negotiated.signatureScheme, "ecdsa_secp256r1_sha256");
    assert.equal(negotiated.alpn, undefined);
    assert.equal(localPort, listener.port);
    assert.equal(remoteAddress, "127.0.0.1");
    assert.equal(remotePort, client.localPort);
    assert.equal(client.remotePort, listener.port);
  });
});

Deno.test("listen() refuses a client without a certificate, and serves on", async () => {
  await withBench({}, async (bench) => {
    const client = bench.dialRaw({ minVersion: "TLSv1.3" });
    client.resume().on("end", () => client.end());
    const gone = closed(client);
    const refusal = await bench.refusals.next();
    assert.ok(refusal instanceof CertificateRequired, String(refusal));
    assert.equal(refusal.alert, "certificate_required");
    assert.match(refusal.message, /from 127\.0\.0\.1:\d+/);
    await gone;
    assert.equal(bench.connections.waiting, 0);
    await servesOn(bench);
  });
});

/** Waits for a socket to close, in whatever way. */
function closed(socket: { once(event: "close", heard: () => void): unknown }): Promise<void> {
  return new Promise((resolve) => void socket.once("close", resolve));
}

const refusedClients: [string, () => Promise<Credentials>, new (message: string) => TlsError, string][] = [
  ["of a foreign authority", () => clientLeaf(foreignAuthority), UnknownIssuer, "unknown_ca"],
  ["that has ended", () => clientLeaf(authority, { begins: -40 }), CertificateExpired, "certificate_expired"],
  [
    "that is not valid yet",
    () => clientLeaf(authority, { begins: 40 }),
    CertificateNotYetValid,
    "certificate_expired",
  ],
  ["that is a server's", () => serverLeaf(authority), WrongKeyUsage, "unsupported_certificate"],
];
for (const [what, make, expected, alert] of refusedClients) {
  Deno.test(`listen() refuses a certificate ${what}, and serves on`, async () => {
    await withBench({}, async (bench) => {
      // The client is done before the server looks at its certificate: it learns of it from the stream.
      const client = await bench.dial({ credentials: await make() });
      const refusal = await bench.refusals.next();
      assert.ok(refusal instanceof expected, `expected ${expected.name}, got ${refusal}`);
      assert.equal(refusal.alert, alert);
      await assert.rejects(readText(client.stream), (error) => {
        return error instanceof PeerAlert && error.alert === alert &&
          error.message.startsWith("TLS connection to 127.0.0.1:");
      });
      assert.equal(bench.connections.waiting, 0);
      await servesOn(bench);
    });
  });
}

Deno.test("listen() refuses a certificate whose authority only has the trusted one's name", async () => {
  const { testAuthority } = await import("../support/certificates.ts");
  const impostor = await testAuthority("Test CA");
  await withBench({}, async (bench) => {
    await bench.dial({ credentials: await clientLeaf(impostor) });
    const refusal = await bench.refusals.next();
    assert.ok(refusal instanceof BadCertificateSignature, String(refusal));
    await servesOn(bench);
  });
});

Deno.test("listen() refuses TLS 1.2, and serves on", async () => {
  await withBench({}, async (bench) => {
    const client = bench.dialRaw({
      minVersion: "TLSv1.2",
      maxVersion: "TLSv1.2",
      cert: vehicle.certificateChain,
      key: vehicle.privateKey,
    });
    const gone = closed(client);
    const refusal = await bench.refusals.next();
    assert.ok(refusal instanceof ProtocolVersion, String(refusal));
    await gone;
    await servesOn(bench);
  });
});

Deno.test("listen() refuses what is not TLS, and serves on", async () => {
  await withBench({}, async (bench) => {
    const client = bench.keep(connectTcp(bench.listener.port, "127.0.0.1"));
    client.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.resume();
    const refusal = await bench.refusals.next();
    assert.ok(refusal instanceof ProtocolViolation, String(refusal));
    await closed(client);
    await servesOn(bench);
  });
});

Deno.test("listen() closes a client that says nothing", async () => {
  await withBench({ handshakeTimeout: 100 }, async (bench) => {
    const client = bench.keep(connectTcp(bench.listener.port, "127.0.0.1"));
    client.resume();
    await closed(client);
    assert.ok(await bench.refusals.next() instanceof HandshakeTimeout);
    await servesOn(bench);
  });
});

Deno.test("listen() closes a client that trickles its hello", async () => {
  await withBench({ handshakeTimeout: 200 }, async (bench) => {
    const client = bench.keep(connectTcp(bench.listener.port, "127.0.0.1"));
    client.resume();
    // A record of type handshake that announces 512 bytes (RFC 8446 section 5.1), then a ClientHello of 508.
    const hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    let sent = 0;
    const trickle = setInterval(() => client.write(Uint8Array.of(hello[sent++] ?? 0)), 10);
    try {
      await closed(client);
    } finally {
      clearInterval(trickle);
    }
    assert.ok(sent > 1);
    assert.ok(await bench.refusals.next() instanceof HandshakeTimeout);
    await servesOn(bench);
  });
});

Deno.test("listen() hears of a client that hangs up before the handshake", async () => {
  await withBench({}, async (bench) => {
    const client = bench.keep(connectTcp(bench.listener.port, "127.0.0.1"));
    await once(client, "connect");
    client.destroy();
    assert.ok(await bench.refusals.next() instanceof ConnectionFailed);
    await servesOn(bench);
  });
});

Deno.test("listen() closes connections beyond maxConnections and takes new ones when there is room", async () => {
  await withBench({ maxConnections: 1 }, async (bench) => {
    const first = await bench.dial();
    const accepted = await bench.connections.next();
    await assert.rejects(bench.dial(), ConnectionFailed);
    assert.ok(await bench.refusals.next() instanceof TooManyConnections);
    const gone = once(accepted.stream, "close");
    accepted.stream.resume().on("end", () => accepted.stream.end());
    first.stream.resume().end();
    await gone;
    await new Promise((resolve) => setTimeout(resolve, 20));
    await servesOn(bench);
  });
});

Deno.test("listen() closes a connection whose handler throws, and serves on", async () => {
  let calls = 0;
  const refusals: Error[] = [];
  const options = {
    onConnection: (connection: { stream: { end(text: string): unknown } }) => {
      if (++calls === 1) throw new Error("the handler failed");
      connection.stream.end("served");
    },
    onRefused: (error: Error) => refusals.push(error),
  };
  await withBench(options, async ({ dial }) => {
    const first = await dial();
    await assert.rejects(readText(first.stream), Truncated);
    assert.match(refusals[0].message, /the handler failed/);
    const second = await dial();
    assert.equal(await readText(second.stream), "served");
    second.stream.end();
  });
});

Deno.test("close() frees the port and leaves connections up", async () => {
  await withBench({}, async ({ listener, connections, dial }) => {
    const client = await dial();
    const accepted = await connections.next();
    await listener.close();
    await assert.rejects(dial(), ConnectionFailed);
    const again = await listen({
      hostname: "127.0.0.1",
      port: listener.port,
      offers,
      trust,
      onConnection() {},
    });
    await again.close();
    accepted.stream.end("still here");
    assert.equal(await readText(client.stream), "still here");
    client.stream.end();
  });
});

Deno.test("close() ends handshakes that are under way", async () => {
  await withBench({}, async ({ listener, refusals }) => {
    const silent = connectTcp(listener.port, "127.0.0.1");
    silent.resume();
    await once(silent, "connect");
    // The listener has taken the connection once a second one, which was made after it, has its refusal.
    const other = connectTcp(listener.port, "127.0.0.1");
    other.resume();
    other.end("no hello");
    await refusals.next();
    const gone = closed(silent);
    await listener.close();
    await gone;
    const refusal = await refusals.next();
    assert.ok(refusal instanceof ConnectionFailed);
    assert.match(refusal.message, /the listener was closed/);
  });
});

Deno.test("listen() says that the port is taken", async () => {
  await withBench({}, async ({ listener: { port } }) => {
    await assert.rejects(
      listen({ hostname: "127.0.0.1", port, offers, trust, onConnection() {} }),
      (error: unknown) => error instanceof TlsError && error.message.includes(`127.0.0.1:${port}`),
    );
  });
});

Deno.test("listen() checks its options first, and quotes what it got", async () => {
  const good = { hostname: "127.0.0.1", port: 0, offers, trust, onConnection() {} };
  await assert.rejects(listen({ ...good, port: 65_536 }), /port: .*65536/);
  await assert.rejects(listen({ ...good, handshakeTimeout: 0 }), /handshakeTimeout: .* got 0/);
  await assert.rejects(listen({ ...good, handshakeTimeout: 2 ** 31 }), /handshakeTimeout: .* got 2147483648/);
  await assert.rejects(listen({ ...good, maxConnections: 1.5 }), /maxConnections: .* got 1\.5/);
  await assert.rejects(listen({ ...good, trust: "" }), BadCredentials);
  await assert.rejects(
    listen({ ...good, offers: [{ profile, credentials: { ...server, certificateChain: "x" } }] }),
    BadCredentials,
  );
  await assert.rejects(
    listen({ ...good, offers: [{ profile, credentials: { ...server, privateKey: "x" } }] }),
    BadCredentials,
  );
  await assert.rejects(
    listen({ ...good, offers: [{ profile, credentials: { ...server, privateKey: vehicle.privateKey } }] }),
    (error: unknown) => error instanceof BadCredentials && !error.message.includes("BEGIN"),
  );
});
