// A TLS 1.3 peer made by hand, client or server, that can do the handshake as it should be or change any message of it.

import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import assert from "node:assert/strict";
import { certificatesFromPem } from "../../../src/tls/engine/pem.ts";
import type { Credentials } from "../../../src/tls/types.ts";
import { answer, group, start, type Started } from "./key_exchange.ts";
import {
  deriveSecret,
  finishedMac,
  nextTrafficSecret,
  type Secrets,
  secretsOf,
  sha256,
} from "./key_schedule.ts";
import {
  certificate,
  certificateRequest,
  certificateVerify,
  type ClientHello,
  clientHello,
  clientShares,
  encryptedExtensions,
  type HelloFields,
  message,
  messageType,
  readHello,
  retryRandom,
  type ServerHello,
  serverHello,
  serverHelloExtensions,
  serverShare,
  signedContent,
} from "./messages.ts";
import { contentType, Protection, Records } from "./records.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The peer has ended it with an alert (RFC 8446 section 6). */
export class AlertReceived extends Error {
  constructor(readonly level: number, readonly description: number) {
    super(`alert ${level}, ${description}`);
  }
}

/** The TCP connection ended where a record was expected. */
export class ConnectionEnded extends Error {}

/** Changes a message of the handshake on its way out: another one goes out, and into the transcript, or none. */
export type Change = (type: number, message: Bytes) => Bytes | undefined;

/** ecdsa_secp256r1_sha256 (RFC 8446 section 4.2.3): what this peer signs by. */
const scheme = 0x0403;

/** What both ends have in common. */
abstract class HandPeer {
  readonly records: Records;
  readonly chain: readonly Uint8Array[];
  readonly key: KeyObject;
  readonly #peerKey: KeyObject;
  readonly #role: "server" | "client";
  #transcript: Bytes[] = [];
  #messages = new Uint8Array();
  protected secrets: Secrets | undefined;
  protected handshakeSecrets: { client: Bytes; server: Bytes } | undefined;

  /** @param peer Credentials of the other end: its public key checks its signature. */
  constructor(role: "server" | "client", conn: Deno.TcpConn, own: Credentials, peer: Credentials) {
    this.#role = role;
    this.records = new Records(conn);
    this.chain = certificatesFromPem("own chain", own.certificateChain);
    this.key = createPrivateKey(own.privateKey);
    this.#peerKey = createPublicKey(createPrivateKey(peer.privateKey));
  }

  get transcriptHash(): Bytes {
    return sha256(...this.#transcript);
  }

  /** RFC 8446 section 4.4.1: before a HelloRetryRequest stands the hash of the ClientHello in its place. */
  protected replaceHello(): void {
    this.#transcript = [message(254, sha256(...this.#transcript))];
  }

  /** A handshake message in a record of its own. */
  protected async say(type: number, made: Bytes, change: Change): Promise<void> {
    const said = change(type, made);
    if (said === undefined) return;
    this.#transcript.push(said);
    await this.records.write(contentType.handshake, said);
  }

  /**
   * The next handshake message.
   *
   * @throws {AlertReceived} when an alert comes instead.
   */
  async hear(): Promise<Bytes> {
    while (true) {
      const { length } = this.#messages;
      const whole = 4 +
        (length < 4 ? 0 : this.#messages[1] << 16 | this.#messages[2] << 8 | this.#messages[3]);
      if (length >= whole) {
        const heard = this.#messages.slice(0, whole);
        this.#messages = this.#messages.slice(whole);
        // Tickets come after the handshake, which the transcript is of.
        if (heard[0] !== messageType.newSessionTicket) this.#transcript.push(heard);
        return heard;
      }
      const { type, fragment } = await this.#record();
      if (type === contentType.changeCipherSpec) continue;
      assert.equal(type, contentType.handshake);
      this.#messages = Uint8Array.of(...this.#messages, ...fragment);
    }
  }

  async #record() {
    const record = await this.records.read();
    if (record === undefined) throw new ConnectionEnded("the connection has ended");
    if (record.type === contentType.alert) throw new AlertReceived(record.fragment[0], record.fragment[1]);
    return record;
  }

  /** What the peer says in the end: an alert's description, or undefined when it only closes. */
  async lastWord(): Promise<number | undefined> {
    try {
      while (true) await this.#record();
    } catch (error) {
      if (error instanceof ConnectionEnded) return undefined;
      if (error instanceof AlertReceived) return error.description;
      throw error;
    }
  }

  /** Application data, at least `length` bytes of it, as text. */
  async readText(length: number): Promise<string> {
    let text = "";
    while (text.length < length) {
      const { type, fragment } = await this.#record();
      if (type === contentType.applicationData) text += new TextDecoder().decode(fragment);
    }
    return text;
  }

  async writeText(text: string): Promise<void> {
    await this.records.write(contentType.applicationData, new TextEncoder().encode(text));
  }

  /** An alert of level warning: close_notify unless another is given. */
  async closeNotify(): Promise<void> {
    await this.records.write(contentType.alert, Uint8Array.of(1, 0));
  }

  /** KeyUpdate (RFC 8446 section 4.6.3), and the own direction goes on with the next key. */
  async updateKey(request: number): Promise<void> {
    await this.records.write(contentType.handshake, message(messageType.keyUpdate, [request]));
    const { writing } = this.records;
    assert.ok(writing);
    this.records.writing = new Protection(nextTrafficSecret(writing.secret));
  }

  /** Both directions go on with the handshake's keys. */
  protected enterHandshake(shared: Uint8Array): void {
    this.secrets = secretsOf(shared);
    this.handshakeSecrets = {
      client: deriveSecret(this.secrets.handshake, "c hs traffic", this.transcriptHash),
      server: deriveSecret(this.secrets.handshake, "s hs traffic", this.transcriptHash),
    };
    const { own, peers } = this.#byDirection(this.handshakeSecrets);
    this.records.writing = new Protection(own);
    this.records.reading = new Protection(peers);
  }

  #byDirection({ client, server }: { client: Bytes; server: Bytes }) {
    return this.#role === "client" ? { own: client, peers: server } : { own: server, peers: client };
  }

