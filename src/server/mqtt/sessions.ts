// What the broker keeps of its clients: subscriptions, queued messages, packets in flight, retained messages. It is worked
// with in memory and written down by the journal: what a client was told to be kept is on disk by then. Wills are in memory
// alone: a vehicle of which nothing is heard after a restart is found by its silence.

import { Buffer } from "node:buffer";
import { Readable } from "node:stream";
import type { AedesPublishPacket, Client, PublishPacket, Subscription } from "aedes";
// @ts-types="./qlobber_sub.d.ts"
import QlobberSub from "qlobber/aedes/qlobber-sub.js";
import type { MqttSessions, PacketFields, QueueEntry, StoredPacket } from "../store/mod.ts";
import { SessionJournal } from "./session_journal.ts";
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
type WillPacket = AedesPublishPacket & { clientId?: string; brokerId?: string };

/** Limits of what waits for one client. */
export interface QueueLimits {
  /** Messages. */
  count: number;
  /** Bytes of topics and payloads. */
  bytes: number;
  /** Milliseconds. */
  age: number;
}

export interface SessionsOptions {
  store: Pick<MqttSessions, "apply" | "load" | "retained">;
  limits: QueueLimits;
  /** Gives retained messages from the rest of the database for filters; they are read when a client subscribes. */
  retained(filters: readonly string[]): Promise<QueuedPacket[]>;
  /** Told of a message that had to go because a client's queue was full. */
  onDropped(clientId: string, topic: string): void;
  /** @default the system's clock */
  now?: () => number;
}

interface Entry {
  readonly entryId: string;
  readonly queued: number;
  packet: QueuedPacket;
  readonly bytes: number;
  /** Of a clean session, which ends with its connection: never written. */
  readonly volatile: boolean;
}

interface Session {
  readonly subscriptions: Map<string, Subscription>;
  outgoing: Entry[];
  bytes: number;
  readonly incoming: Map<number, QueuedPacket>;
}

const trieOptions = { wildcard_one: "+", wildcard_some: "#", separator: "/" };

/**
 * The persistence interface of aedes 1.x on the server's database. Session state outlives connection and server where the
 * client asked for that (MQTT 3.1.1 section 3.1.2.4); what a clean session has in flight is kept as long as it is connected.
 */
export class Sessions {
  readonly #options: SessionsOptions;
  readonly #journal: SessionJournal;
  readonly #now: () => number;
  readonly #sessions = new Map<string, Session>();
  readonly #loading = new Map<string, Promise<void>>();
  readonly #trie: QlobberSub = new QlobberSub(trieOptions);
  readonly #wills = new Map<string, WillPacket>();
  /** Retained messages of vehicles (their status), by topic. */
  readonly #retained = new Map<string, QueuedPacket>();
  #broker: { id: string } = { id: "" };

  constructor(options: SessionsOptions) {
    for (const [name, value] of Object.entries(options.limits)) {
      if (!(value >= 1)) throw new RangeError(`limits.${name} must be at least 1, got ${value}`);
    }
    this.#options = options;
    this.#journal = new SessionJournal(options.store);
    this.#now = options.now ?? (() => Date.now());
  }

  get broker(): { id: string } {
    return this.#broker;
  }

  // aedes looks at the function's class: it must be an async function.
  async setup(broker: { id: string }): Promise<void> {
    this.#broker = broker;
    for (const { topic, packet, payload } of await this.#options.store.retained()) {
      this.#retained.set(topic, packetOf({ packet, payload }));
    }
  }

  /** Writes what is not written yet. */
  destroy(): Promise<void> {
    return this.#journal.settled();
  }

  /** Whether a client's session is at hand; {@link load} makes it so. */
  has(clientId: string): boolean {
    return this.#sessions.has(clientId);
  }

