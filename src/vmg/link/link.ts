// The vehicle's MQTT link: connects, comes back after every loss with growing waits, and drains the outbox in order.

import { parseTopic, topicOf, vehicleClientId, type VehicleStatus } from "../../contract/mqtt.ts";
import type { Logger } from "../../log.ts";
import { describeNegotiated, type Profile } from "../../pqc/profiles.ts";
import type { Credentials, TlsEngine } from "../../tls/types.ts";
import type { MqttTarget } from "../options.ts";
import { Backoff, delay, orAborted, settledWithin } from "../../wait.ts";
import { bareAddress } from "./address.ts";
import { AddressWatch } from "./address_watch.ts";
import type { Confirmations } from "./confirmations.ts";
import type { Network } from "./network.ts";
import type { Outbox, QueuedMessage } from "./outbox.ts";
import { type MqttSession, openSession, SessionError } from "./session.ts";
import { describeStatistics, type LinkStatistics } from "./statistics.ts";
import { TakenMessages } from "./taken.ts";
import { explain } from "../errors.ts";

/** Options of {@link Link}. Times in milliseconds. */
export interface LinkOptions {
  vin: string;
  vmgId: string;
  target: MqttTarget;
  credentials: Credentials;
  profile?: Profile;
  engine?: TlsEngine;
  trust: string;
  /** Gives the clock of the next connection, see `ConnectOptions.clock`. @default the system's */
  clock?: () => (() => number) | undefined;
  /** Called for each connection that could not be made. */
  onFailed?: (error: unknown) => void;
  outbox: Outbox;
  confirmations: Confirmations;
  /** First and largest upper bound of the wait before another try. */
  reconnectDelay: number;
  maxReconnectDelay: number;
  /** Seconds. */
  keepalive: number;
  connectTimeout: number;
  /** Messages sent and not yet acknowledged, at most. */
  inFlight: number;
  network: Network;
  /** Time between two looks at interfaces and route, and between two at the interfaces alone. */
  addressInterval: number;
  interfaceInterval: number;
  /** Takes a message over, see `SessionOptions.onMessage`; gives its message_id, if it has one. */
  onMessage: (topic: string, payload: Uint8Array) => string | undefined;
  /** Told of each connection that came about; what waits is published after this has settled, or soon in any case. */
  onConnected?: (connection: NewConnection) => void | Promise<void>;
  /** Told that this side has another address: connections from the old one are of no use. */
  onMoved?: () => void;
  /** Told of each change of the machine's addresses, whether there is a connection or not. */
  onAddresses?: () => void;
  /** Told of each connection that was lost, after that of {@link onConnected}. */
  onLost?: () => void;
  log: Logger;
}

/** A connection that came about. */
export interface NewConnection {
  /** The broker had a session of this vehicle when it was left last, and has none now: it knows nothing of it. */
  forgotten: boolean;
}

/** How long the goodbye may take, milliseconds. */
const goodbye = 900;

/** How long what must end before messages go out may take, milliseconds. */
const readyLimit = 2_000;

/** The link. */
export class Link {
  readonly #options: LinkOptions;
  readonly #log: Logger;
  readonly #outbox: Outbox;
  readonly #stopping = new AbortController();
  readonly #watch: AddressWatch;
  readonly #confirmations: Confirmations;
  readonly #taken: TakenMessages;
  #session: MqttSession | undefined;
  #running: Promise<void> | undefined;
  #disconnectedSince = Date.now();
  #offline = 0;
  #moves = 0;
  /** What ended the last connection, or the last try, was another address: the next try does not wait. */
  #moved = false;
  #lastAddress: string | undefined;
  #wakePump: () => void = () => {};
  #total = 0;
  #failed = 0;
  #sent = 0;
  #received = 0;
  #lastConnection: string | null = null;

