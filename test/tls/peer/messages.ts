// Handshake messages of TLS 1.3 (RFC 8446 section 4), written and read by hand.

type Bytes = Uint8Array<ArrayBuffer>;

/** HandshakeType (RFC 8446 section 4). */
export const messageType = {
  clientHello: 1,
  serverHello: 2,
  newSessionTicket: 4,
  encryptedExtensions: 8,
  certificate: 11,
  certificateRequest: 13,
  certificateVerify: 15,
  finished: 20,
  keyUpdate: 24,
} as const;

/** ExtensionType (RFC 8446 section 4.2). */
export const extensionType = {
  serverName: 0,
  supportedGroups: 10,
  signatureAlgorithms: 13,
  applicationProtocols: 16,
  preSharedKey: 41,
  earlyData: 42,
  supportedVersions: 43,
  cookie: 44,
  pskKeyExchangeModes: 45,
  keyShare: 51,
} as const;

/** The random of a HelloRetryRequest (RFC 8446 section 4.1.3). */
export const retryRandom = Uint8Array.fromHex(
  "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c",
);

export const u16 = (number: number): number[] => [number >> 8, number & 0xff];

/** A vector with its length in front, in `octets`. */
export function vector(octets: 1 | 2 | 3, content: Iterable<number>): number[] {
  const bytes = [...content];
  const length = [bytes.length >> 16, (bytes.length >> 8) & 0xff, bytes.length & 0xff];
  return [...length.slice(3 - octets), ...bytes];
}

export function message(type: number, body: Iterable<number>): Bytes {
  return Uint8Array.of(type, ...vector(3, body));
}

/** An extension with its content. */
export type Extension = readonly [type: number, content: readonly number[]];

const extensions = (list: readonly Extension[]) =>
  vector(2, list.flatMap(([type, content]) => [...u16(type), ...vector(2, content)]));

/** A share of a key exchange. */
export interface KeyShare {
  readonly group: number;
  readonly share: Uint8Array;
}

const shareEntry = ({ group, share }: KeyShare) => [...u16(group), ...vector(2, share)];

/** What a ClientHello says; what is left out is as a good client has it. */
export interface ClientHello {
  readonly random: Uint8Array;
  readonly groups: readonly number[];
  readonly shares: readonly KeyShare[];
  /** @default [0x1301] */
  readonly suites?: readonly number[];
  /** undefined in the list's place leaves the extension out. @default [0x0304] */
  readonly versions?: readonly number[] | null;
  /** @default [0x0403] */
  readonly schemes?: readonly number[];
  /** @default [0] */
  readonly compressions?: readonly number[];
  /** After the others. */
  readonly more?: readonly Extension[];
}

export function clientHello(hello: ClientHello): Bytes {
  const { versions = [0x0304], suites = [0x1301], schemes = [0x0403], compressions = [0] } = hello;
  const versionList: Extension[] = versions === null
    ? []
    : [[extensionType.supportedVersions, vector(1, versions.flatMap(u16))]];
  return message(messageType.clientHello, [
    ...[3, 3, ...hello.random],
    ...vector(1, []),
    ...vector(2, suites.flatMap(u16)),
    ...vector(1, compressions),
    ...extensions([
      ...versionList,
      [extensionType.supportedGroups, vector(2, hello.groups.flatMap(u16))],
      [extensionType.signatureAlgorithms, vector(2, schemes.flatMap(u16))],
      [extensionType.keyShare, vector(2, hello.shares.flatMap(shareEntry))],
      ...hello.more ?? [],
    ]),
  ]);
}

/** What a ServerHello says, or a HelloRetryRequest. */
export interface ServerHello {
  readonly random: Uint8Array;
  readonly sessionId: Uint8Array;
  readonly suite: number;
  readonly extensions: readonly Extension[];
}

export function serverHello({ random, sessionId, suite, extensions: list }: ServerHello): Bytes {
  const body = [3, 3, ...random, ...vector(1, sessionId), ...u16(suite), 0, ...extensions(list)];
  return message(messageType.serverHello, body);
}

