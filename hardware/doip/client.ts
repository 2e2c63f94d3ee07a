// The tester's side of a DoIP connection: opens it, activates routing, and carries the messages of many ECUs.

import { ClientHost } from "./client_host.ts";
import type { DoipTransport } from "./client_transport.ts";
import { doipPort, protocolVersions, timing } from "./constants.ts";
import { DoipConnectionError, DoipError } from "./errors.ts";
import { streamVersions } from "./framer.ts";
import { checkUint } from "./message.ts";
import { type ByteStream, closeQuietly } from "../byte_stream.ts";
import { checkMilliseconds, type Clock, systemClock } from "../clock.ts";
import type { NetworkTap } from "../trace/tap.ts";
import { tappedStream } from "../trace/tapped_stream.ts";

export type { ByteStream } from "../byte_stream.ts";
export type { Clock } from "../clock.ts";

/** How to reach a DoIP entity, and within which limits. */
export interface DoipConnectOptions {
  /** Name or address of the entity. */
  hostname: string;
  /** @default {13400} */
  port?: number;
  /** The tester's logical address. @default {0x0E00} */
  sourceAddress?: number;
  /** Routing activation type (Table 47). @default {0x00} */
  activationType?: number;
  /** Four bytes for the vehicle manufacturer in the routing activation request. @default none are sent */
  activationOem?: number;
  /** Version in our headers. 0x02 is what the widest range of entities takes. @default {0x02} */
  protocolVersion?: number;
  /** Limit of opening the connection, milliseconds. @default {2000} */
  connectTimeout?: number;
  /** Limit of the routing activation, milliseconds (A_DoIP_Ctrl). @default {2000} */
  activationTimeout?: number;
  /** Limit of the wait for 0x8002, milliseconds (A_DoIP_Diagnostic_Message). @default {2000} */
  acknowledgeTimeout?: number;
  /** Longest request in bytes. @default {16777216} */
  maxRequestLength?: number;
  /** Longest message taken from the entity in bytes; a longer one ends the connection. @default {16777216} */
  maxPayloadLength?: number;
  /** Messages that may wait at one transport before the oldest is dropped. @default {256} */
  maxQueuedMessages?: number;
  /** Bytes that may wait at one transport before the oldest message is dropped. @default {4194304} */
  maxQueuedBytes?: number;
  /** Ends connecting and activating early; it has no effect afterwards. */
  signal?: AbortSignal;
  /** Hands in a connected stream instead of a TCP connection, e.g. TLS on port 3496. It is closed with us. */
  open?: (signal: AbortSignal) => Promise<ByteStream>;
  /** Records the TCP connection. A stream from `open` is recorded by whoever opens it. @default nothing is recorded */
  tap?: NetworkTap;
  /** Told once about each oddity that the connection goes on with. @default {console.warn} */
  warn?: (message: string) => void;
  /** @default the machine's time */
  clock?: Clock;
}

/** One TCP connection to a DoIP entity with routing activated, shared by the transports to its ECUs. */
export class DoipConnection implements AsyncDisposable {
  /** Name for messages, e.g. `DoIP 127.0.10.1:13400`. */
  readonly name: string;
  /** Resolves when the connection is gone: undefined after {@link close}, the cause otherwise. Never rejects. */
  readonly closed: Promise<DoipError | undefined>;
  readonly #host: ClientHost;
  readonly #entityAddress: number;

  private constructor(host: ClientHost, entityAddress: number) {
    this.#host = host;
    this.#entityAddress = entityAddress;
    this.name = host.name;
    this.closed = host.closed;
  }

  /** Milliseconds since the entity sent anything. */
  get silence(): number {
    return this.#host.clock.now() - this.#host.heardAt;
  }

  /** The entity's own logical address, from its routing activation response: the gateway's, not an ECU's. */
  get entityAddress(): number {
    return this.#entityAddress;
  }

