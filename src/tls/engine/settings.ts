// What a server or a client of the engine is set up with, checked and written the way the engine reads it.

import { cipherSuites, groups, signatureSchemes } from "./numbers.ts";
import { Writer } from "./wire.ts";

/** A certificate chain with the groups and the schemes that it may be used with: what a profile comes to. */
export interface Offer {
  /** Key exchange groups by their IANA names, the preferred one first. */
  readonly groups: readonly string[];
  /** Signature schemes that the peer's handshake and its certificates may use, by their IANA names. */
  readonly signatureSchemes: readonly string[];
  /** The own certificates, DER, leaf first. */
  readonly certificateChain: readonly Uint8Array[];
  /** The leaf's private key, PKCS#8 DER. */
  readonly privateKey: Uint8Array;
}

interface CommonSettings {
  /** Certificates, DER, that the peer's chain must end in. */
  readonly trust: readonly Uint8Array[];
  /** Cipher suites by their IANA names, the preferred one first. @default all three, ChaCha20 first */
  readonly cipherSuites?: readonly string[];
  /** Application protocols (RFC 7301), the preferred one first. @default [] for none */
  readonly applicationProtocols?: readonly string[];
}

export interface ServerSettings extends CommonSettings {
  /** What is accepted, the preferred offer first. A client gets the first that it has a group and a scheme of. */
  readonly offers: readonly Offer[];
  /** Most sessions that are kept to be resumed, for each offer; 0 for none. @default 4096 */
  readonly sessions?: number;
}

export interface ClientSettings extends CommonSettings {
  readonly offer: Offer;
  /** Whether tickets are kept and used. @default true */
  readonly resumption?: boolean;
}

const mostSessions = 1_000_000;
const defaultSessions = 4096;

/** @throws {RangeError} for a name that the engine does not know, or a number out of range. */
export function encodeServer(settings: ServerSettings): Uint8Array<ArrayBuffer> {
  const { sessions = defaultSessions } = settings;
  if (!Number.isInteger(sessions) || sessions < 0 || sessions > mostSessions) {
    throw new RangeError(`sessions: expected a whole number from 0 to ${mostSessions}, got ${sessions}`);
  }
  return encode(settings, settings.offers, sessions);
}

/** @throws {RangeError} for a name that the engine does not know. */
export function encodeClient(settings: ClientSettings): Uint8Array<ArrayBuffer> {
  return encode(settings, [settings.offer], settings.resumption === false ? 0 : 1);
}

function encode(common: CommonSettings, offers: readonly Offer[], sessions: number): Uint8Array<ArrayBuffer> {
  const writer = new Writer();
  const text = new TextEncoder();
  const bytes = (value: Uint8Array) => writer.bytes(value);
  writer
    .list(common.cipherSuites ?? cipherSuites.names, (name) => writer.u16(cipherSuites.numberOf(name)))
    .list(common.applicationProtocols ?? [], (name) => bytes(text.encode(name)))
    .u32(sessions)
    .list(common.trust, bytes)
    .list(offers, (offer) => {
      writer
        .list(offer.groups, (name) => writer.u16(groups.numberOf(name)))
        .list(offer.signatureSchemes, (name) => writer.u16(signatureSchemes.numberOf(name)))
        .list(offer.certificateChain, bytes)
        .bytes(offer.privateKey);
    });
  return writer.done();
}
