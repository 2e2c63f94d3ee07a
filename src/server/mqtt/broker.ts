// The MQTT broker: aedes on our TLS streams. Each hook is an ordered list of named checks, with the clause of MQTT 3.1.1
// where one says so.

import type { EventEmitter } from "node:events";
import { Aedes, type AuthenticateError, type Client, type PublishPacket, type Subscription } from "aedes";
import { parseTopic, vehicleStatus } from "../../contract/mqtt.ts";
import type { Logger } from "../../log.ts";
import { describeError } from "../../log.ts";
import { describeNegotiated } from "../../pqc/profiles.ts";
import { listen } from "../../tls/listen.ts";
import type { Offer, TlsConnection, TlsEngine, TlsListener } from "../../tls/types.ts";
import { settledWithin } from "../../wait.ts";
import { identityOf } from "../identity.ts";
import type { Inbox } from "../inbox.ts";
import { JsonTextError, parseJson } from "../json_text.ts";
import type { Metrics } from "../metrics.ts";
import type { MqttOptions } from "../options.ts";
import type { Outbox } from "../outbox.ts";
import type { UpdateService } from "../ota/updates.ts";
import type { Registry } from "../registry.ts";
import type { ServerState } from "../state.ts";
import type { Store } from "../store/mod.ts";
import { Connection } from "./connection.ts";
import { Delivery, retainedConfigs } from "./delivery.ts";
import { guardFrames } from "./frame_guard.ts";
import { Sessions } from "./sessions.ts";
import { isOwnFilter, ownTopic } from "./topics.ts";

export interface BrokerOptions extends MqttOptions {
  offers: readonly Offer[];
  tlsEngine?: TlsEngine;
  trust: string;
  handshakeTimeout?: number;
  resumption?: boolean;
  store: Store;
  registry: Registry;
  inbox: Inbox;
  outbox: Outbox;
  updates: UpdateService;
  state: ServerState;
  metrics: Metrics;
  log: Logger;
}

export interface RunningBroker {
  readonly hostname: string;
  readonly port: number;
  /** Stops accepting, lets messages under way end within `limit` ms, closes the sessions. */
  stop(limit: number): Promise<void>;
}

/** Room for a topic and the packet identifier beside the payload. */
const packetOverhead = 66_000;

/** Return codes of CONNACK (section 3.2.2.3). */
const connack = { identifierRejected: 2, serverUnavailable: 3, notAuthorized: 5 } as const;

export async function startBroker(options: BrokerOptions): Promise<RunningBroker> {
  const broker = new Broker(options);
  await broker.open();
  return broker;
}

class Broker implements RunningBroker {
  readonly #options: BrokerOptions;
  readonly #log: Logger;
  readonly #sessions: Sessions;
  readonly #delivery: Delivery;
  readonly #connections = new Map<Client, Connection>();
  /** Also of clients that are gone: what they said last is still being written down. */
  readonly #connectionOf = new WeakMap<Client, Connection>();
  /** The newest connection of each vehicle. */
  readonly #current = new Map<string, Connection>();
  /** The newest connection of each client id that sent CONNECT, as long as the broker does not know it. */
  readonly #arriving = new Map<string, Promise<void>>();
  #aedes: Aedes | undefined;
  #listener: TlsListener | undefined;
  #stopping = false;
  #unlisten: () => void = () => {};

