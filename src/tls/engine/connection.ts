// One TLS connection of the engine, without I/O: ciphertext and plaintext go in and out as bytes.

import type { TlsError } from "../errors.ts";
import { toFailure } from "./failures.ts";
import type { Instance } from "./instance.ts";
import { cipherSuites, groups, signatureSchemes, versions } from "./numbers.ts";
import { Reader } from "./wire.ts";

/** What the handshake agreed on, all of it taken from the handshake. Names are the IANA registries'. */
export interface EngineNegotiated {
  /** `TLSv1.3` */
  readonly protocol: string;
  readonly cipherSuite: string;
  readonly group: string;
  /** Scheme that the peer signed the handshake with; undefined in a resumed one, which nobody signs. */
  readonly peerSignatureScheme?: string;
  /** Scheme that this end signed the handshake with; undefined in a resumed one. */
  readonly ownSignatureScheme?: string;
  /** Whether it goes on from an earlier handshake. The peer's certificates are that one's. */
  readonly resumed: boolean;
  /** Application protocol, when one was agreed on. */
  readonly alpn?: string;
  /** The peer's certificates, DER, leaf first; verified. */
  readonly peerCertificates: readonly Uint8Array[];
}

/** What a client offered in its ClientHello, for the log line of a refusal. At most 64 of each. */
export interface Offered {
  readonly versions: readonly string[];
  readonly cipherSuites: readonly string[];
  readonly groups: readonly string[];
  readonly signatureSchemes: readonly string[];
}

/** Bits of the status' flags, in wasm/tls/src/abi.rs. */
const flag = { established: 1, peerClosed: 2, closeSent: 4 } as const;

/** Numbers of the status. */
const statusLength = 8;

/** Most plaintext that goes into the engine at once; it encrypts no more than this in one call. */
const mostAtOnce = 65_536;

/**
 * A connection. Nothing here waits or throws for what a peer does: after each step look at {@link failure}, and send what
 * {@link take} gives, an alert included.
 *
 * Every method throws {@link EngineTrap} once the instance that the connection lives in has trapped.
 */
export class EngineConnection {
  readonly #instance: Instance;
  #handle: number;
  #flags = 0;
  #room = 0;
  #plaintext = 0;
  #plaintextLength = 0;
  #outbound = 0;
  #outboundLength = 0;
  #failure: TlsError | undefined;

  /** Use {@link EngineServer.accept} or {@link EngineClient.connect}. */
  constructor(instance: Instance, handle: number) {
    this.#instance = instance;
    this.#handle = handle;
    this.#look();
  }

