// One connection to an external broker as its client, MQTT 5.0. A message is acknowledged when it has been taken over, many at
// once under way, acknowledgements in the order of the messages: what the common client libraries cannot do.

import { Buffer } from "node:buffer";
import type { Duplex } from "node:stream";
import { generate, type IPublishPacket, type Packet, parser } from "mqtt-packet";
import { orAborted, settledWithin } from "../../../wait.ts";
import { InOrder, type Work } from "../in_order.ts";

/** The broker refused, or the connection failed. */
export class BrokerSessionError extends Error {
  override readonly name = "BrokerSessionError";
  /** @param reasonCode section 2.4, where the broker gave one */
  constructor(message: string, readonly reasonCode?: number, options?: ErrorOptions) {
    super(message, options);
  }
}

/** A message from the broker. */
export interface BrokerMessage {
  readonly topic: string;
  readonly qos: 0 | 1;
  readonly payload: Uint8Array;
}

export interface BrokerSessionOptions {
  /** Where the broker is, for messages: `broker.example:8883`. */
  where: string;
  clientId: string;
  username?: string;
  password?: string;
  /** Seconds. */
  keepalive: number;
  /** Longest wait for an answer of the broker, in milliseconds. */
  answerTimeout: number;
  /** How long the broker keeps the session without a connection, in seconds. */
  sessionExpiry: number;
  /** Messages from the broker that are not acknowledged, at most. */
  inFlight: number;
  /** Largest packet that is taken, in bytes. */
  maxPacket: number;
  /**
   * Says whose message it is and what is to be done; it is acknowledged when that has settled. When it fails the connection
   * ends, and the broker sends the message again on the next one.
   */
  onMessage: (message: BrokerMessage) => { sender: string; work: Work };
}

/** Section 3.1.2.11.2: a session that never ends. */
const longestExpiry = 0xffff_ffff;

/** The first reason code that says that something failed (section 2.4). */
const firstFailure = 0x80;

/** Reason codes that are told from others (section 2.4). */
export const reasonCodes = { sessionTakenOver: 0x8e } as const;

interface Wait {
  resolve: (packet: Packet) => void;
  reject: (error: Error) => void;
}

/**
 * Connects on a stream whose TLS handshake is done. The stream is destroyed when this fails.
 * @throws {BrokerSessionError} or the signal's reason
 */
export async function openBrokerSession(
  stream: Duplex,
  options: BrokerSessionOptions,
  signal?: AbortSignal,
): Promise<BrokerSession> {
  const session = new BrokerSession(stream, options);
  try {
    await orAborted(session.connect(), signal);
    return session;
  } catch (error) {
    session.abandon(error instanceof Error ? error : new Error(String(error)));
    throw error;
  }
}

export class BrokerSession {
  readonly #stream: Duplex;
  readonly #options: BrokerSessionOptions;
  readonly #order = new InOrder();
  readonly #closed = Promise.withResolvers<Error | undefined>();
  readonly #waits = new Map<string, Wait>();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #sessionPresent = false;
  #failure: Error | undefined;
  #over = false;
  #leaving = false;
  #nextId = 1;
  #unsettled = 0;
  /** Publications that the broker takes at once, and those that wait for their turn. */
  #room = 65_535;
  readonly #turns: (() => void)[] = [];
  #keepalive: number;
  #sent = 0;
  #heard = 0;
  #watch: ReturnType<typeof setInterval> | undefined;

