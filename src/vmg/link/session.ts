// One MQTT 3.1.1 connection from its TLS handshake to its end. Whoever wants another one opens another one.

import { Buffer } from "node:buffer";
import { MqttClient, Store } from "mqtt";
import { connect } from "../../tls/connect.ts";
import type { Profile } from "../../pqc/profiles.ts";
import type { Credentials, Negotiated, TlsEngine } from "../../tls/types.ts";
import { VmgError } from "../errors.ts";
import type { MqttTarget } from "../options.ts";
import { orAborted } from "../../wait.ts";

/** The broker refused, or the connection failed. */
export class SessionError extends VmgError {
  override readonly name = "SessionError";
}

/** Options of {@link openSession}. */
export interface SessionOptions {
  target: MqttTarget;
  credentials: Credentials;
  profile?: Profile;
  engine?: TlsEngine;
  trust: string;
  /** See `ConnectOptions.clock`. @default the system's */
  clock?: () => number;
  clientId: string;
  /** Topics to subscribe to, QoS 1. */
  subscriptions: readonly string[];
  /** Topics on which a server behind the broker speaks; a broker that is the server itself refuses them. @default none */
  confirmations?: readonly string[];
  /** What the broker publishes when the connection breaks. */
  will: { topic: string; payload: string };
  /** Seconds. */
  keepalive: number;
  /** Longest wait for the acknowledgement of a message; then the connection ends. Milliseconds. @default 120000 */
  acknowledgementTimeout?: number;
  /** Longest TCP connect with handshake, and longest MQTT connect with subscription, milliseconds. */
  connectTimeout: number;
  /** Address that the connection leaves from. @default the system chooses */
  localAddress?: string | undefined;
  /**
   * Called for each message. The message is acknowledged when this returns: what must not be lost is on disk by then.
   * When it throws, the message stays unacknowledged and the connection ends, so that the broker sends it again.
   */
  onMessage: (topic: string, payload: Uint8Array) => void;
  signal?: AbortSignal;
}

/** Longest wait for the acknowledgement of a message: a broker that answers PING alone is of no use. Milliseconds. */
const acknowledgementLimit = 120_000;

/** A connection that is up and subscribed. */
export interface MqttSession {
  /** Whether the broker still had the session of an earlier connection. */
  readonly sessionPresent: boolean;
  /** Whether the broker granted the topics on which a server behind it speaks. */
  readonly hearsServer: boolean;
  readonly localAddress: string;
  readonly remoteAddress: string;
  readonly negotiated: Negotiated;
  /** Resolves when the connection is gone, with the cause unless {@link close} ended it. */
  readonly closed: Promise<Error | undefined>;
  /** Publishes with QoS 1. Resolves when the broker acknowledged it. */
  publish(topic: string, payload: string, options?: { repeated?: boolean }): Promise<void>;
  /** Gives the connection up at once: nothing more is sent on it. */
  abandon(reason: Error): void;
  /** Ends the connection in order (DISCONNECT, so that the will is not published), within `timeout` milliseconds. */
  close(timeout: number): Promise<void>;
}

