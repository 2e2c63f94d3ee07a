// The hand-made peer's key schedule and records against RFC 8448 section 3, and the engine against both: it answers that
// section's ClientHello, and its flight opens with the keys that the schedule gives.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createPrivateKey, createPublicKey, verify } from "node:crypto";
import { pki, server as engineServer } from "../engine/support.ts";
import { x25519Agree } from "./key_exchange.ts";
import { deriveSecret, finishedMac, secretsOf, sha256, trafficKey } from "./key_schedule.ts";
import { message, messageType, readHello, serverShare, signedContent } from "./messages.ts";
import { contentType, Protection } from "./records.ts";

const hex = (text: string) => Uint8Array.fromHex(text);

/** RFC 8448 section 3, "Simple 1-RTT Handshake". */
const trace = {
  clientPrivate: hex("49af42ba7f7994852d713ef2784bcbcaa7911de26adc5642cb634540e7ea5005"),
  serverPublic: hex("c9828876112095fe66762bdbf7c672e156d6cc253b833df1dd69b1b04e751f0f"),
  clientHello: hex(
    "010000c00303cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece700000613011303130201" +
      "0000910000000b0009000006736572766572ff01000100000a00140012001d0017001800190100010101020103010400" +
      "230000003300260024001d002099381de560e4bd43d23d8e435a7dbafeb3c06e51c13cae4d5413691e529aaf2c002b00" +
      "03020304000d0020001e040305030603020308040805080604010501060102010402050206020202002d00020101001c" +
      "00024001",
  ),
  serverHello: hex(
    "020000560303a6af06a4121860dc5e6e60249cd34c95930c8ac5cb1434dac155772ed3e2692800130100002e00330024" +
      "001d0020c9828876112095fe66762bdbf7c672e156d6cc253b833df1dd69b1b04e751f0f002b00020304",
  ),
  /** "complete record" of EncryptedExtensions, Certificate, CertificateVerify and Finished. */
  serverFlight: hex(
    "17030302a2d1ff334a56f5bff6594a07cc87b580233f500f45e489e7f33af35edf7869fcf40aa40aa2b8ea73f848a7ca" +
      "07612ef9f945cb960b4068905123ea78b111b429ba9191cd05d2a389280f526134aadc7fc78c4b729df828b5ecf7b13b" +
      "d9aefb0e57f271585b8ea9bb355c7c79020716cfb9b1183ef3ab20e37d57a6b9d7477609aee6e122a4cf51427325250c" +
      "7d0e509289444c9b3a648f1d71035d2ed65b0e3cdd0cbae8bf2d0b227812cbb360987255cc744110c453baa4fcd61092" +
      "8d809810e4b7ed1a8fd991f06aa6248204797e36a6a73b70a2559c09ead686945ba246ab66e5edd8044b4c6de3fcf2a8" +
      "9441ac66272fd8fb330ef8190579b3684596c960bd596eea520a56a8d650f563aad27409960dca63d3e688611ea5e22f" +
      "4415cf9538d51a200c27034272968a264ed6540c84838d89f72c24461aad6d26f59ecaba9acbbb317b66d902f4f292a3" +
      "6ac1b639c637ce343117b659622245317b49eeda0c6258f100d7d961ffb138647e92ea330faeea6dfa31c7a84dc3bd7e" +
      "1b7a6c7178af36879018e3f252107f243d243dc7339d5684c8b0378bf30244da8c87c843f5e56eb4c5e8280a2b48052c" +
      "f93b16499a66db7cca71e4599426f7d461e66f99882bd89fc50800becca62d6c74116dbd2972fda1fa80f85df881edbe" +
      "5a37668936b335583b599186dc5c6918a396fa48a181d6b6fa4f9d62d513afbb992f2b992f67f8afe67f76913fa388cb" +
      "5630c8ca01e0c65d11c66a1e2ac4c85977b7c7a6999bbf10dc35ae69f5515614636c0b9b68c19ed2e31c0b3b66763038" +
      "ebba42f3b38edc0399f3a9f23faa63978c317fc9fa66a73f60f0504de93b5b845e275592c12335ee340bbc4fddd50278" +
      "4016e4b3be7ef04dda49f4b440a30cb5d2af939828fd4ae3794e44f94df5a631ede42c1719bfdabf0253fe5175be898e" +
      "750edc53370d2b",
  ),
  clientFinished: hex(
    "170303003575ec4dc238cce60b298044a71e219c56cc77b0517fe9b93c7a4bfc44d87f38f80338ac98fc46deb384bd1caeacab6867d726c40546",
  ),
  applicationData: hex(
    "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4",
  ),
} as const;

/** PKCS#8 of an X25519 key (RFC 8410 section 7). */
const x25519Key = (raw: Uint8Array) =>
  crypto.subtle.importKey(
    "pkcs8",
    Uint8Array.of(...hex("302e020100300506032b656e04220420"), ...raw),
    { name: "X25519" },
    false,
    ["deriveBits"],
  );

