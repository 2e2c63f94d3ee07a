import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { connect } from "../../src/tls/connect.ts";
import {
  BadCredentials,
  CertificateExpired,
  CertificateNotYetValid,
  ConnectionFailed,
  HandshakeTimeout,
  NameMismatch,
  type TlsError,
  UnknownIssuer,
  WrongKeyUsage,
} from "../../src/tls/errors.ts";
import type { Credentials } from "../../src/tls/types.ts";
import { clientLeaf, serverLeaf } from "../support/certificates.ts";
import { authority, foreignAuthority, trust, vehicle, withBench } from "./bench.ts";

/** A server that accepts and never says a word. */
async function withSilentServer(run: (port: number) => Promise<void>): Promise<void> {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => {
    socket.on("error", () => {});
    sockets.push(socket.resume());
  });
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const address = silent.address();
  assert.ok(typeof address === "object" && address !== null);
  try {
    await run(address.port);
  } finally {
    for (const socket of sockets) {
      socket.destroy();
      if (!socket.closed) await once(socket, "close");
    }
    await new Promise<void>((resolve) => silent.close(() => resolve()));
  }
}

Deno.test("connect() says who the server is", async () => {
  await withBench({}, async ({ dial }) => {
    const { peer, negotiated, remoteAddress } = await dial();
    assert.equal(peer.commonName, "server");
    assert.deepEqual(peer.organizationalUnits, []);
    assert.equal(negotiated.protocol, "TLSv1.3");
    assert.equal(negotiated.group, "X25519MLKEM768");
    assert.equal(negotiated.signatureScheme, "ecdsa_secp256r1_sha256");
    assert.equal(negotiated.cipherSuite, "TLS_CHACHA20_POLY1305_SHA256");
    assert.equal(remoteAddress, "127.0.0.1");
  });
});

Deno.test("connect() leaves from the address that is asked for, and says so where that is not this machine's", async () => {
  await withBench({}, async ({ connections, dial }) => {
    const { localAddress } = await dial({ localAddress: "127.0.79.7" });
    assert.equal(localAddress, "127.0.79.7");
    assert.equal((await connections.next()).remoteAddress, "127.0.79.7");
    // 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
    await assert.rejects(dial({ localAddress: "192.0.2.7" }), ConnectionFailed);
  });
});

Deno.test("connect() takes a name, any of the certificate's, in any case", async () => {
  await withBench({}, async ({ dial }) => {
    for (const serverName of ["localhost", "LocalHost", "127.0.0.1"]) await dial({ serverName });
  });
});

const refusedServers: [string, () => Promise<Credentials>, new (message: string) => TlsError][] = [
  ["of a foreign authority", () => serverLeaf(foreignAuthority), UnknownIssuer],
  ["that has ended", () => serverLeaf(authority, { begins: -40 }), CertificateExpired],
  ["that is not valid yet", () => serverLeaf(authority, { begins: 40 }), CertificateNotYetValid],
  ["for another name", () => serverLeaf(authority, { names: ["elsewhere.example"] }), NameMismatch],
  ["for another address", () => serverLeaf(authority, { names: ["127.0.0.2"] }), NameMismatch],
  [
    "with the name in its common name only",
    () => serverLeaf(authority, { names: [], commonName: "127.0.0.1" }),
    NameMismatch,
  ],
  ["that is a vehicle's", () => clientLeaf(authority, { names: ["127.0.0.1"] }), WrongKeyUsage],
];
for (const [what, make, expected] of refusedServers) {
  Deno.test(`connect() refuses a server's certificate ${what}`, async () => {
    await withBench({ credentials: await make() }, async ({ dial }) => {
      await assert.rejects(dial(), (error: unknown) => {
        assert.ok(error instanceof expected, `expected ${expected.name}, got ${error}`);
        return true;
      });
    });
  });
}

Deno.test("connect() refuses a name that the certificate does not carry", async () => {
  await withBench({}, async ({ dial }) => {
    for (const serverName of ["other.example", "127.0.0.2", "::1"]) {
      await assert.rejects(dial({ serverName }), (error: unknown) => {
        return error instanceof NameMismatch && error.message.includes(serverName) &&
          error.message.includes("localhost");
      });
    }
  });
});

Deno.test("connect() gives up on a server that says nothing", async () => {
  await withSilentServer(async (port) => {
    await assert.rejects(
      connect({ hostname: "127.0.0.1", port, credentials: vehicle, trust, timeout: 100 }),
      (error: unknown) => error instanceof HandshakeTimeout && error.message.includes("100 ms"),
    );
  });
});

Deno.test("connect() ends with the signal's reason, before it begins and while it waits", async () => {
  await withSilentServer(async (port) => {
    const options = { hostname: "127.0.0.1", port, credentials: vehicle, trust };
    const reason = new Error("no longer wanted");
    await assert.rejects(connect({ ...options, signal: AbortSignal.abort(reason) }), reason);
    const controller = new AbortController();
    const attempt = connect({ ...options, signal: controller.signal });
    setTimeout(() => controller.abort(reason), 50);
    await assert.rejects(attempt, reason);
  });
});

Deno.test("connect() says that nobody listens", async () => {
  let port = 0;
  await withSilentServer((free) => Promise.resolve(void (port = free)));
  await assert.rejects(
    connect({ hostname: "127.0.0.1", port, credentials: vehicle, trust }),
    (error: unknown) =>
      error instanceof ConnectionFailed && error.message.includes(`127.0.0.1:${port}`) &&
      error.cause instanceof Error,
  );
});

Deno.test("connect() checks its options first, and quotes what it got", async () => {
  const good = { hostname: "127.0.0.1", port: 1, credentials: vehicle, trust };
  await assert.rejects(connect({ ...good, port: 0 }), /port: .* got 0/);
  await assert.rejects(connect({ ...good, timeout: -1 }), /timeout: .* got -1/);
  await assert.rejects(connect({ ...good, trust: "nothing" }), BadCredentials);
  await assert.rejects(
    connect({ ...good, credentials: { certificateChain: "", privateKey: "" } }),
    BadCredentials,
  );
});
