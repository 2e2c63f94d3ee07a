// Chains of certificates that RFC 5280 section 6 refuses, each with its own error and alert, and those that it takes.

import "reflect-metadata";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";
import assert from "node:assert/strict";
import { generateKeyPair } from "../../../src/pqc/certificates.ts";
import { EngineClient, EngineServer } from "../../../src/tls/engine/endpoint.ts";
import { Instance } from "../../../src/tls/engine/instance.ts";
import type { TlsError } from "../../../src/tls/errors.ts";
import { offer, pki, profiles, settle, type TestCredentials } from "./support.ts";

/** The moment that all of it happens at: certificates count whole seconds. */
const now = Math.floor(Date.now() / 1000) * 1000;
const minute = 60_000;

/** A certificate with its key. */
interface Made {
  readonly name: string;
  readonly der: Uint8Array<ArrayBuffer>;
  readonly keys: CryptoKeyPair;
}

/** What a certificate says; the rest is as a good one has it. */
interface Request {
  name: string;
  /** @default itself */
  issuer?: Made;
  extensions: Extension[];
  begins?: number;
  ends?: number;
  keys?: CryptoKeyPair;
}

let serial = 1;
async function make({ name, issuer, extensions, begins, ends, keys }: Request): Promise<Made> {
  const own = keys ?? await generateKeyPair();
  const certificate = await X509CertificateGenerator.create({
    serialNumber: (serial++).toString(16).padStart(4, "0"),
    subject: `CN=${name}`,
    issuer: `CN=${issuer?.name ?? name}`,
    notBefore: new Date(begins ?? now - minute),
    notAfter: new Date(ends ?? now + minute),
    publicKey: own.publicKey,
    signingKey: (issuer?.keys ?? own).privateKey,
    signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
    extensions,
  });
  return { name, der: new Uint8Array(certificate.rawData), keys: own };
}

const authorityOf = (pathLength?: number): Extension[] => [
  new BasicConstraintsExtension(true, pathLength, true),
  new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true),
];
const serverAuth = new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]);
const names = new SubjectAlternativeNameExtension([{ type: "dns", value: "localhost" }]);
const leafExtensions: Extension[] = [
  new BasicConstraintsExtension(false, undefined, true),
  new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
  serverAuth,
  names,
];

const root = await make({ name: "Root", extensions: authorityOf() });
const authority = (name: string, issuer: Made, pathLength?: number) =>
  make({ name, issuer, extensions: authorityOf(pathLength) });
const leafOf = (issuer: Made, differs: Partial<Request> = {}) =>
  make({ name: "server", issuer, extensions: leafExtensions, ...differs });

const instance = new Instance({ random: (bytes) => crypto.getRandomValues(bytes), now: () => now });

/** What the client makes of a server that shows this chain; undefined when it is good. */
async function verdict(chain: readonly Made[]): Promise<TlsError | undefined> {
  const credentials: TestCredentials = {
    certificateChain: chain.map(({ der }) => der),
    privateKey: new Uint8Array(await crypto.subtle.exportKey("pkcs8", chain[0].keys.privateKey)),
  };
  const { client, trust } = await pki("ECDSA P-256");
  const source = () => instance;
  const near = new EngineClient({ offer: offer(profiles[0], client), trust: [root.der] }, source).connect(
    "localhost",
  );
  const far = new EngineServer({ offers: [offer(profiles[0], credentials)], trust }, source).accept();
  settle(near, far);
  const { failure } = near;
  assert.equal(far.failure?.alert, failure?.alert);
  assert.equal(near.established, failure === undefined);
  return failure;
}

