// Paths to a simulated ECU that are cut after a number of messages have crossed them, whichever way they went.

import { DoipConnection } from "../../hardware/doip/client.ts";
import type { ByteStream } from "../../hardware/byte_stream.ts";
import { SimulatedBench } from "../../hardware/sim/bench.ts";
import type { SimulatedEcu } from "../../hardware/sim/ecu.ts";
import type { SimulatedEcuOptions } from "../../hardware/sim/options.ts";
import { UdsClient } from "../../hardware/uds/client.ts";
import { vin } from "../hardware/sim/fixtures.ts";

/** One path, open until it is cut. */
export interface CuttablePath {
  readonly client: UdsClient;
  /** How many messages went through. */
  readonly crossed: number;
  close(): Promise<void>;
}

/** An ECU and the ways to it. */
export interface CuttablePaths extends AsyncDisposable {
  readonly ecu: SimulatedEcu;
  /** What is counted: messages, frames. */
  readonly unit: string;
  /** Opens a path that is cut right after that many have crossed. */
  open(cutAfter: number): Promise<CuttablePath>;
}

/** An ECU behind a simulated DoIP gateway. What opens the connection (routing activation) is not counted. */
export async function doipPaths(options: SimulatedEcuOptions): Promise<CuttablePaths> {
  const bench = await SimulatedBench.start({
    timing: "none",
    gateways: [{
      zonalGatewayId: "ZG_BODY",
      hostname: "127.0.38.1",
      port: 0,
      logicalAddress: 0x1000,
      vin,
      ecus: [options],
    }],
  });
  const [gateway] = bench.gateways;
  const ecu = bench.ecu(options.ecuId);
  return {
    ecu,
    unit: "DoIP messages",
    open: async (cutAfter) => {
      const { hostname, port } = gateway;
      let stream: CutStream | undefined;
      const connection = await DoipConnection.connect({
        hostname,
        port,
        warn: () => {},
        open: async () => stream = new CutStream(await Deno.connect({ hostname, port })),
      });
      if (stream === undefined) throw new Error("the connection was opened without its stream");
      const cut = stream;
      cut.count(cutAfter);
      const client = new UdsClient(connection.transport(ecu.logicalAddress), {
        ecu: ecu.ecuId,
        latency: 100,
      });
      return {
        client,
        get crossed() {
          return cut.crossed;
        },
        close: () => connection.close(),
      };
    },
    [Symbol.asyncDispose]: () => bench.close(),
  };
}

/** A TCP connection that ends once a number of whole DoIP messages has crossed it. */
class CutStream implements ByteStream {
  crossed = 0;
  readonly #tcp: Deno.TcpConn;
  readonly #written = new MessageCounter();
  readonly #read = new MessageCounter();
  #left = Infinity;
  #cut = false;

  constructor(tcp: Deno.TcpConn) {
    this.#tcp = tcp;
  }

  /** Begins to count. */
  count(cutAfter: number): void {
    this.#left = cutAfter;
    this.crossed = 0;
    if (cutAfter === 0) this.#end();
  }

  async read(into: Uint8Array): Promise<number | null> {
    let got: number | null;
    try {
      got = await this.#tcp.read(into);
    } catch (error) {
      if (this.#cut) return null;
      throw error;
    }
    if (this.#cut || got === null) return null;
    const taken = this.#pass(this.#read, into.subarray(0, got));
    return taken === 0 ? null : taken;
  }

  async write(bytes: Uint8Array): Promise<number> {
    if (this.#cut) throw new Deno.errors.BrokenPipe("the path is cut");
    const taken = this.#pass(this.#written, bytes, true);
    for (let at = 0; at < taken;) at += await this.#tcp.write(bytes.subarray(at, taken));
    if (this.#left === 0) this.#end();
    return bytes.length;
  }

  close(): void {
    if (this.#cut) return;
    this.#cut = true;
    this.#tcp.close();
  }

  /** How many of the bytes go through before the cut. */
  #pass(counter: MessageCounter, bytes: Uint8Array, later = false): number {
    for (let at = 0; at < bytes.length; at++) {
      if (this.#left === 0) {
        if (!later) this.#end();
        return at;
      }
      if (!counter.ends(bytes[at])) continue;
      this.crossed++;
      this.#left--;
    }
    if (this.#left === 0 && !later) queueMicrotask(() => this.#end());
    return bytes.length;
  }

  #end(): void {
    this.close();
  }
}

/** Finds the ends of DoIP messages: eight bytes of header, the length in the last four. */
class MessageCounter {
  #at = 0;
  #length = 0;

  ends(byte: number): boolean {
    if (this.#at >= 4 && this.#at < 8) this.#length = this.#length * 256 + byte;
    if (++this.#at < 8 || this.#at < 8 + this.#length) return false;
    this.#at = this.#length = 0;
    return true;
  }
}