  /** The handshake is complete: data may go both ways, and {@link negotiated} tells. */
  get established(): boolean {
    return (this.#flags & flag.established) !== 0;
  }

  /** The peer has said that it writes nothing more. */
  get peerClosed(): boolean {
    return (this.#flags & flag.peerClosed) !== 0;
  }

  /** This end has said that it writes nothing more. */
  get closeSent(): boolean {
    return (this.#flags & flag.closeSent) !== 0;
  }

  /** Why the connection is over, if it failed. Plaintext that came before can still be read. */
  get failure(): TlsError | undefined {
    return this.#failure;
  }

  /** Bytes of plaintext that wait to be read. */
  get readable(): number {
    return this.#plaintextLength;
  }

  /** Bytes of ciphertext that wait to be taken. */
  get takable(): number {
    return this.#outboundLength;
  }

  /**
   * Gives the engine bytes that came from the peer.
   *
   * @returns {number} How many it took: fewer than there are while much plaintext waits to be read, none after a failure.
   */
  feed(ciphertext: Uint8Array): number {
    this.#check();
    let taken = 0;
    while (taken < ciphertext.length && this.#room > 0) {
      const part = ciphertext.subarray(taken, taken + this.#room);
      const pointer = this.#instance.call("connection_input", this.#handle, part.length);
      this.#instance.view(pointer, part.length).set(part);
      this.#process();
      taken += part.length;
    }
    return taken;
  }

  /** Ciphertext for the peer, all that waits; undefined when there is none. The bytes are the caller's. */
  take(): Uint8Array<ArrayBuffer> | undefined {
    this.#check();
    const length = this.#outboundLength;
    if (length === 0) return undefined;
    const ciphertext = this.#instance.view(this.#outbound, length).slice();
    this.#instance.call("connection_taken", this.#handle, length);
    this.#look();
    return ciphertext;
  }

  /** Plaintext from the peer, all that waits; undefined when there is none. The bytes are the caller's. */
  read(): Uint8Array<ArrayBuffer> | undefined {
    this.#check();
    const length = this.#plaintextLength;
    if (length === 0) return undefined;
    const plaintext = this.#instance.view(this.#plaintext, length).slice();
    this.#instance.call("connection_read", this.#handle, length);
    this.#process(); // What waited for room.
    return plaintext;
  }

  /**
   * Encrypts plaintext for the peer.
   *
   * @returns {number} How many bytes it took: none before the handshake is complete, after {@link closeNotify} and after a
   * failure, and fewer than there are while much ciphertext waits to be taken.
   */
  write(plaintext: Uint8Array): number {
    this.#check();
    let written = 0;
    while (written < plaintext.length) {
      const part = plaintext.subarray(written, written + mostAtOnce);
      this.#instance.give(part);
      const accepted = this.#instance.call("connection_write", this.#handle, part.length);
      if (accepted === 0) break;
      written += accepted;
    }
    this.#look();
    return written;
  }

  /** Tells the peer that nothing more will be written (RFC 8446 section 6.1). Reading goes on. */
  closeNotify(): void {
    this.#run("connection_close_notify");
  }

  /** Changes the traffic keys of both directions (RFC 8446 section 4.6.3). */
  updateKeys(): void {
    this.#run("connection_update_keys");
  }

  /** Tells the engine that the network connection gives no more bytes: without the peer's close_notify that is a failure. */
  endOfInput(): void {
    this.#run("connection_end_of_input");
  }

  /** What was agreed on; undefined before the handshake is complete. */
  negotiated(): EngineNegotiated | undefined {
    this.#check();
    if (!this.established) return undefined;
    const reader = new Reader(this.#instance.reply(this.#instance.call("connection_facts", this.#handle)));
    const [protocol, suite, group, peerScheme, ownScheme, resumed] = Array.from(
      { length: 6 },
      () => reader.u16(),
    );
    const alpn = new TextDecoder().decode(reader.bytes());
    return {
      protocol: versions.nameOf(protocol),
      cipherSuite: cipherSuites.nameOf(suite),
      group: groups.nameOf(group),
      ...(peerScheme === 0 ? {} : { peerSignatureScheme: signatureSchemes.nameOf(peerScheme) }),
      ...(ownScheme === 0 ? {} : { ownSignatureScheme: signatureSchemes.nameOf(ownScheme) }),
      resumed: resumed === 1,
      ...(alpn === "" ? {} : { alpn }),
      peerCertificates: reader.list(() => reader.bytes()),
    };
  }

  /** What the client offered; undefined on a client's side, and where the ClientHello has not come or cannot be read. */
  offered(): Offered | undefined {
    this.#check();
    const reply = this.#instance.reply(this.#instance.call("connection_offered", this.#handle));
    if (reply.length === 0) return undefined;
    const reader = new Reader(reply);
    const names = (registry: { nameOf(number: number): string }) =>
      reader.list(() => registry.nameOf(reader.u16()));
    return {
      versions: names(versions),
      cipherSuites: names(cipherSuites),
      groups: names(groups),
      signatureSchemes: names(signatureSchemes),
    };
  }

  /** Keeps the traffic secrets of the handshake, for {@link loggedKeys}. To be called before the peer's first bytes are fed. */
  logKeys(): void {
    this.#run("connection_log_keys");
  }

  /** Traffic secrets kept since the last call, as lines of an NSS key log; empty when there are none. The caller keeps them safe. */
  loggedKeys(): Uint8Array<ArrayBuffer> {
    this.#check();
    return this.#instance.reply(this.#instance.call("connection_logged_keys", this.#handle));
  }

  /** Gives back what the engine holds. The connection cannot be used afterwards. */
  free(): void {
    if (this.#handle === 0) return;
    const handle = this.#handle;
    this.#handle = 0;
    if (this.#instance.trap === undefined) this.#instance.call("connection_free", handle);
  }

  [Symbol.dispose](): void {
    this.free();
  }

  #run(
    name:
      | "connection_close_notify"
      | "connection_update_keys"
      | "connection_end_of_input"
      | "connection_log_keys",
  ): void {
    this.#check();
    this.#instance.call(name, this.#handle);
    this.#look();
  }

  #process(): void {
    this.#instance.call("connection_process", this.#handle);
    this.#look();
  }

  /** Handles come back into use: one that was freed may be another connection's by now. */
  #check(): void {
    if (this.#handle === 0) throw new TypeError("this TLS connection was freed");
  }

  /** Takes over where the engine stands. */
  #look(): void {
    const pointer = this.#instance.call("connection_status", this.#handle);
    const [flags, room, plaintext, plaintextLength, outbound, outboundLength, kind, alert] = this.#instance
      .numbers(pointer, statusLength);
    this.#flags = flags;
    this.#room = room;
    this.#plaintext = plaintext;
    this.#plaintextLength = plaintextLength;
    this.#outbound = outbound;
    this.#outboundLength = outboundLength;
    if (kind !== 0 && this.#failure === undefined) {
      const text = this.#instance.replyText(this.#instance.call("connection_failure", this.#handle));
      this.#failure = toFailure(kind, alert, text);
    }
  }
}
