// httpsAgent(): a dispatcher for undici's fetch and request whose connections are this product's TLS connections.

import type { Socket } from "node:net";
import { Agent, Dispatcher } from "undici";
import { connect } from "./connect.ts";
import type { ConnectOptions, TlsConnection } from "./types.ts";

/** Options of {@link httpsAgent}. Host and port come from each request's URL. */
export interface HttpsAgentOptions
  extends Pick<ConnectOptions, "credentials" | "profile" | "trust" | "serverName" | "engine"> {
  /** Longest TCP connect and handshake together, in milliseconds. @default 10000 */
  timeout?: number;
  /** Most connections to one origin. @default 8 */
  connections?: number;
  /** How long an idle connection is kept, in milliseconds. @default 4000 */
  keepAliveTimeout?: number;
  /** Longest wait for an answer's headers, in milliseconds; 0 for none. @default 30000 */
  headersTimeout?: number;
  /** Longest pause within an answer's body, in milliseconds; 0 for none. @default 30000 */
  bodyTimeout?: number;
  /** Gives the address that the next connection leaves from, or throws when there is none. @default the system chooses */
  localAddress?: () => string | undefined;
  /** Gives the clock of the next connection, see `ConnectOptions.clock`. @default the system's */
  clock?: () => (() => number) | undefined;
  /** Called for each connection that was made. */
  onConnected?: (connection: TlsConnection) => void;
  /** Called for each connection that was not. */
  onFailed?: (error: unknown) => void;
  /** Aborts connections that are being made. */
  signal?: AbortSignal;
}

/** What {@link httpsAgent} gives: a dispatcher whose connections can be left behind together. */
export interface HttpsAgent extends Dispatcher {
  /** Ends all connections, with what is under way on them, and opens new ones for what comes next. */
  renew(reason: Error): void;
}

/**
 * An undici dispatcher over {@link connect}: `fetch(url, { dispatcher })` and `request(url, { dispatcher })` of undici.
 * Close it with `close()` (lets requests end) or `destroy()`.
 */
export function httpsAgent(options: HttpsAgentOptions): HttpsAgent {
  return new RenewableAgent(() => makeAgent(options));
}

class RenewableAgent extends Dispatcher implements HttpsAgent {
  readonly #make: () => Agent;
  #agent: Agent;

  constructor(make: () => Agent) {
    super();
    this.#make = make;
    this.#agent = make();
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    return this.#agent.dispatch(options, handler);
  }

  renew(reason: Error): void {
    const old = this.#agent;
    this.#agent = this.#make();
    // Its requests are told; nobody waits for the agent itself.
    old.destroy(reason).catch(() => {});
  }

  override close(callback?: () => void): Promise<void> {
    const closed = this.#agent.close();
    if (callback !== undefined) closed.then(callback, callback);
    return closed;
  }

  override destroy(error?: Error | null | (() => void), callback?: () => void): Promise<void> {
    const destroyed = this.#agent.destroy(error instanceof Error ? error : null);
    const then = typeof error === "function" ? error : callback;
    if (then !== undefined) destroyed.then(then, then);
    return destroyed;
  }
}

function makeAgent(options: HttpsAgentOptions): Agent {
  const { credentials, profile, trust, serverName, engine, timeout, signal, onConnected } = options;
  return new Agent({
    connections: options.connections ?? 8,
    keepAliveTimeout: options.keepAliveTimeout ?? 4_000,
    headersTimeout: options.headersTimeout ?? 30_000,
    bodyTimeout: options.bodyTimeout ?? 30_000,
    connect: (target, callback) => {
      if (target.protocol !== "https:") {
        callback(
          new TypeError(`expected an https URL, got ${target.protocol}//${target.host ?? target.hostname}`),
          null,
        );
        return;
      }
      const port = target.port === "" ? 443 : Number(target.port);
      // A URL keeps the brackets of an IPv6 address; a socket takes none.
      const hostname = target.hostname.replace(/^\[(.*)\]$/, "$1");
      const to = { hostname, port, credentials, profile, trust, serverName, engine, timeout, signal };
      Promise.try(() => connect({ ...to, localAddress: options.localAddress?.(), clock: options.clock?.() }))
        .then(
          (connection) => {
            onConnected?.(connection);
            // undici asks for a Socket in its types and works with any Duplex: it reads, writes and destroys.
            callback(null, connection.stream as Socket);
          },
          (error: unknown) => {
            options.onFailed?.(error);
            callback(error instanceof Error ? error : new Error(String(error)), null);
          },
        );
    },
  });
}
