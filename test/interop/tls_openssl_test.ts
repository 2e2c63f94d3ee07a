// The engine against OpenSSL 3.5 (Node.js 24's), each as client and as server, on every profile with mutual TLS.

import assert from "node:assert/strict";
import type { EngineConnection } from "../../src/tls/engine/connection.ts";
import { interopTest } from "../support/peers.ts";
import {
  client,
  groupNumbers,
  groupOnWire,
  makePki,
  offer,
  pki,
  profiles,
  schemeOf,
  server,
} from "../tls/engine/support.ts";
import { certificates, credentials, OpenSsl, openssl } from "./tls_openssl_process.ts";

/** What crossed the wire, as the engine's end saw it. */
interface Wire {
  sent: Uint8Array[];
  received: Uint8Array[];
}

/** Moves bytes between an engine's end and a socket until `done`, or until the socket or the connection ends. */
async function drive(
  end: EngineConnection,
  socket: Deno.TcpConn,
  done: () => boolean,
  wire: Wire = { sent: [], received: [] },
): Promise<void> {
  const send = async () => {
    for (let ciphertext = end.take(); ciphertext !== undefined; ciphertext = end.take()) {
      wire.sent.push(ciphertext);
      for (let sent = 0; sent < ciphertext.length;) sent += await socket.write(ciphertext.subarray(sent));
    }
  };
  const buffer = new Uint8Array(65_536);
  await send();
  while (!done() && end.failure === undefined) {
    const length = await socket.read(buffer);
    if (length === null) return end.endOfInput();
    wire.received.push(buffer.slice(0, length));
    assert.equal(end.feed(buffer.subarray(0, length)), length);
    await send();
  }
}

const caseName = (id: number) => `profile ${id}`;

interopTest(
  "an OpenSSL 3.5 server accepts the engine on every profile, and its ServerHello has the group that the engine reports",
  [
    openssl,
  ],
  async () => {
    await using peer = new OpenSsl();
    await peer.start(
      await Promise.all(profiles.map(async ({ id, groups, certificateAlgorithm }) => {
        const { server: shown, trust } = await pki(certificateAlgorithm);
        return { role: "server", name: caseName(id), groups, ...credentials(shown), ca: certificates(trust) };
      })),
    );
    for (const { id, groups, certificateAlgorithm } of profiles) {
      const name = caseName(id);
      using socket = await Deno.connect({
        hostname: "127.0.0.1",
        port: await peer.expect(name, ({ port }) => port),
      });
      const near = (await client(id)).connect("localhost");
      const wire: Wire = { sent: [], received: [] };
      await drive(near, socket, () => near.established, wire);
      assert.equal(near.failure, undefined, name);
      const negotiated = near.negotiated();
      assert.equal(negotiated?.group, groups[0], name);
      assert.equal(groupOnWire(wire.received[0]), groupNumbers[groups[0]], name);
      assert.equal(negotiated?.peerSignatureScheme, schemeOf[certificateAlgorithm], name);
      assert.equal(negotiated?.ownSignatureScheme, schemeOf[certificateAlgorithm], name);

      near.write(new TextEncoder().encode("from the engine"));
      near.updateKeys();
      near.write(new TextEncoder().encode(", twice"));
      let text = "";
      await drive(near, socket, () => {
        text += new TextDecoder().decode(near.read());
        return text.length >= "from the engine, twice".length;
      });
      assert.equal(text, "from the engine, twice");
      const line = await peer.expect(name, (line) => line.established === undefined ? undefined : line);
      assert.equal(line.peer, "client");
      assert.equal(line.established?.version, "TLSv1.3");
      assert.equal(line.established?.cipher, negotiated?.cipherSuite);
      near.free();
    }
  },
);

