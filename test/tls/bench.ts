// A listener for tests: what reached it can be waited for, and all of it is closed at the end.

import { once } from "node:events";
import type { Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from "node:tls";
import { connect } from "../../src/tls/connect.ts";
import { listen } from "../../src/tls/listen.ts";
import type {
  ConnectOptions,
  Credentials,
  ListenOptions,
  TlsConnection,
  TlsListener,
} from "../../src/tls/types.ts";
import { profileById } from "../../src/pqc/profiles.ts";
import { clientLeaf, serverLeaf, testAuthority } from "../support/certificates.ts";

export const authority = await testAuthority("Test CA");
export const foreignAuthority = await testAuthority("Foreign CA");
export const server = await serverLeaf(authority);
export const vehicle = await clientLeaf(authority, { organizationalUnits: ["fleet", "vehicle"] });
export const { trust } = authority;

/** Values that arrive one by one and are taken one by one. */
export class Arrivals<T> {
  readonly #arrived: T[] = [];
  readonly #waiting: ((value: T) => void)[] = [];

  push(value: T): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#arrived.push(value);
    else next(value);
  }

  next(): Promise<T> {
    const value = this.#arrived.shift();
    if (value !== undefined) return Promise.resolve(value);
    return new Promise((resolve, reject) => {
      const limit = setTimeout(() => reject(new Error("nothing arrived within 10 s")), 10_000);
      this.#waiting.push((arrived) => {
        clearTimeout(limit);
        resolve(arrived);
      });
    });
  }

  get waiting(): number {
    return this.#arrived.length;
  }
}

export interface Bench {
  listener: TlsListener;
  connections: Arrivals<TlsConnection>;
  refusals: Arrivals<Error>;
  /** Connects as the vehicle, or with what differs. */
  dial(differs?: Partial<ConnectOptions>): Promise<TlsConnection>;
  /** Connects with the runtime's own client, for what connect() never does. */
  dialRaw(options: ConnectionOptions): TLSSocket;
  /** Has a socket closed at the end. */
  keep<S extends Socket>(socket: S): S;
}

/** What differs of a listener; both ends have its engine. */
export interface BenchOptions extends Partial<ListenOptions> {
  /** What the server shows on the profiles below. @default a good certificate */
  credentials?: Credentials;
  /** Profiles that the server accepts. @default [2, 0]: dialRaw() knows nothing of ML-KEM alone */
  profiles?: readonly number[];
  /** Address that clients connect from. @default the system chooses */
  from?: string | undefined;
}

/** Runs a test against a listener and closes everything afterwards. */
export async function withBench(
  { credentials = server, profiles = [2, 0], from, ...differs }: BenchOptions,
  run: (bench: Bench) => Promise<void>,
): Promise<void> {
  const connections = new Arrivals<TlsConnection>();
  const refusals = new Arrivals<Error>();
  const open: {
    destroy(): unknown;
    closed?: boolean | null;
    once: (event: "close", heard: () => void) => unknown;
  }[] = [];
  const listener = await listen({
    hostname: "127.0.0.1",
    port: 0,
    offers: profiles.map((id) => ({ profile: profileById(id), credentials })),
    trust,
    onConnection: (connection) => {
      open.push(connection.stream);
      connections.push(connection);
    },
    onRefused: (error) => refusals.push(error),
    ...differs,
  });
  const keep = <S extends Socket>(socket: S): S => {
    socket.on("error", () => {});
    open.push(socket);
    return socket;
  };
  try {
    await run({
      listener,
      connections,
      refusals,
      keep,
      dial: async (different = {}) => {
        const connection = await connect({
          hostname: "127.0.0.1",
          port: listener.port,
          credentials: vehicle,
          trust,
          engine: differs.engine,
          localAddress: from,
          ...different,
        });
        open.push(connection.stream);
        return connection;
      },
      dialRaw: (options) =>
        keep(connectTls({ host: "127.0.0.1", port: listener.port, ca: trust, ...options })),
    });
  } finally {
    await listener.close();
    for (const stream of open) {
      stream.destroy();
      if (stream.closed === false) await once(stream as Socket, "close");
    }
    // Sockets below the streams close a turn later.
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Everything that a stream brings until its end, as text. */
export async function readText(stream: TlsConnection["stream"]): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of stream.iterator({ destroyOnReturn: false })) parts.push(part);
  return new TextDecoder().decode(await new Blob(parts.map((part) => new Uint8Array(part))).arrayBuffer());
}
