// Which client ids at the broker this server holds: one of its own, and for a while those of servers that are gone. A client
// id is held in the database for a time that is prolonged; who cannot prolong it has lost it.

import type { Logger } from "../../../log.ts";
import { describeError } from "../../../log.ts";
import type { BrokerClient, BrokerClients } from "../../store/mod.ts";

export interface ClientIdsOptions {
  store: Pick<BrokerClients, "take" | "takeAbandoned" | "prolong" | "release" | "forget">;
  /** The ids are `{name}-1-{random}`, `{name}-2-{random}`, … */
  name: string;
  /** A UUID of this server's run. */
  holder: string;
  /** How long an id is held without being prolonged, in milliseconds. */
  lease: number;
  log: Logger;
}

/** A client id for logs: without the random digits, which are nobody else's business. */
export function shortId(clientId: string): string {
  return clientId.replace(/-[0-9a-f]{32}$/, "");
}

/** A client id that is held. */
export interface HeldClientId {
  readonly clientId: string;
  /** Aborts when it is no longer held. */
  readonly lost: AbortSignal;
}

interface Held {
  readonly lost: AbortController;
  until: number;
}

export class ClientIds {
  readonly #options: ClientIdsOptions;
  readonly #held = new Map<string, Held>();
  /** Ids that are not used any more and could not be given back yet. */
  readonly #unused = new Set<string>();

  constructor(options: ClientIdsOptions) {
    if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$/.test(options.name)) {
      throw new RangeError(
        `clientId: expected 1 to 40 letters, digits, '_', '-', got ${JSON.stringify(options.name)}`,
      );
    }
    this.#options = options;
  }

  /** Takes an id for this server. @throws the store's error */
  async take(shareGroup: string): Promise<HeldClientId> {
    const { store, name, holder, lease } = this.#options;
    for (const clientId of this.#unused) await this.release(clientId);
    const began = performance.now();
    return this.#keep(await store.take(name, shareGroup, holder, lease), began);
  }

  /** Takes an id whose server is gone; undefined when there is none. @throws the store's error */
  async takeAbandoned(): Promise<HeldClientId & BrokerClient | undefined> {
    const { store, holder, lease } = this.#options;
    const began = performance.now();
    const found = await store.takeAbandoned(holder, lease);
    return found ? { ...found, ...this.#keep(found.clientId, began) } : undefined;
  }

  /** Prolongs what is held. To be called several times within a lease. */
  async prolong(): Promise<void> {
    const { store, holder, lease, log } = this.#options;
    if (this.#held.size === 0) return;
    const began = performance.now();
    const asked = [...this.#held];
    try {
      const kept = await store.prolong(asked.map(([clientId]) => clientId), holder, lease);
      for (const [clientId, held] of asked) {
        // What was given back, or taken, while the question was under way is no matter of its answer.
        if (this.#held.get(clientId) !== held) continue;
        if (kept.has(clientId)) held.until = began + lease;
        else this.#lose(clientId, held, "another server has it");
      }
    } catch (error) {
      log.warn(`The hold on the broker's client ids is not prolonged: ${describeError(error)}`);
      for (const [clientId, held] of this.#held) {
        if (held.until < performance.now()) this.#lose(clientId, held, "the database does not answer");
      }
    }
  }

  /** Gives an id back; its session stays at the broker. What fails is done again before the next id is taken. */
  async release(clientId: string): Promise<void> {
    this.#held.delete(clientId);
    this.#unused.add(clientId);
    await this.#options.store.release(clientId, this.#options.holder);
    this.#unused.delete(clientId);
  }

  /** Its session has ended: nobody takes it up again. */
  async forget(clientId: string): Promise<void> {
    this.#held.delete(clientId);
    await this.#options.store.forget(clientId, this.#options.holder);
  }

  #keep(clientId: string, began: number): HeldClientId {
    const lost = new AbortController();
    this.#held.set(clientId, { lost, until: began + this.#options.lease });
    return { clientId, lost: lost.signal };
  }

  #lose(clientId: string, held: Held, why: string): void {
    this.#held.delete(clientId);
    this.#options.log.warn(`The client id ${shortId(clientId)} is this server's no longer: ${why}`);
    held.lost.abort(new Error(`the client id ${shortId(clientId)} is lost: ${why}`));
  }
}
