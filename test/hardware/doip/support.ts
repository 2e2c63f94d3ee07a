// What the DoIP tests share: bytes written as hex, a byte stream without a network, a clock that the test turns.

import { setImmediate } from "node:timers";
import type { DiagnosticEndpoint, RequestContext } from "../../../hardware/uds/transport.ts";
import type { ByteStream } from "../../../hardware/byte_stream.ts";
import type { Clock } from "../../../hardware/clock.ts";
import { DoipEntity, type DoipEntityOptions } from "../../../hardware/doip/server.ts";

/** `"02 FD 0007"` as bytes. */
export function bytes(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(hex.replaceAll(/\s/g, ""));
}

/** Bytes as `02fd0007…`. */
export function hex(bytes: Uint8Array): string {
  return bytes.toHex();
}

/** Lets everything run that needs no time to pass. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Time passes when the test says so. */
export class ManualClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ due: number; run: () => void }>();

  now(): number {
    return this.#now;
  }

  after(milliseconds: number, run: () => void): () => void {
    const timer = { due: this.#now + milliseconds, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Timers that have neither fired nor been cancelled. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Moves time on; timers fire in order, each with the time that it was set for. */
  async advance(milliseconds: number): Promise<void> {
    await settle();
    const end = this.#now + milliseconds;
    for (;;) {
      const [next] = [...this.#timers].filter(({ due }) => due <= end).sort((a, b) => a.due - b.due);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.due);
      next.run();
      await settle();
    }
    this.#now = end;
    await settle();
  }
}

/** One direction of a pipe. */
class Flow {
  #bytes = new Uint8Array(0);
  #ended = false;
  #changed: (() => void)[] = [];
  readonly #capacity: number;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get length(): number {
    return this.#bytes.length;
  }

  get finished(): boolean {
    return this.#ended && this.#bytes.length === 0;
  }

  end(): void {
    this.#ended = true;
    this.#notify();
  }

  async put(bytes: Uint8Array): Promise<number> {
    while (!this.#ended && this.#bytes.length >= this.#capacity) await this.#change();
    if (this.#ended) throw new Deno.errors.BrokenPipe("the other end is closed");
    const taken = bytes.subarray(0, this.#capacity - this.#bytes.length);
    const joined = new Uint8Array(this.#bytes.length + taken.length);
    joined.set(this.#bytes);
    joined.set(taken, this.#bytes.length);
    this.#bytes = joined;
    this.#notify();
    return taken.length;
  }

  async take(into: Uint8Array): Promise<number | null> {
    while (!this.#ended && this.#bytes.length === 0) await this.#change();
    if (this.#bytes.length === 0) return null;
    const taken = this.#bytes.subarray(0, into.length);
    into.set(taken);
    this.#bytes = this.#bytes.slice(taken.length);
    this.#notify();
    return taken.length;
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#changed.push(resolve));
  }

  #notify(): void {
    const changed = this.#changed;
    this.#changed = [];
    for (const resolve of changed) resolve();
  }
}

/** One end of a pipe. */
export class PipeEnd implements ByteStream {
  readonly #incoming: Flow;
  readonly #outgoing: Flow;
  /** The length of each write call. */
  readonly writes: number[] = [];

  constructor(incoming: Flow, outgoing: Flow) {
    this.#incoming = incoming;
    this.#outgoing = outgoing;
  }

  read(into: Uint8Array): Promise<number | null> {
    return this.#incoming.take(into);
  }

  write(bytes: Uint8Array): Promise<number> {
    this.writes.push(bytes.length);
    return this.#outgoing.put(bytes);
  }

  closeWrite(): Promise<void> {
    this.#outgoing.end();
    return Promise.resolve();
  }

  close(): void {
    this.#outgoing.end();
    this.#incoming.end();
  }

  /** Bytes that arrived and were not read. */
  get unread(): number {
    return this.#incoming.length;
  }

  /** Sends bytes written as hex. */
  async send(hex: string): Promise<void> {
    const all = bytes(hex);
    for (let sent = 0; sent < all.length;) sent += await this.#outgoing.put(all.subarray(sent));
    await settle();
  }

  /** What has arrived by now, as hex without spaces. */
  async received(): Promise<string> {
    await settle();
    const into = new Uint8Array(this.#incoming.length);
    if (into.length > 0) await this.#incoming.take(into);
    return hex(into);
  }

  /** Whether the other end has ended its direction and nothing is left to read. */
  async ended(): Promise<boolean> {
    await settle();
    return this.#incoming.finished;
  }
}

/** Two connected ends. A write waits while `capacity` bytes are unread at the other end. */
export function pipe(capacity = Infinity): [PipeEnd, PipeEnd] {
  const there = new Flow(capacity);
  const back = new Flow(capacity);
  return [new PipeEnd(there, back), new PipeEnd(back, there)];
}

/** An ECU that remembers its requests and answers with what the test says. */
export class ScriptedEcu implements DiagnosticEndpoint {
  readonly requests: string[] = [];
  readonly contexts: RequestContext[] = [];
  readonly gone: number[] = [];
  respond: ((response: Uint8Array) => void) | undefined;
  readonly #answers: ReadonlyMap<string, readonly string[]>;

  /** @param answers by request as hex: what is answered at once */
  constructor(answers: Record<string, readonly string[]> = {}) {
    this.#answers = new Map(Object.entries(answers));
  }

  handle(request: Uint8Array, context: RequestContext, respond: (response: Uint8Array) => void): void {
    this.requests.push(hex(request));
    this.contexts.push(context);
    this.respond = respond;
    for (const answer of this.#answers.get(hex(request)) ?? []) respond(bytes(answer));
  }

  disconnected(tester: number): void {
    this.gone.push(tester);
  }
}

/** An entity at 0x1000 on 127.0.31.1 without UDP, with an ECU at 0x1001 that knows F190 and one at 0x1002. */
export async function entityWith(
  options: Partial<DoipEntityOptions> = {},
): Promise<
  { entity: DoipEntity; clock: ManualClock; first: ScriptedEcu; second: ScriptedEcu; warnings: string[] }
> {
  const clock = new ManualClock();
  const warnings: string[] = [];
  const first = new ScriptedEcu({ "22f190": ["62f190"], "3e00": ["7e00"] });
  const second = new ScriptedEcu({ "3e00": ["7e00"] });
  const entity = await DoipEntity.listen({
    hostname: "127.0.31.1",
    port: 0,
    udpPort: false,
    vin: "WDB1234567F890123",
    logicalAddress: 0x1000,
    eid: bytes("02 00 00 00 00 01"),
    gid: bytes("02 00 00 00 00 02"),
    nodes: new Map([[0x1001, first], [0x1002, second]]),
    functional: new Map([[0xe400, [0x1001, 0x1002]]]),
    clock,
    warn: (message) => warnings.push(message),
    ...options,
  });
  return { entity, clock, first, second, warnings };
}

/** A tester's end of a new connection to the entity. */
export function connectTo(entity: DoipEntity, capacity = Infinity, secure = false): PipeEnd {
  const [tester, served] = pipe(capacity);
  entity.accept(served, { name: "tester in a test", secure });
  return tester;
}

/** Routing activation request of 0x0E00, default type, version 0x02. */
export const activate = "02FD 0005 00000007 0E00 00 00000000";
/** The response to {@link activate} of the entity 0x1000. */
export const activated = "02fd0006000000090e0010001000000000";
