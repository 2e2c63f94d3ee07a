// Credentials of every profile, made once a run, and both ends of a connection moved by hand.

import {
  certificatePem,
  generateKeyPair,
  type LeafRequest,
  makeAuthority,
  makeLeaf,
} from "../../../src/pqc/certificates.ts";
import type { Issued } from "../../../src/pqc/certificates.ts";
import { type CertificateAlgorithm, loadProfiles, type Profile } from "../../../src/pqc/profiles.ts";
import type { EngineConnection } from "../../../src/tls/engine/connection.ts";
import { EngineClient, EngineServer } from "../../../src/tls/engine/endpoint.ts";
import { certificatesFromPem } from "../../../src/tls/engine/pem.ts";
import type { ClientSettings, Offer, ServerSettings } from "../../../src/tls/engine/settings.ts";

const day = 24 * 60 * 60 * 1000;

/** draft-ietf-tls-mldsa section 3, RFC 8446 section 4.2.3. */
export const schemeOf: Readonly<Record<CertificateAlgorithm, string>> = {
  "ECDSA P-256": "ecdsa_secp256r1_sha256",
  "ML-DSA-44": "mldsa44",
  "ML-DSA-65": "mldsa65",
  "ML-DSA-87": "mldsa87",
};

export const profiles: readonly Profile[] = loadProfiles();

/** A chain and its key, DER. */
export interface TestCredentials {
  readonly certificateChain: Uint8Array<ArrayBuffer>[];
  readonly privateKey: Uint8Array<ArrayBuffer>;
}

/** An authority with what it has issued to the two ends. */
export interface TestPki {
  readonly authority: Issued;
  readonly trust: Uint8Array<ArrayBuffer>[];
  readonly server: TestCredentials;
  readonly client: TestCredentials;
}

/** A leaf of an authority. `begins` is in days from now. */
export async function issue(
  authority: Issued,
  request: Partial<LeafRequest> & Pick<LeafRequest, "purpose"> & { begins?: number },
): Promise<TestCredentials> {
  const { purpose, begins = 0 } = request;
  const leaf = await makeLeaf(
    authority,
    {
      subject: [{ CN: [purpose] }],
      names: purpose === "server" ? ["localhost", "127.0.0.1"] : [],
      days: 30,
      ...request,
    },
    new Date(Date.now() + begins * day),
  );
  return {
    certificateChain: certificatesFromPem("leaf", certificatePem(leaf.certificate)),
    privateKey: new Uint8Array(await crypto.subtle.exportKey("pkcs8", leaf.privateKey)),
  };
}

/** An authority of its own with a server's and a client's certificate. */
export async function makePki(algorithm: CertificateAlgorithm, name: string): Promise<TestPki> {
  const keys = await generateKeyPair(algorithm);
  const certificate = await makeAuthority(keys, [{ CN: [name] }], 3652, new Date(Date.now() - 1000 * day));
  const authority = { certificate, privateKey: keys.privateKey };
  return {
    authority,
    trust: certificatesFromPem("authority", certificatePem(certificate)),
    server: await issue(authority, { purpose: "server" }),
    client: await issue(authority, { purpose: "client" }),
  };
}

const made = new Map<CertificateAlgorithm, Promise<TestPki>>();

/** The authority that tests with certificates of an algorithm share. */
export function pki(algorithm: CertificateAlgorithm): Promise<TestPki> {
  const found = made.get(algorithm) ?? makePki(algorithm, `Test CA ${algorithm}`);
  made.set(algorithm, found);
  return found;
}

/** A profile with credentials. */
export function offer(
  { groups, certificateAlgorithm }: { groups: readonly string[]; certificateAlgorithm: CertificateAlgorithm },
  credentials: TestCredentials,
): Offer {
  return { groups, signatureSchemes: [schemeOf[certificateAlgorithm]], ...credentials };
}

/** A server of one profile; `differs` replaces settings. */
export async function server(id: number, differs: Partial<ServerSettings> = {}): Promise<EngineServer> {
  const profile = profiles[id];
  const { trust, server } = await pki(profile.certificateAlgorithm);
  return new EngineServer({ offers: [offer(profile, server)], trust, ...differs });
}

/** A client of one profile; `differs` replaces settings. */
export async function client(id: number, differs: Partial<ClientSettings> = {}): Promise<EngineClient> {
  const profile = profiles[id];
  const { trust, client } = await pki(profile.certificateAlgorithm);
  return new EngineClient({ offer: offer(profile, client), trust, ...differs });
}

/** Feeds everything that one end has for the other; `change` may replace it on its way. */
export function deliver(
  from: EngineConnection,
  to: EngineConnection,
  change: (ciphertext: Uint8Array) => Uint8Array = (ciphertext) => ciphertext,
): number {
  const ciphertext = from.take();
  if (ciphertext === undefined) return 0;
  to.feed(change(ciphertext));
  return ciphertext.length;
}

/** Moves bytes both ways until neither end has any more. */
export function settle(one: EngineConnection, other: EngineConnection): void {
  while (deliver(one, other) + deliver(other, one) > 0);
}

/** Two ends with a complete handshake between them. */
export function handshake(
  engineClient: EngineClient,
  engineServer: EngineServer,
): { near: EngineConnection; far: EngineConnection } {
  const near = engineClient.connect("localhost");
  const far = engineServer.accept();
  settle(near, far);
  return { near, far };
}

/** Reads all plaintext that waits. */
export function readAll(connection: EngineConnection): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let part = connection.read(); part !== undefined; part = connection.read()) parts.push(part);
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/**
 * The group of the key share in a ServerHello, read from the bytes on the wire (RFC 8446 sections 4.1.3 and 4.2.8): what the
 * handshake agreed on, whatever either end says.
 */
export function groupOnWire(serverFlight: Uint8Array): number {
  const view = new DataView(serverFlight.buffer, serverFlight.byteOffset, serverFlight.byteLength);
  // Record header 5, message header 4, version 2, random 32, session id, suite 2, compression 1.
  let offset = 5 + 4 + 2 + 32;
  offset += 1 + view.getUint8(offset) + 2 + 1;
  const end = offset + 2 + view.getUint16(offset);
  for (offset += 2; offset < end; offset += 4 + view.getUint16(offset + 2)) {
    if (view.getUint16(offset) === 51) return view.getUint16(offset + 4);
  }
  throw new Error("the ServerHello carries no key share");
}

/** Numbers of the groups in the IANA registry. */
export const groupNumbers: Readonly<Record<string, number>> = {
  X25519: 0x001d,
  X25519MLKEM768: 0x11ec,
  SecP256r1MLKEM768: 0x11eb,
  SecP384r1MLKEM1024: 0x11ed,
  MLKEM512: 0x0200,
  MLKEM768: 0x0201,
  MLKEM1024: 0x0202,
};
