// The one link to a CAN adapter: opened when it is needed, kept, and found again by itself after the adapter was unplugged.

import { SlcanBus } from "../../../hardware/can/slcan_bus.ts";
import { traced } from "../../../hardware/can/traced_bus.ts";
import { IsoTpClient } from "../../../hardware/isotp/client.ts";
import type { Logger } from "../../log.ts";
import { AdapterUnreachableError, explain } from "../errors.ts";
import type { CanAdapter, VehicleEcu } from "../vehicle.ts";
import { orAborted } from "../../wait.ts";
import type { EcuLink, EcuPath } from "./path.ts";

/** Options of {@link AdapterPath}. Times in milliseconds. */
export interface AdapterPathOptions {
  /** How long a failure to open is answered for without another try. */
  downFor: number;
  /** Waits between tries to find an adapter that was unplugged: `from`, doubled each time up to `to`. */
  reconnect: { from: number; to: number };
  log: Logger;
}

/** An open adapter. */
interface OpenAdapter {
  bus: SlcanBus;
  isotp: IsoTpClient;
  link: EcuLink;
}

/** The way to the CAN bus behind one adapter. */
export class AdapterPath implements EcuPath {
  readonly adapter: CanAdapter;
  readonly #options: AdapterPathOptions;
  readonly #log: Logger;
  readonly #ended = new AbortController();
  #open: OpenAdapter | undefined;
  #opening: Promise<OpenAdapter> | undefined;
  #down: { until: number; error: AdapterUnreachableError } | undefined;

  constructor(adapter: CanAdapter, options: AdapterPathOptions) {
    this.adapter = adapter;
    this.#options = options;
    this.#log = options.log;
  }

  async open(signal?: AbortSignal): Promise<EcuLink> {
    if (this.#open !== undefined) return this.#checked(this.#open);
    if (this.#opening === undefined) {
      // Ten ECUs behind a missing adapter must not each wait for it.
      if (this.#down !== undefined && Date.now() < this.#down.until) throw this.#down.error;
      this.#opening = this.#connect().finally(() => this.#opening = undefined);
      // Whoever asked may have gone by the time it fails.
      this.#opening.catch(() => {});
    }
    return this.#checked(await orAborted(this.#opening, signal));
  }

  async close(): Promise<void> {
    this.#ended.abort(new AdapterUnreachableError(`${this.#name}: the gateway stops`));
    const open = this.#open;
    this.#open = undefined;
    open?.isotp.close();
    await open?.bus.close();
    // An adapter that was on its way closes itself when it sees the end.
    await this.#opening?.catch(() => {});
  }

  get #name(): string {
    return `${this.adapter.adapterId} at ${this.adapter.where}`;
  }

  /** The bus is kept while its adapter is away; nobody is to wait for one that is. */
  #checked({ bus, link }: OpenAdapter): EcuLink {
    if (!bus.available) {
      throw new AdapterUnreachableError(`${this.#name} is away: unplugged, without power, or off the bus`);
    }
    return link;
  }

  async #connect(): Promise<OpenAdapter> {
    const { signal } = this.#ended;
    const { adapterId, openLine, settings, tap } = this.adapter;
    let bus: SlcanBus;
    try {
      bus = await SlcanBus.open(openLine, {
        ...settings,
        name: adapterId,
        reconnect: this.#options.reconnect,
        log: (message) => this.#log.warn(message),
        signal,
      });
    } catch (cause) {
      signal.throwIfAborted();
      const error = new AdapterUnreachableError(`${this.#name} cannot be opened: ${explain(cause)}`, {
        cause,
      });
      this.#down = { until: Date.now() + this.#options.downFor, error };
      this.#log.warn(error.message);
      throw error;
    }
    if (signal.aborted) {
      await bus.close();
      throw signal.reason;
    }
    const isotp = new IsoTpClient(tap === undefined ? bus : traced(bus, tap), {
      log: (message) => this.#log.debug(message),
    });
    const open: OpenAdapter = { bus, isotp, link: { transport: (ecu) => transportTo(ecu, isotp) } };
    this.#open = open;
    this.#down = undefined;
    const { version } = bus.identity;
    this.#log.info(`${this.#name}: open${version === undefined ? "" : `, version ${version}`}`);
    bus.closed.then((reason) => {
      if (this.#open !== open) return;
      this.#open = undefined;
      isotp.close();
      this.#log.warn(`${this.#name}: lost${reason === undefined ? "" : `: ${explain(reason)}`}`);
    });
    return open;
  }
}

function transportTo({ ecuId, can }: VehicleEcu, isotp: IsoTpClient) {
  if (can === undefined) throw new RangeError(`${ecuId}: expected an address on CAN, got none`);
  const transport = isotp.transport(can.address, can.isotp);
  return { transport, close: () => transport.close() };
}
