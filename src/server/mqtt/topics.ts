// Which topics and filters a vehicle may name.

import { type Channel, parseTopic } from "../../contract/mqtt.ts";
import { isFromVehicle } from "../inbox.ts";
import type { fromVehicle } from "../../contract/mqtt.ts";

/** The two names of a vehicle; the gateway's is known once it has registered. */
export interface VehicleNames {
  readonly vin: string;
  readonly vmgId: string | undefined;
}

/** A topic on which a vehicle may publish. */
export interface OwnTopic {
  /** The name that the topic has. */
  readonly name: string;
  readonly channel: keyof typeof fromVehicle;
}

/** Why a topic is not open to a vehicle. */
export type TopicRefusal = "unknown topic" | "another vehicle's topic" | "a topic of the server";

/** Takes apart a topic that a vehicle publishes on. */
export function ownTopic(topic: string, names: VehicleNames): OwnTopic | TopicRefusal {
  const parsed = parseTopic(topic);
  if (!parsed) return "unknown topic";
  if (!isOwn(parsed.vehicle, names)) return "another vehicle's topic";
  const channel: Channel = parsed.channel;
  return isFromVehicle(channel) ? { name: parsed.vehicle, channel } : "a topic of the server";
}

/**
 * Whether a filter reaches topics of this vehicle alone: its first two levels are `vehicle` and one of the vehicle's names,
 * so that wildcards behind them stay within (MQTT 3.1.1 section 4.7.1).
 */
export function isOwnFilter(filter: string, names: VehicleNames): boolean {
  const [root, vehicle, ...rest] = filter.split("/");
  return root === "vehicle" && vehicle !== undefined && rest.length > 0 && isOwn(vehicle, names);
}

export function isOwn(name: string, { vin, vmgId }: VehicleNames): boolean {
  return name === vin || (vmgId !== undefined && name === vmgId);
}

/** Whether a topic matches a filter (section 4.7). */
export function matchesFilter(topic: string, filter: string): boolean {
  const levels = topic.split("/");
  const parts = filter.split("/");
  for (const [index, part] of parts.entries()) {
    if (part === "#") return true;
    if (index >= levels.length || (part !== "+" && part !== levels[index])) return false;
  }
  return parts.length === levels.length;
}
