// Watches over the address of this side: a vehicle that moves gets another one, and its old connections only find out by
// silence. A look at the interfaces costs little and is taken often; the route is asked at longer intervals, and at once
// when something failed.

import type { Logger } from "../../log.ts";
import { explain } from "../errors.ts";
import { bareAddress } from "./address.ts";
import type { Network } from "./network.ts";

/** Options of {@link AddressWatch}. Milliseconds. */
export interface AddressWatchOptions {
  network: Network;
  /** Time between two looks at interfaces and route. */
  interval: number;
  /** Time between two looks at the interfaces alone. */
  glance: number;
  log: Logger;
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
  readonly #looks = new Set<Promise<void>>();
  #stopping = new AbortController();
  #watched: WatchedConnection | undefined;
  #timers: ReturnType<typeof setInterval>[] = [];
  #addresses = "";
  /** The last move that the route alone told. */
  #told: string | undefined;
  /** Moves that the route told and the next connection did not bear out: sockets leave by other rules here. */
  readonly #untrue = new Set<string>();

  constructor(options: AddressWatchOptions) {
    this.#options = options;
  }

  start(): void {
    const { interval, glance } = this.#options;
    this.#stopping = new AbortController();
    this.#addresses = this.#known();
    this.#timers = [
      setInterval(() => this.#glance(), Math.min(glance, interval)),
      setInterval(() => this.look(), interval),
    ];
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
    this.#watched = undefined;
    this.#changed.clear();
    this.#stopping.abort();
    await Promise.all(this.#looks);
  }

  /** Watches this connection from now on. @returns what ends that */
  watch(connection: WatchedConnection): () => void {
    this.#watched = connection;
    // A connection that has its old address again, after it was given up for the route's sake, would be given up for ever.
    if (this.#told?.startsWith(`${bareAddress(connection.localAddress)} `)) this.#untrue.add(this.#told);
    this.#told = undefined;
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
    if (this.#glance()) return;
    this.#lookCloser();
  }

  /** A look at the interfaces: an address that is gone, or a new one, is reason enough for a closer look. */
  #glance(): boolean {
    const addresses = this.#known();
    if (addresses === this.#addresses) return false;
    this.#addresses = addresses;
    this.#untrue.clear();
    this.#lookCloser();
    for (const run of [...this.#changed]) run();
    return true;
  }

  #lookCloser(): void {
    const watched = this.#watched;
    if (watched === undefined) return;
    const was = bareAddress(watched.localAddress);
    const remote = bareAddress(watched.remoteAddress);
    if (was === null || remote === null) return;
    const look = this.#compare(watched, was, remote).catch((error: unknown) => {
      // The next look may do; keep-alive finds a dead connection all the same.
      this.#options.log.debug(`The route to ${remote} cannot be told: ${explain(error)}`);
    }).finally(() => this.#looks.delete(look));
    this.#looks.add(look);
  }

  async #compare(watched: WatchedConnection, was: string, remote: string): Promise<void> {
    const { network } = this.#options;
    const gone = !network.addresses().has(was);
    const now = await network.sourceFor(remote, this.#stopping.signal).catch((error: unknown) => {
      if (!gone) throw error;
      return undefined;
    });
    // Another look was quicker, or the connection is over.
    if (this.#watched !== watched) return;
    // Without any way to the server the connection may come back as it was; its keep-alive decides.
    const leadsElsewhere = now !== undefined && now !== null && now !== was;
    const move = `${was} ${now}`;
    if (!gone && (!leadsElsewhere || this.#untrue.has(move))) return;
    this.#told = gone ? undefined : move;
    this.#watched = undefined;
    watched.onMoved(was, now ?? null);
  }

  /** The machine's addresses; those that were known where they cannot be told, as without a free file descriptor. */
  #known(): string {
    const { network, log } = this.#options;
    try {
      return [...network.addresses()].sort().join(" ");
    } catch (error) {
      log.debug(`The machine's addresses cannot be told: ${explain(error)}`);
      return this.#addresses;
    }
  }
}