/** Chains that are good, leaf first. */
const good: Record<string, () => Promise<Made[]>> = {
  "of a leaf alone": async () => [await leafOf(root)],
  "with an intermediate authority": async () => {
    const middle = await authority("Middle", root, 0);
    return [await leafOf(middle), middle];
  },
  "with its root at the end": async () => [await leafOf(root), root],
  "with authorities in another order": async () => {
    const upper = await authority("Upper", root);
    const lower = await authority("Lower", upper);
    return [await leafOf(lower), upper, lower];
  },
  "with certificates that have nothing to do with it": async () => {
    const foreign = await make({ name: "Foreign", extensions: authorityOf() });
    return [await leafOf(root), foreign, await leafOf(foreign)];
  },
  "whose authority was certified by two others": async () => {
    const keys = await generateKeyPair();
    const foreign = await make({ name: "Foreign", extensions: authorityOf() });
    const crossed = await make({ name: "Crossed", issuer: foreign, extensions: authorityOf(), keys });
    const direct = await make({ name: "Crossed", issuer: root, extensions: authorityOf(), keys });
    return [await leafOf(direct), crossed, direct];
  },
};
for (const [what, chain] of Object.entries(good)) {
  Deno.test(`a chain ${what} is good`, async () => {
    assert.equal(await verdict(await chain()), undefined);
  });
}

/** An extension that nobody knows. */
const unknown = (critical: boolean) => new Extension("1.3.6.1.4.1.55555.1", critical, Uint8Array.of(5, 0));

const refused: Record<string, { chain: () => Promise<Made[]>; error: string; alert: string }> = {
  "whose authority is a leaf": {
    chain: async () => {
      const middle = await leafOf(root, { name: "Middle" });
      return [await leafOf(middle), middle];
    },
    error: "UnknownIssuer",
    alert: "unknown_ca",
  },
  "whose authority has no basic constraints": {
    chain: async () => {
      const usage = new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true);
      const middle = await make({ name: "Middle", issuer: root, extensions: [usage] });
      return [await leafOf(middle), middle];
    },
    error: "BadCertificate",
    alert: "certificate_unknown",
  },
  "that is longer than an authority allows": {
    chain: async () => {
      const upper = await authority("Upper", root, 0);
      const lower = await authority("Lower", upper);
      return [await leafOf(lower), lower, upper];
    },
    error: "BadCertificate",
    alert: "certificate_unknown",
  },
  "whose leaf is an authority": {
    chain: async () => [
      await make({ name: "server", issuer: root, extensions: [...authorityOf(), serverAuth, names] }),
    ],
    error: "BadCertificate",
    alert: "certificate_unknown",
  },
  "whose leaf is for clients": {
    chain: async () => [
      await leafOf(root, {
        extensions: [new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth]), names],
      }),
    ],
    error: "WrongKeyUsage",
    alert: "unsupported_certificate",
  },
  "whose authority is for clients": {
    chain: async () => {
      const usage = new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth]);
      const middle = await make({ name: "Middle", issuer: root, extensions: [...authorityOf(), usage] });
      return [await leafOf(middle), middle];
    },
    error: "WrongKeyUsage",
    alert: "unsupported_certificate",
  },
  "whose authority has an unknown extension that is critical": {
    chain: async () => {
      const middle = await make({
        name: "Middle",
        issuer: root,
        extensions: [...authorityOf(), unknown(true)],
      });
      return [await leafOf(middle), middle];
    },
    error: "BadCertificate",
    alert: "certificate_unknown",
  },
  "whose authority has an extension twice": {
    chain: async () => {
      const twice = [...authorityOf(), new BasicConstraintsExtension(true, undefined, true)];
      const middle = await make({ name: "Middle", issuer: root, extensions: twice });
      return [await leafOf(middle), middle];
    },
    error: "BadCertificate",
    alert: "certificate_unknown",
  },
  "whose authority is of X.509 version 1": {
    chain: async () => {
      const middle = await authority("Middle", root);
      return [await leafOf(middle), { ...middle, der: asVersion1(middle.der) }];
    },
    error: "BadCertificate",
    alert: "bad_certificate",
  },
  "that ended a second ago": {
    chain: async () => [await leafOf(root, { ends: now - 1000 })],
    error: "CertificateExpired",
    alert: "certificate_expired",
  },
  "that begins in a second": {
    chain: async () => [await leafOf(root, { begins: now + 1000 })],
    error: "CertificateNotYetValid",
    alert: "certificate_expired",
  },
  "whose authority ended a second ago": {
    chain: async () => {
      const middle = await make({
        name: "Middle",
        issuer: root,
        extensions: authorityOf(),
        ends: now - 1000,
      });
      return [await leafOf(middle), middle];
    },
    error: "CertificateExpired",
    alert: "certificate_expired",
  },
  "without names": {
    chain: async () => [await leafOf(root, { name: "localhost", extensions: [serverAuth] })],
    error: "NameMismatch",
    alert: "bad_certificate",
  },
  "whose authority may not issue for the name": {
    chain: async () => {
      // NameConstraints (RFC 5280 section 4.2.1.10): permitted is example.com alone.
      const constraints = new Extension(
        "2.5.29.30",
        true,
        Uint8Array.of(0x30, 17, 0xa0, 15, 0x30, 13, 0x82, 11, ...new TextEncoder().encode("example.com")),
      );
      const middle = await make({
        name: "Middle",
        issuer: root,
        extensions: [...authorityOf(), constraints],
      });
      return [await leafOf(middle), middle];
    },
    error: "BadCertificate",
    alert: "certificate_unknown",
  },
  "without the authority between": {
    chain: async () => [await leafOf(await authority("Middle", root))],
    error: "UnknownIssuer",
    alert: "unknown_ca",
  },
  "of two authorities that certify each other": {
    chain: async () => {
      const one = await make({ name: "One", extensions: authorityOf() });
      const two = await authority("Two", one);
      const again = await make({ name: "One", issuer: two, extensions: authorityOf(), keys: one.keys });
      return [await leafOf(again), again, two];
    },
    error: "UnknownIssuer",
    alert: "unknown_ca",
  },
};
for (const [what, { chain, error, alert }] of Object.entries(refused)) {
  Deno.test(`a chain ${what} is refused`, async () => {
    const failure = await verdict(await chain());
    assert.equal(failure?.name, error, String(failure));
    assert.equal(failure?.alert, alert);
  });
}