  constructor(stream: Duplex, options: BrokerSessionOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#keepalive = options.keepalive;
    const packets = parser({ protocolVersion: 5 });
    packets.on("packet", (packet) => this.#received(packet));
    packets.on("error", (cause) => this.#fail("what came is not MQTT 5.0", undefined, cause));
    stream.on("data", (chunk: Uint8Array) => {
      if (this.#over) return;
      this.#heard = Date.now();
      const left = packets.parse(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length));
      if (left > options.maxPacket) this.#fail(`a packet has more than ${options.maxPacket} bytes`);
    });
    stream.on("error", (cause) => this.#fail("the connection failed", undefined, cause));
    stream.on("end", () => this.#end());
    stream.on("close", () => this.#end());
  }

  /** Whether the broker still had the session of an earlier connection. */
  get sessionPresent(): boolean {
    return this.#sessionPresent;
  }

  /** Resolves when the connection is gone, with the cause unless {@link close} ended it. */
  get closed(): Promise<Error | undefined> {
    return this.#closed.promise;
  }

  /** CONNECT (section 3.1), once. */
  async connect(): Promise<void> {
    const { clientId, username, password, keepalive, sessionExpiry, inFlight, maxPacket } = this.#options;
    const answered = this.#answer("connack", "CONNECT");
    this.#send({
      cmd: "connect",
      protocolId: "MQTT",
      protocolVersion: 5,
      clean: false,
      clientId,
      keepalive,
      username,
      password: password === undefined ? undefined : Buffer.from(password),
      properties: {
        sessionExpiryInterval: Math.min(sessionExpiry, longestExpiry),
        receiveMaximum: inFlight,
        maximumPacketSize: maxPacket,
      },
    });
    const packet = await answered;
    if (packet.cmd !== "connack") throw this.#unexpected(packet, "CONNACK");
    this.#check(packet.reasonCode ?? 0, "CONNECT", packet.properties?.reasonString);
    const { sharedSubscriptionAvailable, wildcardSubscriptionAvailable, retainAvailable, maximumQoS } =
      packet.properties ?? {};
    for (
      const [what, offered] of [
        ["shared subscriptions", sharedSubscriptionAvailable],
        ["subscriptions with wildcards", wildcardSubscriptionAvailable],
        ["retained messages", retainAvailable],
        ["QoS 1", maximumQoS === undefined ? undefined : maximumQoS > 0],
      ] as const
    ) {
      if (offered === false) {
        throw new BrokerSessionError(`${this.#options.where}: the broker has no ${what}`);
      }
    }
    this.#sessionPresent = packet.sessionPresent;
    this.#room = packet.properties?.receiveMaximum ?? this.#room;
    // Section 3.2.2.3.14: the broker's word on it counts.
    this.#keepalive = packet.properties?.serverKeepAlive ?? keepalive;
    if (this.#keepalive > 0) this.#watch = setInterval(() => this.#beat(), this.#keepalive * 250);
  }

  /** Subscribes with QoS 1. @throws {BrokerSessionError} when a filter is refused */
  async subscribe(filters: readonly string[]): Promise<void> {
    const messageId = this.#takeId();
    const answered = this.#answer(`suback ${messageId}`, "SUBSCRIBE");
    this.#send({ cmd: "subscribe", messageId, subscriptions: filters.map((topic) => ({ topic, qos: 1 })) });
    const packet = await answered;
    if (packet.cmd !== "suback") throw this.#unexpected(packet, "SUBACK");
    const refused = filters.filter((_, index) => packet.granted[index] !== 1);
    if (refused.length > 0) {
      const codes = packet.granted.filter((code) => code !== 1).join(", ");
      throw new BrokerSessionError(
        `${this.#options.where}: the broker refuses QoS 1 for ${refused.join(", ")} (code ${codes})`,
      );
    }
  }

  /** Ends subscriptions; one that is not there is fine. */
  async unsubscribe(filters: readonly string[]): Promise<void> {
    const messageId = this.#takeId();
    const answered = this.#answer(`unsuback ${messageId}`, "UNSUBSCRIBE");
    this.#send({ cmd: "unsubscribe", messageId, unsubscriptions: [...filters] });
    await answered;
  }

  /**
   * Publishes with QoS 1; resolves when the broker has acknowledged it.
   * @param options `expiry`: how long the broker keeps it for subscribers, in seconds
   * @throws {BrokerSessionError} when the broker refuses it or the connection ends
   */
  async publish(
    topic: string,
    payload: Uint8Array,
    { retain = false, expiry }: { retain?: boolean; expiry?: number } = {},
  ): Promise<void> {
    await this.#turn();
    try {
      const messageId = this.#takeId();
      const answered = this.#answer(`puback ${messageId}`, "PUBLISH");
      this.#send({
        cmd: "publish",
        topic,
        payload: Buffer.from(payload),
        qos: 1,
        dup: false,
        retain,
        messageId,
        properties: expiry === undefined ? undefined : { messageExpiryInterval: expiry },
      });
      const packet = await answered;
      if (packet.cmd !== "puback") throw this.#unexpected(packet, "PUBACK");
      this.#check(packet.reasonCode ?? 0, `PUBLISH on ${topic}`, packet.properties?.reasonString);
    } finally {
      this.#room++;
      this.#turns.shift()?.();
    }
  }

  /** Publishes with QoS 0: it is written at once, and nothing says whether it came to anything. */
  tell(topic: string, payload: Uint8Array): void {
    this.#send({ cmd: "publish", topic, payload: Buffer.from(payload), qos: 0, dup: false, retain: false });
  }

  /** Resolves when every message that came so far is stored and acknowledged, or has failed. */
  settled(): Promise<void> {
    return this.#order.settled();
  }

  /** Gives the connection up at once: nothing more is sent on it. */
  abandon(reason: Error): void {
    this.#failure ??= reason;
    this.#end();
  }

  /**
   * Ends the connection in order: no more is read, what was read is stored and acknowledged, DISCONNECT.
   * @param options `endSession`: the broker forgets the session · `limit`: most milliseconds
   */
  async close({ endSession = false, limit }: { endSession?: boolean; limit: number }): Promise<void> {
    if (this.#over) return;
    this.#leaving = true;
    // What comes now is not acknowledged: it stays with the broker for the session's next connection.
    await settledWithin(this.settled(), limit * 0.7);
    if (!this.#over) {
      this.#send({
        cmd: "disconnect",
        reasonCode: 0,
        properties: endSession ? { sessionExpiryInterval: 0 } : undefined,
      });
      const ended = new Promise<void>((resolve) => this.#stream.end(() => resolve()));
      await settledWithin(Promise.race([ended, this.closed]), limit * 0.3);
    }
    this.#end();
  }

  #received(packet: Packet): void {
    switch (packet.cmd) {
      case "publish":
        return this.#published(packet);
      case "connack":
        return this.#settle("connack", packet);
      case "puback":
      case "suback":
      case "unsuback":
        return this.#settle(`${packet.cmd} ${packet.messageId}`, packet);
      case "pingresp":
        return;
      case "disconnect": {
        const { reasonCode = 0, properties } = packet;
        const reason = properties?.reasonString;
        return this.#fail(
          `the broker ended it with reason code 0x${reasonCode.toString(16).padStart(2, "0")}${
            reason === undefined ? "" : ` (${reason})`
          }${reasonCode === reasonCodes.sessionTakenOver ? ": another client has this client id" : ""}`,
          reasonCode,
        );
      }
      default:
        this.#fail(`the broker sent ${packet.cmd.toUpperCase()}, which nothing here asked for`);
    }
  }

