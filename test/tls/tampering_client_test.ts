// listen() against a client made by hand that breaks one rule at a time: each is refused with its own error here and its own
// alert there, and the listener serves on.

import assert from "node:assert/strict";
import { sign } from "node:crypto";
import {
  BadCertificateSignature,
  BadFinished,
  BadHandshakeSignature,
  BadRecord,
  NoCommonCipherSuite,
  NoCommonGroup,
  NoCommonSignatureScheme,
  RecordOverflow,
  UnexpectedMessage,
} from "../../src/tls/engine/failures.ts";
import {
  BadCertificate,
  CertificateRequired,
  ProtocolVersion,
  ProtocolViolation,
  UnknownIssuer,
} from "../../src/tls/errors.ts";
import { foreignAuthority, readText, server, vehicle, withBench } from "./bench.ts";
import { clientLeaf } from "../support/certificates.ts";
import { group } from "./peer/key_exchange.ts";
import {
  certificate,
  certificateVerify,
  extensionType,
  message,
  messageType,
  signedContent,
  u16,
  vector,
} from "./peer/messages.ts";
import { HandClient } from "./peer/peer.ts";
import { contentType } from "./peer/records.ts";
import {
  type Alert,
  alerts,
  type ErrorClass,
  flip,
  instead,
  withoutMessage,
  withSerialFlipped,
} from "./peer/tampering.ts";
import { assertError, servesOn, withClient } from "./peer/client_bench.ts";

Deno.test("listen() serves a client made by hand, whose messages are as RFC 8446 has them", async () => {
  await withBench({ profiles: [2] }, async (bench) => {
    await withClient(bench, async (client) => {
      await client.handshake();
      const { stream, peer, negotiated } = await bench.connections.next();
      assert.equal(peer.commonName, "vehicle-KMHXX00XXXX000001");
      assert.deepEqual(negotiated, {
        protocol: "TLSv1.3",
        cipherSuite: "TLS_AES_128_GCM_SHA256",
        group: "X25519MLKEM768",
        signatureScheme: "ecdsa_secp256r1_sha256",
        resumed: false,
      });
      await client.writeText("by hand, ");
      await client.updateKey(0);
      // Records may be empty (RFC 8446 section 5.1) and padded (5.4).
      await client.writeText("");
      await client.records.send(
        client.records.sealed(contentType.applicationData, new TextEncoder().encode("with "), 1000),
      );
      await client.writeText("new keys");
      await client.closeNotify();
      assert.equal(await readText(stream), "by hand, with new keys");
      stream.end("and back");
      assert.equal(await client.readText(8), "and back");
      assert.equal(await client.lastWord(), 0);
    });
  });
});

Deno.test("listen() asks for a share of its group with a HelloRetryRequest, once", async () => {
  await withBench({ profiles: [2] }, async (bench) => {
    await withClient(bench, async (client) => {
      await client.hello({ shareGroups: [] });
      assert.equal(await client.retryRequest(), group.x25519MlKem768);
      await client.hello();
      await client.serverFlight();
      await client.finish();
      const { stream, negotiated } = await bench.connections.next();
      assert.equal(negotiated.group, "X25519MLKEM768");
      await client.closeNotify();
      assert.equal(await readText(stream), "");
      stream.end();
    });
  });
});

/** A handshake that the listener refuses. */
interface Refused {
  act: (client: HandClient) => Promise<void>;
  error: ErrorClass;
  alert: Alert;
  own?: typeof vehicle;
}

const { finished, certificateVerify: verifyType, certificate: certificateType } = messageType;

