// A UDP socket as promises. node:dgram, because Deno's own datagrams are unstable.

import { createSocket } from "node:dgram";
import type { Socket } from "node:dgram";
import type { NetworkEnd, NetworkTap } from "../trace/tap.ts";

/** A bound socket. */
export interface UdpSocket {
  readonly port: number;
  /** Sends one datagram; a failure goes to `failed`: UDP promises nothing anyway. */
  send(bytes: Uint8Array, hostname: string, port: number, failed: (error: Error) => void): void;
  close(): Promise<void>;
}

/** Called for each datagram. The bytes belong to the receiver. */
export type DatagramHandler = (bytes: Uint8Array, from: { hostname: string; port: number }) => void;

/**
 * Binds a socket; broadcasts are allowed on it. `port` 0 takes a free one; with `shared` others may have the port too, as
 * long as they share it. On a socket that is bound to any address the tap shows the own address as unspecified.
 */
export function bindUdp(
  hostname: string,
  port: number,
  received: DatagramHandler,
  failed: (error: Error) => void,
  tap?: NetworkTap,
  shared = false,
): Promise<UdpSocket> {
  const socket = createSocket({ type: hostname.includes(":") ? "udp6" : "udp4", reuseAddr: shared });
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(port, hostname, () => {
      socket.off("error", reject);
      socket.on("error", failed);
      socket.setBroadcast(true);
      resolve(new BoundSocket(socket, tap));
    });
    socket.on("message", (bytes, { address, port }) => {
      const from = { hostname: address, port };
      tap?.datagram("received", endOf(socket), from, bytes);
      // A copy as a plain Uint8Array: a Buffer's slice() is no copy, which nobody expects of a Uint8Array.
      received(new Uint8Array(bytes), from);
    });
  });
}

class BoundSocket implements UdpSocket {
  readonly #socket: Socket;
  readonly #tap: NetworkTap | undefined;
  readonly port: number;
  #closed: Promise<void> | undefined;

  constructor(socket: Socket, tap: NetworkTap | undefined) {
    this.#socket = socket;
    this.#tap = tap;
    this.port = socket.address().port;
  }

  send(bytes: Uint8Array, hostname: string, port: number, failed: (error: Error) => void): void {
    if (this.#closed !== undefined) return;
    this.#tap?.datagram("sent", endOf(this.#socket), { hostname, port }, bytes);
    this.#socket.send(bytes, port, hostname, (error) => {
      if (error !== null) failed(error);
    });
  }

  close(): Promise<void> {
    this.#closed ??= new Promise((resolve) => this.#socket.close(() => resolve()));
    return this.#closed;
  }
}

function endOf(socket: Socket): NetworkEnd {
  const { address, port } = socket.address();
  return { hostname: address, port };
}
