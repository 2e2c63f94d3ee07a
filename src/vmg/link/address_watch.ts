// Watches over the address of this side: a vehicle that moves gets another one, and its old connections only find out by
// silence. A look at the interfaces costs little and is taken often; the route is asked at longer intervals, and at once
// when something failed.

import { bareAddress } from "./address.ts";
import type { Network } from "./network.ts";

/** Options of {@link AddressWatch}. Milliseconds. */
export interface AddressWatchOptions {
  network: Network;
  /** Time between two looks at interfaces and route. */
  interval: number;
  /** Time between two looks at the interfaces alone. */
  glance: number;
}

/** The two ends of a connection that is watched. */
export interface WatchedConnection {
  localAddress: string;
  remoteAddress: string;
  /** Called once, when the connection's own address is no longer the one to be used. @param now null: there is none */
  onMoved: (was: string, now: string | null) => void;
}

/** The watch. */
export class AddressWatch {
  readonly #options: AddressWatchOptions;
  readonly #changed = new Set<() => void>();
  #watched: WatchedConnection | undefined;
  #timers: ReturnType<typeof setInterval>[] = [];
  #addresses = "";

  constructor(options: AddressWatchOptions) {
    this.#options = options;
  }

  start(): void {
    const { interval, glance } = this.#options;
    this.#addresses = this.#known();
    this.#timers = [
      setInterval(() => this.#glance(), Math.min(glance, interval)),
      setInterval(() => this.look(), interval),
    ];
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
    this.#watched = undefined;
    this.#changed.clear();
  }

  /** Watches this connection from now on. @returns what ends that */
  watch(connection: WatchedConnection): () => void {
    this.#watched = connection;
    return () => {
      if (this.#watched === connection) this.#watched = undefined;
    };
  }

  /** Calls `run` at each change of the machine's addresses. @returns what ends that */
  onChange(run: () => void): () => void {
    this.#changed.add(run);
    return () => void this.#changed.delete(run);
  }

  /** Looks at interfaces and route now. */
  look(): void {
    this.#glance();
    const watched = this.#watched;
    if (watched === undefined) return;
    const was = bareAddress(watched.localAddress);
    const remote = bareAddress(watched.remoteAddress);
    if (was === null || remote === null) return;
    const { network } = this.#options;
    const now = network.sourceFor(remote);
    const gone = !network.addresses().has(was);
    // Without any way to the server the connection may come back as it was; its keep-alive decides.
    if (gone || (now !== undefined && now !== null && now !== was)) this.#moved(watched, was, now ?? null);
  }

  /** A look at the interfaces: an address that is gone, or a new one, is reason enough for a closer look. */
  #glance(): void {
    const addresses = this.#known();
    if (addresses === this.#addresses) return;
    this.#addresses = addresses;
    this.look();
    for (const run of [...this.#changed]) run();
  }

  #moved(watched: WatchedConnection, was: string, now: string | null): void {
    this.#watched = undefined;
    watched.onMoved(was, now);
  }

  #known(): string {
    return [...this.#options.network.addresses()].sort().join(" ");
  }
}
