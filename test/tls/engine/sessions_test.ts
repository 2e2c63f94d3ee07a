// Resumption: by tickets, each good for once; the peer's verified identity stays with the session.

import assert from "node:assert/strict";
import { EngineClient, EngineServer } from "../../../src/tls/engine/endpoint.ts";
import { Instance } from "../../../src/tls/engine/instance.ts";
import { client, deliver, handshake, offer, pki, profiles, server, settle } from "./support.ts";

Deno.test("a second connection resumes, keeps both identities, and exchanges a key by the profile's group again", async () => {
  for (const id of [2, 8]) {
    const [engineClient, engineServer] = [await client(id), await server(id)];
    handshake(engineClient, engineServer);
    const { near, far } = handshake(engineClient, engineServer);
    const shown = await pki(profiles[id].certificateAlgorithm);
    for (const [end, certificates] of [[near, shown.server], [far, shown.client]] as const) {
      const negotiated = end.negotiated();
      assert.equal(negotiated?.resumed, true);
      assert.equal(negotiated?.group, profiles[id].groups[0]);
      assert.equal(negotiated?.peerSignatureScheme, undefined);
      assert.deepEqual(negotiated?.peerCertificates, certificates.certificateChain);
    }
  }
});

Deno.test("a ticket is good for once: the same ClientHello sent again leads to a full handshake", async () => {
  const [engineClient, engineServer] = [await client(2), await server(2)];
  handshake(engineClient, engineServer);
  const near = engineClient.connect("localhost");
  const hello = near.take() ?? new Uint8Array();
  const far = engineServer.accept();
  far.feed(hello);
  const answer = far.take() ?? new Uint8Array();
  const replayed = engineServer.accept();
  replayed.feed(hello);
  const full = replayed.take() ?? new Uint8Array();
  // The full handshake's flight carries a certificate and a signature: it is several hundred bytes longer.
  assert.ok(full.length > answer.length + 500, `${full.length} and ${answer.length} bytes`);
  near.feed(answer);
  settle(near, far);
  assert.equal(far.negotiated()?.resumed, true);
});

Deno.test("tickets of one server are nothing to another", async () => {
  const engineClient = await client(2);
  handshake(engineClient, await server(2));
  const { near, far } = handshake(engineClient, await server(2));
  assert.equal(far.negotiated()?.resumed, false);
  assert.equal(near.established, true);
});

Deno.test("with no sessions kept, and with resumption off, every handshake is a full one", async () => {
  const pairs = [
    [await client(2), await server(2, { sessions: 0 })],
    [await client(2, { resumption: false }), await server(2)],
  ] as const;
  for (const [engineClient, engineServer] of pairs) {
    handshake(engineClient, engineServer);
    assert.equal(handshake(engineClient, engineServer).far.negotiated()?.resumed, false);
  }
});

Deno.test("a server keeps as many sessions as it was told, and forgets the oldest", async () => {
  const engineServer = await server(2, { sessions: 2 });
  const clients = [await client(2), await client(2), await client(2)];
  for (const each of clients) handshake(each, engineServer);
  assert.equal(handshake(clients[0], engineServer).far.negotiated()?.resumed, false);
});

Deno.test("a session ends with its time, and with the certificate that it stands on", async () => {
  let now = Date.now();
  const instance = new Instance({ random: (bytes) => crypto.getRandomValues(bytes), now: () => now });
  const { trust, server: ofServer, client: ofClient } = await pki("ECDSA P-256");
  const engineServer = new EngineServer({ offers: [offer(profiles[2], ofServer)], trust }, () => instance);
  const engineClient = new EngineClient({ offer: offer(profiles[2], ofClient), trust }, () => instance);
  handshake(engineClient, engineServer);
  now += 11 * 60 * 60 * 1000;
  assert.equal(handshake(engineClient, engineServer).far.negotiated()?.resumed, true);
  now += 13 * 60 * 60 * 1000;
  assert.equal(handshake(engineClient, engineServer).far.negotiated()?.resumed, false);

  // The certificates are valid for 30 days: six hours after the last session began they have ended.
  now = Date.now() + 30 * 24 * 60 * 60 * 1000 - 60 * 60 * 1000;
  handshake(engineClient, engineServer);
  now += 6 * 60 * 60 * 1000;
  const near = engineClient.connect("localhost");
  const far = engineServer.accept();
  deliver(near, far);
  settle(far, near);
  const failures = [near.failure?.name, far.failure?.name];
  assert.ok(failures.includes("CertificateExpired"), `got ${failures}`);
});
