// What vehicles publish through an external broker: whose it is, whether it may be taken, and the word to the vehicle that it is
// stored. The broker checks who may publish where (its access rules); the server believes it.

import { type Channel, isDiagnosticRequest, parseTopic } from "../../../contract/mqtt.ts";
import type { Logger } from "../../../log.ts";
import { type Inbox, isFromVehicle, messageIdIn } from "../../inbox.ts";
import { JsonTextError, parseJson } from "../../json_text.ts";
import type { Metrics } from "../../metrics.ts";
import type { Registry } from "../../registry.ts";
import type { ServerState } from "../../state.ts";
import type { Store } from "../../store/mod.ts";
import type { Work } from "../in_order.ts";
import { Confirmations } from "./confirmations.ts";
import type { BrokerMessage } from "./session.ts";
import { VehicleNames } from "./vehicle_names.ts";

export interface TakingOptions {
  store: Store;
  registry: Registry;
  inbox: Inbox;
  state: ServerState;
  metrics: Metrics;
  log: Logger;
  /** Largest payload in bytes. @default 262144 */
  maxPayload?: number;
  /** Writes to the broker with QoS 0, or does nothing where there is no connection. */
  tell: (topic: string, payload: Uint8Array) => void;
  /** A message that is no vehicle's. */
  onOther: (topic: string, payload: Uint8Array) => void;
}

/** A vehicle that is back has this long to show what it has, before that is sent again. Milliseconds. */
export const showTime = 5_000;

export class Taking {
  readonly #options: TakingOptions;
  readonly #log: Logger;
  readonly #names: VehicleNames;
  readonly #confirmations: Confirmations;

  constructor(options: TakingOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#names = new VehicleNames(options.registry);
    this.#confirmations = new Confirmations(options.tell);
  }

  /** Says whose message it is and what is to be done: see `BrokerSessionOptions.onMessage`. */
  take({ topic, qos, payload }: BrokerMessage): { sender: string; work: Work } {
    const parsed = parseTopic(topic);
    if (!parsed) return { sender: "", work: () => Promise.resolve(this.#options.onOther(topic, payload)) };
    const leave = this.#options.state.enter("HANDLING");
    return {
      sender: parsed.vehicle,
      work: () => this.#taken(topic, parsed.vehicle, parsed.channel, qos, payload, leave),
    };
  }

  /** Vehicles are told now of what is stored. */
  flush(): void {
    this.#confirmations.flush();
  }

  async #taken(
    topic: string,
    name: string,
    channel: Channel,
    qos: 0 | 1,
    payload: Uint8Array,
    leave: () => void,
  ): Promise<(() => Promise<void>) | void> {
    let waits = false;
    try {
      // Both sides hear this topic: the servers' own requests come back to them.
      if (!isFromVehicle(channel) || (channel === "diagnostics" && isRequest(payload))) return;
      const { inbox, maxPayload = 262_144 } = this.#options;
      const vin = await this.#names.vinOf(name);
      if (vin === undefined) {
        // Not confirmed: the vehicle may be about to register.
        return await this.#refuse(null, topic, `${name} is neither a VIN nor a registered gateway`, payload);
      }
      const confirm = async (messageId: string | undefined) => {
        // Who sends with QoS 0 waits for nothing.
        if (messageId !== undefined && qos > 0) await this.#confirmations.confirm(name, messageId);
      };
      if (payload.length > maxPayload) {
        // It is kept aside, and would be no smaller the next time.
        const reason = `expected at most ${maxPayload} bytes, got ${payload.length}`;
        await this.#refuse(vin, topic, reason, payload);
        return () => confirm(messageIdIn(parsedJson(payload)));
      }
      this.#log.info(`Received message on ${topic}`);
      const work = inbox.takeBytes({ vin, name, channel, topic, transport: "mqtt" }, payload);
      const confirmed = async () => await confirm((await work).messageId);
      if (channel === "telemetry") {
        // It waits for its batch: the vehicle's next message need not wait for it to be looked at.
        waits = true;
        return () => confirmed().finally(leave);
      }
      await work;
      if (channel === "status") await this.#arrived(vin, payload);
      return confirmed;
    } finally {
      if (!waits) leave();
    }
  }

  /** A vehicle that says that it is online has come back: what it has not shown to have is sent again in a while. */
  async #arrived(vin: string, payload: Uint8Array): Promise<void> {
    const value = parsedJson(payload);
    if (typeof value !== "object" || value === null || !("status" in value) || value.status !== "online") {
      return;
    }
    await this.#options.registry.linkedElsewhere(vin);
    await this.#options.store.commands.sendAgain(vin, showTime);
  }

  async #refuse(vin: string | null, topic: string, reason: string, payload: Uint8Array): Promise<void> {
    this.#options.metrics.refused.inc({ listener: "broker", reason: "publish" });
    this.#log.warn(`Message on ${topic} refused: ${reason}`);
    await this.#options.store.inbound.reject({
      vin,
      source: "mqtt",
      topic,
      reason,
      payload: new TextDecoder().decode(payload.subarray(0, 4096)),
    });
  }
}

function isRequest(payload: Uint8Array): boolean {
  return isDiagnosticRequest(parsedJson(payload));
}

/** What a payload says; undefined when it is not JSON: whoever stores it says so. */
function parsedJson(payload: Uint8Array): unknown {
  try {
    return parseJson(payload);
  } catch (error) {
    if (error instanceof JsonTextError) return undefined;
    throw error;
  }
}