  /** Reads a client's session, before the broker asks for it. */
  async load(clientId: string): Promise<void> {
    if (this.#sessions.has(clientId)) return;
    const loading = this.#loading.get(clientId) ??
      this.#read(clientId).finally(() => this.#loading.delete(clientId));
    this.#loading.set(clientId, loading);
    await loading;
  }

  async #read(clientId: string): Promise<void> {
    // What the last connection of this client changed may still be on its way.
    await this.#journal.settled();
    const since = new Date(this.#now() - this.#options.limits.age);
    const { subscriptions, queue, incoming } = await this.#options.store.load(clientId, since);
    const session = this.#session(clientId);
    for (const { filter, subscription } of subscriptions) {
      this.#subscribe(clientId, session, toSubscription(filter, subscription));
    }
    for (const { entryId, queued, packetId, packet, payload } of queue) {
      const found = packetOf({ packet, payload });
      found.messageId = packetId;
      const bytes = sizeOf(found);
      session.outgoing.push({ entryId, queued: queued.getTime(), packet: found, bytes, volatile: false });
      session.bytes += bytes;
    }
    for (const { packetId, packet, payload } of incoming) {
      session.incoming.set(packetId, { ...packetOf({ packet, payload }), messageId: packetId });
    }
  }

  /** What an earlier connection with a clean session had in flight is not the next one's (section 3.1.2.4). */
  forgetInFlight(clientId: string): void {
    const session = this.#sessions.get(clientId);
    if (session !== undefined) session.outgoing = session.outgoing.filter((entry) => !entry.volatile);
  }

  /** Lets a session out of memory; it stands in the database. */
  unload(clientId: string): void {
    const session = this.#sessions.get(clientId);
    if (session === undefined) return;
    for (const filter of session.subscriptions.keys()) this.#untrie(clientId, filter);
    this.#sessions.delete(clientId);
  }

  storeRetained(packet: QueuedPacket): Promise<void> {
    // Section 3.3.1.3: an empty payload takes the retained message away.
    if (packet.payload.length === 0) {
      this.#retained.delete(packet.topic);
      return this.#journal.retained(packet.topic, null);
    }
    const kept = { ...packet };
    this.#retained.set(packet.topic, kept);
    const { packet: fields, payload = new Uint8Array() } = toStored(kept);
    return this.#journal.retained(packet.topic, { topic: packet.topic, packet: fields, payload });
  }

  createRetainedStream(filter: string): Readable {
    return this.createRetainedStreamCombi([filter]);
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

  async addSubscriptions(client: ClientRef, subscriptions: Subscription[]): Promise<void> {
    const session = this.#session(client.id);
    const written = subscriptions.flatMap((subscription) => {
      const { topic: filter, ...rest } = subscription;
      // aedes tells all filters of a SUBSCRIBE once for each of them.
      const known = session.subscriptions.get(filter);
      if (known !== undefined && JSON.stringify(known) === JSON.stringify(subscription)) return [];
      const added = { ...subscription };
      this.#subscribe(client.id, session, added);
      const writing = this.#journal.subscribed({ clientId: client.id, filter, subscription: { ...rest } });
      return [writing.catch((error: unknown) => {
        // What is not on disk is not taken for known when the client asks again.
        if (session.subscriptions.get(filter) === added) {
          this.#untrie(client.id, filter);
          session.subscriptions.delete(filter);
        }
        throw error;
      })];
    });
    await Promise.all(written);
  }

  async removeSubscriptions(client: ClientRef, filters: string[]): Promise<void> {
    const session = this.#sessions.get(client.id);
    if (session === undefined) return;
    const written = filters.filter((filter) => session.subscriptions.delete(filter)).map((filter) => {
      this.#untrie(client.id, filter);
      return this.#journal.unsubscribed(client.id, filter);
    });
    if (session.subscriptions.size === 0 && session.outgoing.length === 0 && session.incoming.size === 0) {
      this.#sessions.delete(client.id);
    }
    await Promise.all(written);
  }

  subscriptionsByClient(client: ClientRef): Promise<Subscription[]> {
    return Promise.resolve([...this.#sessions.get(client.id)?.subscriptions.values() ?? []]);
  }

  subscriptionsByTopic(topic: string): Promise<SessionSubscription[]> {
    return Promise.resolve(this.#trie.match(topic));
  }

  /** Filters of QoS 1 and 2, and clients that have filters. */
  countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    const clientsCount = [...this.#sessions.values()].filter((it) => it.subscriptions.size > 0).length;
    return Promise.resolve({ subsCount: this.#trie.subscriptionsCount, clientsCount });
  }

  getClientList(filter: string): Readable {
    const clients = [...this.#sessions].filter(([, { subscriptions }]) => subscriptions.has(filter));
    return Readable.from(clients.map(([clientId]) => clientId));
  }

  /** A client asks for a clean session: what was kept of it goes (section 3.1.2.4). */
  cleanSubscriptions(client: ClientRef): Promise<void> {
    this.unload(client.id);
    return this.#journal.ended(client.id);
  }

  async outgoingEnqueue(target: { clientId: string }, packet: QueuedPacket): Promise<void> {
    const { clientId } = target;
    const { limits, onDropped } = this.#options;
    const session = this.#session(clientId);
    const kept = toPacket(packet);
    const bytes = sizeOf(kept);
    const oldest = this.#now() - limits.age;
    const tooMuch = () =>
      session.outgoing.length >= limits.count || session.bytes + bytes > limits.bytes ||
      session.outgoing[0].queued < oldest;
    while (session.outgoing.length > 0 && tooMuch()) {
      const [gone] = session.outgoing;
      onDropped(clientId, gone.packet.topic);
      void this.#drop(clientId, session, gone);
    }
    const entry = { entryId: crypto.randomUUID(), queued: this.#now(), packet: kept, bytes, volatile: false };
    session.outgoing.push(entry);
    session.bytes += bytes;
    await this.#journal.queued(toQueueEntry(clientId, entry));
  }

  async outgoingEnqueueCombi(targets: { clientId: string }[], packet: QueuedPacket): Promise<void> {
    // A message goes to a session once, whichever of its filters match.
    const clients = new Set(targets.map(({ clientId }) => clientId));
    await Promise.all([...clients].map((clientId) => this.outgoingEnqueue({ clientId }, packet)));
  }

  /**
   * Notes the packet identifier of a queued message, or replaces it with its PUBREL. A message that was sent before gets
   * the DUP flag (section 3.3.1.1); an identifier that is in use gets out of the way of another (section 2.3.1).
   */
  async outgoingUpdate(client: ClientRef, packet: QueuedPacket): Promise<void> {
    const session = this.#session(client.id);
    const { outgoing } = session;
    const same = outgoing.find(({ packet: queued }) =>
      packet.brokerId !== undefined && queued.brokerId === packet.brokerId &&
      queued.brokerCounter === packet.brokerCounter
    );
    if (same !== undefined) {
      if (same.packet.messageId === undefined) this.#freeIdentifier(session, packet);
      else if (same.packet.messageId === packet.messageId && same.packet !== packet) packet.dup = true;
      same.packet.messageId = packet.messageId;
      if (!same.volatile) await this.#journal.queued(toQueueEntry(client.id, same));
      return;
    }
    const released = outgoing.find(({ packet: queued }) => queued.messageId === packet.messageId);
    if (released === undefined) throw new Error(`no queued packet ${packet.messageId} for ${client.id}`);
    released.packet = packet;
    if (!released.volatile) await this.#journal.queued(toQueueEntry(client.id, released));
  }

  #freeIdentifier({ outgoing }: Session, packet: QueuedPacket): void {
    const used = new Set(outgoing.map(({ packet: { messageId } }) => messageId));
    while (packet.messageId !== undefined && used.has(packet.messageId)) {
      packet.messageId = packet.messageId % 65_535 + 1;
    }
  }

  async outgoingClearMessageId(
    client: ClientRef,
    packet: { messageId?: number },
  ): Promise<QueuedPacket | undefined> {
    const session = this.#sessions.get(client.id);
    const entry = packet.messageId === undefined
      ? undefined
      : session?.outgoing.find(({ packet: { messageId } }) => messageId === packet.messageId);
    if (session === undefined || entry === undefined) return undefined;
    await this.#drop(client.id, session, entry);
    return entry.packet;
  }

  outgoingStream(client: ClientRef): Readable {
    return Readable.from(this.queued(client.id));
  }

  async incomingStorePacket(client: ClientRef, packet: QueuedPacket): Promise<void> {
    if (packet.messageId === undefined) return;
    const kept = { ...toPacket(packet), messageId: packet.messageId };
    this.#session(client.id).incoming.set(packet.messageId, kept);
    await this.#journal.received({
      clientId: client.id,
      packetId: packet.messageId,
      received: new Date(this.#now()),
      ...toStored(kept),
    });
  }

  incomingGetPacket(client: ClientRef, packet: { messageId?: number }): Promise<QueuedPacket> {
    const found = this.incoming(client.id, packet.messageId);
    return found ? Promise.resolve(found) : Promise.reject(new Error(`no packet ${packet.messageId}`));
  }

  async incomingDelPacket(client: ClientRef, { messageId }: { messageId?: number }): Promise<void> {
    if (messageId === undefined || !this.#sessions.get(client.id)?.incoming.delete(messageId)) {
      throw new Error(`no packet ${messageId}`);
    }
    await this.#journal.released(client.id, messageId);
  }

  async cleanIncoming(client: ClientRef): Promise<void> {
    const incoming = this.#sessions.get(client.id)?.incoming;
    const written = [...incoming?.keys() ?? []].map((packetId) =>
      this.#journal.released(client.id, packetId)
    );
    incoming?.clear();
    await Promise.all(written);
  }

  putWill(client: ClientRef, packet: WillPacket): Promise<void> {
    packet.brokerId = this.#broker.id;
    packet.clientId = client.id;
    this.#wills.set(client.id, packet);
    return Promise.resolve();
  }

  getWill(client: ClientRef): Promise<WillPacket | undefined> {
    return Promise.resolve(this.#wills.get(client.id));
  }

  delWill(client: ClientRef): Promise<WillPacket | undefined> {
    const will = this.#wills.get(client.id);
    this.#wills.delete(client.id);
    return Promise.resolve(will);
  }

  /** Wills of brokers that are not among those given. */
  streamWill(brokers: Readonly<Record<string, unknown>> = {}): Readable {
    const known = (brokerId: string | undefined) =>
      brokerId !== undefined && Object.hasOwn(brokers, brokerId);
    return Readable.from([...this.#wills.values()].filter(({ brokerId }) => !known(brokerId)));
  }

  /** What waits for a client, oldest first. */
  queued(clientId: string): QueuedPacket[] {
    const oldest = this.#now() - this.#options.limits.age;
    const outgoing = this.#sessions.get(clientId)?.outgoing ?? [];
    return outgoing.filter(({ queued }) => queued >= oldest).map(({ packet }) => packet);
  }

  /** A QoS 2 message whose PUBREL has not come. */
  incoming(clientId: string, messageId: number | undefined): QueuedPacket | undefined {
    return messageId === undefined ? undefined : this.#sessions.get(clientId)?.incoming.get(messageId);
  }

  /** Notes a message that is in flight to a client with a clean session. */
  noteInFlight(clientId: string, packet: QueuedPacket): void {
    const session = this.#session(clientId);
    if (session.outgoing.length >= this.#options.limits.count) session.outgoing.splice(0, 1);
    session.outgoing.push({
      entryId: crypto.randomUUID(),
      queued: this.#now(),
      packet,
      bytes: 0,
      volatile: true,
    });
  }

  async #drop(clientId: string, session: Session, entry: Entry): Promise<void> {
    session.outgoing.splice(session.outgoing.indexOf(entry), 1);
    session.bytes -= entry.bytes;
    if (!entry.volatile) await this.#journal.unqueued(clientId, entry.entryId);
  }

  #subscribe(clientId: string, session: Session, subscription: Subscription): void {
    const filter = subscription.topic;
    this.#untrie(clientId, filter);
    session.subscriptions.set(filter, subscription);
    // Messages do not wait for subscriptions of QoS 0 (section 4.3.1).
    if (subscription.qos > 0) this.#trie.add(filter, { ...subscription, clientId });
  }

  #untrie(clientId: string, filter: string): void {
    const known = this.#sessions.get(clientId)?.subscriptions.get(filter);
    if (known === undefined || known.qos > 0) this.#trie.remove(filter, { clientId, topic: filter });
  }

  #session(clientId: string): Session {
    let session = this.#sessions.get(clientId);
    if (!session) {
      session = { subscriptions: new Map(), outgoing: [], bytes: 0, incoming: new Map() };
      this.#sessions.set(clientId, session);
    }
    return session;
  }
}

/** A copy of what the broker hands over, which it may use again. */
function toPacket(packet: QueuedPacket): QueuedPacket {
  const { cmd = "publish", brokerId, brokerCounter, topic, payload, qos, retain = false, dup = false } =
    packet;
  return { cmd, brokerId, brokerCounter, topic, payload, qos, retain, dup, messageId: undefined };
}

function sizeOf({ topic, payload }: QueuedPacket): number {
  return topic.length + (payload?.length ?? 0);
}

function toQueueEntry(clientId: string, { entryId, queued, packet }: Entry): QueueEntry {
  return { entryId, clientId, queued: new Date(queued), packetId: packet.messageId, ...toStored(packet) };
}

function toStored(packet: QueuedPacket): StoredPacket {
  // A PUBREL has a packet identifier and nothing else; the queue's row has that.
  const { payload, messageId: _, ...fields } = packet;
  const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
  return { packet: fields, payload: bytes };
}

/** Rows are this module's own: what it wrote, it reads. */
function packetOf(
  { packet, payload }: { packet: PacketFields; payload: Uint8Array | undefined },
): QueuedPacket {
  const bytes = payload === undefined ? Buffer.alloc(0) : Buffer.from(payload);
  const { cmd, brokerId, brokerCounter, topic, qos, retain, dup } = packet;
  return {
    cmd: cmd === "pubrel" ? "pubrel" : "publish",
    brokerId: typeof brokerId === "string" ? brokerId : undefined,
    brokerCounter: typeof brokerCounter === "number" ? brokerCounter : undefined,
    topic: String(topic ?? ""),
    payload: bytes,
    qos: toQos(qos),
    retain: retain === true,
    dup: dup === true,
  };
}

function toSubscription(filter: string, fields: Readonly<Record<string, unknown>>): Subscription {
  return { ...fields, topic: filter, qos: toQos(fields.qos) };
}

function toQos(value: unknown): 0 | 1 | 2 {
  return value === 1 || value === 2 ? value : 0;
}
