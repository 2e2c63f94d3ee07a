// A simulated bench: gateways on the loopback network with their ECUs, and CAN adapters with theirs.
import { SimulatedAdapter } from "./adapter.ts";
import { attachEcu } from "./can_ecu.ts";
import type { SimulatedEcu } from "./ecu.ts";
import { SimulatedGateway } from "./gateway.ts";
import type { SimulatedBenchOptions } from "./options.ts";

export type * from "./options.ts";

/** A running bench. */
export class SimulatedBench implements AsyncDisposable {
  readonly gateways: readonly SimulatedGateway[];
  readonly adapters: readonly SimulatedAdapter[];
  readonly #ecus: ReadonlyMap<string, SimulatedEcu>;

  private constructor(gateways: readonly SimulatedGateway[], adapters: readonly SimulatedAdapter[]) {
    this.gateways = gateways;
    this.adapters = adapters;
    this.#ecus = new Map(gateways.flatMap(({ ecus }) => ecus.map((ecu) => [ecu.ecuId, ecu])));
  }

  /**
   * Powers the ECUs on, waits until they have booted and begins to listen.
   * @throws {RangeError} quoting the option that cannot be
   * @throws {Deno.errors.AddrInUse} when a port is taken; nothing is left running
   */
  static async start(options: SimulatedBenchOptions): Promise<SimulatedBench> {
    const { timing = "realistic" } = options;
    if (timing !== "realistic" && timing !== "none") {
      throw new RangeError(`timing: expected realistic or none, got ${timing}`);
    }
    checkUnique(options.gateways.map(({ zonalGatewayId }) => zonalGatewayId), "zonal gateway ids");
    checkUnique(options.gateways.flatMap(({ ecus }) => ecus.map(({ ecuId }) => ecuId)), "ECU ids");
    for (const { zonalGatewayId, ecus } of options.gateways) {
      checkUnique(ecus.map(({ logicalAddress }) => logicalAddress), `logical addresses of ${zonalGatewayId}`);
    }
    const { adapters: wanted = [], log = () => {} } = options;
    checkUnique(wanted.map(({ adapterId }) => adapterId), "adapter ids");
    for (const { can, ecuId } of options.gateways.flatMap(({ ecus }) => ecus)) {
      if (can === undefined || wanted.some(({ adapterId }) => adapterId === can.adapterId)) continue;
      throw new RangeError(
        `${ecuId} can.adapterId: expected one of ${
          wanted.map(({ adapterId }) => adapterId).join(", ") || "no adapters"
        }, got ${can.adapterId}`,
      );
    }
    const adapters = wanted.map((adapter) => new SimulatedAdapter(adapter, { timing, log }));
    const surroundings = {
      timing,
      directory: options.directory,
      log,
      tap: options.tap,
      breakCan: (adapterId: string) =>
        void adapters.find((adapter) => adapter.adapterId === adapterId)?.unplug(0),
    };
    const started = await Promise.allSettled(
      options.gateways.map((gateway) => SimulatedGateway.start(gateway, surroundings)),
    );
    const gateways = started.flatMap((result) => result.status === "fulfilled" ? [result.value] : []);
    const bench = new SimulatedBench(gateways, adapters);
    try {
      const failed = started.find((result) => result.status === "rejected");
      if (failed !== undefined) throw failed.reason;
      for (const ecu of bench.ecus) {
        const { can } = ecu.options;
        if (can !== undefined) attachEcu(ecu, bench.adapter(can.adapterId).bus, can, { log });
      }
      for (const adapter of adapters) await adapter.listen();
    } catch (error) {
      await bench.close();
      throw error;
    }
    return bench;
  }

  /** All ECUs. */
  get ecus(): SimulatedEcu[] {
    return [...this.#ecus.values()];
  }

  /** An ECU by its id. @throws {RangeError} for one that is not there */
  ecu(ecuId: string): SimulatedEcu {
    const ecu = this.#ecus.get(ecuId);
    if (ecu === undefined) {
      throw new RangeError(`expected one of ${[...this.#ecus.keys()].join(", ")}, got ${ecuId}`);
    }
    return ecu;
  }

  /** An adapter by its id. @throws {RangeError} for one that is not there */
  adapter(adapterId: string): SimulatedAdapter {
    const adapter = this.adapters.find((it) => it.adapterId === adapterId);
    if (adapter === undefined) {
      throw new RangeError(
        `expected one of ${this.adapters.map((it) => it.adapterId).join(", ")}, got ${adapterId}`,
      );
    }
    return adapter;
  }

  /** Stops listening, closes connections and switches all ECUs off. */
  async close(): Promise<void> {
    await Promise.all(this.adapters.map((adapter) => adapter.close()));
    await Promise.all(this.gateways.map((gateway) => gateway.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function checkUnique(values: readonly (string | number)[], what: string): void {
  const twice = values.find((value, index) => values.indexOf(value) !== index);
  if (twice !== undefined) throw new RangeError(`${what}: expected each once, got ${twice} twice`);
}
