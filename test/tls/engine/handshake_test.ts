// Handshakes of the engine with itself: every profile, the choice between profiles, names, ALPN, keys that change.

import assert from "node:assert/strict";
import { EngineServer } from "../../../src/tls/engine/endpoint.ts";
import {
  client,
  deliver,
  groupNumbers,
  groupOnWire,
  handshake,
  offer,
  pki,
  profiles,
  readAll,
  schemeOf,
  server,
  settle,
} from "./support.ts";

for (const profile of profiles) {
  Deno.test(`profile ${profile.id} (${profile.groups[0]}, ${profile.certificateAlgorithm}) is what the handshake reports`, async () => {
    const near = (await client(profile.id)).connect("localhost");
    const far = (await server(profile.id)).accept();
    deliver(near, far);
    deliver(far, near, (flight) => {
      assert.equal(groupOnWire(flight), groupNumbers[profile.groups[0]]);
      return flight;
    });
    settle(near, far);
    const { client: shownByClient, server: shownByServer } = await pki(profile.certificateAlgorithm);
    const scheme = schemeOf[profile.certificateAlgorithm];
    for (const [end, peerCertificate] of [[near, shownByServer], [far, shownByClient]] as const) {
      assert.equal(end.failure, undefined);
      assert.deepEqual(end.negotiated(), {
        protocol: "TLSv1.3",
        cipherSuite: "TLS_CHACHA20_POLY1305_SHA256",
        group: profile.groups[0],
        peerSignatureScheme: scheme,
        ownSignatureScheme: scheme,
        resumed: false,
        peerCertificates: peerCertificate.certificateChain,
      });
    }
    near.write(new TextEncoder().encode("from the vehicle"));
    far.write(new TextEncoder().encode("from the server"));
    settle(near, far);
    assert.equal(new TextDecoder().decode(readAll(far)), "from the vehicle");
    assert.equal(new TextDecoder().decode(readAll(near)), "from the server");
    near.free();
    far.free();
  });
}

Deno.test("every group of the engine works with itself, the two hybrids that no profile leads with as well", async () => {
  for (const group of ["SecP256r1MLKEM768", "SecP384r1MLKEM1024", "X25519MLKEM768", "X25519"]) {
    const { trust, server: shown, client: shownByClient } = await pki("ECDSA P-256");
    const only = { ...profiles[2], groups: [group] };
    const { near, far } = handshake(
      await client(2, { offer: offer(only, shownByClient), trust }),
      await server(2, { offers: [offer(only, shown)] }),
    );
    assert.equal(near.negotiated()?.group, group);
    assert.equal(far.negotiated()?.group, group);
  }
});

Deno.test("each cipher suite carries data, and the server's order of suites counts", async () => {
  const suites = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
  const data = crypto.getRandomValues(new Uint8Array(50_000));
  for (const first of suites) {
    const { near, far } = handshake(
      await client(2, { cipherSuites: suites }),
      await server(2, { cipherSuites: [first, ...suites.filter((suite) => suite !== first)] }),
    );
    assert.equal(near.negotiated()?.cipherSuite, first);
    assert.equal(near.write(data), data.length);
    settle(near, far);
    assert.deepEqual(readAll(far), data);
  }
});

Deno.test("a server of several profiles takes the first that the client has, with that profile's own chain", async () => {
  const ids = [12, 8, 2, 0];
  const trust = (await Promise.all(ids.map((id) => pki(profiles[id].certificateAlgorithm)))).flatMap((one) =>
    one.trust
  );
  const offers = await Promise.all(
    ids.map(async (id) => offer(profiles[id], (await pki(profiles[id].certificateAlgorithm)).server)),
  );
  const all = new EngineServer({ offers, trust });
  for (const id of ids) {
    const { near, far } = handshake(await client(id), all);
    assert.equal(far.negotiated()?.group, profiles[id].groups[0], `profile ${id}`);
    assert.equal(far.negotiated()?.ownSignatureScheme, schemeOf[profiles[id].certificateAlgorithm]);
    assert.equal(near.failure, undefined);
  }
});

