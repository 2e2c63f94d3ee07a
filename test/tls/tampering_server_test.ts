// connect() against a server made by hand that breaks one rule at a time: each is refused with its own error here and its own
// alert there, and a good server is served by the same client afterwards.

import assert from "node:assert/strict";
import { sign } from "node:crypto";
import { profileById } from "../../src/pqc/profiles.ts";
import { connect } from "../../src/tls/connect.ts";
import {
  BadCertificateSignature,
  BadFinished,
  BadHandshakeSignature,
  BadRecord,
  PeerAlert,
  RecordOverflow,
  Truncated,
  UnexpectedMessage,
} from "../../src/tls/engine/failures.ts";
import {
  CertificateRequired,
  NameMismatch,
  ProtocolVersion,
  ProtocolViolation,
  UnknownIssuer,
  WrongKeyUsage,
} from "../../src/tls/errors.ts";
import type { Credentials, TlsConnection } from "../../src/tls/types.ts";
import { clientLeaf, serverLeaf } from "../support/certificates.ts";
import { authority, foreignAuthority, readText, server, trust, vehicle } from "./bench.ts";
import { group } from "./peer/key_exchange.ts";
import {
  certificate,
  certificateVerify,
  encryptedExtensions,
  extensionType,
  message,
  messageType,
  serverHelloExtensions,
  signedContent,
  vector,
} from "./peer/messages.ts";
import { type Change, HandServer } from "./peer/peer.ts";
import { contentType } from "./peer/records.ts";
import {
  type Alert,
  alerts,
  assertTlsError,
  type ErrorClass,
  flip,
  instead,
  withoutMessage,
  withSerialFlipped,
} from "./peer/tampering.ts";

/** Accepts one connection for a server made by hand, while connect() makes it. */
async function withServer(
  serve: (server: HandServer) => Promise<void>,
  run: (connecting: Promise<TlsConnection>) => Promise<void>,
  shown: Credentials = server,
): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  try {
    const { port } = listener.addr;
    const connecting = connect({
      hostname: "127.0.0.1",
      port,
      credentials: vehicle,
      trust,
      timeout: 20_000,
      profile: profileById(2),
    });
    connecting.catch(() => {}); // run() looks at it.
    const hand = new HandServer(await listener.accept(), shown, vehicle);
    try {
      await Promise.all([serve(hand), run(connecting)]);
    } finally {
      hand.close();
      await connecting.then(({ stream }) => stream.destroy(), () => {});
    }
  } finally {
    listener.close();
  }
}

/** connect() and a good server: whatever came before has not harmed what the connections share. */
async function connectsOn(): Promise<void> {
  await withServer(async (hand) => {
    await hand.handshake();
    await hand.writeText("served");
    await hand.closeNotify();
    assert.equal(await hand.lastWord(), 0);
  }, async (connecting) => {
    const { stream } = await connecting;
    assert.equal(await readText(stream), "served");
    stream.end();
  });
}

const assertError = (error: unknown, expected: ErrorClass, alert: Alert | undefined) =>
  assertTlsError(error, expected, alert, "TLS connection to 127.0.0.1:");

Deno.test("connect() reaches a server made by hand, and offers what its profile says and nothing else", async () => {
  await withServer(async (hand) => {
    const { suites, extensions } = await hand.readHello();
    assert.deepEqual(suites.filter((suite) => suite !== 0x00ff), [0x1303, 0x1302, 0x1301]);
    assert.deepEqual([...extensions.get(extensionType.supportedVersions) ?? []], [2, 3, 4]);
    assert.deepEqual([...extensions.get(extensionType.supportedGroups) ?? []], [0, 4, 0x11, 0xec, 2, 1]);
    assert.deepEqual([...extensions.get(extensionType.signatureAlgorithms) ?? []], [0, 2, 4, 3]);
    // An address is no server name (RFC 6066 section 3), and there is no early data.
    assert.equal(extensions.has(extensionType.serverName), false);
    assert.equal(extensions.has(extensionType.earlyData), false);
    await hand.answerHello();
    await hand.flight();
    await hand.clientFlight();
    await hand.writeText("by hand, ");
    await hand.updateKey(0);
    await hand.writeText("with new keys");
    await hand.closeNotify();
    assert.equal(await hand.readText(8), "and back");
    assert.equal(await hand.lastWord(), 0);
  }, async (connecting) => {
    const { stream, negotiated, peer } = await connecting;
    assert.equal(peer.commonName, "server");
    assert.deepEqual(negotiated, {
      protocol: "TLSv1.3",
      cipherSuite: "TLS_AES_128_GCM_SHA256",
      group: "X25519MLKEM768",
      signatureScheme: "ecdsa_secp256r1_sha256",
      resumed: false,
    });
    assert.equal(await readText(stream), "by hand, with new keys");
    stream.end("and back");
  });
});

