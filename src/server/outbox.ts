// Messages to vehicles: each is in the database before anything is sent; who can reach the vehicle is told then.

import { type Channel, type Control, topicOf } from "../contract/mqtt.ts";
import type { Logger } from "../log.ts";
import type { Metrics } from "./metrics.ts";
import type { Command, Effect, Repositories, Store, Vehicle } from "./store/mod.ts";

export interface OutgoingMessage {
  vehicle: Pick<Vehicle, "vin" | "vmgId">;
  channel: Channel;
  /** Name in the store and in logs: the command, or what the message is otherwise. */
  command: string;
  /** What is sent; it carries the same message_id. */
  payload: { message_id: string } & Record<string, unknown>;
  /** How long it is worth delivering, in milliseconds. */
  lifetime: number;
  /** The update that it belongs to: it is taken back when the update ends. */
  updateId?: string;
}

export interface OutboxOptions {
  store: Store;
  metrics: Metrics;
  log: Logger;
}

export class Outbox {
  readonly #store: Store;
  readonly #metrics: Metrics;
  readonly #log: Logger;
  readonly #listeners = new Set<(vin: string) => void>();

  constructor({ store, metrics, log }: OutboxOptions) {
    this.#store = store;
    this.#metrics = metrics;
    this.#log = log;
  }

  newId(): string {
    return this.#store.newId();
  }

  /** Calls `listener` for a vehicle with something to send. @returns a function that ends it */
  listen(listener: (vin: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Enters a message and has it sent. */
  async send(message: OutgoingMessage): Promise<void> {
    await this.enter(message, this.#store);
    this.flush(message.vehicle.vin);
  }

  /** Enters a message as part of a transaction; `flush` after its commit has it sent. */
  async enter(message: OutgoingMessage, repositories: Repositories): Promise<void> {
    const { vehicle, channel, command, payload, lifetime, updateId } = message;
    await repositories.commands.add({
      messageId: payload.message_id,
      vin: vehicle.vin,
      topic: topicOf(vehicle.vmgId, channel),
      command,
      payload,
      updateId,
      lifetime,
    });
    this.#metrics.commands.inc({ command, result: "entered" });
  }

  /** Tells those who can reach the vehicle that something waits for it. */
  flush(vin: string): void {
    for (const listener of this.#listeners) listener(vin);
  }

  /** What waits for a vehicle, oldest first. */
  pending(vin: string, limit?: number): Promise<Command[]> {
    return this.#store.commands.pending(vin, limit);
  }

  /** Has what was never handed on, by whichever server entered it, sent by those who can reach the vehicle. */
  async flushUndelivered(): Promise<void> {
    const waiting = await this.#store.commands.undelivered();
    for (const vin of new Set(waiting.map((command) => command.vin))) this.flush(vin);
  }

  find(messageId: string): Promise<Command | null> {
    return this.#store.commands.find(messageId);
  }

  async delivered(messageIds: readonly string[], via: "mqtt" | "polling"): Promise<void> {
    if (messageIds.length > 0) await this.#store.commands.markDelivered(messageIds, via);
  }

  /** The vehicle has taken a message over. */
  async acknowledge(
    vin: string,
    messageId: string,
  ): Promise<"acknowledged" | "already_acknowledged" | "unknown"> {
    const outcome = await this.#store.commands.acknowledge(vin, messageId);
    if (outcome === "acknowledged") {
      this.#metrics.commands.inc({ command: "any", result: "acknowledged" });
      this.#log.debug(`Message ${messageId} taken by ${vin}`);
    }
    return outcome;
  }

  /** What a vehicle did shows that it has taken a command: as good as its acknowledgement, which may have been lost. */
  async shown(vin: string, effect: Effect): Promise<void> {
    for (const messageId of await this.#store.commands.shown(vin, effect)) {
      this.#metrics.commands.inc({ command: "any", result: "acknowledged" });
      this.#log.debug(`Message ${messageId} taken by ${vin}, as what it did shows`);
    }
  }

  /** Takes back what an update that has ended still had to say. */
  async withdraw(updateId: string, repositories: Repositories = this.#store): Promise<void> {
    const withdrawn = await repositories.commands.withdraw(updateId);
    if (withdrawn.length > 0) {
      this.#log.info(`Withdrew ${withdrawn.length} message(s) of update ${updateId}, which has ended`);
    }
  }
}

/** A command with its message_id, checked by the compiler against the contract. */
export function controlMessage(
  vehicle: Pick<Vehicle, "vin" | "vmgId">,
  payload: Control,
  options: { lifetime: number; updateId?: string },
): OutgoingMessage {
  return { vehicle, channel: "control", command: payload.command, payload, ...options };
}