/** Opens a connection. @throws {TlsError} {@link SessionError} or the signal's reason */
export async function openSession(options: SessionOptions): Promise<MqttSession> {
  const { target, credentials, profile, engine, trust, connectTimeout, signal } = options;
  const where = `MQTT connection to ${target.hostname}:${target.port}`;
  const connection = await connect({
    hostname: target.hostname,
    port: target.port,
    serverName: target.serverName,
    localAddress: options.localAddress,
    credentials,
    profile,
    engine,
    trust,
    clock: options.clock,
    timeout: connectTimeout,
    signal,
  });
  const { stream } = connection;

  const closed = Promise.withResolvers<Error | undefined>();
  let ended = false;
  let failure: Error | undefined;
  const fail = (error: Error) => {
    failure ??= error;
    client.end(true);
    stream.destroy();
    // Not only at the stream's own end, a turn of the event loop later: whoever publishes until then would fail each time
    // and try again, and that end would never come.
    gone();
  };

  const client = new MqttClient(() => stream, {
    protocolVersion: 4,
    clientId: options.clientId,
    clean: false,
    keepalive: options.keepalive,
    reconnectPeriod: 0,
    connectTimeout,
    resubscribe: false,
    // Acknowledgements that came together with the end of the connection are still looked up after it; the library's own
    // stores are gone by then, and the look-up would end the program.
    incomingStore: new Store({ clean: false }),
    outgoingStore: new Store({ clean: false }),
    will: { ...options.will, payload: Buffer.from(options.will.payload), qos: 1, retain: false },
  });
  // The library acknowledges a QoS 1 message once this calls back.
  client.handleMessage = (packet, callback) => {
    try {
      const { payload } = packet;
      options.onMessage(packet.topic, typeof payload === "string" ? Buffer.from(payload) : payload);
    } catch (cause) {
      // No call back: nothing is acknowledged any more, the broker keeps the message for the next connection.
      fail(new SessionError(`${where}: a message could not be taken over`, { cause }));
      return;
    }
    callback();
  };
  const waits = new Waits();
  const connected = waits.until<boolean>((resolve) => {
    client.on("connect", (packet) => resolve(packet.sessionPresent));
  });
  const gone = () => {
    const cause = failure ?? new SessionError(`${where}: closed by the other side`);
    closed.resolve(ended ? undefined : cause);
    waits.end(cause);
  };
  client.on("error", (error) => {
    fail(new SessionError(`${where} failed`, { cause: error }));
  });
  stream.on("error", (error) => {
    fail(new SessionError(`${where} failed`, { cause: error }));
  });
  // The stream stays half open for protocols that want it; MQTT has no use for one direction alone.
  stream.on("end", () => fail(new SessionError(`${where}: closed by the other side`)));
  // The library says `close` for a connection that it gave up; the stream says it for one that fell away below it.
  client.on("close", gone);
  stream.on("close", gone);
  const timer = setTimeout(() => {
    fail(new SessionError(`${where}: no session within ${connectTimeout} ms`));
  }, connectTimeout);
  try {
    const sessionPresent = await orAborted(connected, signal);
    const { subscriptions, confirmations = [] } = options;
    const topics = [...subscriptions, ...confirmations];
    const codes = await orAborted(
      waits.until<readonly unknown[]>((resolve, reject) => {
        const asked = Object.fromEntries(topics.map((topic) => [topic, { qos: 1 as const }]));
        // The library calls it an error when any of them is refused; what was granted stands in the packet.
        client.subscribe(
          asked,
          (error, _grants, packet) =>
            packet === undefined && error ? reject(error) : resolve(packet?.granted ?? []),
        );
      }),
      signal,
    );
    // 3.9.3: one code a topic, in their order; 0x80 says that the broker refuses it.
    const refused = topics.filter((_, index) => codes[index] !== 1);
    const denied = refused.filter((topic) => !confirmations.includes(topic));
    if (denied.length > 0) {
      throw new SessionError(`${where}: the broker refuses QoS 1 for ${denied.join(", ")}`);
    }
    return {
      sessionPresent,
      hearsServer: confirmations.length > 0 && refused.length === 0,
      localAddress: connection.localAddress,
      remoteAddress: connection.remoteAddress,
      negotiated: connection.negotiated,
      closed: closed.promise,
      publish: async (topic, payload, { repeated = false } = {}) => {
        const { acknowledgementTimeout = acknowledgementLimit } = options;
        const late = setTimeout(() => {
          fail(new SessionError(`${where}: no acknowledgement within ${acknowledgementTimeout} ms`));
        }, acknowledgementTimeout);
        try {
          await waits.until<void>((resolve, reject) => {
            client.publish(
              topic,
              payload,
              { qos: 1, dup: repeated },
              (error) => error ? reject(error) : resolve(),
            );
          });
        } catch (cause) {
          // What the library refuses by itself it would refuse again: the connection ends, and the link's back-off rules.
          const error = cause instanceof SessionError
            ? cause
            : new SessionError(`${where}: not published on ${topic}`, { cause });
          fail(error);
          throw error;
        } finally {
          clearTimeout(late);
        }
      },
      abandon: fail,
      close: async (timeout) => {
        ended = true;
        const limit = setTimeout(
          () => fail(new SessionError(`${where}: no end within ${timeout} ms`)),
          timeout,
        );
        client.end(false);
        await closed.promise;
        clearTimeout(limit);
      },
    };
  } catch (error) {
    fail(error instanceof Error ? error : new SessionError(`${where}: ${error}`));
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Waits that the end of the connection ends; each is forgotten once it is over. */
class Waits {
  readonly #rejects = new Set<(cause: Error) => void>();
  #ended: Error | undefined;

  /** @param begin settles the wait, unless the connection ends first */
  until<T>(begin: (resolve: (value: T) => void, reject: (error: Error) => void) => void): Promise<T> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#rejects.add(reject);
    const settle = () => this.#rejects.delete(reject);
    begin(
      (value) => {
        settle();
        resolve(value);
      },
      (error) => {
        settle();
        reject(error);
      },
    );
    return promise;
  }

  end(cause: Error): void {
    this.#ended ??= cause;
    for (const reject of this.#rejects) reject(this.#ended);
    this.#rejects.clear();
  }
}