const refused: Record<string, Refused> = {
  "whose Finished is wrong": {
    act: (client) => client.handshake({}, flip(finished)),
    error: BadFinished,
    alert: "decrypt_error",
  },
  "whose CertificateVerify is wrong by a bit": {
    act: (client) => client.handshake({}, flip(verifyType)),
    error: BadHandshakeSignature,
    alert: "decrypt_error",
  },
  "whose CertificateVerify signs what a server signs": {
    act: (client) =>
      client.handshake({}, (type, made) =>
        type === verifyType
          ? certificateVerify(
            0x0403,
            sign("sha256", signedContent("server", client.transcriptHash), client.key),
          )
          : made),
    error: BadHandshakeSignature,
    alert: "decrypt_error",
  },
  "whose CertificateVerify signs another handshake": {
    act: (client) =>
      client.handshake(
        {},
        (type, made) =>
          type === verifyType
            ? certificateVerify(
              0x0403,
              sign("sha256", signedContent("client", new Uint8Array(32)), client.key),
            )
            : made,
      ),
    error: BadHandshakeSignature,
    alert: "decrypt_error",
  },
  "whose CertificateVerify has a scheme that was not asked for": {
    act: (client) =>
      client.handshake({}, (type, made) => {
        if (type === verifyType) made[5] = 0x01; // rsa_pkcs1_sha256, 0x0401
        return made;
      }),
    error: ProtocolViolation,
    alert: "illegal_parameter",
  },
  "whose certificate was tampered with": {
    act: (client) =>
      client.handshake(
        {},
        (type, made) => type === certificateType ? certificate(client.chain.map(withSerialFlipped)) : made,
      ),
    error: BadCertificateSignature,
    alert: "decrypt_error",
  },
  "that shows no certificate": {
    act: (client) =>
      client.handshake(
        {},
        (type, made) => type === certificateType ? certificate([]) : type === verifyType ? undefined : made,
      ),
    error: CertificateRequired,
    alert: "certificate_required",
  },
  "that shows what is no certificate": {
    act: (client) => client.handshake({}, instead(certificateType, certificate([Uint8Array.of(1, 2, 3)]))),
    error: BadCertificate,
    alert: "bad_certificate",
  },
  "with a certificate of a foreign authority": {
    act: (client) => client.handshake(),
    own: await clientLeaf(foreignAuthority),
    error: UnknownIssuer,
    alert: "unknown_ca",
  },
  "that leaves out Certificate": {
    act: (client) => client.handshake({}, withoutMessage(certificateType)),
    error: UnexpectedMessage,
    alert: "unexpected_message",
  },
  "that leaves out CertificateVerify": {
    act: (client) => client.handshake({}, withoutMessage(verifyType)),
    error: UnexpectedMessage,
    alert: "unexpected_message",
  },
  "that sends data before Finished": {
    act: async (client) => {
      await client.hello();
      await client.serverFlight();
      await client.writeText("too early");
      await client.finish(() => undefined);
    },
    error: UnexpectedMessage,
    alert: "unexpected_message",
  },
  "that begins with Finished": {
    act: (client) => client.hello({}, () => message(finished, new Uint8Array(32))),
    error: UnexpectedMessage,
    alert: "unexpected_message",
  },
  "of TLS 1.2": {
    act: (client) => client.hello({ versions: null }),
    error: ProtocolVersion,
    alert: "protocol_version",
  },
  "that offers TLS 1.2 in supported_versions": {
    act: (client) => client.hello({ versions: [0x0303] }),
    error: ProtocolVersion,
    alert: "protocol_version",
  },
  "with classical groups alone": {
    act: (client) => client.hello({ groups: [group.x25519, group.secp256r1], shareGroups: [group.x25519] }),
    error: NoCommonGroup,
    alert: "handshake_failure",
  },
  "whose only share is of a group that it does not offer": {
    act: (client) => client.hello({ groups: [group.x25519], shareGroups: [group.x25519MlKem768] }),
    error: NoCommonGroup,
    alert: "handshake_failure",
  },
  "with cipher suites of TLS 1.2 alone": {
    act: (client) => client.hello({ suites: [0xc02b, 0xc02f] }),
    error: NoCommonCipherSuite,
    alert: "handshake_failure",
  },
  "that cannot check ECDSA": {
    act: (client) => client.hello({ schemes: [0x0804, 0x0401] }),
    error: NoCommonSignatureScheme,
    alert: "handshake_failure",
  },
  "with compression": {
    act: (client) => client.hello({ compressions: [1] }),
    error: ProtocolViolation,
    alert: "illegal_parameter",
  },
  "with an extension twice": {
    act: (client) => client.hello({ more: [[extensionType.supportedVersions, [2, 3, 4]]] }),
    error: ProtocolViolation,
    alert: "illegal_parameter",
  },
  "with a share that is too short": {
    act: (client) => client.hello({ shares: [{ group: group.x25519MlKem768, share: new Uint8Array(1215) }] }),
    error: ProtocolViolation,
    alert: "illegal_parameter",
  },
  "with an ML-KEM key whose coefficients are not reduced": {
    act: (client) =>
      client.hello({
        shares: [{ group: group.x25519MlKem768, share: new Uint8Array(1216).fill(0xff) }],
      }),
    error: ProtocolViolation,
    alert: "illegal_parameter",
  },
  "with an X25519 share of low order": {
    act: async (client) => {
      const { ml_kem768 } = await import("@noble/post-quantum/ml-kem.js");
      const share = Uint8Array.of(...ml_kem768.keygen().publicKey, ...new Uint8Array(32));
      await client.hello({ shares: [{ group: group.x25519MlKem768, share }] });
    },
    error: ProtocolViolation,
    alert: "illegal_parameter",
  },
  "that answers a HelloRetryRequest without the share": {
    act: async (client) => {
      await client.hello({ shareGroups: [] });
      await client.retryRequest();
      await client.hello({ shareGroups: [] });
    },
    error: ProtocolViolation,
    alert: "illegal_parameter",
  },
  "that says hello twice": {
    act: async (client) => {
      await client.hello();
      await client.serverFlight();
      client.records.writing = undefined;
      await client.hello();
      await client.finish(() => undefined);
    },
    error: ProtocolViolation,
    alert: "unexpected_message",
  },
  "with a record of an unknown content type": {
    act: (client) => client.records.send(Uint8Array.of(99, 3, 3, 0, 1, 0)),
    error: ProtocolViolation,
    alert: "unexpected_message",
  },
  "with an empty handshake record": {
    act: async (client) => {
      await client.records.write(contentType.handshake, new Uint8Array());
      await client.hello();
    },
    error: ProtocolViolation,
    alert: "decode_error",
  },
  "with a plain record of 16 KiB + 1": {
    act: (client) => client.records.write(contentType.handshake, new Uint8Array(16_385)),
    error: RecordOverflow,
    alert: "record_overflow",
  },
  "whose message does not end where it says": {
    act: (client) =>
      client.hello({}, (_type, made) => {
        made[3]--; // One octet less than there is.
        return made;
      }),
    error: ProtocolViolation,
    alert: "decode_error",
  },
  "that sends a flipped record in the handshake": {
    act: async (client) => {
      await client.hello();
      await client.serverFlight();
      const record = client.records.sealed(contentType.handshake, certificate(client.chain));
      record[record.length - 1] ^= 1;
      await client.records.send(record);
      await client.finish(() => undefined);
    },
    error: BadRecord,
    alert: "bad_record_mac",
  },
};