/** The extensions of a ServerHello that takes a share, or of a HelloRetryRequest that asks for a group. */
export function serverHelloExtensions(share: KeyShare | number, version = 0x0304): Extension[] {
  return [
    [extensionType.supportedVersions, u16(version)],
    [extensionType.keyShare, typeof share === "number" ? u16(share) : shareEntry(share)],
  ];
}

export function encryptedExtensions(list: readonly Extension[] = []): Bytes {
  return message(messageType.encryptedExtensions, extensions(list));
}

export function certificateRequest(schemes: readonly number[] = [0x0403]): Bytes {
  const list = extensions([[extensionType.signatureAlgorithms, vector(2, schemes.flatMap(u16))]]);
  return message(messageType.certificateRequest, [...vector(1, []), ...list]);
}

/** A chain, DER, leaf first. */
export function certificate(chain: readonly Uint8Array[]): Bytes {
  const entries = chain.flatMap((der) => [...vector(3, der), ...extensions([])]);
  return message(messageType.certificate, [...vector(1, []), ...vector(3, entries)]);
}

export function certificateVerify(scheme: number, signature: Uint8Array): Bytes {
  return message(messageType.certificateVerify, [...u16(scheme), ...vector(2, signature)]);
}

/** What CertificateVerify signs (RFC 8446 section 4.4.3). */
export function signedContent(signer: "server" | "client", transcriptHash: Uint8Array): Bytes {
  const context = new TextEncoder().encode(`TLS 1.3, ${signer} CertificateVerify`);
  return Uint8Array.of(...new Uint8Array(64).fill(0x20), ...context, 0, ...transcriptHash);
}

/** Reads numbers and vectors from the front. */
class Reader {
  readonly #bytes: Uint8Array;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#offset >= this.#bytes.length;
  }

  take(length: number): Bytes {
    const taken = this.#bytes.slice(this.#offset, this.#offset + length);
    if (taken.length !== length) {
      throw new RangeError(`expected ${length} bytes at ${this.#offset}, got ${taken.length}`);
    }
    this.#offset += length;
    return taken;
  }

  number(octets: number): number {
    return this.take(octets).reduce((sum, byte) => sum * 256 + byte, 0);
  }

  vector(octets: number): Bytes {
    return this.take(this.number(octets));
  }
}

function readExtensions(bytes: Uint8Array): Map<number, Bytes> {
  const reader = new Reader(bytes);
  const found = new Map<number, Bytes>();
  while (!reader.done) found.set(reader.number(2), reader.vector(2));
  return found;
}

/** The fields of a hello, of either kind, that a peer goes on with. */
export interface HelloFields {
  readonly random: Bytes;
  readonly sessionId: Bytes;
  /** A client's, in its order, or the one that the server chose. */
  readonly suites: readonly number[];
  readonly extensions: ReadonlyMap<number, Bytes>;
}

/** Reads a ClientHello or a ServerHello. */
export function readHello(bytes: Uint8Array): HelloFields {
  const reader = new Reader(bytes);
  const type = reader.number(1);
  reader.number(3);
  reader.number(2);
  const random = reader.take(32);
  const sessionId = reader.vector(1);
  const suites = type === messageType.serverHello ? reader.take(2) : reader.vector(2);
  if (type === messageType.serverHello) reader.number(1);
  else reader.vector(1);
  const list = readExtensions(reader.vector(2));
  const numbers = Array.from(
    { length: suites.length / 2 },
    (_, index) => suites[2 * index] * 256 + suites[2 * index + 1],
  );
  return { random, sessionId, suites: numbers, extensions: list };
}

/** The shares of a ClientHello. */
export function clientShares({ extensions }: HelloFields): KeyShare[] {
  const reader = new Reader(
    new Reader(extensions.get(extensionType.keyShare) ?? new Uint8Array(2)).vector(2),
  );
  const shares: KeyShare[] = [];
  while (!reader.done) shares.push({ group: reader.number(2), share: reader.vector(2) });
  return shares;
}

/** The share of a ServerHello. */
export function serverShare({ extensions }: HelloFields): KeyShare {
  const reader = new Reader(extensions.get(extensionType.keyShare) ?? new Uint8Array());
  return { group: reader.number(2), share: reader.vector(2) };
}
