// Sends what waits in the database to the vehicles through an external broker, and brings remote configurations there.
//
// Such a broker's acknowledgement says that the broker has a message, not that the vehicle has it. A command therefore stays
// until the vehicle says that it has it (on `vehicle/{id}/taken`, or over HTTPS) or what it does shows that (a report on the
// update, an answer, a new report of its versions), and is sent again meanwhile; the vehicle acts on a message_id once.

import { configMessage, parseTopic, topicOf } from "../../../contract/mqtt.ts";
import type { Logger } from "../../../log.ts";
import type { Command, Store, Vehicle } from "../../store/mod.ts";
import type { BrokerSession } from "./session.ts";

export interface SendingOptions {
  store: Store;
  /** Under which of a vehicle's names it is sent to. */
  names: readonly ("vmg_id" | "vin")[];
  log: Logger;
}

/** How long what one server is sending is kept from others, in milliseconds; longer than the broker's answer may take. */
const claimTime = 60_000;
/** First time after which a command that the vehicle has not said to have is sent again, in milliseconds. It doubles. */
const sendAgainAfter = 10_000;
/** Vehicles looked at together. */
const page = 200;

const encoder = new TextEncoder();

export class Sending {
  readonly #options: SendingOptions;
  readonly #running = new Map<string, Promise<void>>();
  readonly #again = new Set<string>();

  constructor(options: SendingOptions) {
    this.#options = options;
  }

  /** Sends what is due for a vehicle. One run at a time; what is asked for meanwhile follows it. */
  async send(session: BrokerSession, vin: string): Promise<void> {
    const running = this.#running.get(vin);
    if (running) {
      this.#again.add(vin);
      return await running;
    }
    const run = this.#sendAll(session, vin).finally(() => this.#running.delete(vin));
    this.#running.set(vin, run);
    await run;
  }

  /** Sends what is due for any vehicle, whichever server entered it. */
  async sendDue(session: BrokerSession): Promise<void> {
    for (const vin of await this.#options.store.commands.dueVehicles()) await this.send(session, vin);
  }

  /**
   * Brings the remote configurations, which the broker retains, to a broker that may have lost them.
   * @param within those that were set within so many milliseconds alone; all of them when undefined
   * @returns how many
   */
  async restoreConfigs(session: BrokerSession, within?: number): Promise<number> {
    const { vehicles } = this.#options.store;
    const since = within === undefined ? 0 : Date.now() - within;
    let restored = 0;
    for (let offset = 0;; offset += page) {
      const { items, total } = await vehicles.list({ limit: page, offset });
      for (const vehicle of items) {
        if (vehicle.configUpdated === null || vehicle.configUpdated.getTime() < since) continue;
        await this.#restoreConfig(session, vehicle);
        restored++;
      }
      if (items.length === 0 || offset + items.length >= total) return restored;
    }
  }

  /** Until what was published is what the database says: another server may set a newer one at the same time. */
  async #restoreConfig(session: BrokerSession, from: Vehicle): Promise<void> {
    let vehicle: Vehicle | null = from;
    let brought: number | undefined;
    while (vehicle !== null && vehicle.configVersion !== brought) {
      brought = vehicle.configVersion;
      const payload = toBytes(configMessage.parse({ version: brought, config: vehicle.config }));
      for (const name of this.#namesOf(vehicle)) {
        await session.publish(topicOf(name, "config"), payload, { retain: true });
      }
      vehicle = await this.#options.store.vehicles.find(from.vin);
    }
  }

  /** Resolves when what is being sent has been, or has failed. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#running.values());
  }

  async #sendAll(session: BrokerSession, vin: string): Promise<void> {
    const { commands, vehicles } = this.#options.store;
    for (;;) {
      this.#again.delete(vin);
      const claimed = await commands.claim(vin, claimTime);
      // What another server entered while this one was sending is left to this one: it asks until there is no more.
      if (claimed.length === 0 && !this.#again.has(vin)) return;
      const vehicle = claimed.length === 0 ? null : await vehicles.find(vin);
      for (const [index, command] of claimed.entries()) {
        try {
          await this.#publish(session, command, vehicle);
        } catch (error) {
          await commands.unclaim(claimed.slice(index).map(({ messageId }) => messageId));
          throw error;
        }
        await commands.handedOver(command.messageId, sendAgainAfter);
      }
    }
  }

  async #publish(session: BrokerSession, command: Command, vehicle: Vehicle | null): Promise<void> {
    const { messageId, topic, payload, expires } = command;
    const parsed = parseTopic(topic);
    if (!parsed) throw new TypeError(`message ${messageId}: expected a topic of the product, got ${topic}`);
    const { channel } = parsed;
    const left = Math.ceil((expires.getTime() - Date.now()) / 1000);
    if (left <= 0) return;
    const bytes = toBytes(payload);
    // The configuration is the vehicle's until the next one, however old it is when the vehicle comes.
    const options = channel === "config" ? { retain: true } : { expiry: left };
    const names = vehicle ? this.#namesOf(vehicle) : [parsed.vehicle];
    for (const name of names) await session.publish(topicOf(name, channel), bytes, options);
    this.#options.log.info(`Sent ${command.command} on ${topicOf(names[0], channel)}`, {
      message_id: messageId,
    });
  }

  #namesOf({ vin, vmgId }: Vehicle): string[] {
    return [...new Set(this.#options.names.map((name) => name === "vin" ? vin : vmgId))];
  }
}

function toBytes(value: unknown): Uint8Array {
  return encoder.encode(JSON.stringify(value));
}
