// A UDP socket as promises. node:dgram, because Deno's own datagrams are unstable.

import { createSocket } from "node:dgram";
import type { Socket } from "node:dgram";

/** A bound socket. */
export interface UdpSocket {
  readonly port: number;
  /** Sends one datagram; a failure goes to `failed`: UDP promises nothing anyway. */
  send(bytes: Uint8Array, hostname: string, port: number, failed: (error: Error) => void): void;
  close(): Promise<void>;
}

/** Called for each datagram. The bytes belong to the receiver. */
export type DatagramHandler = (bytes: Uint8Array, from: { hostname: string; port: number }) => void;

/** Binds a socket; broadcasts are allowed on it. `port` 0 takes a free one. */
export function bindUdp(
  hostname: string,
  port: number,
  received: DatagramHandler,
  failed: (error: Error) => void,
): Promise<UdpSocket> {
  const socket = createSocket(hostname.includes(":") ? "udp6" : "udp4");
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(port, hostname, () => {
      socket.off("error", reject);
      socket.on("error", failed);
      socket.setBroadcast(true);
      resolve(new BoundSocket(socket));
    });
    // A copy as a plain Uint8Array: a Buffer's slice() is no copy, which nobody expects of a Uint8Array.
    socket.on(
      "message",
      (bytes, from) => received(new Uint8Array(bytes), { hostname: from.address, port: from.port }),
    );
  });
}

class BoundSocket implements UdpSocket {
  readonly #socket: Socket;
  readonly port: number;
  #closed: Promise<void> | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.port = socket.address().port;
  }

  send(bytes: Uint8Array, hostname: string, port: number, failed: (error: Error) => void): void {
    if (this.#closed !== undefined) return;
    this.#socket.send(bytes, port, hostname, (error) => {
      if (error !== null) failed(error);
    });
  }

  close(): Promise<void> {
    this.#closed ??= new Promise((resolve) => this.#socket.close(() => resolve()));
    return this.#closed;
  }
}
