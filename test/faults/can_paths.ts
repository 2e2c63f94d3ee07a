// Paths to a simulated ECU over CAN that are cut after a number of frames have crossed them, whichever way they went.

import { type CanBus, CanBusError, type ReceivedFrame, type SendOptions } from "../../hardware/can/bus.ts";
import type { CanFrame } from "../../hardware/can/frame.ts";
import { IsoTpClient } from "../../hardware/isotp/client.ts";
import type { SimulatedEcuOptions } from "../../hardware/sim/options.ts";
import { UdsClient } from "../../hardware/uds/client.ts";
import { vin } from "../hardware/sim/fixtures.ts";
import { canAddress, isotp, onCan, startCanBench } from "./can_bench.ts";
import type { CuttablePaths } from "./cuttable_paths.ts";

/** An ECU on the bus of a simulated adapter; the tester is a node of that bus. */
export async function canPaths(options: SimulatedEcuOptions): Promise<CuttablePaths> {
  const bench = await startCanBench("127.0.65.1", vin, [onCan(options)]);
  const ecu = bench.ecu(options.ecuId);
  return {
    ecu,
    unit: "CAN frames",
    open: (cutAfter) => {
      const bus = new CutBus(bench.adapter("CAN_BODY").bus.attach("tester"), cutAfter);
      const tester = new IsoTpClient(bus, isotp);
      const client = new UdsClient(tester.transport(canAddress), { ecu: ecu.ecuId, latency: 100 });
      return Promise.resolve({
        client,
        get crossed() {
          return bus.crossed;
        },
        close: async () => {
          tester.close();
          await bus.close();
        },
      });
    },
    [Symbol.asyncDispose]: () => bench.close(),
  };
}

/** A bus that is gone once a number of frames has crossed it. */
class CutBus implements CanBus {
  readonly name: string;
  readonly fd: boolean;
  readonly closed: Promise<Error | undefined>;
  crossed = 0;
  readonly #bus: CanBus;
  readonly #end: (reason: Error | undefined) => void;
  readonly #cutAfter: number;
  #ended = false;

  constructor(bus: CanBus, cutAfter: number) {
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    this.name = bus.name;
    this.fd = bus.fd;
    this.closed = promise;
    this.#bus = bus;
    this.#end = resolve;
    this.#cutAfter = cutAfter;
    if (cutAfter === 0) this.#cut();
  }

  async send(frame: CanFrame, options?: SendOptions): Promise<void> {
    if (this.#ended) throw new CanBusError(`${this.name}: the bus is cut`);
    await this.#bus.send(frame, options);
    this.#count();
  }

  listen(receive: (received: ReceivedFrame) => void): () => void {
    return this.#bus.listen((received) => {
      if (this.#ended) return;
      // Counted first: an answer that it calls for comes after it.
      this.#count();
      receive(received);
    });
  }

  async close(): Promise<void> {
    this.#ended = true;
    await this.#bus.close();
    this.#end(undefined);
  }

  #count(): void {
    if (this.#ended) return;
    this.crossed++;
    if (this.crossed === this.#cutAfter) queueMicrotask(() => this.#cut());
  }

  #cut(): void {
    if (this.#ended) return;
    this.#ended = true;
    void this.#bus.close();
    this.#end(new CanBusError(`${this.name}: the bus is cut`));
  }
}
