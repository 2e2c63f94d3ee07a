// Sends what waits in the database to the vehicles that are connected here, and notes what they acknowledge.

import type { Client, PublishPacket } from "aedes";
import { z } from "zod";
import { configMessage, parseTopic, topicOf } from "../../contract/mqtt.ts";
import type { Logger } from "../../log.ts";
import { acknowledge } from "../acknowledge.ts";
import type { Outbox } from "../outbox.ts";
import type { UpdateService } from "../ota/updates.ts";
import type { Store } from "../store/mod.ts";
import type { Connection } from "./connection.ts";
import type { QueuedPacket, Sessions } from "./sessions.ts";
import { matchesFilter } from "./topics.ts";

export interface DeliveryOptions {
  outbox: Outbox;
  updates: UpdateService;
  sessions: Sessions;
  log: Logger;
}

/** The part of a message from the server that tells which one it is. */
const identified = z.object({ message_id: z.string() });

/** aedes keeps its subscriptions on the client and leaves them out of its types. */
const subscriptionsOf = z.object({ subscriptions: z.record(z.string(), z.object({ qos: z.number() })) });

const encoder = new TextEncoder();

export class Delivery {
  readonly #options: DeliveryOptions;

  constructor(options: DeliveryOptions) {
    this.#options = options;
  }

  /**
   * A client is about to go on with its session: what that still holds is sent by the broker, and need not be sent again.
   * To be called before the broker begins: an acknowledgement may come before the client counts as ready.
   */
  begin(connection: Connection): void {
    for (const { payload } of this.#options.sessions.queued(connection.identity.name)) {
      const id = messageIdOf(payload);
      if (id !== undefined) connection.sent.add(id);
    }
    if (connection.sent.size > 0) {
      this.#options.log.info(`Session of ${connection.identity.name} restored`, {
        queued: connection.sent.size,
      });
    }
  }

  /** Sends what waits for the vehicle and was not sent over this connection. One run at a time. */
  async deliver(connection: Connection): Promise<void> {
    if (connection.delivering) {
      connection.deliverAgain = true;
      return await connection.delivering;
    }
    connection.delivering = this.#deliverAll(connection);
    await connection.delivering;
  }

  async #deliverAll(connection: Connection): Promise<void> {
    try {
      do {
        connection.deliverAgain = false;
        await this.#deliverOnce(connection);
      } while (connection.deliverAgain);
    } finally {
      // In the same turn as the last look: who asks from now on begins anew.
      connection.delivering = undefined;
    }
  }

  async #deliverOnce(connection: Connection): Promise<void> {
    const { client, identity } = connection;
    if (!client || client.closed || identity.kind !== "vehicle") return;
    const filters = filtersOf(client);
    if (filters.length === 0) return;
    const handedOn: string[] = [];
    for (const { messageId, topic, payload, command } of await this.#options.outbox.pending(identity.vin)) {
      if (connection.sent.has(messageId)) continue;
      const target = targetTopic(topic, connection, filters);
      if (!target) continue;
      if (client.closed) break;
      connection.sent.add(messageId);
      await publish(client, {
        cmd: "publish",
        topic: target.topic,
        payload: Buffer.from(encoder.encode(JSON.stringify(payload))),
        qos: target.qos > 0 ? 1 : 0,
        retain: false,
        dup: false,
      });
      this.#options.log.info(`Sent ${command} on ${target.topic}`, { message_id: messageId });
      handedOn.push(messageId);
    }
    await this.#options.outbox.delivered(handedOn, "mqtt");
  }

  /** PUBACK came for a message. */
  async acknowledged(connection: Connection, packet: { payload: unknown }): Promise<void> {
    if (connection.identity.kind !== "vehicle") return;
    const id = messageIdOf(packet.payload);
    // Others are the vehicle's own messages that it hears again.
    if (id === undefined || !connection.sent.has(id)) return;
    await acknowledge(this.#options, connection.identity.vin, id);
    // A delivery that looked into the database before this was noted still finds the message waiting.
    await connection.delivering?.catch(() => {}); // Whoever began it hears of its failure.
    connection.sent.delete(id);
  }

  /**
   * Gives a message to a clean session its packet identifier here, so that its PUBACK can be told: the broker forgets what
   * such a session has in flight.
   */
  identified<P extends PublishPacket>(connection: Connection, packet: P): P {
    const { client, identity } = connection;
    if (!client?.clean || packet.qos === 0) return packet;
    packet.messageId = connection.nextPacketId;
    connection.nextPacketId = connection.nextPacketId % 65_535 + 1;
    this.#options.sessions.noteInFlight(identity.name, { ...packet, cmd: "publish" });
    return packet;
  }
}

/** The remote configurations that filters ask for: they are retained messages, kept in the database. */
export async function retainedConfigs(store: Store, filters: readonly string[]): Promise<QueuedPacket[]> {
  const found: QueuedPacket[] = [];
  for (const name of new Set(filters.map((filter) => filter.split("/")[1]))) {
    const topic = topicOf(name, "config");
    if (!filters.some((filter) => matchesFilter(topic, filter))) continue;
    const vehicle = await store.vehicles.find(name);
    if (!vehicle || vehicle.configVersion === 0) continue;
    const payload = configMessage.parse({ version: vehicle.configVersion, config: vehicle.config });
    const bytes = Buffer.from(encoder.encode(JSON.stringify(payload)));
    found.push({ cmd: "publish", topic, payload: bytes, qos: 1, retain: true, dup: false });
  }
  return found;
}

/** Under which of the vehicle's names the client listens: both are right, one is enough. */
function targetTopic(
  topic: string,
  { names }: Connection,
  filters: readonly { filter: string; qos: number }[],
): { topic: string; qos: number } | undefined {
  const parsed = parseTopic(topic);
  if (!parsed) return undefined;
  for (const name of new Set([names.vmgId, parsed.vehicle, names.vin])) {
    if (name === undefined) continue;
    const candidate = topicOf(name, parsed.channel);
    const matching = filters.filter(({ filter }) => matchesFilter(candidate, filter));
    if (matching.length > 0) return { topic: candidate, qos: Math.max(...matching.map(({ qos }) => qos)) };
  }
  return undefined;
}

function filtersOf(client: Client): { filter: string; qos: number }[] {
  const { subscriptions } = subscriptionsOf.parse(client);
  return Object.entries(subscriptions).map(([filter, { qos }]) => ({ filter, qos }));
}

function publish(client: Client, packet: PublishPacket): Promise<void> {
  return new Promise((resolve, reject) =>
    client.publish(packet, (error) => error ? reject(error) : resolve())
  );
}

function messageIdOf(payload: unknown): string | undefined {
  if (!(payload instanceof Uint8Array)) return undefined;
  try {
    const parsed = identified.safeParse(JSON.parse(new TextDecoder().decode(payload)));
    return parsed.success ? parsed.data.message_id : undefined;
  } catch {
    // A vehicle's own message that it hears again may be anything.
    return undefined;
  }
}
