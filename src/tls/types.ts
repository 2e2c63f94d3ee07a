// The face of TLS for the rest of the product: what listen() and connect() take and give, whatever engine is below.

import type { Duplex } from "node:stream";
import type { Profile } from "../pqc/profiles.ts";

/** What carries the connections: the engine in WebAssembly, or the runtime's own stack, which enforces no profile. */
export type TlsEngine = "wasm" | "native";

/** A certificate chain and its private key, PEM, leaf first. */
export interface Credentials {
  certificateChain: string;
  privateKey: string;
}

/** A profile with the certificates that are shown on it. */
export interface Offer {
  readonly profile: Profile;
  /** The chain and its key are of the profile's certificate algorithm. */
  readonly credentials: Credentials;
}

/** Who is at the other end, from the certificate that the handshake verified. */
export interface PeerIdentity {
  /** Subject common name, e.g. `vehicle-KMH…`. */
  readonly commonName: string;
  /** Subject organisational units, e.g. `["operator"]`. */
  readonly organizationalUnits: readonly string[];
  /** SHA-256 over the certificate's DER, lower-case hex. */
  readonly fingerprint: string;
  /** Serial number, lower-case hex. */
  readonly serialNumber: string;
  /** End of validity. */
  readonly notAfter: Date;
  /** Of its key, e.g. `ECDSA P-256` or `ML-DSA-65`. */
  readonly keyAlgorithm: string;
}

/**
 * What the handshake agreed on, as far as the engine can tell. A value that the engine cannot see is `"unknown"`:
 * it is never filled in from configuration.
 */
export interface Negotiated {
  /** e.g. `TLSv1.3` */
  readonly protocol: string;
  /** e.g. `TLS_AES_256_GCM_SHA384` */
  readonly cipherSuite: string;
  /** Key exchange group as in the IANA registry, e.g. `X25519MLKEM768`. */
  readonly group: string;
  /**
   * Signature scheme of the server's CertificateVerify, e.g. `ecdsa_secp256r1_sha256`. Nobody signs a resumed handshake:
   * there it is the scheme of the session's first one.
   */
  readonly signatureScheme: string;
  /** Whether it goes on from an earlier handshake. A stack that does not tell says false. */
  readonly resumed: boolean;
  /** Application protocol, when one was agreed on. */
  readonly alpn?: string;
}

/** An established connection. */
export interface TlsConnection {
  /** Decrypted bytes in both directions, with back-pressure and half-close. */
  readonly stream: Duplex;
  readonly peer: PeerIdentity;
  readonly negotiated: Negotiated;
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

/**
 * Sees what passes on the network below a connection, encrypted as it is, with the secrets that open it: whoever gives one
 * makes the connection readable to everybody who gets hold of both.
 */
export interface WireTap {
  sent(ciphertext: Uint8Array): void;
  received(ciphertext: Uint8Array): void;
  /** Lines of an NSS key log, ASCII, before the ciphertext that needs them. Valid during the call. */
  secrets(keyLog: Uint8Array): void;
  closed(): void;
}

/** Makes the tap of a connection whose TCP connection is up. */
export type WireTapSource = (
  local: { hostname: string; port: number },
  remote: { hostname: string; port: number },
) => WireTap;

export interface ListenOptions {
  /** Address to bind. */
  hostname: string;
  /** Port to bind; 0 for any free one. */
  port: number;
  /**
   * What is accepted, the preferred offer first. A client gets the first that it has a group and a signature scheme of;
   * one that has none is refused.
   */
  offers: readonly Offer[];
  /** Certificates, PEM, that a client's chain must end in. A client without such a chain is refused. */
  trust: string;
  /** @default "wasm" */
  engine?: TlsEngine;
  /** Longest handshake in milliseconds. @default 10000 */
  handshakeTimeout?: number;
  /** Most connections at once; further ones are closed unanswered. @default 10000 */
  maxConnections?: number;
  /**
   * Whether a client that was here before may go on from its session, spared the signatures, for twelve hours at most; else
   * each proves anew that it has its key. The engine "native" has no switch for it. @default true
   */
  resumption?: boolean;
  /** Records each connection; the engine in WebAssembly alone can give its secrets. @default nothing is recorded, no secret leaves the engine */
  tap?: WireTapSource;
  /** Called for each connection whose handshake completed with a verified client certificate. */
  onConnection: (connection: TlsConnection) => void;
  /** Called for each connection that was refused or failed before that. */
  onRefused?: (error: Error, remoteAddress: string) => void;
}

export interface TlsListener {
  readonly hostname: string;
  readonly port: number;
  /** Stops accepting. Connections that are up stay up: their owner closes them. */
  close(): Promise<void>;
}

export interface ConnectOptions {
  hostname: string;
  port: number;
  credentials: Credentials;
  /** The one profile that is offered. @default the default profile, 2 */
  profile?: Profile;
  /** Certificates, PEM, that the server's chain must end in. */
  trust: string;
  /** @default "wasm" */
  engine?: TlsEngine;
  /** Name that the server's certificate must carry. @default hostname */
  serverName?: string;
  /** Address of this machine that the connection leaves from. @default the system chooses */
  localAddress?: string;
  /** The time by which certificates are good or not, ms since 1970; the engine in WebAssembly alone. @default the system's */
  clock?: () => number;
  /** Longest TCP connect and handshake together, in milliseconds. @default 10000 */
  timeout?: number;
  /** Records the connection; the engine in WebAssembly alone can give its secrets. @default nothing is recorded, no secret leaves the engine */
  tap?: WireTapSource;
  signal?: AbortSignal;
}
