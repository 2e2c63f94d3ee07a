// A DoIP entity: a gateway or node with the ECUs behind it, reachable over TCP and UDP.

import { routingActivationCodes } from "./constants.ts";
import { type Registry, ServerConnection } from "./server_connection.ts";
import { type DoipEntityOptions, type EntitySettings, entitySettings } from "./server_settings.ts";
import { UdpResponder } from "./server_udp.ts";
import { type ByteStream, closeQuietly } from "../byte_stream.ts";
import { tappedStream } from "../trace/tapped_stream.ts";

export type {
  ActivationRequest,
  ActivationRules,
  ActivationVerdict,
  DoipEntityOptions,
  EntityTimers,
  UdpDestination,
} from "./server_settings.ts";

/** Pause after a connection could not be accepted (e.g. no file descriptors left), in milliseconds. */
const acceptPause = 100;

/** A listening entity. */
export class DoipEntity implements AsyncDisposable {
  readonly #settings: EntitySettings;
  readonly #listener: Deno.TcpListener;
  readonly #udp: UdpResponder | undefined;
  readonly #sockets: SocketTable;
  readonly #accepting: Promise<void>;

  private constructor(
    settings: EntitySettings,
    listener: Deno.TcpListener,
    udp: UdpResponder | undefined,
    sockets: SocketTable,
  ) {
    this.#settings = settings;
    this.#listener = listener;
    this.#udp = udp;
    this.#sockets = sockets;
    this.#accepting = this.#accept();
  }

  /**
   * Opens the TCP listener and the UDP socket and announces the entity where `announce` says.
   *
   * @throws {RangeError} when an option is out of range; the message quotes it
   * @throws {Deno.errors.AddrInUse} when another program has the port
   */
  static async listen(options: DoipEntityOptions): Promise<DoipEntity> {
    const settings = entitySettings(options);
    const listener = Deno.listen({ hostname: settings.hostname, port: settings.port });
    const sockets = new SocketTable(settings);
    try {
      const udpPort = settings.udpPort ?? listener.addr.port;
      const udp = udpPort === false
        ? undefined
        : await UdpResponder.bind(settings, udpPort, () => sockets.open);
      return new DoipEntity(settings, listener, udp, sockets);
    } catch (error) {
      listener.close();
      throw error;
    }
  }

  /** Address on which the entity listens. */
  get hostname(): string {
    return this.#listener.addr.hostname;
  }

  /** TCP port. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** UDP port; undefined without UDP. */
  get udpPort(): number | undefined {
    return this.#udp?.port;
  }

  /** TCP connections open at the moment (NCTS of the entity status). */
  get openConnections(): number {
    return this.#sockets.open;
  }

  /**
   * Serves a connection that was accepted elsewhere, e.g. TLS on port 3496. It counts like the entity's own.
   *
   * @param peer name for messages, and whether the connection is TLS (for activation types that need it)
   */
  accept(stream: ByteStream, peer: { name: string; secure: boolean }): void {
    this.#sockets.serve(stream, peer);
  }

  /**
   * Closes the connection of one tester, as a gateway does that loses it; the entity listens on.
   *
   * @returns whether the tester had one
   */
  disconnect(tester: number): boolean {
    return this.#sockets.disconnect(tester);
  }

  /** Stops listening and closes all connections. Resolves when everything is closed. */
  async close(): Promise<void> {
    try {
      this.#listener.close();
    } catch (error) {
      // Closed before: the second call waits for the same end.
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
    await Promise.all([this.#accepting, this.#udp?.close(), this.#sockets.close()]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #accept(): Promise<void> {
    for (;;) {
      try {
        const connection = await this.#listener.accept();
        const { hostname, port } = connection.remoteAddr;
        // Requests and answers alternate: waiting to fill a segment would only add delay.
        connection.setNoDelay(true);
        const tap = this.#settings.tap?.connection(connection.localAddr, connection.remoteAddr, "peer");
        const stream = tap === undefined ? connection : tappedStream(connection, tap);
        this.#sockets.serve(stream, { name: `DoIP tester ${hostname}:${port}`, secure: false });
      } catch (error) {
        if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) return;
        this.#settings.warn(`DoIP ${this.hostname}:${this.port}: accepting failed: ${error}`);
        await new Promise<void>((resolve) => this.#settings.clock.after(acceptPause, resolve));
      }
    }
  }
}

/** The entity's TCP sockets and which tester address each is registered for. */
class SocketTable implements Registry {
  readonly #settings: EntitySettings;
  readonly #byTester = new Map<number, ServerConnection>();
  readonly #running = new Map<ServerConnection, Promise<void>>();
  #closed = false;

  constructor(settings: EntitySettings) {
    this.#settings = settings;
  }

  get open(): number {
    return this.#running.size;
  }

  serve(stream: ByteStream, peer: { name: string; secure: boolean }): void {
    // One socket beyond the maximum is open so that a newcomer can have the others checked for life.
    if (this.#closed || this.#running.size > this.#settings.maxTcpConnections) return closeQuietly(stream);
    const connection = new ServerConnection(this.#settings, this, stream, peer);
    this.#running.set(connection, connection.run().finally(() => this.#running.delete(connection)));
  }

  async register(connection: ServerConnection, tester: number): Promise<number> {
    for (;;) {
      const holder = this.#byTester.get(tester);
      if (holder !== undefined) {
        // The tester may have lost that connection and come back: only a living one keeps the address.
        if (await holder.checkAlive()) return routingActivationCodes.sourceAddressInUse;
      } else if (this.#byTester.size < this.#settings.maxTcpConnections) {
        this.#byTester.set(tester, connection);
        return routingActivationCodes.success;
      } else {
        const alive = await Promise.all([...this.#byTester.values()].map((other) => other.checkAlive()));
        if (alive.every(Boolean)) return routingActivationCodes.allSocketsInUse;
      }
    }
  }

  disconnect(tester: number): boolean {
    const holder = this.#byTester.get(tester);
    holder?.close();
    return holder !== undefined;
  }

  release(connection: ServerConnection, tester: number): void {
    if (this.#byTester.get(tester) === connection) this.#byTester.delete(tester);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const connection of this.#running.keys()) connection.close();
    await Promise.all(this.#running.values());
  }
}
