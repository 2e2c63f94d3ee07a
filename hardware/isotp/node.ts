// A node's ear on a CAN bus: one listener that hands each frame to whom its identifier and address byte name.

import type { CanBus } from "../can/bus.ts";
import type { CanFrame } from "../can/frame.ts";
import { type Route, sameRoute, showRoute } from "./address.ts";
import { IsoTpBusError, IsoTpError } from "./errors.ts";

/** Takes the payload of a frame, valid during the call, and its identifier. */
export type FrameHandler = (data: Uint8Array, id: number) => void;

interface Entry {
  readonly route: Route;
  readonly run: FrameHandler;
  readonly shared: boolean;
}

/** Stands beside the 29 bits of an identifier, so that base and extended ones differ. */
const extendedFlag = 0x2000_0000;

/** Dispatches what is heard on one bus. */
export class IsoTpNode {
  readonly bus: CanBus;
  /** Why the bus is gone. */
  failure: IsoTpError | undefined;
  readonly #gone: (error: IsoTpError) => void;
  readonly #unlisten: () => void;
  /** By mask, few; within, by masked identifier. */
  readonly #tables = new Map<number, Map<number, readonly Entry[]>>();

  /** @param gone called once when the bus is gone or this node is closed */
  constructor(bus: CanBus, gone: (error: IsoTpError) => void) {
    this.bus = bus;
    this.#gone = gone;
    this.#unlisten = bus.listen(({ frame }) => this.#heard(frame));
    bus.closed.then((reason) => {
      this.close(
        new IsoTpBusError(
          bus.name,
          reason === undefined ? "the bus is closed" : `the bus failed: ${reason.message}`,
          {
            cause: reason,
          },
        ),
      );
    });
  }

  /**
   * Hears a route from now on.
   *
   * @param shared whether others may hear it too: a functional address
   * @returns what ends it
   * @throws {IsoTpError} when somebody hears that route already: both would answer
   */
  hear(route: Route, run: FrameHandler, shared = false): () => void {
    const mask = route.mask | extendedFlag;
    const key = (route.extended ? route.id | extendedFlag : route.id) & mask;
    const table = this.#tables.get(mask) ?? new Map<number, readonly Entry[]>();
    this.#tables.set(mask, table);
    const others = table.get(key) ?? [];
    if (others.some((other) => !(shared && other.shared) && sameRoute(other.route, route))) {
      throw new IsoTpError(this.bus.name, "N_ERROR", `${showRoute(route)} is heard already`);
    }
    const entry: Entry = { route, run, shared };
    table.set(key, [...others, entry]);
    return () => {
      const left = (table.get(key) ?? []).filter((other) => other !== entry);
      if (left.length > 0) table.set(key, left);
      else table.delete(key);
    };
  }

  /** Hears nothing any more. The bus stays open. */
  close(error: IsoTpError): void {
    if (this.failure !== undefined) return;
    this.failure = error;
    this.#unlisten();
    this.#tables.clear();
    this.#gone(error);
  }

  #heard(frame: CanFrame): void {
    if (frame.remote) return;
    const { data } = frame;
    const id = frame.extended ? frame.id | extendedFlag : frame.id;
    // Looked up before any is run: who hears this frame is settled when it comes.
    let heard: readonly Entry[] | undefined;
    for (const [mask, table] of this.#tables) {
      const entries = table.get(id & mask);
      if (entries !== undefined) heard = heard === undefined ? entries : [...heard, ...entries];
    }
    if (heard === undefined) return;
    for (const { route, run } of heard) {
      if (route.prefix === undefined || (data.length > 0 && data[0] === route.prefix)) run(data, frame.id);
    }
  }
}