/** A handshake that connect() refuses. */
interface Refused {
  act: (server: HandServer) => Promise<void>;
  error: ErrorClass;
  alert?: Alert;
  shown?: Credentials;
}

/** The whole flight with a change in it. */
const flight = (change: (hand: HandServer) => Change) => async (hand: HandServer) => {
  await hand.readHello();
  await hand.answerHello();
  await hand.flight(change(hand));
};

/** A first answer that is something else than a ServerHello as it should be. */
const hello = (answer: (hand: HandServer) => Promise<void>) => async (hand: HandServer) => {
  await hand.readHello();
  await answer(hand);
};

const { finished, certificateVerify: verifyType, certificate: certificateType } = messageType;

const refused: Record<string, Refused> = {
  "whose Finished is wrong": {
    act: flight(() => flip(finished)),
    error: BadFinished,
    alert: "decrypt_error",
  },
  "whose CertificateVerify is wrong by a bit": {
    act: flight(() => flip(verifyType)),
    error: BadHandshakeSignature,
    alert: "decrypt_error",
  },
  "whose CertificateVerify signs what a client signs": {
    act: flight((hand) => (type, made) =>
      type === verifyType
        ? certificateVerify(0x0403, sign("sha256", signedContent("client", hand.transcriptHash), hand.key))
        : made
    ),
    error: BadHandshakeSignature,
    alert: "decrypt_error",
  },
  "whose CertificateVerify signs another handshake": {
    act: flight((hand) => (type, made) =>
      type === verifyType
        ? certificateVerify(0x0403, sign("sha256", signedContent("server", new Uint8Array(32)), hand.key))
        : made
    ),
    error: BadHandshakeSignature,
    alert: "decrypt_error",
  },
  "whose CertificateVerify has a scheme that was not offered": {
    act: flight(() => (type, made) => {
      if (type === verifyType) made[5] = 0x01; // rsa_pkcs1_sha256, 0x0401
      return made;
    }),
    error: ProtocolViolation,
    alert: "illegal_parameter",
  },
  "whose certificate was tampered with": {
    act: flight((hand) => instead(certificateType, certificate(hand.chain.map(withSerialFlipped)))),
    error: BadCertificateSignature,
    alert: "decrypt_error",
  },
  "that shows no certificate": {
    act: flight(() => instead(certificateType, certificate([]))),
    // RFC 8446 section 4.4.2.4 asks for decode_error; the engine closes without a word.
    error: CertificateRequired,
  },
  "with a certificate of a foreign authority": {
    act: flight(() => (_type, made) => made),
    shown: await serverLeaf(foreignAuthority),
    error: UnknownIssuer,
    alert: "unknown_ca",
  },
  "with a certificate for another name": {
    act: flight(() => (_type, made) => made),
    shown: await serverLeaf(authority, { names: ["elsewhere.example"] }),
    error: NameMismatch,
    alert: "bad_certificate",
  },
  "with a vehicle's certificate": {
    act: flight(() => (_type, made) => made),
    shown: await clientLeaf(authority, { names: ["127.0.0.1"] }),
    error: WrongKeyUsage,
    alert: "unsupported_certificate",
  },
  "that leaves out Certificate": {
    act: flight(() => withoutMessage(certificateType)),
    error: UnexpectedMessage,
    alert: "unexpected_message",
  },
  "that leaves out CertificateVerify": {
    act: flight(() => withoutMessage(verifyType)),
    error: UnexpectedMessage,
    alert: "unexpected_message",
  },
  "that accepts an extension which was not offered": {
    act: flight(() => instead(messageType.encryptedExtensions, encryptedExtensions([[0x1234, []]]))),
    error: ProtocolViolation,
    alert: "unsupported_extension",
  },
  "that accepts early data which was not sent": {
    act: flight(() =>
      instead(messageType.encryptedExtensions, encryptedExtensions([[extensionType.earlyData, []]]))
    ),
    error: ProtocolViolation,
    alert: "unsupported_extension",
  },
  "that chooses an application protocol which was not offered": {
    act: flight(() =>
      instead(
        messageType.encryptedExtensions,
        encryptedExtensions([[extensionType.applicationProtocols, vector(2, vector(1, [104, 50]))]]),
      )
    ),
    error: ProtocolViolation,
    alert: "unsupported_extension",
  },
  "that answers in TLS 1.2": {
    act: hello((hand) => hand.sayHello({ suite: 0xc02b, extensions: [] })),
    error: ProtocolVersion,
    alert: "protocol_version",
  },
  "that answers in TLS 1.2 in supported_versions": {
    act: hello((hand) =>
      hand.sayHello({
        extensions: serverHelloExtensions({ group: group.x25519, share: new Uint8Array(32) }, 0x0303),
      })
    ),
    error: ProtocolVersion,
    alert: "protocol_version",
  },
  "that chooses a cipher suite which was not offered": {
    act: hello((hand) => hand.answerHello({ suite: 0x1304 })),
    error: ProtocolViolation,
    alert: "illegal_parameter",
  },
  "whose share is of a group that was not offered": {
    act: hello((hand) =>
      hand.sayHello({
        extensions: serverHelloExtensions({ group: group.x25519, share: new Uint8Array(32).fill(9) }),
      })
    ),
    error: ProtocolViolation,
    alert: "illegal_parameter",
  },
  "whose share is too short": {
    act: hello((hand) =>
      hand.sayHello({
        extensions: serverHelloExtensions({ group: group.x25519MlKem768, share: new Uint8Array(1119) }),
      })
    ),
    error: ProtocolViolation,
    alert: "illegal_parameter",
  },
  "whose X25519 share is of low order": {
    act: hello((hand) =>
      hand.sayHello({
        extensions: serverHelloExtensions({ group: group.x25519MlKem768, share: new Uint8Array(1120) }),
      })
    ),
    error: ProtocolViolation,
    alert: "illegal_parameter",
  },
  "that asks for a group which was not offered": {
    act: hello((hand) => hand.retry(group.x25519)),
    error: ProtocolViolation,
    alert: "illegal_parameter",
  },
  "that asks for the share which it has": {
    act: hello((hand) => hand.retry(group.x25519MlKem768)),
    error: ProtocolViolation,
    alert: "illegal_parameter",
  },
  "that asks for another share twice": {
    act: hello(async (hand) => {
      await hand.retry(group.mlKem768);
      await hand.readHello();
      await hand.retry(group.x25519MlKem768);
    }),
    error: UnexpectedMessage,
    alert: "unexpected_message",
  },
  "that begins with Finished": {
    act: hello((hand) => hand.sayHello({ extensions: [] }, () => message(finished, new Uint8Array(32)))),
    error: UnexpectedMessage,
    alert: "unexpected_message",
  },
  "with a record of an unknown content type": {
    act: hello((hand) => hand.records.send(Uint8Array.of(99, 3, 3, 0, 1, 0))),
    error: ProtocolViolation,
    alert: "unexpected_message",
  },
  "with a plain record of 16 KiB + 1": {
    act: hello((hand) => hand.records.write(contentType.handshake, new Uint8Array(16_385))),
    error: RecordOverflow,
    alert: "record_overflow",
  },
  "that sends a flipped record in the handshake": {
    act: async (hand) => {
      await hand.readHello();
      await hand.answerHello();
      const record = hand.records.sealed(contentType.handshake, encryptedExtensions());
      record[record.length - 1] ^= 1;
      await hand.records.send(record);
    },
    error: BadRecord,
    alert: "bad_record_mac",
  },
};

