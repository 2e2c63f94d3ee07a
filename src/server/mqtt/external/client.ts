// The server as a client of an external broker: shared subscriptions for what vehicles publish, so that several servers on one
// database share the load, and the commands of the database published to them.
//
// What waits at the broker for a server that is gone is taken over: each server's session belongs to a client id that is held
// in the database; an id that nobody holds any more is taken by another server, which stores what its session has and ends it.

import { vehicleChannels } from "../../../contract/mqtt.ts";
import type { Logger } from "../../../log.ts";
import { describeError } from "../../../log.ts";
import { describeNegotiated } from "../../../pqc/profiles.ts";
import { connect } from "../../../tls/connect.ts";
import type { TlsConnection, TlsEngine } from "../../../tls/types.ts";
import { Backoff, delay, orAborted, settledWithin } from "../../../wait.ts";
import type { Inbox } from "../../inbox.ts";
import type { Metrics } from "../../metrics.ts";
import type { ExternalBrokerOptions } from "../../options.ts";
import type { Outbox } from "../../outbox.ts";
import type { Registry } from "../../registry.ts";
import type { ServerState } from "../../state.ts";
import type { Store } from "../../store/mod.ts";
import type { RunningBroker } from "../broker.ts";
import { ClientIds, type HeldClientId, shortId } from "./client_ids.ts";
import { Sending } from "./sending.ts";
import { type BrokerSession, BrokerSessionError, openBrokerSession } from "./session.ts";
import { showTime, Taking } from "./taking.ts";

export interface ExternalBrokerServices extends ExternalBrokerOptions {
  tlsEngine?: TlsEngine;
  store: Store;
  registry: Registry;
  inbox: Inbox;
  outbox: Outbox;
  state: ServerState;
  metrics: Metrics;
  log: Logger;
}

/** Room for a packet's header, topic and properties beside the payload. */
const packetOverhead = 70_000;
/** How long a client id is held without being prolonged, and the time between two prolongations, in milliseconds. */
const lease = 10_000;
const leaseRound = 2_500;
/** A week: how long the broker keeps the session of servers that are all away, in seconds. */
const sessionExpiry = 604_800;
/** A broker that crashed has saved what is older than this, in milliseconds: mosquitto does so every half hour by default. */
const unsaved = 86_400_000;
/** A connection that was up for so long is no failure when it ends, in milliseconds. */
const heldUp = 5_000;
/** Longest time for one session of a server that is gone, in milliseconds. */
const takeOverLimit = 300_000;

/** Where a server tells itself that it has heard all that was queued before. */
const markTopic = (clientId: string) => `zonebench/servers/${clientId}`;

/** The subscriptions of a share group: what vehicles publish. */
export function sharedFilters(shareGroup: string): string[] {
  return vehicleChannels.map((channel) => `$share/${shareGroup}/vehicle/+/${channel}`);
}

/** Starts the client. It does not wait for the broker for longer than one try takes: it comes, and comes back, by itself. */
export async function startExternalBroker(options: ExternalBrokerServices): Promise<RunningBroker> {
  const client = new ExternalBroker(options);
  await client.open();
  return client;
}

class ExternalBroker implements RunningBroker {
  readonly #options: ExternalBrokerServices;
  readonly #log: Logger;
  readonly #clientIds: ClientIds;
  readonly #sending: Sending;
  readonly #taking: Taking;
  readonly #backoff: Backoff;
  readonly #stopping = new AbortController();
  /** What tells that a session has been heard to its end, by mark. */
  readonly #marks = new Map<string, () => void>();
  #session: BrokerSession | undefined;
  #running: Promise<void> = Promise.resolve();
  #takingOver: Promise<void> = Promise.resolve();
  #busyTakingOver = false;
  #busySending = false;
  #prolonging: Promise<void> = Promise.resolve();
  #timer: ReturnType<typeof setInterval> | undefined;
  #unlisten: () => void = () => {};

