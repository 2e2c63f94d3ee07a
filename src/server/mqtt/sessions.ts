// What the broker keeps of its clients: subscriptions, queued messages, packets in flight, wills. In memory: commands stand
// in the database and are sent again, so a restart loses nothing but subscriptions, which clients make again.

import { Readable } from "node:stream";
import type { AedesPublishPacket, Client, PublishPacket, Subscription } from "aedes";
import { matchesFilter } from "./topics.ts";

/** A message as the broker queues it. */
export type QueuedPacket = Pick<PublishPacket, "topic" | "payload" | "qos" | "retain" | "dup"> & {
  cmd: "publish" | "pubrel";
  brokerId?: string;
  brokerCounter?: number;
  messageId?: number;
};

type ClientRef = Pick<Client, "id">;
type SessionSubscription = Subscription & { clientId: string };

export interface SessionsOptions {
  /** Messages that wait for one client at most. */
  maxQueued: number;
  /** Gives retained messages from the database for filters; they are read when a client subscribes. */
  retained(filters: readonly string[]): Promise<QueuedPacket[]>;
  /** Told of a message that had to go because a client's queue was full. */
  onDropped(clientId: string, topic: string): void;
}

interface Session {
  subscriptions: Map<string, Subscription>;
  outgoing: QueuedPacket[];
  incoming: Map<number, QueuedPacket>;
}

type WillPacket = AedesPublishPacket & { clientId?: string; brokerId?: string };

/**
 * The persistence interface of aedes 1.x. Session state outlives a connection where the client asked for that
 * (MQTT 3.1.1 section 3.1.2.4); what a clean session has in flight is kept as long as it is connected.
 */
export class MemorySessions {
  readonly #options: SessionsOptions;
  readonly #sessions = new Map<string, Session>();
  readonly #wills = new Map<string, WillPacket>();
  /** Retained messages of vehicles (their status), by topic. */
  readonly #retained = new Map<string, QueuedPacket>();
  #brokerId = "";

  constructor(options: SessionsOptions) {
    if (!(options.maxQueued >= 1)) {
      throw new RangeError(`maxQueued must be at least 1, got ${options.maxQueued}`);
    }
    this.#options = options;
  }

  // aedes looks at the function's class: it must be an async function.
  async setup(broker: { id: string }): Promise<void> {
    this.#brokerId = await Promise.resolve(broker.id);
  }

  storeRetained(packet: QueuedPacket): Promise<void> {
    // Section 3.3.1.3: an empty payload takes the retained message away.
    if (packet.payload.length === 0) this.#retained.delete(packet.topic);
    else this.#retained.set(packet.topic, { ...packet });
    return Promise.resolve();
  }

  createRetainedStreamCombi(filters: string[]): Readable {
    return Readable.from(this.#retainedFor(filters));
  }

  async *#retainedFor(filters: readonly string[]): AsyncGenerator<QueuedPacket> {
    for (const [topic, packet] of this.#retained) {
      if (filters.some((filter) => matchesFilter(topic, filter))) yield packet;
    }
    yield* await this.#options.retained(filters);
  }

  addSubscriptions(client: ClientRef, subscriptions: Subscription[]): Promise<void> {
    const session = this.#session(client.id);
    for (const subscription of subscriptions) {
      session.subscriptions.set(subscription.topic, { topic: subscription.topic, qos: subscription.qos });
    }
    return Promise.resolve();
  }

  removeSubscriptions(client: ClientRef, topics: string[]): Promise<void> {
    const session = this.#sessions.get(client.id);
    for (const topic of topics) session?.subscriptions.delete(topic);
    return Promise.resolve();
  }