for (const [what, { act, error, alert, shown }] of Object.entries(refused)) {
  Deno.test(`connect() refuses a server ${what}, and connects on`, async () => {
    await withServer(async (hand) => {
      await act(hand);
      assert.equal(await hand.lastWord(), alert === undefined ? undefined : alerts[alert]);
    }, async (connecting) => {
      await assert.rejects(connecting, (reason) => {
        assertError(reason, error, alert);
        return true;
      });
    }, shown);
    await connectsOn();
  });
}

/** What a server does after a good handshake, and what comes of it. */
interface Broken {
  act: (server: HandServer) => Promise<void>;
  error: ErrorClass;
  alert?: Alert;
}

const broken: Record<string, Broken> = {
  "a flipped record": {
    act: async (hand) => {
      const record = hand.records.sealed(contentType.applicationData, new Uint8Array(10));
      record[7] ^= 0x80;
      await hand.records.send(record);
    },
    error: BadRecord,
    alert: "bad_record_mac",
  },
  "16 KiB + 1 of plaintext in a record": {
    act: (hand) => hand.records.write(contentType.applicationData, new Uint8Array(16_385)),
    error: RecordOverflow,
    alert: "record_overflow",
  },
  "a record longer than 16 KiB + 256": {
    act: (hand) => hand.records.send(Uint8Array.of(23, 3, 3, 0x41, 0x01)),
    error: RecordOverflow,
    alert: "record_overflow",
  },
  "an empty handshake message": {
    act: (hand) => hand.records.write(contentType.handshake, new Uint8Array()),
    error: ProtocolViolation,
    alert: "unexpected_message",
  },
  "a request for a certificate that it has": {
    act: (hand) =>
      hand.records.write(contentType.handshake, message(messageType.certificateRequest, [0, 0, 0])),
    error: UnexpectedMessage,
    alert: "unexpected_message",
  },
  "the end of TCP without close_notify": { act: (hand) => hand.records.cut(), error: Truncated },
};