  #published(packet: IPublishPacket): void {
    if (this.#leaving || this.#over) return;
    const { topic, qos, messageId } = packet;
    if (qos === 2) {
      // Section 3.8.4: subscriptions here are of QoS 1, which is the most that the broker may send.
      return this.#fail(`the broker sent QoS 2 on ${topic}`);
    }
    const payload = typeof packet.payload === "string" ? Buffer.from(packet.payload) : packet.payload;
    const { sender, work } = this.#options.onMessage({ topic, qos, payload });
    this.#unsettled++;
    this.#flow();
    this.#order.do(sender, work).then(
      () => {
        if (qos === 1) this.#send({ cmd: "puback", messageId, reasonCode: 0 });
      },
      (cause) => this.#fail(`a message on ${topic} could not be taken over`, undefined, cause),
    ).finally(() => {
      this.#unsettled--;
      this.#flow();
    });
  }

  /** QoS 0 knows no window: what is not yet taken over holds the reading back. */
  #flow(): void {
    const most = this.#options.inFlight * 2;
    if (this.#unsettled > most && !this.#stream.isPaused()) this.#stream.pause();
    else if (this.#unsettled <= most && this.#stream.isPaused() && !this.#over) this.#stream.resume();
  }

  /** Section 3.1.2.10: something goes out within the keep-alive; nothing back for one and a half is an end. */
  #beat(): void {
    const now = Date.now();
    if (now - this.#heard > this.#keepalive * 1500) {
      this.#fail(`nothing came for ${Math.round((now - this.#heard) / 1000)} s`);
    } else if (now - this.#sent >= this.#keepalive * 500) {
      this.#send({ cmd: "pingreq" });
    }
  }

  #send(packet: Packet): void {
    if (this.#over) return;
    this.#sent = Date.now();
    this.#stream.write(generate(packet, { protocolVersion: 5 }));
  }

  /** What the broker answers under a name, within the time that it has for it. */
  #answer(name: string, to: string): Promise<Packet> {
    if (this.#over) return Promise.reject(this.#gone());
    const { promise, resolve, reject } = Promise.withResolvers<Packet>();
    // Whoever asked awaits it after having sent the question, which may fail first.
    promise.catch(() => {});
    const { answerTimeout } = this.#options;
    const timer = setTimeout(
      () => this.#fail(`no answer to ${to} within ${answerTimeout} ms`),
      answerTimeout,
    );
    this.#timers.add(timer);
    const clear = () => {
      clearTimeout(timer);
      this.#timers.delete(timer);
    };
    this.#waits.set(name, {
      resolve: (packet) => {
        clear();
        resolve(packet);
      },
      reject: (error) => {
        clear();
        reject(error);
      },
    });
    return promise;
  }

  #settle(name: string, packet: Packet): void {
    const wait = this.#waits.get(name);
    this.#waits.delete(name);
    if (wait) wait.resolve(packet);
    else this.#fail(`the broker sent ${name.toUpperCase()}, which nothing here waits for`);
  }

  /** Waits until the broker takes one more publication (section 3.3.4). */
  async #turn(): Promise<void> {
    while (this.#room <= 0 && !this.#over) await new Promise<void>((resolve) => this.#turns.push(resolve));
    if (this.#over) throw this.#gone();
    this.#room--;
  }

  #takeId(): number {
    // Section 2.2.1: not one that is in use.
    while (
      ["puback", "suback", "unsuback"].some((kind) => this.#waits.has(`${kind} ${this.#nextId}`))
    ) this.#nextId = this.#nextId % 65_535 + 1;
    const id = this.#nextId;
    this.#nextId = id % 65_535 + 1;
    return id;
  }

  #check(reasonCode: number, what: string, reason: string | undefined): void {
    if (reasonCode < firstFailure) return;
    throw new BrokerSessionError(
      `${this.#options.where}: the broker refuses ${what} with reason code 0x${reasonCode.toString(16)}${
        reason === undefined ? "" : ` (${reason})`
      }`,
      reasonCode,
    );
  }

  #unexpected(packet: Packet, expected: string): BrokerSessionError {
    return new BrokerSessionError(
      `${this.#options.where}: expected ${expected}, got ${packet.cmd.toUpperCase()}`,
    );
  }

  #fail(what: string, reasonCode?: number, cause?: unknown): void {
    this.#failure ??= new BrokerSessionError(`${this.#options.where}: ${what}`, reasonCode, { cause });
    this.#end();
  }

  #gone(): Error {
    return this.#failure ?? new BrokerSessionError(`${this.#options.where}: the connection is closed`);
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    clearInterval(this.#watch);
    for (const timer of this.#timers) clearTimeout(timer);
    const gone = this.#gone();
    for (const { reject } of this.#waits.values()) reject(gone);
    this.#waits.clear();
    for (const turn of this.#turns.splice(0)) turn();
    this.#stream.destroy();
    this.#closed.resolve(this.#leaving && this.#failure === undefined ? undefined : gone);
  }
}
