// httpsAgent(): a dispatcher for undici's fetch and request whose connections are this product's TLS connections.

import type { Socket } from "node:net";
import { Agent, type Dispatcher } from "undici";
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
  /** Called for each connection that was made. */
  onConnected?: (connection: TlsConnection) => void;
  /** Aborts connections that are being made. */
  signal?: AbortSignal;
}

/**
 * An undici dispatcher over {@link connect}: `fetch(url, { dispatcher })` and `request(url, { dispatcher })` of undici.
 * Close it with `close()` (lets requests end) or `destroy()`.
 */
export function httpsAgent(options: HttpsAgentOptions): Dispatcher {
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
      connect({ hostname, port, credentials, profile, trust, serverName, engine, timeout, signal }).then(
        (connection) => {
          onConnected?.(connection);
          // undici asks for a Socket in its types and works with any Duplex: it reads, writes and destroys.
          callback(null, connection.stream as Socket);
        },
        (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), null),
      );
    },
  });
}
