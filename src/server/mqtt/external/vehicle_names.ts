// Whose topic it is: the VIN behind the name in a topic, looked up in the registry and remembered for a short while.

import { vin as vinSchema } from "../../../contract/identifiers.ts";
import type { Registry } from "../../registry.ts";

/** A vehicle may be registered, or its gateway renamed, at any time. Milliseconds. */
const remembered = 5_000;
const mostRemembered = 10_000;

export class VehicleNames {
  readonly #registry: Pick<Registry, "find">;
  readonly #known = new Map<string, { vin: Promise<string | undefined>; until: number }>();

  constructor(registry: Pick<Registry, "find">) {
    this.#registry = registry;
  }

  /** The VIN; undefined for a name that belongs to nobody. A VIN that is not registered yet stands for itself. */
  vinOf(name: string, now: number = Date.now()): Promise<string | undefined> {
    const known = this.#known.get(name);
    if (known !== undefined && known.until > now) return known.vin;
    const vin = this.#find(name);
    this.#known.delete(name);
    const [oldest] = this.#known.keys();
    if (this.#known.size >= mostRemembered && oldest !== undefined) this.#known.delete(oldest);
    this.#known.set(name, { vin, until: now + remembered });
    vin.catch(() => this.#known.delete(name)); // The caller hears of it; the next one asks again.
    return vin;
  }

  async #find(name: string): Promise<string | undefined> {
    const vehicle = await this.#registry.find(name);
    if (vehicle) return vehicle.vin;
    const parsed = vinSchema.safeParse(name);
    return parsed.success ? parsed.data : undefined;
  }
}
