// Messages from vehicles, whichever way they came: checked, stored once, then acted on. What does not fit is kept aside.

import { z } from "zod";
import { messageId } from "../contract/identifiers.ts";
import { diagnosticAnswer } from "../contract/diagnostics.ts";
import {
  type Channel,
  fromVehicle,
  takenMessages,
  telemetry as telemetrySchema,
  vehicleStatus,
} from "../contract/mqtt.ts";
import { heartbeatMessage } from "../contract/mqtt.ts";
import { updateReport } from "../contract/ota.ts";
import { describeIssues } from "../contract/problem.ts";
import type { Logger } from "../log.ts";
import { acknowledge } from "./acknowledge.ts";
import type { DiagnosticsService } from "./diagnostics/service.ts";
import { JsonTextError, parseJson } from "./json_text.ts";
import type { Metrics } from "./metrics.ts";
import type { UpdateService } from "./ota/updates.ts";
import type { Outbox } from "./outbox.ts";
import type { Registry, Transport } from "./registry.ts";
import { InvalidArgumentError, NotFoundError, QueryError } from "./store/errors.ts";
import type { Repositories, Store } from "./store/mod.ts";
import type { TelemetryBatcher } from "./telemetry/batcher.ts";

/** A message whose sender and topic are checked already. */
export interface IncomingMessage {
  readonly vin: string;
  /** The vehicle's name for logs: what the topic has. */
  readonly name: string;
  readonly channel: keyof typeof fromVehicle;
  readonly topic: string;
  readonly transport: Transport;
  /** Identifies the message where the transport says it beside the payload. */
  readonly messageId?: string;
}

const identified = z.object({ message_id: messageId });

/** What became of a message. `rejected`: it is kept aside and never to be sent again as it is. */
export type Outcome =
  & (
    | { readonly result: "stored" | "duplicate" }
    | { readonly result: "rejected"; readonly reason: string }
  )
  & {
    /** What identifies the message, where it says it. */
    readonly messageId?: string;
  };

export interface InboxOptions {
  store: Store;
  registry: Registry;
  updates: UpdateService;
  diagnostics: DiagnosticsService;
  outbox: Outbox;
  batcher: TelemetryBatcher;
  metrics: Metrics;
  log: Logger;
  /** @default the system's clock */
  now?: () => Date;
}

/** Whether a vehicle may send on a channel. */
export function isFromVehicle(channel: Channel): channel is keyof typeof fromVehicle {
  return Object.hasOwn(fromVehicle, channel);
}

export class Inbox {
  readonly #options: InboxOptions;
  readonly #now: () => Date;