  constructor(options: LinkOptions) {
    if (!Number.isInteger(options.inFlight) || options.inFlight < 1 || options.inFlight > 65_535) {
      throw new RangeError(`inFlight: expected a whole number from 1 to 65535, got ${options.inFlight}`);
    }
    this.#options = options;
    this.#log = options.log.child("MQTT");
    this.#outbox = options.outbox;
    this.#outbox.onAdded(() => this.#wakePump());
    this.#confirmations = options.confirmations;
    this.#taken = new TakenMessages((message_ids) =>
      this.publishNow(topicOf(options.vmgId, "taken"), { message_ids })
    );
    this.#watch = new AddressWatch({
      network: options.network,
      interval: options.addressInterval,
      glance: options.interfaceInterval,
      log: this.#log,
    });
  }

  /** Begins to connect. @param after is waited for before the first try, at most until it settles */
  start(after: Promise<unknown> = Promise.resolve()): void {
    if (this.#running !== undefined) return;
    this.#watch.start();
    this.#watch.onChange(() => this.#options.onAddresses?.());
    this.#running = this.#run(after);
  }

  /** Milliseconds since the link was up; 0 while it is. */
  get away(): number {
    return this.#session === undefined ? Date.now() - this.#disconnectedSince : 0;
  }

  get statistics(): LinkStatistics {
    return {
      connected: this.#session !== undefined,
      totalConnections: this.#total,
      failedConnections: this.#failed,
      reconnections: Math.max(0, this.#total - 1),
      messagesSent: this.#sent,
      messagesReceived: this.#received,
      messagesDropped: this.#outbox.dropped,
      lastConnectionTime: this.#lastConnection,
      localAddress: this.#session === undefined ? null : bareAddress(this.#session.localAddress),
      addressChanges: this.#moves,
      offlineTime: this.#offline + this.away,
      queued: this.#outbox.count,
    };
  }

  /**
   * Publishes past the outbox what is worth nothing later.
   * @returns false when the link is not up, or was lost before the broker acknowledged it
   */
  async publishNow(topic: string, payload: unknown): Promise<boolean> {
    const session = this.#session;
    if (session === undefined) return false;
    try {
      await session.publish(topic, JSON.stringify(payload));
    } catch {
      // The loss itself is logged where the connection is kept.
      return false;
    }
    this.#sent++;
    return true;
  }

  /** Says goodbye if the link is up, and ends it. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    this.#taken.stop();
    await this.#watch.stop();
  }

  async #run(after: Promise<unknown>): Promise<void> {
    const { reconnectDelay, maxReconnectDelay } = this.#options;
    const { signal } = this.#stopping;
    const backoff = new Backoff({ initial: reconnectDelay, max: maxReconnectDelay });
    // How it ends is its owner's business; only the order counts here.
    await orAborted(after, signal).catch(() => {});
    while (!signal.aborted) {
      const session = await this.#connect();
      if (session !== undefined) {
        backoff.reset();
        await this.#live(session);
        if (signal.aborted) break;
      }
      if (this.#moved) {
        // Where there is no new address yet, the try fails at once; the wait after it ends when one comes.
        this.#moved = false;
        backoff.reset();
        continue;
      }
      const wait = backoff.next();
      this.#log.info(
        session === undefined
          ? `Connection failed. Retrying in ${wait}ms`
          : `Connection lost. Reconnecting in ${wait}ms`,
      );
      // An address that comes is a reason to try at once, and as if for the first time.
      if (await this.#waitForChange(wait)) backoff.reset();
    }
  }

  /** Waits, unless the machine's addresses change. @returns whether they did */
  async #waitForChange(wait: number): Promise<boolean> {
    const changed = Promise.withResolvers<boolean>();
    const end = this.#watch.onChange(() => changed.resolve(true));
    const over = new AbortController();
    const signal = AbortSignal.any([over.signal, this.#stopping.signal]);
    try {
      // The loop's condition sees the end.
      return await Promise.race([delay(wait, signal).then(() => false, () => false), changed.promise]);
    } finally {
      over.abort();
      end();
    }
  }

  async #connect(): Promise<MqttSession | undefined> {
    const { vin, vmgId, target } = this.#options;
    this.#log.info(`Attempting connection to ${target.hostname}:${target.port}`);
    const names = [vmgId, vin];
    // A try from an address that is gone would wait for its whole time: it is given up for one from the new address.
    const trying = new AbortController();
    const end = this.#watch.onChange(() => {
      this.#moved = true;
      trying.abort(new SessionError("the addresses of this side have changed"));
    });
    try {
      const session = await openSession({
        ...this.#options,
        localAddress: this.#options.network.bindAddress,
        clock: this.#options.clock?.(),
        clientId: vehicleClientId(vin),
        subscriptions: names.flatMap((name) =>
          (["control", "diagnostics", "config"] as const).map((channel) => topicOf(name, channel))
        ),
        confirmations: names.map((name) => topicOf(name, "stored")),
        will: { topic: topicOf(vin, "status"), payload: JSON.stringify(this.#status("offline")) },
        onMessage: (topic, payload) => this.#take(topic, payload),
        signal: AbortSignal.any([this.#stopping.signal, trying.signal]),
      });
      this.#moved = false;
      this.#total++;
      this.#lastConnection = new Date().toISOString();
      this.#tellAddress(session);
      this.#log.info(
        `Connected (${describeNegotiated(session.negotiated)}, ${session.negotiated.cipherSuite}, ` +
          `${session.sessionPresent ? "session restored" : "new session"})`,
      );
      if (this.#confirmations.by === "server" && !session.hearsServer) {
        this.#log.warn("The broker refuses the topics of the server's word: its own acknowledgement counts");
      }
      if (this.#total > 1) this.#log.info(`Reconnected successfully: ${describeStatistics(this.statistics)}`);
      return session;
    } catch (error) {
      if (!this.#stopping.signal.aborted) {
        this.#failed++;
        this.#options.onFailed?.(error);
        this.#log.warn(`Connection failed: ${explain(error)}`);
        this.#watch.look();
      }
      return undefined;
    } finally {
      end();
    }
  }

  #take(topic: string, payload: Uint8Array): void {
    this.#received++;
    if (parseTopic(topic)?.channel === "stored") {
      this.#confirmations.take(payload);
      return;
    }
    const messageId = this.#options.onMessage(topic, payload);
    if (messageId !== undefined && this.#confirmations.by === "server") this.#taken.note(messageId);
  }

  /** Uses a session until it is gone or the link stops. */
  async #live(session: MqttSession): Promise<void> {
    const { vin } = this.#options;
    const { signal } = this.#stopping;
    this.#offline += this.away;
    this.#session = session;
    const over = new AbortController();
    const ended = AbortSignal.any([over.signal, signal]);
    // What came before the session counted as up is told of now.
    const told = this.#awaitsServer(session) ? this.#taken.flush() : this.#taken.clear();
    const hello = this.publishNow(topicOf(vin, "status"), this.#status("online", session.localAddress));
    const unwatch = this.#watch.watch({
      localAddress: session.localAddress,
      remoteAddress: session.remoteAddress,
      onMoved: (was, now) => {
        this.#log.info(`Local IP changed: ${was} → ${now ?? "none"}`);
        this.#log.info("IP changed while connected. Reconnecting...");
        this.#moves++;
        this.#moved = true;
        session.abandon(new SessionError(`the address ${was} is this side's no longer`));
        this.#options.onMoved?.();
      },
    });
    // An address that went while the connection was being made is noticed now, not at the next look.
    this.#watch.look();
    const forgotten = this.#total > 1 && !session.sessionPresent;
    const ready = settledWithin(Promise.resolve(this.#options.onConnected?.({ forgotten })), readyLimit);
    const pump = ready.then(() => this.#pump(session, ended));
    const cause = await orAborted(session.closed, signal).catch(() => undefined);
    unwatch();
    over.abort();
    if (signal.aborted) {
      const farewell = this.publishNow(topicOf(vin, "status"), this.#status("offline"));
      await settledWithin(farewell, goodbye);
      await session.close(goodbye);
    } else {
      this.#log.warn(`Connection lost: ${cause === undefined ? "closed" : explain(cause)}`);
      this.#watch.look();
    }
    this.#session = undefined;
    this.#disconnectedSince = Date.now();
    this.#taken.stop();
    this.#confirmations.lost();
    this.#options.onLost?.();
    await Promise.all([hello, pump, told]);
  }

  /** Whether a message is done with only when the server itself says so: a broker that refused its topic is the server. */
  #awaitsServer({ hearsServer }: MqttSession): boolean {
    return hearsServer && this.#confirmations.by === "server";
  }

  /** Publishes what waits, in order, with a bounded number of messages under way. */
  async #pump(session: MqttSession, signal: AbortSignal): Promise<void> {
    const { inFlight } = this.#options;
    let underWay = 0;
    const send = async (message: QueuedMessage) => {
      // The server's word may come before the broker's.
      const confirmation = this.#awaitsServer(session)
        ? this.#confirmations.expect(message.messageId)
        : undefined;
      try {
        await session.publish(message.topic, message.payload, { repeated: message.repeated });
        await confirmation?.heard;
        this.#outbox.acknowledge(message.seq);
        this.#sent++;
      } catch {
        // The connection is gone, or the server said nothing: the message keeps its place and goes out again.
        this.#outbox.release([message.seq]);
      } finally {
        confirmation?.end();
        underWay--;
        this.#wakePump();
      }
    };
    while (!signal.aborted) {
      const woken = new Promise<void>((resolve) => this.#wakePump = resolve);
      for (const message of this.#outbox.take(inFlight - underWay)) {
        underWay++;
        void send(message);
      }
      await orAborted(woken, signal).catch(() => {}); // The loop's condition sees the end.
    }
    this.#wakePump = () => {};
  }

  /** The seed's words for a vehicle that has moved on between two connections. */
  #tellAddress({ localAddress }: MqttSession): void {
    const now = bareAddress(localAddress) ?? localAddress;
    const was = this.#lastAddress;
    this.#lastAddress = now;
    if (was !== undefined && was !== now) this.#log.info(`Local IP changed: ${was} → ${now}`);
  }

  #status(status: "online" | "offline", localAddress?: string): VehicleStatus {
    const ip = localAddress === undefined ? undefined : bareAddress(localAddress);
    return {
      status,
      // The will is written when the connection begins: it cannot know when it will be needed.
      ...(status === "online" ? { timestamp: new Date().toISOString() } : {}),
      ...(ip === undefined || ip === null ? {} : { ip }),
    };
  }
}