Deno.test("a certificate is good in the first and in the last second of its validity", async () => {
  const chain = [await leafOf(root, { begins: now, ends: now })];
  assert.equal(await verdict(chain), undefined);
});

Deno.test("a chain of many authorities is refused, not followed without end", async () => {
  const chain: Made[] = [];
  let issuer = root;
  for (let depth = 0; depth < 12; depth++) {
    issuer = await authority(`Authority ${depth}`, issuer);
    chain.unshift(issuer);
  }
  const failure = await verdict([await leafOf(issuer), ...chain]);
  assert.equal(failure?.name, "BadCertificate", String(failure));
});

Deno.test("certificates that nobody would take are not shown either", async () => {
  const leaf = await leafOf(root);
  const bad: [Made, RegExp][] = [
    [await leafOf(root, { extensions: [...leafExtensions, unknown(true)] }), /UnsupportedCriticalExtension/],
    [await leafOf(root, { extensions: [...leafExtensions, names] }), /ExtensionValueInvalid/],
    [{ ...leaf, der: asVersion1(leaf.der) }, /BadDer/],
  ];
  for (const [each, expected] of bad) {
    await assert.rejects(verdict([each]), { name: "BadCredentials", message: expected });
  }
  const tolerated = await leafOf(root, { extensions: [...leafExtensions, unknown(false)] });
  assert.equal(await verdict([tolerated]), undefined);
});

/** Version 3 is an explicit [0] in front of the serial number: without it a certificate is of version 1. */
function asVersion1(der: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const at = der.toHex().indexOf("a003020102") / 2;
  const shorter = Uint8Array.of(...der.subarray(0, at), ...der.subarray(at + 5));
  // The two headers in front have two octets of length each.
  for (const header of [2, 6]) {
    const length = shorter[header] * 256 + shorter[header + 1] - 5;
    shorter.set([length >> 8, length & 0xff], header);
  }
  return shorter;
}
