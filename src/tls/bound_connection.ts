// A TCP connection that leaves from a given address of this machine. Deno.connect() lets the system choose; node:net binds.

import { connect, type Socket } from "node:net";
import { ConnectionFailed } from "./errors.ts";

/** What the engine needs of a TCP connection; Deno.TcpConn is one. */
export type TcpStream = Pick<
  Deno.TcpConn,
  "read" | "write" | "closeWrite" | "close" | "setNoDelay" | "localAddr" | "remoteAddr"
>;

/** Where to, and from where. */
export interface BoundTarget {
  hostname: string;
  port: number;
  localAddress: string;
}

/**
 * Connects from a given address.
 * @throws {ConnectionFailed} when it does not come about, when the address is not this machine's for instance
 */
export async function connectFrom(target: BoundTarget, signal: AbortSignal): Promise<TcpStream> {
  signal.throwIfAborted();
  const { hostname: host, port, localAddress } = target;
  const socket = connect({ host, port, localAddress, allowHalfOpen: true });
  const connected = Promise.withResolvers<void>();
  const aborted = () => connected.reject(signal.reason);
  signal.addEventListener("abort", aborted, { once: true });
  socket.once("connect", () => connected.resolve());
  socket.once("error", (cause) =>
    connected.reject(
      new ConnectionFailed(`from ${localAddress}: ${cause.message}`, { cause }),
    ));
  try {
    await connected.promise;
    return new BoundConnection(socket, target);
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    signal.removeEventListener("abort", aborted);
  }
}

/** The stream of a socket of node:net with the reads and writes of Deno's. */
class BoundConnection implements TcpStream {
  readonly localAddr: Deno.NetAddr;
  readonly remoteAddr: Deno.NetAddr;
  readonly #socket: Socket;
  #rest: Uint8Array = new Uint8Array();
  #ended = false;
  #failure: Error | undefined;
  /** Settles when there is something new to look at. */
  #news = Promise.withResolvers<void>();

  constructor(socket: Socket, { hostname, port, localAddress }: BoundTarget) {
    this.#socket = socket;
    this.localAddr = { transport: "tcp", hostname: localAddress, port: socket.localPort ?? 0 };
    this.remoteAddr = { transport: "tcp", hostname: socket.remoteAddress ?? hostname, port };
    socket.on("readable", () => this.#tell());
    const over = () => {
      this.#ended = true;
      this.#tell();
    };
    socket.on("end", over).on("close", over);
    socket.on("error", (error) => {
      this.#failure ??= error;
      this.#tell();
    });
  }

  async read(into: Uint8Array): Promise<number | null> {
    for (;;) {
      if (this.#rest.length === 0) {
        const chunk: Uint8Array | null = this.#socket.read();
        if (chunk !== null) this.#rest = chunk;
      }
      if (this.#rest.length > 0) {
        const part = this.#rest.subarray(0, into.length);
        this.#rest = this.#rest.subarray(part.length);
        into.set(part);
        return part.length;
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return null;
      await this.#news.promise;
    }
  }

  write(bytes: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) =>
      this.#socket.write(bytes, (error) => error ? reject(error) : resolve(bytes.length))
    );
  }

  closeWrite(): Promise<void> {
    return new Promise((resolve) => this.#socket.end(() => resolve()));
  }

  setNoDelay(noDelay = true): void {
    this.#socket.setNoDelay(noDelay);
  }

  close(): void {
    this.#socket.destroy();
  }

  #tell(): void {
    this.#news.resolve();
    this.#news = Promise.withResolvers();
  }
}