  subscriptionsByClient(client: ClientRef): Promise<Subscription[]> {
    return Promise.resolve([...this.#sessions.get(client.id)?.subscriptions.values() ?? []]);
  }

  subscriptionsByTopic(topic: string): Promise<SessionSubscription[]> {
    const found: SessionSubscription[] = [];
    for (const [clientId, { subscriptions }] of this.#sessions) {
      for (const subscription of subscriptions.values()) {
        // A message goes to a session once, whichever of its filters match.
        if (subscription.qos === 0 || !matchesFilter(topic, subscription.topic)) continue;
        found.push({ ...subscription, clientId });
        break;
      }
    }
    return Promise.resolve(found);
  }

  cleanSubscriptions(client: ClientRef): Promise<void> {
    this.#sessions.delete(client.id);
    return Promise.resolve();
  }

  outgoingEnqueue(target: { clientId: string }, packet: QueuedPacket): Promise<void> {
    const { outgoing } = this.#session(target.clientId);
    if (outgoing.length >= this.#options.maxQueued) {
      const [oldest] = outgoing.splice(0, 1);
      this.#options.onDropped(target.clientId, oldest.topic);
    }
    outgoing.push({ ...packet, messageId: undefined });
    return Promise.resolve();
  }

  async outgoingEnqueueCombi(targets: { clientId: string }[], packet: QueuedPacket): Promise<void> {
    for (const target of targets) await this.outgoingEnqueue(target, packet);
  }

  /** Notes the packet identifier of a queued message, or replaces it with its PUBREL. */
  outgoingUpdate(client: ClientRef, packet: QueuedPacket): Promise<void> {
    const { outgoing } = this.#session(client.id);
    for (const [index, queued] of outgoing.entries()) {
      if (queued.brokerId === packet.brokerId && queued.brokerCounter === packet.brokerCounter) {
        queued.messageId = packet.messageId;
        return Promise.resolve();
      }
      if (queued.brokerId !== packet.brokerId && queued.messageId === packet.messageId) {
        outgoing[index] = packet;
        return Promise.resolve();
      }
    }
    return Promise.reject(new Error(`no queued packet ${packet.messageId} for ${client.id}`));
  }

  outgoingClearMessageId(
    client: ClientRef,
    packet: { messageId?: number },
  ): Promise<QueuedPacket | undefined> {
    const outgoing = this.#sessions.get(client.id)?.outgoing ?? [];
    const index = outgoing.findIndex(({ messageId }) => messageId === packet.messageId);
    return Promise.resolve(index < 0 ? undefined : outgoing.splice(index, 1)[0]);
  }

  outgoingStream(client: ClientRef): Readable {
    return Readable.from(this.queued(client.id));
  }

  incomingStorePacket(client: ClientRef, packet: QueuedPacket): Promise<void> {
    if (packet.messageId !== undefined) {
      this.#session(client.id).incoming.set(packet.messageId, { ...packet });
    }
    return Promise.resolve();
  }

  incomingGetPacket(client: ClientRef, packet: { messageId?: number }): Promise<QueuedPacket> {
    const found = this.incoming(client.id, packet.messageId);
    return found ? Promise.resolve(found) : Promise.reject(new Error(`no packet ${packet.messageId}`));
  }

  incomingDelPacket(client: ClientRef, packet: { messageId?: number }): Promise<void> {
    const deleted = packet.messageId !== undefined &&
      this.#sessions.get(client.id)?.incoming.delete(packet.messageId);
    return deleted ? Promise.resolve() : Promise.reject(new Error(`no packet ${packet.messageId}`));
  }

  cleanIncoming(client: ClientRef): Promise<void> {
    this.#sessions.get(client.id)?.incoming.clear();
    return Promise.resolve();
  }

  putWill(client: ClientRef, packet: WillPacket): Promise<void> {
    packet.brokerId = this.#brokerId;
    packet.clientId = client.id;
    this.#wills.set(client.id, packet);
    return Promise.resolve();
  }

  delWill(client: ClientRef): Promise<WillPacket | undefined> {
    const will = this.#wills.get(client.id);
    this.#wills.delete(client.id);
    return Promise.resolve(will);
  }

  /** Wills of other brokers, which this memory never holds. */
  streamWill(): Readable {
    return Readable.from([]);
  }

  /** What waits for a client, oldest first. */
  queued(clientId: string): QueuedPacket[] {
    return [...this.#sessions.get(clientId)?.outgoing ?? []];
  }

  /** A QoS 2 message whose PUBREL has not come. */
  incoming(clientId: string, messageId: number | undefined): QueuedPacket | undefined {
    return messageId === undefined ? undefined : this.#sessions.get(clientId)?.incoming.get(messageId);
  }

  /** Notes a message that is in flight to a client with a clean session. */
  noteInFlight(clientId: string, packet: QueuedPacket): void {
    const { outgoing } = this.#session(clientId);
    if (outgoing.length >= this.#options.maxQueued) outgoing.splice(0, 1);
    outgoing.push(packet);
  }

  /** Ends a clean session with its connection. */
  end(clientId: string): void {
    this.#sessions.delete(clientId);
  }

  #session(clientId: string): Session {
    let session = this.#sessions.get(clientId);
    if (!session) {
      session = { subscriptions: new Map(), outgoing: [], incoming: new Map() };
      this.#sessions.set(clientId, session);
    }
    return session;
  }
}
