// A trace: everything that crosses the buses, into one pcapng file (DoIP and CAN side by side) or into a candump log (CAN
// alone, for a file that ends in .log). The buses never wait for it; what it could not keep is counted.

import { type Clock, systemClock } from "../clock.ts";
import { candumpLine, candumpName, socketCanLength, writeSocketCan } from "./can_record.ts";
import {
  maxSegment,
  type Route,
  routesBetween,
  tcpFlags,
  tcpPacketLength,
  udpPacketLength,
  writeTcp,
  writeUdp,
} from "./packet.ts";
import {
  decryptionSecrets,
  interfaceDescription,
  interfaceStatistics,
  linkTypes,
  packetBlockLength,
  sectionHeader,
  writePacketBlock,
} from "./pcapng.ts";
import { RotatingFile } from "./rotating_file.ts";
import type { CanTap, ConnectionTap, NetworkEnd, NetworkTap, TapDirection, TappedFrame } from "./tap.ts";

/** How a trace is kept. */
export interface BusTraceOptions {
  /** The file; one that is there is replaced. `.log` makes a candump log, anything else a pcapng file. */
  path: string;
  /** Bytes after which a new file is begun. @default {268435456} */
  maxFileSize?: number;
  /** Files that are kept: FILE, FILE.1 and so on, the newest first. @default {8} */
  maxFiles?: number;
  /** Bytes that may wait for the disk. @default {67108864} */
  maxQueued?: number;
  /** Longest time until a record is on its way to the disk, milliseconds. @default {250} */
  flushInterval?: number;
  /** Told when the trace begins to lose records, and when it ends early. @default nothing is said */
  warn?: (message: string) => void;
  /** @default the machine's time */
  clock?: Clock;
  /** Microseconds since 1970. @default the machine's time */
  now?: () => number;
}

/** What became of the records. */
export interface TraceSummary {
  /** Packets and frames that were kept. */
  readonly kept: number;
  /** Those that could not be: the disk was too slow, full, or gone. */
  readonly lost: number;
  /** Those that the format has no place for: DoIP in a candump log. */
  readonly unsuited: number;
}

/** Sequence number of the first byte of either direction, but for the SYN. Invented. */
const initialSequence = 1;

interface Interface {
  readonly id: number;
  readonly block: Uint8Array;
  kept: number;
  lost: number;
}

/** A trace that is being kept. */
export class BusTrace implements AsyncDisposable {
  readonly #now: () => number;
  readonly #warn: (message: string) => void;
  readonly #candump: boolean;
  readonly #interfaces = new Map<string, Interface>();
  readonly #secrets: Uint8Array[] = [];
  readonly #path: string;
  #file: RotatingFile | undefined;
  #unsuited = 0;
  #losing = false;

  private constructor({ path, warn = () => {}, now = microsecondsNow }: BusTraceOptions) {
    this.#path = path;
    this.#warn = warn;
    this.#now = now;
    this.#candump = path.endsWith(".log");
  }