  constructor(options: ExternalBrokerServices) {
    const { store, clientId = "zonebench-server", shareGroup } = options;
    // Section 4.8.2: a share name is a topic level without wildcards.
    if (shareGroup !== undefined && !/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/.test(shareGroup)) {
      throw new RangeError(
        `shareGroup: expected 1 to 64 letters, digits, '_', '-', '.', got ${JSON.stringify(shareGroup)}`,
      );
    }
    this.#options = options;
    this.#log = options.log;
    this.#clientIds = new ClientIds({
      store: store.brokerClients,
      name: clientId,
      holder: store.newId(),
      lease,
      log: this.#log,
    });
    this.#taking = new Taking({
      ...options,
      tell: (topic, payload) => this.#session?.tell(topic, payload),
      onOther: (topic, payload) => this.#mark(topic, payload),
    });
    this.#sending = new Sending({ store, names: options.names ?? ["vmg_id"], log: this.#log });
    const { reconnectDelay = 1_000, maxReconnectDelay = 60_000 } = options;
    this.#backoff = new Backoff({ initial: reconnectDelay, max: maxReconnectDelay });
  }

  get hostname(): string {
    return this.#options.hostname;
  }

  get port(): number {
    return this.#options.port;
  }

  async open(): Promise<void> {
    const first = Promise.withResolvers<void>();
    this.#unlisten = this.#options.outbox.listen((vin) => this.#flush(vin));
    this.#running = this.#run(first.resolve);
    this.#timer = setInterval(() => this.#round(), leaseRound);
    await first.promise;
  }

  async stop(limit: number): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    this.#unlisten();
    clearInterval(this.#timer);
    this.#stopping.abort(new DOMException("the server is stopping", "AbortError"));
    await settledWithin(Promise.all([this.#running, this.#takingOver, this.#prolonging]), limit);
    this.#taking.flush();
  }

  /** Connects, again and again. @param tried is called after the first try */
  async #run(tried: () => void): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      let held: HeldClientId | undefined;
      try {
        const shareGroup = this.#options.shareGroup ?? await this.#ownShareGroup();
        held = await this.#clientIds.take(shareGroup);
        const own = held;
        await this.#connected(own.clientId, AbortSignal.any([signal, own.lost]), async (session) => {
          await this.#serve(session, shareGroup, own.clientId);
          tried();
          this.#round();
          const began = performance.now();
          try {
            const ended = await orAborted(session.closed, AbortSignal.any([signal, own.lost]));
            throw ended ?? new BrokerSessionError("the connection is closed");
          } finally {
            // One that ends at once each time, as over a message that cannot be stored, is no success.
            if (performance.now() - began > heldUp) this.#backoff.reset();
          }
        });
      } catch (error) {
        if (!signal.aborted) this.#log.warn(`The broker is away: ${describeError(error)}`);
      }
      this.#session = undefined;
      if (held) await this.#giveBack(held.clientId);
      tried();
      if (signal.aborted) break;
      const wait = this.#backoff.next();
      this.#log.info(`Connecting again in ${wait} ms`);
      await delay(wait, signal).catch(() => {}); // The loop's condition sees the end.
    }
  }

  /**
   * The name of the shared subscription that the servers of this database have agreed on. It is random because a broker may let
   * anybody subscribe (mosquitto's rules cover what is delivered, not what is subscribed to): who knew the name could join,
   * and what the broker gave to that one would be lost.
   */
  async #ownShareGroup(): Promise<string> {
    const { brokerClients } = this.#options.store;
    return await brokerClients.shareGroup(`zonebench-${this.#options.store.newId().replaceAll("-", "")}`);
  }

  /** Begins to use a session: subscriptions first, then what waits. */
  async #serve(session: BrokerSession, shareGroup: string, clientId: string): Promise<void> {
    await session.subscribe(sharedFilters(shareGroup));
    this.#log.info(
      `Subscribed to what vehicles publish, as ${shortId(clientId)} (${
        session.sessionPresent ? "session restored" : "new session"
      })`,
    );
    this.#session = session;
    // The broker may have crashed and know only what it had saved before.
    await this.#options.store.commands.sendAllAgain(showTime);
    this.#background("bringing configurations", () => this.#restoreConfigs(session));
  }

  async #restoreConfigs(session: BrokerSession): Promise<void> {
    try {
      const within = session.sessionPresent ? unsaved : undefined;
      const restored = await this.#sending.restoreConfigs(session, within);
      if (restored > 0) this.#log.info(`Brought ${restored} remote configuration(s) to the broker`);
    } catch (cause) {
      // They are brought on the next connection.
      session.abandon(new BrokerSessionError("remote configurations are not brought", undefined, { cause }));
      throw cause;
    }
  }

  /** Runs `use` with a session that is closed in order after it, or broken off when it failed for another reason than a stop. */
  async #connected(
    clientId: string,
    signal: AbortSignal,
    use: (session: BrokerSession, connection: TlsConnection) => Promise<{ endSession: boolean } | void>,
  ): Promise<void> {
    const { hostname, port, serverName, credentials, profile, trust, tlsEngine, metrics } = this.#options;
    const { connectTimeout = 10_000, keepalive = 30, inFlight = 1000, maxPayload = 262_144 } = this.#options;
    const { username, password } = this.#options;
    const where = `MQTT broker ${hostname}:${port}`;
    const connection = await connect({
      hostname,
      port,
      serverName,
      credentials,
      profile,
      trust,
      engine: tlsEngine,
      timeout: connectTimeout,
      signal,
    });
    this.#log.info(`TLS handshake successful (${describeNegotiated(connection.negotiated)}) ${where}`);
    const session = await openBrokerSession(connection.stream, {
      where,
      clientId,
      username,
      password,
      keepalive,
      answerTimeout: connectTimeout,
      sessionExpiry,
      inFlight,
      maxPacket: maxPayload + packetOverhead,
      onMessage: (message) => this.#taking.take(message),
    }, signal);
    metrics.connections.inc({ listener: "broker" });
    let endSession = false;
    try {
      ({ endSession } = await use(session, connection) ?? { endSession });
    } finally {
      // A session that is closed already stays so; one that must end is given the time to store what it has taken.
      await session.close({ endSession, limit: 2_000 });
      metrics.connections.dec({ listener: "broker" });
    }
  }

  async #giveBack(clientId: string): Promise<void> {
    try {
      await this.#clientIds.release(clientId);
    } catch (error) {
      this.#log.debug(
        `The client id ${shortId(clientId)} is given back later: ${describeError(error)}`,
      );
    }
  }

  /** What is done again and again: client ids prolonged, what is due sent, sessions of servers that are gone taken over. */
  #round(): void {
    const { signal } = this.#stopping;
    if (signal.aborted) return;
    this.#prolonging = this.#prolonging.then(() => this.#clientIds.prolong());
    const session = this.#session;
    if (!session) return;
    if (!this.#busySending) {
      this.#busySending = true;
      this.#background(
        "sending what is due",
        () => this.#sending.sendDue(session).finally(() => this.#busySending = false),
      );
    }
    if (this.#busyTakingOver) return;
    this.#busyTakingOver = true;
    this.#takingOver = this.#takeOver().catch((error: unknown) => {
      if (!signal.aborted) this.#log.warn(`A session is not taken over: ${describeError(error)}`);
    }).finally(() => this.#busyTakingOver = false);
  }

  /** Stores what waits for servers that are gone, and ends their sessions. */
  async #takeOver(): Promise<void> {
    for (;;) {
      this.#stopping.signal.throwIfAborted();
      const held = await this.#clientIds.takeAbandoned();
      if (!held) return;
      const { clientId, shareGroup, lost } = held;
      const signal = AbortSignal.any([this.#stopping.signal, lost, AbortSignal.timeout(takeOverLimit)]);
      let ended = false;
      try {
        await this.#connected(clientId, signal, async (session) => {
          if (session.sessionPresent) {
            this.#log.info(`Taking over what waits for ${shortId(clientId)}, whose server is gone`);
            await session.unsubscribe(sharedFilters(shareGroup));
            await this.#heardAll(session, clientId, signal);
            this.#log.info(`Took over what waited for ${shortId(clientId)}`);
          }
          ended = true;
          return { endSession: true };
        });
      } finally {
        if (ended) await this.#clientIds.forget(clientId);
        else await this.#giveBack(clientId);
      }
    }
  }

  /** Waits until everything that the broker queued for a session has been stored: a mark comes after all of it. */
  async #heardAll(session: BrokerSession, clientId: string, signal: AbortSignal): Promise<void> {
    const mark = this.#options.store.newId();
    const heard = new Promise<void>((resolve) => this.#marks.set(mark, resolve));
    try {
      await session.subscribe([markTopic(clientId)]);
      await session.publish(markTopic(clientId), new TextEncoder().encode(mark));
      const closed = session.closed.then((cause) => {
        throw cause ?? new BrokerSessionError("the connection is closed");
      });
      await orAborted(Promise.race([heard, closed]), signal);
      await orAborted(session.settled(), signal);
    } finally {
      this.#marks.delete(mark);
    }
  }

  #mark(topic: string, payload: Uint8Array): void {
    const heard = this.#marks.get(new TextDecoder().decode(payload));
    if (heard) heard();
    else this.#log.debug(`Message on ${topic}: nothing that a server acts on`);
  }

  #flush(vin: string): void {
    const session = this.#session;
    if (session) this.#background("sending", () => this.#sending.send(session, vin));
  }

  #background(what: string, work: () => Promise<void>): void {
    const leave = this.#options.state.enter("HANDLING");
    work().catch((error: unknown) => {
      // The database is the truth: what was not sent now is sent in a later round.
      if (!this.#stopping.signal.aborted) this.#log.warn(`Failed at ${what}: ${describeError(error)}`);
    }).finally(leave);
  }
}