  constructor(options: BrokerOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#sessions = new Sessions({
      store: options.store.mqttSessions,
      limits: {
        count: options.maxQueued ?? 1000,
        bytes: options.maxQueuedBytes ?? 16_777_216,
        age: options.maxQueuedAge ?? 604_800_000,
      },
      retained: (filters) => retainedConfigs(options.store, filters),
      onDropped: (clientId, topic) =>
        this.#log.warn(`The queue of ${clientId} is full: the oldest message on ${topic} goes`),
    });
    this.#delivery = new Delivery({
      outbox: options.outbox,
      updates: options.updates,
      sessions: this.#sessions,
      log: this.#log,
    });
  }

  get hostname(): string {
    return this.#listener?.hostname ?? "";
  }

  get port(): number {
    return this.#listener?.port ?? 0;
  }

  async open(): Promise<void> {
    const { hostname = "0.0.0.0", port = 8883, connectTimeout = 10_000 } = this.#options;
    const aedes = await Aedes.createBroker({
      persistence: this.#sessions,
      connectTimeout,
      // Before its connection is accepted a client may already send: what it sends is held back, not dropped.
      queueLimit: 1000,
      maxClientsIdLength: 64,
      maxTopicLevels: 10,
      preConnect: (client, packet, done) => {
        const connection = this.#connections.get(client);
        if (connection) connection.connect = packet;
        done(null, connection !== undefined);
      },
      authenticate: (client, _user, _password, done) => {
        this.#connect(client).then(
          () => done(null, true),
          (error: unknown) => done(toConnackError(error), false),
        );
      },
      authorizePublish: (client, packet, done) => this.#publish(client, packet, done),
      authorizeSubscribe: (client, subscription, done) => {
        this.#subscribe(client, subscription).then(
          (allowed) => done(null, allowed ? subscription : null),
          (error: unknown) => done(toError(error)),
        );
      },
      authorizeForward: (client, packet) => this.#forward(client, packet),
    });
    this.#aedes = aedes;
    aedes.on("client", (client) => this.#connectionOf.get(client)?.arrived.resolve());
    aedes.on("clientReady", (client) => this.#ready(client));
    aedes.on("subscribe", (_subscriptions, client) => this.#subscribed(client));
    aedes.on("ack", (packet, client) => {
      // There is none for what a session no longer held.
      if (packet && "payload" in packet) this.#acknowledged(packet, client);
    });
    aedes.on("clientDisconnect", (client) => this.#disconnected(client));
    aedes.on("clientError", (client, error) => this.#failed(client, error));
    aedes.on("connectionError", (client, error) => this.#failed(client, error));
    // The broker's own errors (of its queues) must not end the process.
    // aedes leaves this event out of its types.
    const emitter: EventEmitter = aedes;
    emitter.on("error", (error: unknown) => this.#log.error(describeError(error)));
    this.#unlisten = this.#options.outbox.listen((vin) => this.#flush(vin));
    try {
      this.#listener = await listen({
        hostname,
        port,
        offers: this.#options.offers,
        engine: this.#options.tlsEngine,
        trust: this.#options.trust,
        handshakeTimeout: this.#options.handshakeTimeout,
        resumption: this.#options.resumption,
        maxConnections: this.#options.maxConnections ?? 2000,
        onConnection: (connection) => this.#accept(connection),
        onRefused: (error, address) => {
          this.#options.metrics.refused.inc({ listener: "mqtt", reason: error.name });
          this.#log.warn(`Connection from ${address} refused: ${error.message}`);
        },
      });
    } catch (error) {
      await new Promise<void>((resolve) => aedes.close(resolve));
      throw error;
    }
  }

  async stop(limit: number): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#unlisten();
    await this.#listener?.close();
    // No more is read; what was read is stored and acknowledged.
    for (const { stream } of this.#connections.values()) stream.pause();
    const settled = Promise.all([...this.#connections.values()].map((connection) => connection.settled()));
    await settledWithin(settled, limit);
    await new Promise<void>((resolve) => this.#aedes ? this.#aedes.close(resolve) : resolve());
    for (const { stream } of this.#connections.values()) stream.destroy();
    await settledWithin(this.#sessions.destroy(), limit);
  }

  #accept(tls: TlsConnection): void {
    const { peer, negotiated, remoteAddress } = tls;
    const identity = identityOf(peer);
    this.#log.info(`New connection from ${remoteAddress}`);
    this.#log.info(
      `TLS handshake successful (${describeNegotiated(negotiated)}) ${identity.name}`,
    );
    if (!this.#aedes || this.#stopping) {
      tls.stream.destroy();
      return;
    }
    const { maxPayload = 262_144, maxSilence = 3_600_000 } = this.#options;
    const stream = guardFrames(tls.stream, { maxPacket: maxPayload + packetOverhead, maxSilence });
    const connection = new Connection(tls, stream, identity);
    const client = this.#aedes.handle(stream);
    this.#connections.set(client, connection);
    this.#connectionOf.set(client, connection);
    this.#options.metrics.connections.set({ listener: "mqtt" }, this.#connections.size);
    stream.once("close", () => {
      connection.arrived.resolve();
      this.#connections.delete(client);
      this.#options.metrics.connections.set({ listener: "mqtt" }, this.#connections.size);
      this.#log.debug(`Connection of ${identity.name} from ${remoteAddress} closed`);
    });
  }

  /** CONNECT, in order. */
  async #connect(client: Client): Promise<void> {
    const connection = this.#connections.get(client);
    const packet = connection?.connect;
    if (!connection || !packet) throw new ConnectRefused("no connection", connack.serverUnavailable);
    const { identity } = connection;
    const refuse = (reason: string, code: number) => {
      this.#options.metrics.refused.inc({ listener: "mqtt", reason: "connect" });
      this.#log.warn(`CONNECT of ${identity.name} from ${connection.tls.remoteAddress} refused: ${reason}`);
      throw new ConnectRefused(reason, code);
    };
    // Design: the broker is for vehicles; operators use the REST interface.
    if (identity.kind !== "vehicle") {
      return refuse("the certificate is not a vehicle's", connack.notAuthorized);
    }
    // Design: the client id is the certificate's common name, so nobody takes another's session over (3.1.3.1).
    if (packet.clientId !== identity.name) {
      return refuse(
        `the client id must be ${identity.name}, got ${packet.clientId}`,
        connack.identifierRejected,
      );
    }
    await this.#turn(connection);
    const vehicle = await this.#options.registry.find(identity.vin);
    connection.vmgId = vehicle?.vmgId;
    // 3.1.2.5: a will is published in the client's name, so it must be what the client itself may publish.
    if (packet.will) {
      const wrong = await this.#wrongWill(connection, packet.will);
      if (wrong !== undefined) return refuse(`the will ${wrong}`, connack.notAuthorized);
    }
    await this.#options.registry.linked(identity.vin, "mqtt", connection.tls);
    // The end of an earlier connection may let go of it meanwhile; once this one is the current one, nobody does.
    while (!this.#sessions.has(identity.name)) await this.#sessions.load(identity.name);
    this.#sessions.forgetInFlight(identity.name);
    this.#current.set(identity.vin, connection);
    connection.client = client;
    connection.accepted = true;
    if (!packet.clean) this.#delivery.begin(connection);
  }

  /**
   * 3.1.4-2: a client that comes again takes the place of its earlier connection. The broker looks that up when it knows it;
   * of two that came at once neither would see the other, and both would stay.
   */
  async #turn({ identity: { name }, arrived: { promise } }: Connection): Promise<void> {
    const before = this.#arriving.get(name);
    this.#arriving.set(name, promise);
    void promise.then(() => {
      if (this.#arriving.get(name) === promise) this.#arriving.delete(name);
    });
    await before;
  }

  async #wrongWill(
    connection: Connection,
    will: { topic: string; payload: Uint8Array | string },
  ): Promise<string | undefined> {
    const topic = await this.#ownTopic(connection, will.topic);
    if (typeof topic === "string") return `is on ${will.topic}, ${topic}`;
    if (topic.channel !== "status") return `must be on the status topic, got ${will.topic}`;
    try {
      const parsed = vehicleStatus.safeParse(parseJson(toBytes(will.payload)));
      return parsed.success ? undefined : "does not fit the status topic";
    } catch (error) {
      if (error instanceof JsonTextError) return `is malformed JSON: ${error.message}`;
      throw error;
    }
  }

  /**
   * PUBLISH, in order. Its acknowledgement follows `done` (aedes sends PUBACK and PUBREC after it), so it comes after the
   * message is committed, and in the order in which messages came (4.6).
   */
  #publish(client: Client | null, packet: PublishPacket, done: (error?: Error | null) => void): void {
    const connection = client ? this.#connectionOf.get(client) : undefined;
    if (!connection) {
      // The broker's own messages have no client.
      done(client ? new Error("the connection has ended") : null);
      return;
    }
    connection.inOrder(() => this.#take(connection, packet)).then(
      () => done(null),
      (error: unknown) => {
        if (!(error instanceof PublishRefused)) {
          this.#log.error(
            `Message on ${packet.topic} not stored, no acknowledgement: ${describeError(error)}`,
          );
        }
        done(toError(error));
      },
    );
  }

  async #take(connection: Connection, packet: PublishPacket): Promise<(() => Promise<void>) | void> {
    const { identity } = connection;
    if (identity.kind !== "vehicle") throw new PublishRefused("the certificate is not a vehicle's");
    const isWill = connection.closed;
    if (isWill && (this.#stopping || this.#current.get(identity.vin) !== connection)) {
      this.#log.debug(`The will of ${identity.name} is void: a newer connection stands, or the server stops`);
      throw new PublishRefused("the will is void");
    }
    // 3.3.5: what is not authorized may be acknowledged or end the connection; it ends it, so that it is noticed.
    const topic = await this.#ownTopic(connection, packet.topic);
    if (typeof topic === "string") {
      this.#options.metrics.refused.inc({ listener: "mqtt", reason: "publish" });
      this.#log.warn(`PUBLISH of ${identity.name} on ${packet.topic} refused: ${topic}`);
      throw new PublishRefused(topic);
    }
    const payload = toBytes(packet.payload);
    // 3.3.1.3: only the status is kept for later subscribers; elsewhere the flag is taken off.
    if (topic.channel !== "status") packet.retain = false;
    // 4.3.3: a QoS 2 message that waits for its PUBREL was stored when it first came.
    if (packet.qos === 2 && this.#sessions.incoming(identity.name, packet.messageId)) return;
    this.#log.info(`Received message on ${packet.topic}`);
    const message = {
      vin: identity.vin,
      name: topic.name,
      channel: topic.channel,
      topic: packet.topic,
      transport: "mqtt",
    } as const;
    const leave = this.#options.state.enter("HANDLING");
    const { inbox, maxPayload = 262_144 } = this.#options;
    // One that is too large is kept aside and acknowledged: it would be no smaller if it came again, and hold up the rest.
    const work =
      (payload.length > maxPayload
        ? inbox.refuse(message, `expected at most ${maxPayload} bytes, got ${payload.length}`, payload)
        : inbox.takeBytes(message, payload)).finally(leave);
    // Telemetry waits for its batch: the next message need not wait for it to be looked at, only to be acknowledged.
    if (topic.channel === "telemetry") return () => work.then(() => {});
    await work;
  }

  /** SUBSCRIBE: whether this filter is granted; a refused one is answered with 0x80 (3.9.3). */
  async #subscribe(client: Client, subscription: Subscription): Promise<boolean> {
    const connection = this.#connectionOf.get(client);
    if (connection?.identity.kind !== "vehicle") return false;
    // What this broker acknowledges is stored: it says so by refusing the topic on which it would be said else.
    if (parseTopic(subscription.topic)?.channel === "stored") return false;
    if (isOwnFilter(subscription.topic, connection.names)) return true;
    await this.#refreshNames(connection);
    if (isOwnFilter(subscription.topic, connection.names)) return true;
    this.#options.metrics.refused.inc({ listener: "mqtt", reason: "subscribe" });
    this.#log.warn(`SUBSCRIBE of ${connection.identity.name} to ${subscription.topic} refused: not its own`);
    return false;
  }

  /** The last gate before a message goes out: a session that holds a filter it should not gets nothing by it. */
  #forward<P extends PublishPacket>(client: Client, packet: P): P | null {
    const connection = this.#connectionOf.get(client);
    if (!connection || !isOwnFilter(packet.topic, connection.names)) return null;
    return this.#delivery.identified(connection, packet);
  }

  #ready(client: Client): void {
    const connection = this.#connectionOf.get(client);
    if (connection?.identity.kind !== "vehicle") return;
    const { vin } = connection.identity;
    this.#background("a vehicle's arrival", async () => {
      if (this.#current.get(vin) === connection) await this.#options.registry.setStatus(vin, "online");
      await this.#delivery.deliver(connection);
    });
  }

  #subscribed(client: Client): void {
    const connection = this.#connectionOf.get(client);
    if (connection) this.#background("sending what waited", () => this.#delivery.deliver(connection));
  }

  #flush(vin: string): void {
    const connection = this.#current.get(vin);
    if (connection) this.#background("sending", () => this.#delivery.deliver(connection));
  }

  #acknowledged(packet: { payload: unknown }, client: Client): void {
    const connection = this.#connectionOf.get(client);
    if (!connection) return;
    this.#background("an acknowledgement", () => this.#delivery.acknowledged(connection, packet));
  }

  #disconnected(client: Client): void {
    const connection = this.#connectionOf.get(client);
    if (connection?.identity.kind !== "vehicle") return;
    const { vin } = connection.identity;
    if (this.#current.get(vin) !== connection) return;
    this.#log.info(`${connection.identity.name} disconnected`);
    // A will that is on its way looks the connection up: it is taken out when its stream is gone and the will stored.
    this.#background("a vehicle's departure", async () => {
      await connection.settled();
      if (this.#current.get(vin) !== connection) return;
      this.#current.delete(vin);
      this.#sessions.unload(connection.identity.name);
      if (!this.#stopping) await this.#options.registry.setStatus(vin, "offline");
    });
  }

  #failed(client: Client, error: Error): void {
    const connection = this.#connectionOf.get(client);
    const name = connection?.identity.name ?? "a client";
    this.#log.warn(`Connection of ${name} ended: ${describeError(error)}`);
  }

  async #ownTopic(connection: Connection, topic: string) {
    const known = ownTopic(topic, connection.names);
    if (known !== "another vehicle's topic") return known;
    await this.#refreshNames(connection);
    return ownTopic(topic, connection.names);
  }

  /** A vehicle may register, or change its gateway's name, while it is connected. */
  async #refreshNames(connection: Connection): Promise<void> {
    if (connection.identity.kind !== "vehicle" || !connection.mayRefresh()) return;
    connection.vmgId = (await this.#options.registry.find(connection.identity.vin))?.vmgId;
  }

  #background(what: string, work: () => Promise<void>): void {
    const leave = this.#options.state.enter("HANDLING");
    work().catch((error: unknown) => {
      // The store is the truth: what was not sent or noted now is sent again later.
      if (!this.#stopping) this.#log.error(`Failed at ${what}: ${describeError(error)}`);
    }).finally(leave);
  }
}

/** A CONNECT that is answered with a return code. */
class ConnectRefused extends Error {
  override readonly name = "ConnectRefused";
  constructor(message: string, readonly returnCode: number) {
    super(message);
  }
}

/** A PUBLISH that ends its connection. */
class PublishRefused extends Error {
  override readonly name = "PublishRefused";
}

function toConnackError(error: unknown): AuthenticateError {
  const returnCode = error instanceof ConnectRefused ? error.returnCode : connack.serverUnavailable;
  return Object.assign(toError(error), { returnCode });
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

function toBytes(payload: Uint8Array | string): Uint8Array {
  return typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
}