for (const [what, { act, error, alert }] of Object.entries(broken)) {
  Deno.test(`a connection of connect() ends with an error when its server sends ${what}`, async () => {
    await withServer(async (hand) => {
      await hand.handshake();
      await act(hand);
      assert.equal(await hand.lastWord(), alert === undefined ? undefined : alerts[alert]);
    }, async (connecting) => {
      const { stream } = await connecting;
      const limit = setTimeout(() => stream.destroy(new Error("went on as if it were good")), 20_000);
      await assert.rejects(readText(stream).finally(() => clearTimeout(limit)), (reason) => {
        assertError(reason, error, alert);
        return true;
      });
    });
    await connectsOn();
  });
}

Deno.test("connect() tells of a server's alert by its name", async () => {
  await withServer(async (hand) => {
    await hand.readHello();
    await hand.records.write(contentType.alert, Uint8Array.of(2, alerts.handshake_failure));
  }, async (connecting) => {
    await assert.rejects(connecting, (reason) => {
      assertError(reason, PeerAlert, "handshake_failure");
      return true;
    });
  });
});

Deno.test("connect() does not take a server's flight that was recorded before", async () => {
  const recorded: Uint8Array[] = [];
  await withServer(async (hand) => {
    await hand.handshake();
    recorded.push(...hand.records.sent);
    await hand.closeNotify();
    await hand.lastWord();
  }, async (connecting) => void (await connecting).stream.resume().end());
  await withServer(async (hand) => {
    await hand.readHello();
    for (const bytes of recorded) await hand.records.send(bytes);
  }, async (connecting) => {
    // Its ServerHello answers the first connection's share: the keys differ.
    await assert.rejects(connecting, (reason) => {
      assertError(reason, BadRecord, "bad_record_mac");
      return true;
    });
  });
});
