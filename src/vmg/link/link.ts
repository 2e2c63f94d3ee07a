// The vehicle's MQTT link: connects, comes back after every loss with growing waits, and drains the outbox in order.

import { topicOf, vehicleClientId, type VehicleStatus } from "../../contract/mqtt.ts";
import type { Logger } from "../../log.ts";
import { describeNegotiated, type Profile } from "../../pqc/profiles.ts";
import type { Credentials, TlsEngine } from "../../tls/types.ts";
import type { MqttTarget } from "../options.ts";
import { Backoff, delay, orAborted, settledWithin } from "../wait.ts";
import { bareAddress } from "./address.ts";
import type { Outbox, QueuedMessage } from "./outbox.ts";
import { type MqttSession, openSession } from "./session.ts";
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
  outbox: Outbox;
  /** First and largest upper bound of the wait before another try. */
  reconnectDelay: number;
  maxReconnectDelay: number;
  /** Seconds. */
  keepalive: number;
  connectTimeout: number;
  /** Messages sent and not yet acknowledged. */
  inFlight: number;
  /** Takes a message over; see `SessionOptions.onMessage`. */
  onMessage: (topic: string, payload: Uint8Array) => void;
  /** Told of each connection that came about. */
  onConnected?: () => void;
  log: Logger;
}

/** What the link did so far. */
export interface LinkStatistics {
  connected: boolean;
  /** Connections that came about. */
  totalConnections: number;
  /** Tries that failed. */
  failedConnections: number;
  /** Connections that came about after one was lost. */
  reconnections: number;
  messagesSent: number;
  messagesReceived: number;
  /** Messages given up for lack of room. */
  messagesDropped: number;
  lastConnectionTime: string | null;
  /** Address that this side has on the connection. */
  localAddress: string | null;
  /** Messages that wait. */
  queued: number;
}

/** How long the goodbye may take, milliseconds. */
const goodbye = 900;

/** The link. */
export class Link {
  readonly #options: LinkOptions;
  readonly #log: Logger;
  readonly #outbox: Outbox;
  readonly #stopping = new AbortController();
  #session: MqttSession | undefined;
  #running: Promise<void> | undefined;
  #disconnectedSince = Date.now();
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
    this.#outbox.onAdded = () => this.#wakePump();
  }

  /** Begins to connect. @param after is waited for before the first try, at most until it settles */
  start(after: Promise<unknown> = Promise.resolve()): void {
    this.#running ??= this.#run(after);
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
      const wait = backoff.next();
      this.#log.info(
        session === undefined
          ? `Connection failed. Retrying in ${wait}ms`
          : `Connection lost. Reconnecting in ${wait}ms`,
      );
      await delay(wait, signal).catch(() => {}); // The loop's condition sees the end.
    }
  }

  async #connect(): Promise<MqttSession | undefined> {
    const { vin, vmgId, target } = this.#options;
    this.#log.info(`Attempting connection to ${target.hostname}:${target.port}`);
    const names = [vmgId, vin];
    try {
      const session = await openSession({
        ...this.#options,
        clientId: vehicleClientId(vin),
        subscriptions: names.flatMap((name) =>
          (["control", "diagnostics", "config"] as const).map((channel) => topicOf(name, channel))
        ),
        will: { topic: topicOf(vin, "status"), payload: JSON.stringify(this.#status("offline")) },
        onMessage: (topic, payload) => {
          this.#received++;
          this.#options.onMessage(topic, payload);
        },
        signal: this.#stopping.signal,
      });
      this.#total++;
      this.#lastConnection = new Date().toISOString();
      this.#log.info(
        `Connected (${describeNegotiated(session.negotiated)}, ${session.negotiated.cipherSuite}, ` +
          `${session.sessionPresent ? "session restored" : "new session"})`,
      );
      return session;
    } catch (error) {
      if (!this.#stopping.signal.aborted) {
        this.#failed++;
        this.#log.warn(`Connection failed: ${explain(error)}`);
      }
      return undefined;
    }
  }

  /** Uses a session until it is gone or the link stops. */
  async #live(session: MqttSession): Promise<void> {
    const { vin } = this.#options;
    const { signal } = this.#stopping;
    this.#session = session;
    const over = new AbortController();
    const ended = AbortSignal.any([over.signal, signal]);
    const hello = this.publishNow(topicOf(vin, "status"), this.#status("online", session.localAddress));
    const pump = this.#pump(session, ended);
    this.#options.onConnected?.();
    const cause = await orAborted(session.closed, signal).catch(() => undefined);
    over.abort();
    if (signal.aborted) {
      const farewell = this.publishNow(topicOf(vin, "status"), this.#status("offline"));
      await settledWithin(farewell, goodbye);
      await session.close(goodbye);
    } else {
      this.#log.warn(`Connection lost: ${cause === undefined ? "closed" : explain(cause)}`);
    }
    this.#session = undefined;
    this.#disconnectedSince = Date.now();
    await Promise.all([hello, pump]);
    this.#outbox.release();
  }

  /** Publishes what waits, in order, with a bounded number of messages under way. */
  async #pump(session: MqttSession, signal: AbortSignal): Promise<void> {
    const { inFlight } = this.#options;
    let underWay = 0;
    const send = async (message: QueuedMessage) => {
      try {
        await session.publish(message.topic, message.payload, { repeated: message.repeated });
        this.#outbox.acknowledge(message.seq);
        this.#sent++;
      } catch {
        // The connection is gone: the message keeps its place and goes out on the next one.
      } finally {
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