interopTest(
  "an OpenSSL 3.5 client is accepted by the engine on every profile, and resumes",
  [openssl],
  async () => {
    await using peer = new OpenSsl();
    for (const { id, groups, certificateAlgorithm } of profiles) {
      const name = caseName(id);
      const { client: shown, trust } = await pki(certificateAlgorithm);
      using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      await peer.start([{
        role: "client",
        name,
        groups,
        ...credentials(shown),
        ca: certificates(trust),
        port: listener.addr.port,
        resume: true,
      }]);
      const engineServer = await server(id);
      for (const resumed of [false, true]) {
        using socket = await listener.accept();
        const far = engineServer.accept();
        const wire: Wire = { sent: [], received: [] };
        let text = "";
        await drive(far, socket, () => {
          const data = far.read();
          if (data !== undefined) far.write(data);
          text += new TextDecoder().decode(data);
          return text.length >= "from OpenSSL".length;
        }, wire);
        await drive(far, socket, () => far.peerClosed);
        assert.equal(far.failure, undefined, `${name}: ${far.failure?.message}`);
        const negotiated = far.negotiated();
        assert.equal(negotiated?.group, groups[0], name);
        assert.equal(groupOnWire(wire.sent[0]), groupNumbers[groups[0]], name);
        assert.equal(negotiated?.resumed, resumed, name);
        assert.equal(
          negotiated?.peerSignatureScheme,
          resumed ? undefined : schemeOf[certificateAlgorithm],
          name,
        );
        assert.deepEqual(negotiated?.peerCertificates[0], shown.certificateChain[0], name);
        far.closeNotify();
        await drive(far, socket, () => true);
        far.free();
        assert.equal(
          await peer.expect(name, ({ established }) => established?.reused === resumed || undefined),
          true,
        );
      }
      assert.equal(await peer.expect(name, ({ echoed }) => echoed), "from OpenSSL");
    }
  },
);

interopTest(
  "an OpenSSL 3.5 client that must be refused is, with the alert that says why",
  [openssl],
  async () => {
    const { client: good, trust } = await pki("ECDSA P-256");
    const foreign = await makePki("ECDSA P-256", "Foreign CA");
    const common = {
      role: "client",
      groups: ["X25519MLKEM768"],
      ca: certificates(trust),
      ...credentials(good),
    };
    const cases = [
      {
        name: "classical groups",
        differs: { groups: ["X25519", "prime256v1"] },
        error: "NoCommonGroup",
        code: /HANDSHAKE_FAILURE/,
      },
      {
        name: "TLS 1.2",
        differs: { maxVersion: "TLSv1.2" },
        error: "ProtocolVersion",
        code: /PROTOCOL_VERSION/,
      },
      {
        name: "no certificate",
        differs: { noCertificate: true },
        error: "CertificateRequired",
        code: /CERTIFICATE_REQUIRED/,
      },
      {
        name: "foreign certificate",
        differs: credentials(foreign.client),
        error: "UnknownIssuer",
        code: /UNKNOWN_CA/,
      },
    ];
    await using peer = new OpenSsl();
    const engineServer = await server(2);
    for (const { name, differs, error, code } of cases) {
      using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      await peer.start([{ ...common, name, ...differs, port: listener.addr.port }]);
      using socket = await listener.accept();
      const far = engineServer.accept();
      await drive(far, socket, () => false);
      assert.equal(far.failure?.name, error, name);
      assert.match(await peer.expect(name, (line) => line.error), code);
      far.free();
    }
  },
);

interopTest("certificates with keys as OpenSSL writes them (seed and expanded key) serve the engine", [
  openssl,
], async () => {
  const { trust, server: { certificateChain, privateKey } } = await pki("ML-DSA-65");
  const script = `
    const { createPrivateKey } = require("node:crypto");
    const key = createPrivateKey({ key: Buffer.from(process.argv[1], "base64"), format: "der", type: "pkcs8" });
    process.stdout.write(key.export({ format: "der", type: "pkcs8" }).toString("base64"));`;
  const { success, stdout } = await new Deno.Command(openssl.command, {
    args: ["-e", script, privateKey.toBase64()],
  }).output();
  assert.equal(success, true);
  const rewritten = Uint8Array.fromBase64(new TextDecoder().decode(stdout));
  const engineServer = await server(8, {
    offers: [offer(profiles[8], { certificateChain, privateKey: rewritten })],
    trust,
  });
  const near = (await client(8)).connect("localhost");
  const far = engineServer.accept();
  for (let round = 0; round < 4; round++) {
    far.feed(near.take() ?? new Uint8Array());
    near.feed(far.take() ?? new Uint8Array());
  }
  assert.equal(near.established && far.established, true);
});
