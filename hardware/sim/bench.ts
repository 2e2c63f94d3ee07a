// A simulated bench: gateways on the loopback network with their ECUs.
import type { SimulatedEcu } from "./ecu.ts";
import { SimulatedGateway } from "./gateway.ts";
import type { SimulatedBenchOptions } from "./options.ts";

export type * from "./options.ts";

/** A running bench. */
export class SimulatedBench implements AsyncDisposable {
  readonly gateways: readonly SimulatedGateway[];
  readonly #ecus: ReadonlyMap<string, SimulatedEcu>;

  private constructor(gateways: readonly SimulatedGateway[]) {
    this.gateways = gateways;
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
    const surroundings = { timing, directory: options.directory, log: options.log ?? (() => {}) };
    const started = await Promise.allSettled(
      options.gateways.map((gateway) => SimulatedGateway.start(gateway, surroundings)),
    );
    const gateways = started.flatMap((result) => result.status === "fulfilled" ? [result.value] : []);
    const failed = started.find((result) => result.status === "rejected");
    if (failed !== undefined) {
      await Promise.all(gateways.map((gateway) => gateway.close()));
      throw failed.reason;
    }
    return new SimulatedBench(gateways);
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

  /** Stops listening, closes connections and switches all ECUs off. */
  async close(): Promise<void> {
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