  /** The secrets of application data, from the transcript up to the server's Finished. */
  protected applicationSecrets(): { own: Bytes; peers: Bytes } {
    assert.ok(this.secrets);
    return this.#byDirection({
      client: deriveSecret(this.secrets.master, "c ap traffic", this.transcriptHash),
      server: deriveSecret(this.secrets.master, "s ap traffic", this.transcriptHash),
    });
  }

  /** Certificate, CertificateVerify and Finished. */
  protected async prove(change: Change): Promise<void> {
    assert.ok(this.handshakeSecrets);
    await this.say(messageType.certificate, certificate(this.chain), change);
    const signature = sign("sha256", signedContent(this.#role, this.transcriptHash), this.key);
    await this.say(messageType.certificateVerify, certificateVerify(scheme, signature), change);
    const { own } = this.#byDirection(this.handshakeSecrets);
    const made = message(messageType.finished, finishedMac(own, this.transcriptHash));
    await this.say(messageType.finished, made, change);
  }

  /** Certificate, CertificateVerify and Finished of the other end, which must be right. */
  protected async checkProof(): Promise<void> {
    assert.ok(this.handshakeSecrets);
    assert.equal((await this.hear())[0], messageType.certificate);
    const other = this.#role === "client" ? "server" : "client";
    const signed = signedContent(other, this.transcriptHash);
    const verified = await this.hear();
    assert.equal(verified[0], messageType.certificateVerify);
    assert.equal(verified[4] * 256 + verified[5], scheme);
    assert.equal(verify("sha256", signed, this.#peerKey, verified.subarray(8)), true, "CertificateVerify");
    const { peers } = this.#byDirection(this.handshakeSecrets);
    const expected = finishedMac(peers, this.transcriptHash);
    assert.deepEqual(await this.hear(), message(messageType.finished, expected), "Finished");
  }

  close(): void {
    this.records.close();
  }
}

const asItIs: Change = (_type, made) => made;

/** What a client of this kind offers when nothing else is said. */
export type HelloChanges = Partial<ClientHello> & { shareGroups?: readonly number[] };

/** A client. */
export class HandClient extends HandPeer {
  readonly #started = new Map<number, Started>();
  /** A second ClientHello has the first one's (RFC 8446 section 4.1.2). */
  readonly #random = crypto.getRandomValues(new Uint8Array(32));
  #application: { own: Bytes; peers: Bytes } | undefined;

  private constructor(conn: Deno.TcpConn, own: Credentials, peer: Credentials) {
    super("client", conn, own, peer);
  }

  static async connect(port: number, own: Credentials, server: Credentials): Promise<HandClient> {
    return new HandClient(await Deno.connect({ hostname: "127.0.0.1", port }), own, server);
  }

  /** A ClientHello with a share for each of `shareGroups`, X25519MLKEM768 alone unless told otherwise. */
  async hello(changes: HelloChanges = {}, change: Change = asItIs): Promise<void> {
    const { shareGroups = [group.x25519MlKem768], ...more } = changes;
    for (const number of shareGroups) this.#started.set(number, await start(number));
    const made = clientHello({
      random: this.#random,
      groups: [group.x25519MlKem768],
      shares: [...this.#started].map(([number, { share }]) => ({ group: number, share })),
      ...more,
    });
    await this.say(messageType.clientHello, made, change);
  }

  /** The server's HelloRetryRequest; the group that it asks for. */
  async retryRequest(): Promise<number> {
    this.replaceHello();
    const fields = readHello(await this.hear());
    assert.deepEqual(fields.random, retryRandom);
    const [high, low] = fields.extensions.get(51) ?? [];
    return high * 256 + low;
  }

  /** The server's flight, which must be right. */
  async serverFlight(): Promise<HelloFields> {
    const fields = readHello(await this.hear());
    const { group: number, share } = serverShare(fields);
    const started = this.#started.get(number);
    assert.ok(started, `a share of group ${number}`);
    this.enterHandshake(await started.complete(share));
    assert.equal((await this.hear())[0], messageType.encryptedExtensions);
    assert.equal((await this.hear())[0], messageType.certificateRequest);
    await this.checkProof();
    this.#application = this.applicationSecrets();
    return fields;
  }

  /** The client's second flight; application data goes out and in from here. */
  async finish(change: Change = asItIs): Promise<void> {
    await this.prove(change);
    assert.ok(this.#application);
    this.records.writing = new Protection(this.#application.own);
    this.records.reading = new Protection(this.#application.peers);
  }

  /** The whole handshake. */
  async handshake(changes: HelloChanges = {}, change: Change = asItIs): Promise<void> {
    await this.hello(changes);
    await this.serverFlight();
    await this.finish(change);
  }
}

/** A server. */
export class HandServer extends HandPeer {
  #hello: HelloFields | undefined;

  constructor(conn: Deno.TcpConn, own: Credentials, client: Credentials) {
    super("server", conn, own, client);
  }

  /** The ClientHello that was read last. */
  get clientHello(): HelloFields {
    assert.ok(this.#hello);
    return this.#hello;
  }

  async readHello(): Promise<HelloFields> {
    const heard = await this.hear();
    assert.equal(heard[0], messageType.clientHello);
    this.#hello = readHello(heard);
    return this.#hello;
  }

  /** A HelloRetryRequest for a group. */
  async retry(number: number): Promise<void> {
    this.replaceHello();
    await this.sayHello({ random: retryRandom, extensions: serverHelloExtensions(number) });
  }

  /** A ServerHello, or what stands for one. */
  async sayHello(
    hello: Partial<ServerHello> & Pick<ServerHello, "extensions">,
    change: Change = asItIs,
  ): Promise<void> {
    const made = serverHello({
      random: crypto.getRandomValues(new Uint8Array(32)),
      sessionId: this.clientHello.sessionId,
      suite: 0x1301,
      ...hello,
    });
    await this.say(messageType.serverHello, made, change);
  }

  /** ServerHello; what follows is protected. */
  async answerHello(changes: Partial<ServerHello> = {}, change: Change = asItIs): Promise<void> {
    const offered = clientShares(this.clientHello).find(({ group: number }) =>
      number === group.x25519MlKem768
    );
    assert.ok(offered, "a share of X25519MLKEM768");
    const { share, shared } = await answer(offered.group, offered.share);
    await this.sayHello(
      { extensions: serverHelloExtensions({ group: offered.group, share }), ...changes },
      change,
    );
    this.enterHandshake(shared);
  }

  /** The server's flight after its hello. */
  async flight(change: Change = asItIs): Promise<void> {
    await this.say(messageType.encryptedExtensions, encryptedExtensions(), change);
    await this.say(messageType.certificateRequest, certificateRequest(), change);
    await this.prove(change);
    this.records.writing = new Protection(this.applicationSecrets().own);
  }

  /** The client's flight, which must be right; application data comes from here. */
  async clientFlight(): Promise<void> {
    const { peers } = this.applicationSecrets();
    await this.checkProof();
    this.records.reading = new Protection(peers);
  }

  /** The whole handshake. */
  async handshake(change: Change = asItIs): Promise<void> {
    await this.readHello();
    await this.answerHello({}, change);
    await this.flight(change);
    await this.clientFlight();
  }
}