  /**
   * Begins a trace.
   *
   * @throws {RangeError} when an option is out of range
   * @throws {TraceError} when the file cannot be made
   */
  static async open(options: BusTraceOptions): Promise<BusTrace> {
    const { path, maxFileSize, maxFiles, maxQueued, flushInterval, clock = systemClock } = options;
    const trace = new BusTrace(options);
    trace.#file = await RotatingFile.create(path, {
      maxFileSize,
      maxFiles,
      maxQueued,
      flushInterval,
      clock,
      preamble: () => trace.#preamble(),
      failed: (error) => trace.#warn(error.message),
    });
    return trace;
  }

  /** Where it is kept. */
  get path(): string {
    return this.#path;
  }

  /** What has been kept and lost so far. */
  get summary(): TraceSummary {
    const total = { kept: 0, lost: 0, unsuited: this.#unsuited };
    for (const { kept, lost } of this.#interfaces.values()) {
      total.kept += kept;
      total.lost += lost;
    }
    return total;
  }

  /** An interface for what passes between us and one gateway. The same name is the same interface. */
  network(name: string): NetworkTap {
    if (this.#candump) return new UnsuitedNetwork(() => this.#unsuited++);
    const to = this.#interface(name, linkTypes.ethernet);
    return {
      connection: (local, remote, openedBy) => new TcpRecorder(this.#sink(to), local, remote, openedBy),
      datagram: (direction, local, remote, bytes) => {
        const { out, back } = routesBetween(local, remote);
        const route = direction === "sent" ? out : back;
        this.#packet(
          to,
          direction,
          udpPacketLength(route, bytes.length),
          false,
          (into, at) => writeUdp(into, at, route, bytes),
        );
      },
    };
  }

  /** An interface for one CAN adapter. The same name is the same interface. */
  can(name: string): CanTap {
    if (this.#candump) {
      const to = this.#counter(name);
      const shown = candumpName(name);
      return { frame: (_direction, frame) => this.#line(to, candumpLine(shown, this.#now(), frame)) };
    }
    const to = this.#interface(name, linkTypes.socketCan);
    return {
      frame: (direction: TapDirection, frame: TappedFrame) =>
        this.#packet(
          to,
          direction,
          socketCanLength(frame),
          false,
          (into, at) => writeSocketCan(into, at, frame),
        ),
    };
  }

  /** Writes what is left, with the counts, and closes the file. Taps that are used afterwards lose what they are given. */
  async close(): Promise<TraceSummary> {
    if (!this.#candump) {
      for (const { id, kept, lost } of this.#interfaces.values()) {
        this.#vital(interfaceStatistics(id, this.#now(), { received: kept + lost, dropped: lost }));
      }
    }
    await this.#file?.close();
    return this.summary;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #preamble(): Uint8Array {
    if (this.#candump) return new Uint8Array(0);
    return concatenated([
      sectionHeader("zonebench"),
      ...[...this.#interfaces.values()].map(({ block }) => block),
      ...this.#secrets,
    ]);
  }

  #interface(name: string, linkType: number): Interface {
    const key = `${linkType} ${name}`;
    const known = this.#interfaces.get(key);
    if (known !== undefined) return known;
    const block = interfaceDescription(linkType, name);
    // In the file first, in the list then: a file that begins with this block must not have it twice.
    this.#vital(block);
    const made = { id: this.#interfaces.size, block, kept: 0, lost: 0 };
    this.#interfaces.set(key, made);
    return made;
  }

  #counter(name: string): Interface {
    const made = this.#interfaces.get(name) ??
      { id: this.#interfaces.size, block: new Uint8Array(0), kept: 0, lost: 0 };
    this.#interfaces.set(name, made);
    return made;
  }

  #sink(to: Interface): PacketSink {
    return {
      packet: (direction, length, vital, write) => this.#packet(to, direction, length, vital, write),
      secrets: (keyLog) => {
        const block = decryptionSecrets(keyLog);
        this.#vital(block);
        this.#remember(block);
      },
    };
  }

  /** Secrets stand in each new file: the connections that they open may go on in it. The oldest give way. */
  #remember(block: Uint8Array): void {
    this.#secrets.push(block);
    if (this.#secrets.length > maxSecrets) this.#secrets.shift()?.fill(0);
  }

  #packet(
    to: Interface,
    direction: TapDirection,
    length: number,
    vital: boolean,
    write: (into: Uint8Array, at: number) => void,
  ): void {
    const place = this.#file?.place(packetBlockLength(length), vital);
    if (place === undefined) return this.#lost(to);
    const at = writePacketBlock(place.bytes, place.at, {
      interfaceId: to.id,
      time: this.#now(),
      length,
      inbound: direction === "received",
    });
    write(place.bytes, at);
    to.kept++;
  }

  #line(to: Interface, line: string): void {
    const place = this.#file?.place(line.length);
    if (place === undefined) return this.#lost(to);
    // A name may hold any character: what is not ASCII would take more room than was asked for.
    for (let index = 0; index < line.length; index++) {
      const code = line.charCodeAt(index);
      place.bytes[place.at + index] = code < 0x80 ? code : 0x3f;
    }
    to.kept++;
  }

  #vital(block: Uint8Array): void {
    const place = this.#file?.place(block.length, true);
    place?.bytes.set(block, place.at);
  }

  #lost(to: Interface): void {
    to.lost++;
    if (this.#losing) return;
    this.#losing = true;
    this.#warn(`${this.#path}: the disk does not keep up, records are lost and counted`);
  }
}