for (const [what, { act, error, alert, own }] of Object.entries(refused)) {
  Deno.test(`listen() refuses a client ${what}, and serves on`, async () => {
    await withBench({ profiles: [2] }, async (bench) => {
      await withClient(bench, async (client) => {
        await act(client);
        assertError(await bench.refusals.next(), error, alert);
        assert.equal(await client.lastWord(), alerts[alert]);
      }, own);
      assert.equal(bench.connections.waiting, 0);
      await servesOn(bench);
    });
  });
}

Deno.test("listen() completes no handshake with a first flight that it has seen before", async () => {
  await withBench({ profiles: [2] }, async (bench) => {
    const recorded = await HandClient.connect(bench.listener.port, vehicle, server);
    await recorded.handshake();
    await recorded.writeText("START_OTA_UPDATE");
    await recorded.closeNotify();
    const { stream } = await bench.connections.next();
    assert.equal(await readText(stream), "START_OTA_UPDATE");
    stream.end();
    recorded.close();

    // Everything that went out, again: ClientHello, the second flight and the data.
    await withClient(bench, async (replaying) => {
      for (const bytes of recorded.records.sent) await replaying.records.send(bytes);
      assertError(await bench.refusals.next(), BadRecord, "bad_record_mac");
    });
    assert.equal(bench.connections.waiting, 0);
    await servesOn(bench);
  });
});

Deno.test("listen() passes over early data, which nobody may send it, and never gives it out", async () => {
  await withBench({ profiles: [2] }, async (bench) => {
    await withClient(bench, async (client) => {
      // A ticket that nobody has given out, with early data behind it (RFC 8446 sections 4.2.10 and 4.2.11).
      const identity = [...vector(2, new Uint8Array(64)), 0, 0, 0, 0];
      const preSharedKey = [...vector(2, identity), ...vector(2, vector(1, new Uint8Array(32)))];
      await client.hello({
        more: [
          [extensionType.pskKeyExchangeModes, [1, 1]],
          [extensionType.earlyData, []],
          [extensionType.preSharedKey, preSharedKey],
        ],
      });
      const early = Uint8Array.of(23, 3, 3, ...u16(100), ...crypto.getRandomValues(new Uint8Array(100)));
      await client.records.send(early);
      await client.serverFlight();
      await client.finish();
      await client.writeText("in time");
      await client.closeNotify();
      const { stream, negotiated } = await bench.connections.next();
      assert.equal(negotiated.resumed, false);
      assert.equal(await readText(stream), "in time");
      stream.end();
    });
    await servesOn(bench);
  });
});
