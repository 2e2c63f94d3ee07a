// The network of the demo's vehicle: it has one address, loses it, and gets another one. All are addresses of this machine's
// loopback, which has all of 127.0.0.0/8, and connections really leave from the one that the vehicle has: no rights needed.

import type { Network } from "../vmg/mod.ts";

/** A network whose only address can be changed. */
export class MovingNetwork implements Network {
  #address: string | undefined;

  /** @param address the first one, in 127.0.0.0/8 */
  constructor(address: string) {
    this.#address = address;
  }

  addresses(): ReadonlySet<string> {
    return new Set(this.#address === undefined ? [] : [this.#address]);
  }

  /** What stays on the loopback takes no route. */
  sourceFor(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  get bindAddress(): string {
    if (this.#address === undefined) throw new Error("the vehicle has no address");
    return this.#address;
  }

  /** Out of reach: there is no address. */
  leave(): void {
    this.#address = undefined;
  }

  /** In reach again, by another address. */
  enter(address: string): void {
    this.#address = address;
  }
}