Deno.test("the server's order of groups counts, even if the client has to send its key share again", async () => {
  const { trust, server: shown, client: shownByClient } = await pki("ECDSA P-256");
  const { near, far } = handshake(
    await client(2, {
      offer: offer({ ...profiles[2], groups: ["MLKEM768", "X25519MLKEM768"] }, shownByClient),
    }),
    new EngineServer({ offers: [offer(profiles[2], shown)], trust }),
  );
  assert.equal(far.negotiated()?.group, "X25519MLKEM768");
  assert.equal(near.established, true);
});

Deno.test("a server's certificate may carry an address, and the client asks for it by the address", async () => {
  const near = (await client(2)).connect("127.0.0.1");
  const far = (await server(2)).accept();
  settle(near, far);
  assert.equal(near.established, true);
});

Deno.test("an application protocol is agreed on by ALPN", async () => {
  const { near, far } = handshake(
    await client(2, { applicationProtocols: ["mqtt", "http/1.1"] }),
    await server(2, { applicationProtocols: ["http/1.1"] }),
  );
  assert.equal(near.negotiated()?.alpn, "http/1.1");
  assert.equal(far.negotiated()?.alpn, "http/1.1");
});

Deno.test("what a client offers can be told before and after the handshake", async () => {
  const { near, far } = handshake(await client(3), await server(3));
  assert.equal(near.offered(), undefined);
  assert.deepEqual(far.offered(), {
    versions: ["TLSv1.3"],
    cipherSuites: [
      "TLS_CHACHA20_POLY1305_SHA256",
      "TLS_AES_256_GCM_SHA384",
      "TLS_AES_128_GCM_SHA256",
    ],
    groups: ["SecP384r1MLKEM1024", "MLKEM1024"],
    signatureSchemes: ["ecdsa_secp256r1_sha256"],
  });
});

Deno.test("a handshake that arrives byte by byte is as good as one in one piece", async () => {
  const near = (await client(7)).connect("localhost");
  const far = (await server(7)).accept();
  for (let round = 0; round < 4; round++) {
    for (const [from, to] of [[near, far], [far, near]]) {
      for (const byte of from.take() ?? []) assert.equal(to.feed(Uint8Array.of(byte)), 1);
    }
  }
  assert.equal(near.established, true);
  assert.equal(far.established, true);
});

Deno.test("traffic keys change in both directions, and data goes on", async () => {
  const { near, far } = handshake(await client(2), await server(2));
  for (let round = 0; round < 5; round++) {
    (round % 2 === 0 ? near : far).updateKeys();
    settle(near, far);
    near.write(Uint8Array.of(round));
    far.write(Uint8Array.of(100 + round));
    settle(near, far);
    assert.deepEqual([...readAll(far)], [round]);
    assert.deepEqual([...readAll(near)], [100 + round]);
  }
});

Deno.test("either end may close its half while the other goes on writing", async () => {
  const { near, far } = handshake(await client(2), await server(2));
  near.closeNotify();
  settle(near, far);
  assert.equal(far.peerClosed, true);
  assert.equal(near.write(Uint8Array.of(1)), 0);
  assert.equal(far.write(Uint8Array.of(2)), 1);
  far.closeNotify();
  settle(near, far);
  assert.deepEqual([...readAll(near)], [2]);
  near.endOfInput();
  far.endOfInput();
  assert.equal(near.failure, undefined);
  assert.equal(far.failure, undefined);
});

Deno.test("nothing is held without bound: a full connection takes no more until it is read and taken", async () => {
  const { near, far } = handshake(await client(2), await server(2));
  const data = crypto.getRandomValues(new Uint8Array(65_536));
  let written = 0;
  for (let count = near.write(data); count > 0; count = near.write(data)) written += count;
  assert.ok(near.takable < 400_000, `${near.takable} bytes wait to be taken`);

  let sent = 0;
  let taken: number;
  do {
    const ciphertext = near.take() ?? new Uint8Array();
    taken = far.feed(ciphertext);
    sent += ciphertext.length;
    if (taken < ciphertext.length) break;
    written += near.write(data);
  } while (sent < 2_000_000);
  assert.ok(far.readable < 400_000, `${far.readable} bytes wait to be read`);
  assert.ok(sent < 2_000_000, "the far end has taken it all");
});
