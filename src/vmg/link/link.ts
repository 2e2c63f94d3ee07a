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
import type { Outbox } from "./outbox.ts";
import { Pump } from "./pump.ts";
import { type MqttSession, openSession, SessionError } from "./session.ts";
import { describeStatistics, type LinkStatistics } from "./statistics.ts";
import { Suspects } from "./suspects.ts";
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
  /** How long a connection must have been up to count as one that holds. @default 5000 */
  holdTime?: number;
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

/** Tries without a wait, one after another, for the sake of another address, that led to nothing. */
const mostHurried = 3;

/** A message that ends connections is held back for the longest wait between two of them, and at last for so many times that. */
const longestHold = 60;

/** The link. */
export class Link {
  readonly #options: LinkOptions;
  readonly #log: Logger;
  readonly #outbox: Outbox;
  readonly #stopping = new AbortController();
  readonly #watch: AddressWatch;
  readonly #confirmations: Confirmations;
  readonly #taken: TakenMessages;
  readonly #suspects: Suspects;
  readonly #holdTime: number;
  #session: MqttSession | undefined;
  #running: Promise<void> | undefined;
  #disconnectedSince = Date.now();
  #offline = 0;
  #moves = 0;
  /** What ended the last connection, or the last try, was another address: the next try does not wait. */
  #moved = false;
  /** Such tries since a connection served last. */
  #hurried = 0;
  /** The last connection ended soon after it was made: messages go one by one, until it shows whether one of them does that. */
  #careful = false;
  #lastAddress: string | undefined;
  #total = 0;
  #failed = 0;
  #sent = 0;
  #received = 0;
  #lastConnection: string | null = null;

  constructor(options: LinkOptions) {
    if (!Number.isInteger(options.inFlight) || options.inFlight < 1 || options.inFlight > 65_535) {
      throw new RangeError(`inFlight: expected a whole number from 1 to 65535, got ${options.inFlight}`);
    }
    const { holdTime = 5_000, maxReconnectDelay } = options;
    if (!(holdTime >= 0)) throw new RangeError(`holdTime: expected at least 0 ms, got ${holdTime}`);
    this.#options = options;
    this.#holdTime = holdTime;
    this.#suspects = new Suspects({ first: maxReconnectDelay, longest: longestHold * maxReconnectDelay });
    this.#log = options.log.child("MQTT");
    this.#outbox = options.outbox;
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
        const served = await this.#live(session);
        if (signal.aborted) break;
        // One that ends at once each time is no success.
        if (served) {
          backoff.reset();
          this.#hurried = 0;
        }
      }
      if (this.#moved) {
        this.#moved = false;
        backoff.reset();
        // Where there is no new address yet, the try fails at once; the wait after it ends when one comes. Addresses that seem
        // to change with every try are no reason to try without end.
        if (this.#hurried++ < mostHurried) continue;
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

  /** Uses a session until it is gone or the link stops. @returns whether it held, or a message of the queue went over it */
  async #live(session: MqttSession): Promise<boolean> {
    const { vin, inFlight } = this.#options;
    const { signal } = this.#stopping;
    const began = performance.now();
    const holds = () => performance.now() - began >= this.#holdTime;
    const careful = this.#careful;
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
    const ready = settledWithin(
      Promise.all([
        this.#options.onConnected?.({ forgotten }),
        // Its end would be taken for the first message's.
        careful ? hello : undefined,
      ]),
      readyLimit,
    );
    const pump = new Pump({
      session,
      outbox: this.#outbox,
      expect: (messageId) => this.#awaitsServer(session) ? this.#confirmations.expect(messageId) : undefined,
      suspects: this.#suspects,
      window: () => careful && !holds() ? 1 : inFlight,
      onSent: () => this.#sent++,
    });
    const pumped = orAborted(ready, ended).then(() => pump.run(ended), () => {}); // It is over before it began.
    const cause = await orAborted(session.closed, signal).catch(() => undefined);
    unwatch();
    over.abort();
    if (signal.aborted) {
      const farewell = this.publishNow(topicOf(vin, "status"), this.#status("offline"));
      await settledWithin(farewell, goodbye);
      await session.close(goodbye);
    } else {
      this.#log.warn(`Connection lost: ${cause === undefined ? "closed" : explain(cause)}`);
      this.#careful = !this.#moved && !holds();
      if (!this.#moved) this.#blame(pump.alone);
      this.#watch.look();
    }
    this.#session = undefined;
    this.#disconnectedSince = Date.now();
    this.#taken.stop();
    this.#confirmations.lost();
    this.#options.onLost?.();
    await Promise.all([hello, pumped, told]);
    return holds() || pump.sent > 0;
  }

  /** The connection ended while this message alone was under way. */
  #blame(messageId: string | undefined): void {
    if (messageId === undefined) return;
    const held = this.#suspects.blame(messageId);
    if (held === 0) return;
    this.#log.error(
      `Connections end over message ${messageId}: it is held back for ${
        Math.ceil(held / 1000)
      } s, and the others go`,
    );
  }

  /** Whether a message is done with only when the server itself says so: a broker that refused its topic is the server. */
  #awaitsServer({ hearsServer }: MqttSession): boolean {
    return hearsServer && this.#confirmations.by === "server";
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
