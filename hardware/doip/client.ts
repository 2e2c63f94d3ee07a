// The tester's side of a DoIP connection: routing activation, and one transport per ECU behind the gateway.

import type { UdsTransport } from "../uds/transport.ts";
import type { DoipError } from "./errors.ts";

/** A connected byte stream: what Deno.Conn and a TLS stream have in common. */
export interface ByteStream {
  read(into: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}

/** How to reach a DoIP entity. */
export interface DoipConnectOptions {
  hostname: string;
  /** @default {13400} */
  port?: number;
  /** The tester's logical address. @default {0x0E00} */
  sourceAddress?: number;
  /** @default {0x00} */
  activationType?: number;
  /** @default {0x02} */
  protocolVersion?: number;
  /** Milliseconds. @default {2000} */
  connectTimeout?: number;
  /** Milliseconds. @default {2000} */
  activationTimeout?: number;
  signal?: AbortSignal;
  /** Hands in a connected stream instead of a TCP connection of our own, e.g. TLS on port 3496. */
  open?: () => Promise<ByteStream>;
  /** Told what is odd but survivable. @default nothing */
  warn?: (message: string) => void;
}

/** One TCP connection to a DoIP entity with routing activated. */
export interface DoipConnection extends AsyncDisposable {
  /** The entity's own logical address, from the routing activation response. */
  readonly entityAddress: number;
  /** Resolves when the connection is gone: undefined after close(), the cause otherwise. */
  readonly closed: Promise<DoipError | undefined>;
  /** The path to one ECU, or to a functional address; the same object for the same address. */
  transport(targetAddress: number): UdsTransport;
  close(): Promise<void>;
}
