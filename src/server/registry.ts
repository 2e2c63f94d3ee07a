// The vehicles as the server knows them: registration, signs of life, online and offline, links, remote configuration.

import { z } from "zod";
import type { Vehicle as VehicleAnswer, VehicleDetail } from "../contract/vehicles.ts";
import type { Heartbeat, OutdatedEcu, Registration, Vci } from "../contract/vehicles.ts";
import { vci as vciSchema } from "../contract/vehicles.ts";
import type { Logger } from "../log.ts";
import type { TlsConnection } from "../tls/types.ts";
import type { Events } from "./events.ts";
import type { Link, Repositories, Store, Vehicle } from "./store/mod.ts";
import { signedByGateway } from "./uptane/inventory.ts";

/** Where a sign of life came in. */
export type Transport = "mqtt" | "https";

export interface RegistryOptions {
  store: Store;
  events: Events;
  log: Logger;
}

export class Registry {
  readonly #store: Store;
  readonly #events: Events;
  readonly #log: Logger;

  constructor({ store, events, log }: RegistryOptions) {
    this.#store = store;
    this.#events = events;
    this.#log = log;
  }

  find(id: string): Promise<Vehicle | null> {
    return this.#store.vehicles.find(id);
  }

  async register(registration: Registration): Promise<{ vehicle: Vehicle; created: boolean }> {
    const result = await this.#store.vehicles.register({
      vin: registration.vin,
      vmgId: registration.vmg_id,
      vehicleModel: registration.vehicle_model,
      vehicleYear: registration.vehicle_year,
    });
    if (result.created) {
      this.#log.info(`Vehicle ${registration.vin} registered as ${registration.vmg_id}`);
      this.#events.emit({ type: "vehicle", vin: registration.vin, status: result.vehicle.status });
    }
    return result;
  }

  /**
   * Stores a heartbeat.
   * @param repositories those of a transaction that it shall be part of
   * @throws NotFoundError when the vehicle is not registered
   */
  async heartbeat(
    vin: string,
    heartbeat: Heartbeat,
    repositories: Repositories = this.#store,
  ): Promise<void> {
    const result = await repositories.vehicles.heartbeat(vin, {
      ip: heartbeat.ip,
      status: heartbeat.status,
      timestamp: new Date(heartbeat.timestamp),
      location: heartbeat.location,
      battery: heartbeat.battery,
    });
    if (result.ipChanged) {
      this.#log.info(`Address of ${vin} changed: ${result.previousIp ?? "none"} -> ${heartbeat.ip}`);
    }
    if (result.statusChanged) this.#changed(vin, heartbeat.status);
  }

  async setStatus(
    vin: string,
    status: "online" | "offline",
    repositories: Repositories = this.#store,
  ): Promise<void> {
    if (await repositories.vehicles.setStatus(vin, status)) this.#changed(vin, status);
  }

  /** Stores what the handshake of a vehicle's connection negotiated. */
  async linked(vin: string, listener: Transport, connection: TlsConnection): Promise<void> {
    const { protocol, group, cipherSuite, signatureScheme } = connection.negotiated;
    await this.#store.vehicles.setLink(vin, { listener, protocol, group, cipherSuite, signatureScheme });
  }

  /** The vehicle came over a broker that is not this product's: how, only that broker knows. */
  async linkedElsewhere(vin: string): Promise<void> {
    const unknown = "unknown";
    await this.#store.vehicles.setLink(vin, {
      listener: "mqtt",
      protocol: "unknown (external broker)",
      group: unknown,
      cipherSuite: unknown,
      signatureScheme: unknown,
    });
  }

  /** Marks offline whoever was silent too long. */
  async sweepSilent(silentFor: number): Promise<number> {
    const gone = await this.#store.vehicles.markSilentOffline(silentFor);
    for (const { vin, vmgId, lastHeartbeat } of gone) {
      this.#log.warn(`Vehicle ${vmgId} is offline: no sign of life`, {
        vin,
        last_heartbeat: lastHeartbeat?.toISOString() ?? "never",
      });
      this.#events.emit({ type: "vehicle", vin, status: "offline" });
    }
    return gone.length;
  }

  async list(filter: { limit: number; offset: number; status?: "online" | "offline" }) {
    const { items, total } = await this.#store.vehicles.list(filter);
    const links = await this.#store.vehicles.links(items.map((vehicle) => vehicle.vin));
    const verified = await this.#store.vci.verified(items.map((vehicle) => vehicle.vin));
    const vehicles = items.map((vehicle) =>
      toAnswer(vehicle, links.get(vehicle.vin) ?? [], verified.get(vehicle.vin) ?? false)
    );
    return { vehicles, total };
  }

  /** @param outdated what the newest report shows to be outdated */
  async detail(vehicle: Vehicle, outdated: OutdatedEcu[]): Promise<VehicleDetail> {
    const links = await this.#store.vehicles.links([vehicle.vin]);
    const addresses = await this.#store.vehicles.addresses(vehicle.vin, { limit: 100 });
    const report = await this.#store.vci.latest(vehicle.vin);
    const verified = await this.#store.vci.latestVerified(vehicle.vin);
    const inventory = await this.#store.ecuKeys.of(vehicle.vin);
    return {
      ...toAnswer(vehicle, links.get(vehicle.vin) ?? [], report?.verified ?? false),
      unverified_reason: report?.unverifiedReason ?? null,
      last_verified: verified?.reported.toISOString() ?? null,
      signed_by_gateway: signedByGateway(inventory),
      metadata: jsonObject(vehicle.metadata),
      vci: report ? vciSchema.parse(report.report) : null,
      outdated_ecus: outdated,
      addresses: addresses.map(({ ip, since }) => ({ ip, since: since.toISOString() })),
    };
  }

  /**
   * The report by which the vehicle is updated: of one whose ECUs have keys in the inventory the last that they have signed,
   * else the newest. `null` before the first.
   */
  async directingVci(vin: string): Promise<Vci | null> {
    const known = await this.#store.ecuKeys.has(vin);
    const report = known ? await this.#store.vci.latestVerified(vin) : await this.#store.vci.latest(vin);
    return report ? vciSchema.parse(report.report) : null;
  }

  #changed(vin: string, status: "online" | "offline"): void {
    this.#log.info(`Vehicle ${vin} is ${status}`);
    this.#events.emit({ type: "vehicle", vin, status });
  }
}

/** What the store gives back as a JSON object. */
export function jsonObject(value: unknown): Record<string, z.core.util.JSONType> {
  return z.record(z.string(), z.json()).parse(value);
}

function toAnswer(vehicle: Vehicle, links: readonly Link[], verified: boolean): VehicleAnswer {
  return {
    vin: vehicle.vin,
    vmg_id: vehicle.vmgId,
    vehicle_model: vehicle.vehicleModel,
    vehicle_year: vehicle.vehicleYear,
    status: vehicle.status,
    current_ip: vehicle.currentIp,
    last_heartbeat: vehicle.lastHeartbeat?.toISOString() ?? null,
    location: z.json().nullable().parse(vehicle.location),
    battery: vehicle.battery,
    registered: vehicle.registered.toISOString(),
    verified,
    links: links.map((link) => ({
      listener: link.listener,
      protocol: link.protocol,
      group: link.group,
      cipher_suite: link.cipherSuite,
      signature_scheme: link.signatureScheme,
      since: link.since.toISOString(),
    })),
  };
}