/** Secrets of so many handshakes are repeated in a new file. */
const maxSecrets = 1_024;

/** Where a connection's packets go. */
interface PacketSink {
  packet(
    direction: TapDirection,
    length: number,
    vital: boolean,
    write: (into: Uint8Array, at: number) => void,
  ): void;
  secrets(keyLog: Uint8Array): void;
}

/** Sequence numbers of one connection. */
class TcpRecorder implements ConnectionTap {
  readonly #sink: PacketSink;
  readonly #out: Route;
  readonly #back: Route;
  #sent = initialSequence;
  #received = initialSequence;
  #closed = false;

  constructor(sink: PacketSink, local: NetworkEnd, remote: NetworkEnd, openedBy: "us" | "peer") {
    this.#sink = sink;
    const { out, back } = routesBetween(local, remote);
    this.#out = out;
    this.#back = back;
    const [first, second] = openedBy === "us" ? ["sent", "received"] as const : ["received", "sent"] as const;
    // The SYN has the number before the first byte's.
    this.#send(first, tcpFlags.syn, -1);
    this.#send(second, tcpFlags.syn | tcpFlags.ack, -1);
    this.#send(first, tcpFlags.ack, 0);
  }

  sent(bytes: Uint8Array): void {
    this.#segments("sent", bytes);
  }

  received(bytes: Uint8Array): void {
    this.#segments("received", bytes);
  }

  secrets(keyLog: Uint8Array): void {
    this.#sink.secrets(keyLog);
  }

  closed(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#send("sent", tcpFlags.fin | tcpFlags.ack, 0);
    this.#sent = (this.#sent + 1) >>> 0;
    this.#send("received", tcpFlags.fin | tcpFlags.ack, 0);
    this.#received = (this.#received + 1) >>> 0;
    this.#send("sent", tcpFlags.ack, 0);
  }

  #segments(direction: TapDirection, bytes: Uint8Array): void {
    if (this.#closed) return;
    for (let at = 0; at < bytes.length; at += maxSegment) {
      const part = bytes.subarray(at, at + maxSegment);
      this.#send(direction, tcpFlags.psh | tcpFlags.ack, 0, part);
      // Lost ones count, too: the gap shows that something is missing.
      if (direction === "sent") this.#sent = (this.#sent + part.length) >>> 0;
      else this.#received = (this.#received + part.length) >>> 0;
    }
  }

  #send(direction: TapDirection, flags: number, offset: number, payload: Uint8Array = nothing): void {
    const outgoing = direction === "sent";
    const route = outgoing ? this.#out : this.#back;
    const sequence = ((outgoing ? this.#sent : this.#received) + offset) >>> 0;
    const acknowledged = flags & tcpFlags.ack ? (outgoing ? this.#received : this.#sent) : 0;
    const vital = payload.length === 0;
    this.#sink.packet(
      direction,
      tcpPacketLength(route, flags, payload.length),
      vital,
      (into, at) => writeTcp(into, at, route, { sequence, acknowledged, flags, payload }),
    );
  }
}

const nothing: Uint8Array = new Uint8Array(0);

/** Counts what a candump log has no place for. */
class UnsuitedNetwork implements NetworkTap {
  readonly #count: () => void;

  constructor(count: () => void) {
    this.#count = count;
  }

  connection(): ConnectionTap {
    return { sent: this.#count, received: this.#count, secrets: () => {}, closed: () => {} };
  }

  datagram(): void {
    this.#count();
  }
}

function microsecondsNow(): number {
  return Math.round((performance.timeOrigin + performance.now()) * 1_000);
}

function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
