// A relay between a tester and an entity that keeps what crosses it, TCP and UDP, as a capture file. The capture is
// written from the bytes that passed, so no rights are needed to record it.

import { createSocket } from "node:dgram";
import type { Socket } from "node:dgram";
import { once } from "node:events";

/** Where something listens. */
export interface Address {
  hostname: string;
  port: number;
}

/** DLT_RAW: packets begin with the IP header. */
const linkType = 101;
const tcp = 6;
const udp = 17;

/** Relays until it is closed. */
export class Recorder {
  readonly address: Address;
  readonly #entity: Address;
  readonly #listener: Deno.TcpListener;
  readonly #socket: Socket;
  readonly #packets: Uint8Array[] = [];
  readonly #relays = new Set<Promise<void>>();
  #clientPort = 40_000;

  private constructor(address: Address, entity: Address, socket: Socket) {
    this.address = address;
    this.#entity = entity;
    this.#socket = socket;
    this.#listener = Deno.listen(address);
    this.#track(this.#accept());
    socket.on("message", (bytes, from) => this.#track(this.#relayDatagram(bytes, from.address, from.port)));
  }

  /** Listens on an address and relays to the entity. */
  static async start(address: Address, entity: Address): Promise<Recorder> {
    const socket = createSocket("udp4");
    socket.bind(address.port, address.hostname);
    await once(socket, "listening");
    return new Recorder(address, entity, socket);
  }

  /** Sends a datagram through the relay and waits for its answer. */
  async ask(hex: string): Promise<void> {
    const socket = createSocket("udp4");
    socket.send(Uint8Array.fromHex(hex), this.address.port, this.address.hostname);
    await once(socket, "message");
    socket.close();
  }

  async close(): Promise<void> {
    this.#listener.close();
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()));
    await Promise.all(this.#relays);
  }

  /** Everything that passed, as a pcap file. */
  pcap(): Uint8Array<ArrayBuffer> {
    const header = new DataView(new ArrayBuffer(24));
    header.setUint32(0, 0xa1b2c3d4);
    header.setUint16(4, 2);
    header.setUint16(6, 4);
    header.setUint32(16, 65_535);
    header.setUint32(20, linkType);
    const records = this.#packets.flatMap((packet, index) => {
      const record = new DataView(new ArrayBuffer(16));
      record.setUint32(4, index);
      record.setUint32(8, packet.length);
      record.setUint32(12, packet.length);
      return [new Uint8Array(record.buffer), packet];
    });
    return concat([new Uint8Array(header.buffer), ...records]);
  }

  async #accept(): Promise<void> {
    for await (const tester of this.#listener) this.#track(this.#relay(tester));
  }

  async #relay(tester: Deno.TcpConn): Promise<void> {
    const entity = await Deno.connect(this.#entity);
    const flow = new TcpFlow({ hostname: "192.0.2.1", port: this.#clientPort++ }, {
      hostname: "192.0.2.2",
      port: 13_400,
    });
    this.#packets.push(...flow.handshake());
    const copy = async (from: Deno.TcpConn, to: Deno.TcpConn, outgoing: boolean): Promise<void> => {
      const buffer = new Uint8Array(16_384);
      try {
        for (let read = await from.read(buffer); read !== null; read = await from.read(buffer)) {
          const bytes = buffer.slice(0, read);
          this.#packets.push(flow.segment(bytes, outgoing));
          for (let sent = 0; sent < bytes.length;) sent += await to.write(bytes.subarray(sent));
        }
        await to.closeWrite();
      } catch {
        // One side has reset the connection: there is nothing more to relay.
      }
    };
    await Promise.all([copy(tester, entity, true), copy(entity, tester, false)]);
    tester.close();
    entity.close();
  }

  async #relayDatagram(request: Uint8Array, hostname: string, port: number): Promise<void> {
    const tester = { hostname: "192.0.2.1", port: this.#clientPort++ };
    const entity = { hostname: "192.0.2.2", port: 13_400 };
    this.#packets.push(datagram(tester, entity, request));
    const socket = createSocket("udp4");
    socket.send(request, this.#entity.port, this.#entity.hostname);
    const [answer] = await once(socket, "message");
    socket.close();
    this.#packets.push(datagram(entity, tester, answer));
    this.#socket.send(answer, port, hostname);
  }

  #track(work: Promise<void>): void {
    this.#relays.add(work);
    work.finally(() => this.#relays.delete(work));
  }
}

/** Sequence numbers of one TCP connection. */
class TcpFlow {
  readonly #tester: Address;
  readonly #entity: Address;
  #sent = 1_000;
  #received = 5_000;

  constructor(tester: Address, entity: Address) {
    this.#tester = tester;
    this.#entity = entity;
  }

  handshake(): Uint8Array[] {
    const packets = [
      this.#packet(true, 0x02, new Uint8Array(0)),
      this.#packet(false, 0x12, new Uint8Array(0), 1),
    ];
    this.#sent++;
    this.#received++;
    packets.push(this.#packet(true, 0x10, new Uint8Array(0)));
    return packets;
  }

  segment(bytes: Uint8Array, outgoing: boolean): Uint8Array {
    const packet = this.#packet(outgoing, 0x18, bytes);
    if (outgoing) this.#sent += bytes.length;
    else this.#received += bytes.length;
    return packet;
  }

  #packet(outgoing: boolean, flags: number, bytes: Uint8Array, acknowledged = 0): Uint8Array {
    const [from, to] = outgoing ? [this.#tester, this.#entity] : [this.#entity, this.#tester];
    const header = new DataView(new ArrayBuffer(20));
    header.setUint16(0, from.port);
    header.setUint16(2, to.port);
    header.setUint32(4, outgoing ? this.#sent : this.#received);
    header.setUint32(8, flags === 0x02 ? 0 : (outgoing ? this.#received : this.#sent) + acknowledged);
    header.setUint8(12, 5 << 4);
    header.setUint8(13, flags);
    header.setUint16(14, 0xffff);
    return ip(tcp, from, to, concat([new Uint8Array(header.buffer), bytes]));
  }
}

function datagram(from: Address, to: Address, bytes: Uint8Array): Uint8Array {
  const header = new DataView(new ArrayBuffer(8));
  header.setUint16(0, from.port);
  header.setUint16(2, to.port);
  header.setUint16(4, 8 + bytes.length);
  return ip(udp, from, to, concat([new Uint8Array(header.buffer), bytes]));
}

function ip(protocol: number, from: Address, to: Address, payload: Uint8Array): Uint8Array {
  const header = new DataView(new ArrayBuffer(20));
  header.setUint8(0, 0x45);
  header.setUint16(2, 20 + payload.length);
  header.setUint16(6, 0x4000);
  header.setUint8(8, 64);
  header.setUint8(9, protocol);
  for (const [offset, { hostname }] of [[12, from], [16, to]] as const) {
    hostname.split(".").forEach((part, index) => header.setUint8(offset + index, Number(part)));
  }
  return concat([new Uint8Array(header.buffer), payload]);
}

function concat(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    all.set(part, offset);
    offset += part.length;
  }
  return all;
}