Deno.test("the hand-made key schedule gives the secrets, keys and records of RFC 8448 section 3", async () => {
  const shared = await x25519Agree(await x25519Key(trace.clientPrivate), trace.serverPublic);
  assert.equal(shared.toHex(), "8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d");
  const { early, handshake, master } = secretsOf(shared);
  assert.equal(early.toHex(), "33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a");
  assert.equal(handshake.toHex(), "1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac");
  assert.equal(master.toHex(), "18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919");

  const hellos = sha256(trace.clientHello, trace.serverHello);
  assert.equal(hellos.toHex(), "860c06edc07858ee8e78f0e7428c58edd6b43f2ca3e6e95f02ed063cf0e1cad8");
  const client = deriveSecret(handshake, "c hs traffic", hellos);
  const server = deriveSecret(handshake, "s hs traffic", hellos);
  assert.equal(client.toHex(), "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21");
  assert.equal(server.toHex(), "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38");
  assert.deepEqual(trafficKey(server), {
    key: hex("3fce516009c21727d0f2e4e86ee403bc"),
    iv: hex("5d313eb2671276ee13000b30"),
  });
  assert.deepEqual(trafficKey(client), {
    key: hex("dbfaa693d1762c5b666af5d950258d01"),
    iv: hex("5bd3c71b836e0b76bb73265f"),
  });

  const { type, fragment } = new Protection(server).open(trace.serverFlight);
  assert.equal(type, contentType.handshake);
  assert.equal(fragment.length, 657);
  // Finished is the last of it: 4 octets of header, 32 of verify_data.
  const beforeFinished = sha256(trace.clientHello, trace.serverHello, fragment.subarray(0, -36));
  assert.equal(finishedMac(server, beforeFinished).toHex(), fragment.subarray(-32).toHex());
  const flight = sha256(trace.clientHello, trace.serverHello, fragment);
  assert.equal(flight.toHex(), "9608102a0f1ccc6db6250b7b7e417b1a000eaada3daae4777a7686c9ff83df13");
  const finished = message(messageType.finished, finishedMac(client, flight));
  assert.deepEqual(new Protection(client).seal(contentType.handshake, finished), trace.clientFinished);

  const application = deriveSecret(master, "c ap traffic", flight);
  assert.equal(application.toHex(), "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5");
  assert.equal(
    deriveSecret(master, "s ap traffic", flight).toHex(),
    "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
  );
  assert.deepEqual(
    new Protection(application).seal(
      contentType.applicationData,
      Uint8Array.from({ length: 50 }, (_, n) => n),
    ),
    trace.applicationData,
  );
});

/** The fragments of the records that bytes hold. */
function records(bytes: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (let offset = 0; offset < bytes.length;) {
    const end = offset + 5 + bytes[offset + 3] * 256 + bytes[offset + 4];
    found.push(bytes.subarray(offset, end));
    offset = end;
  }
  return found;
}

Deno.test("the engine answers the ClientHello of RFC 8448 section 3, and its key schedule is that section's", async () => {
  const far = (await engineServer(0, { cipherSuites: ["TLS_AES_128_GCM_SHA256"] })).accept();
  far.feed(Uint8Array.of(22, 3, 1, 0, trace.clientHello.length, ...trace.clientHello));
  assert.equal(far.failure, undefined);
  const [helloRecord, ...rest] = records(far.take() ?? new Uint8Array());
  const hello = helloRecord.slice(5);
  const { group, share } = serverShare(readHello(hello));
  assert.equal(group, 0x001d);
  const shared = await x25519Agree(await x25519Key(trace.clientPrivate), share.slice());
  const { handshake } = secretsOf(shared);
  const server = deriveSecret(handshake, "s hs traffic", sha256(trace.clientHello, hello));
  const protection = new Protection(server);
  const flight = Uint8Array.from(
    rest.filter(([type]) => type === contentType.applicationData).flatMap((record) => {
      const { type, fragment } = protection.open(record);
      assert.equal(type, contentType.handshake);
      return [...fragment];
    }),
  );
  const before = sha256(trace.clientHello, hello, flight.subarray(0, -36));
  assert.equal(flight.subarray(-32).toHex(), finishedMac(server, before).toHex());

  // CertificateVerify stands between Certificate and Finished: type, length of 3 octets, scheme, length, signature.
  const { server: shown } = await pki("ECDSA P-256");
  const key = createPublicKey(
    createPrivateKey({ key: Buffer.from(shown.privateKey), format: "der", type: "pkcs8" }),
  );
  const start = lastMessage(flight.subarray(0, -36));
  const signed = signedContent("server", sha256(trace.clientHello, hello, flight.subarray(0, start)));
  assert.equal(flight[start], messageType.certificateVerify);
  assert.equal(verify("sha256", signed, key, flight.subarray(start + 8, -36)), true);
});

/** Where the last message of a flight begins. */
function lastMessage(flight: Uint8Array): number {
  let last = 0;
  for (let offset = 0; offset < flight.length;) {
    last = offset;
    offset += 4 + (flight[offset + 1] << 16 | flight[offset + 2] << 8 | flight[offset + 3]);
  }
  return last;
}