  /**
   * Opens a connection and activates routing.
   *
   * @throws {RangeError} when an option is out of range; the message quotes it
   * @throws {DoipConnectionError} when the connection does not open or closes, or no response comes in time
   * @throws {RoutingActivationError} when the entity denies, with the code
   */
  static async connect(options: DoipConnectOptions): Promise<DoipConnection> {
    const {
      hostname,
      port = doipPort,
      sourceAddress = 0x0e00,
      activationType = 0x00,
      activationOem,
      protocolVersion = protocolVersions.iso2012,
      connectTimeout = timing.control,
      activationTimeout = timing.control,
      acknowledgeTimeout = timing.diagnosticMessage,
      maxRequestLength = 16_777_216,
      maxPayloadLength = 16_777_216,
      maxQueuedMessages = 256,
      maxQueuedBytes = 4_194_304,
      signal,
      tap,
      open = (signal) => openTcp(hostname, port, tap, signal),
      warn = console.warn,
      clock = systemClock,
    } = options;
    checkUint(port, 0xffff, "port");
    checkUint(sourceAddress, 0xffff, "sourceAddress");
    checkUint(activationType, protocolVersion === protocolVersions.iso2010 ? 0xffff : 0xff, "activationType");
    if (!streamVersions.has(protocolVersion)) {
      throw new RangeError(`protocolVersion must be 1 to 4, is ${protocolVersion}`);
    }
    if (activationOem !== undefined) checkUint(activationOem, 0xffff_ffff, "activationOem");
    checkMilliseconds(connectTimeout, "connectTimeout");
    checkMilliseconds(activationTimeout, "activationTimeout");
    checkMilliseconds(acknowledgeTimeout, "acknowledgeTimeout");
    checkUint(maxRequestLength, 0xffff_fffb, "maxRequestLength");
    checkUint(maxQueuedMessages, 0xffff_ffff, "maxQueuedMessages");
    checkUint(maxQueuedBytes, 0xffff_ffff, "maxQueuedBytes");
    if (tap !== undefined && options.open !== undefined) {
      throw new RangeError("tap: expected none beside open, whose stream is recorded by whoever opens it");
    }
    signal?.throwIfAborted();

    const name = `DoIP ${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
    const stream = await openWithin(name, open, connectTimeout, clock, signal);
    const host = new ClientHost(stream, {
      name,
      clock,
      version: protocolVersion,
      sourceAddress,
      acknowledgeTimeout,
      maxRequestLength,
      maxPayloadLength,
      maxQueuedMessages,
      maxQueuedBytes,
      warn,
    });
    const entityAddress = await host.activate(activationType, activationOem, activationTimeout, signal);
    return new DoipConnection(host, entityAddress);
  }

  /**
   * The path to one ECU, or to a functional address: always the same object for the same address.
   *
   * A transport to a functional address receives what ECUs answer that are not being waited for physically; its
   * `receiveFrom` says which ECU it was.
   */
  transport(targetAddress: number): DoipTransport {
    checkUint(targetAddress, 0xffff, "targetAddress");
    return this.#host.transport(targetAddress);
  }

  /** Closes the connection; waits under way reject. Resolves when the socket is closed. */
  async close(): Promise<void> {
    this.#host.close();
    await this.closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

async function openTcp(
  hostname: string,
  port: number,
  tap: NetworkTap | undefined,
  signal: AbortSignal,
): Promise<ByteStream> {
  const connection = await Deno.connect({ hostname, port, signal });
  // Requests and answers alternate: waiting to fill a segment would only add delay.
  connection.setNoDelay(true);
  if (tap === undefined) return connection;
  return tappedStream(connection, tap.connection(connection.localAddr, connection.remoteAddr, "us"));
}

/** Opens within a limit; a stream that opens too late is closed. */
async function openWithin(
  name: string,
  open: (signal: AbortSignal) => Promise<ByteStream>,
  timeout: number,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<ByteStream> {
  const controller = new AbortController();
  const { promise: over, reject } = Promise.withResolvers<never>();
  const aborted = (): void => reject(signal?.reason);
  const cancelTimer = clock.after(
    timeout,
    () => reject(new DoipConnectionError(`${name}: no connection within ${timeout} ms`)),
  );
  signal?.addEventListener("abort", aborted);
  const opening = open(controller.signal);
  try {
    return await Promise.race([opening, over]);
  } catch (cause) {
    controller.abort();
    // It may still open, or fail, after we have given up: nobody needs either any more.
    opening.then(closeQuietly, () => {});
    if (cause instanceof DoipError || (signal?.aborted && cause === signal.reason)) throw cause;
    throw new DoipConnectionError(`${name}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  } finally {
    cancelTimer();
    signal?.removeEventListener("abort", aborted);
  }
}