  constructor(options: InboxOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => new Date());
  }

  /**
   * Takes a message as bytes. It is in the database, here or among the refused ones, when this resolves.
   * @throws the store's error when it is not: the sender must send it again
   */
  async takeBytes(message: IncomingMessage, payload: Uint8Array): Promise<Outcome> {
    let value: unknown;
    try {
      value = parseJson(payload);
    } catch (error) {
      if (!(error instanceof JsonTextError)) throw error;
      return await this.#refuse(message, `malformed JSON: ${error.message}`, beginning(payload));
    }
    return await this.take(message, value);
  }

  /** Keeps a message aside that is not to be looked at. */
  async refuse(message: IncomingMessage, reason: string, payload: Uint8Array): Promise<Outcome> {
    const { channel, transport } = message;
    this.#options.metrics.messages.inc({ channel, transport, result: "rejected" });
    return await this.#refuse(message, reason, beginning(payload));
  }

  /** As {@link takeBytes}, for a payload that is parsed already. */
  async take(message: IncomingMessage, payload: unknown): Promise<Outcome> {
    const outcome = await this.#takeChecked(message, payload);
    const { channel, transport } = message;
    this.#options.metrics.messages.inc({ channel, transport, result: outcome.result });
    if (outcome.result !== "rejected") return outcome;
    return { ...outcome, messageId: message.messageId ?? messageIdIn(payload) };
  }

  async #takeChecked(message: IncomingMessage, payload: unknown): Promise<Outcome> {
    try {
      switch (message.channel) {
        case "telemetry":
          return await this.#checked(
            message,
            telemetrySchema,
            payload,
            (value) => this.#telemetry(message, value),
          );
        case "ota/status":
          return await this.#checked(message, updateReport, payload, (value) => this.#report(message, value));
        case "diagnostics":
          return await this.#checked(
            message,
            diagnosticAnswer,
            payload,
            (value) => this.#answer(message, value),
          );
        case "status":
          return await this.#checked(
            message,
            vehicleStatus,
            payload,
            (value) => this.#status(message, value),
          );
        case "heartbeat":
          return await this.#checked(
            message,
            heartbeatMessage,
            payload,
            (value) => this.#heartbeat(message, value),
          );
        case "taken":
          return await this.#checked(message, takenMessages, payload, (value) => this.#taken(message, value));
      }
    } catch (error) {
      // What the database refuses for its content would be refused each time it came again.
      if (
        error instanceof QueryError || error instanceof InvalidArgumentError || error instanceof NotFoundError
      ) {
        return await this.#refuse(message, error.message, excerpt(payload));
      }
      throw error;
    }
  }

  async #checked<S extends z.ZodType<{ message_id?: string | undefined }>>(
    message: IncomingMessage,
    schema: S,
    payload: unknown,
    act: (value: z.output<S>) => Promise<Outcome>,
  ): Promise<Outcome> {
    const parsed = schema.safeParse(payload);
    if (!parsed.success) {
      const issues = describeIssues(parsed.error).slice(0, 5).map(({ path, message }) =>
        `${path}: ${message}`
      );
      return await this.#refuse(message, issues.join("; "), excerpt(payload));
    }
    const inside = parsed.data.message_id;
    if (message.messageId !== undefined && inside !== undefined && inside !== message.messageId) {
      const reason = `message_id: expected ${message.messageId} as beside the payload, got ${inside}`;
      return await this.#refuse(message, reason, excerpt(payload));
    }
    return { ...await act(parsed.data), messageId: message.messageId ?? inside };
  }

  async #telemetry(message: IncomingMessage, value: z.output<typeof telemetrySchema>): Promise<Outcome> {
    const { message_id, timestamp, ...rest } = value;
    const metrics: Record<string, number> = {};
    for (const [name, number] of Object.entries(rest)) if (number !== undefined) metrics[name] = number;
    const result = await this.#options.batcher.add({
      vin: message.vin,
      messageId: message.messageId ?? message_id,
      timestamp: timestamp === undefined ? this.#now() : new Date(timestamp),
      metrics,
    });
    if (result === "stored") this.#options.log.info(`Telemetry from ${message.name} stored`);
    else this.#options.log.debug(`Telemetry from ${message.name} was stored before`);
    return { result };
  }

  async #report(message: IncomingMessage, value: z.output<typeof updateReport>): Promise<Outcome> {
    const { updates } = this.#options;
    const done = await this.#once(
      message,
      value.message_id,
      (tx) => updates.reports.report(message.vin, value, tx),
    );
    if (done === "duplicate") return { result: "duplicate" };
    if (done.result === "unknown") {
      return await this.#refuse(
        message,
        `update_id: ${message.vin} has no update ${value.update_id}`,
        excerpt(value),
      );
    }
    await this.#options.outbox.shown(message.vin, { updateId: value.update_id });
    await updates.reports.afterReport(done);
    return { result: "stored" };
  }

  async #answer(message: IncomingMessage, value: z.output<typeof diagnosticAnswer>): Promise<Outcome> {
    const { diagnostics } = this.#options;
    const done = await this.#once(
      message,
      value.message_id,
      (tx) => diagnostics.answer(message.vin, value, tx),
    );
    if (done === "duplicate") return { result: "duplicate" };
    if (done === "unknown" || done === "mismatch") {
      const reason = done === "unknown"
        ? `request_id: ${message.vin} was not asked ${value.request_id}`
        : `request ${value.request_id} was for another ECU or service than ${value.ecu_id} ${value.service_id}`;
      return await this.#refuse(message, reason, excerpt(value));
    }
    await this.#options.outbox.shown(message.vin, { requestId: value.request_id });
    await diagnostics.afterAnswer(value.request_id, done);
    return { result: "stored" };
  }

  async #status(message: IncomingMessage, value: z.output<typeof vehicleStatus>): Promise<Outcome> {
    const done = await this.#once(
      message,
      value.message_id,
      (tx) => this.#options.registry.setStatus(message.vin, value.status, tx),
    );
    return { result: done === "duplicate" ? done : "stored" };
  }

  async #heartbeat(message: IncomingMessage, value: z.output<typeof heartbeatMessage>): Promise<Outcome> {
    if (value.vin !== undefined && value.vin !== message.vin) {
      return await this.#refuse(message, `vin: expected ${message.vin}, got ${value.vin}`, excerpt(value));
    }
    const done = await this.#once(
      message,
      value.message_id,
      (tx) => this.#options.registry.heartbeat(message.vin, value, tx),
    );
    return { result: done === "duplicate" ? done : "stored" };
  }

  /** Acknowledgements: done again they change nothing. */
  async #taken({ vin }: IncomingMessage, value: z.output<typeof takenMessages>): Promise<Outcome> {
    const { outbox, updates } = this.#options;
    for (const taken of value.message_ids) await acknowledge({ outbox, updates }, vin, taken);
    return { result: "stored" };
  }

  /** Does `act` once a message_id, in one transaction with the note that the message came. */
  async #once<T>(
    message: IncomingMessage,
    inside: string | undefined,
    act: (repositories: Repositories) => Promise<T>,
  ): Promise<T | "duplicate"> {
    const messageId = message.messageId ?? inside;
    if (messageId === undefined) return await act(this.#options.store);
    return await this.#options.store.transaction(async (tx) => {
      const fresh = await tx.inbound.claim(message.vin, [{ messageId, topic: message.topic }]);
      return fresh.has(messageId) ? await act(tx) : "duplicate";
    });
  }

  async #refuse(message: IncomingMessage, reason: string, payload: string): Promise<Outcome> {
    this.#options.log.warn(`Message on ${message.topic} refused: ${reason}`, { from: message.vin });
    await this.#options.store.inbound.reject({
      vin: message.vin,
      source: message.transport,
      topic: message.topic,
      reason,
      payload,
    });
    return { result: "rejected", reason };
  }
}

/** The identifier that a message carries, whatever else is wrong with it. */
export function messageIdIn(payload: unknown): string | undefined {
  const parsed = identified.safeParse(payload);
  return parsed.success ? parsed.data.message_id : undefined;
}

function beginning(payload: Uint8Array): string {
  return new TextDecoder().decode(payload.subarray(0, 4096));
}

function excerpt(payload: unknown): string {
  return (JSON.stringify(payload) ?? "").slice(0, 4096);
}
