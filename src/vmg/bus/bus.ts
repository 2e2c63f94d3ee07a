// The gateway's one way to its ECUs: identification, diagnosis and flashing all come through here and take turns at each
// ECU. Different ECUs, and different zonal gateways, are used side by side.

import type { DoipConnection } from "../../../hardware/doip/client.ts";
import { UdsClient } from "../../../hardware/uds/client.ts";
import { Session } from "../../../hardware/uds/services.ts";
import type { Logger } from "../../log.ts";
import { UnknownEcuError } from "../errors.ts";
import type { BusSettings } from "../options.ts";
import type { VehicleDescription, VehicleEcu } from "../vehicle.ts";
import { EcuLane } from "./ecu_lane.ts";
import { GatewayPath } from "./gateway_path.ts";

/** How an ECU is used. */
export interface BusUse {
  /** What for, as others are told who find the ECU taken. */
  purpose: string;
  /** Nobody else gets at the ECU meanwhile, and nobody waits for it: they get `EcuBusyError`. @default false */
  exclusive?: boolean;
  signal?: AbortSignal;
}

/** A client that outlives one use, so that a diagnostic session holds from one remote request to the next. */
interface KeptClient {
  client: UdsClient;
  connection: DoipConnection;
  timer: ReturnType<typeof setTimeout> | undefined;
}

interface Place {
  ecu: VehicleEcu;
  path: GatewayPath;
  lane: EcuLane;
  kept: KeptClient | undefined;
}

/** The ECUs of one vehicle. */
export class VehicleBus {
  readonly #places = new Map<string, Place>();
  readonly #paths: GatewayPath[];
  readonly #log: Logger;
  readonly #latency: number | undefined;
  readonly #sessionHold: number;
  readonly #turnTimeout: number;

  constructor(vehicle: VehicleDescription, settings: BusSettings, log: Logger) {
    const options = {
      sourceAddress: settings.sourceAddress ?? 0x0e00,
      connectTimeout: positive(settings.connectTimeout ?? 2_000, "connectTimeout"),
      connectAttempts: positive(settings.connectAttempts ?? 3, "connectAttempts"),
      retryDelay: positive(settings.retryDelay ?? 250, "retryDelay"),
      downFor: positive(settings.downFor ?? 2_000, "downFor"),
      log,
    };
    this.#log = log;
    this.#latency = settings.latency;
    this.#sessionHold = positive(settings.sessionHold ?? 10_000, "sessionHold");
    this.#turnTimeout = positive(settings.turnTimeout ?? 30_000, "turnTimeout");
    this.#paths = vehicle.gateways.map((gateway) => new GatewayPath(gateway, options));
    for (const ecu of vehicle.ecus) {
      const path = this.#paths.find(({ gateway }) => gateway.zonalGatewayId === ecu.zonalGatewayId);
      if (path === undefined) throw new RangeError(`${ecu.ecuId}: no gateway ${ecu.zonalGatewayId}`);
      this.#places.set(ecu.ecuId, { ecu, path, lane: new EcuLane(ecu.ecuId), kept: undefined });
    }
  }

  /** The ECU of that name. @throws {UnknownEcuError} */
  ecu(ecuId: string): VehicleEcu {
    return this.#place(ecuId).ecu;
  }

  /**
   * Runs `work` with a client for the ECU, alone at it. The client is closed by the bus, not by `work`.
   *
   * @throws {UnknownEcuError} {@link EcuBusyError} {@link GatewayUnreachableError} and what `work` throws
   */
  async use<T>(ecuId: string, use: BusUse, work: (client: UdsClient) => Promise<T>): Promise<T> {
    const place = this.#place(ecuId);
    const { purpose, exclusive = false, signal } = use;
    const leave = await place.lane.enter({ purpose, exclusive, timeout: this.#turnTimeout, signal });
    try {
      const connection = await place.path.open(signal);
      if (exclusive) {
        this.#drop(place);
        const client = this.#client(place, connection);
        try {
          return await work(client);
        } finally {
          client.close();
        }
      }
      const kept = this.#keep(place, connection);
      try {
        return await work(kept.client);
      } finally {
        // Without a session to hold, the client costs nothing: it has no timer.
        if (kept.client.session !== Session.default) {
          kept.timer = setTimeout(() => this.#drop(place), this.#sessionHold);
        }
      }
    } finally {
      leave();
    }
  }

  /** Closes every connection; what is under way fails by that. */
  async close(): Promise<void> {
    for (const place of this.#places.values()) this.#drop(place);
    await Promise.all(this.#paths.map((path) => path.close()));
  }

  #place(ecuId: string): Place {
    const place = this.#places.get(ecuId);
    if (place === undefined) throw new UnknownEcuError(`${ecuId}: this vehicle has no such ECU`);
    return place;
  }

  #client(place: Place, connection: DoipConnection): UdsClient {
    return new UdsClient(connection.transport(place.ecu.logicalAddress), {
      ecu: place.ecu.ecuId,
      latency: this.#latency,
      log: (message) => this.#log.debug(message),
    });
  }

  #keep(place: Place, connection: DoipConnection): KeptClient {
    if (place.kept !== undefined && place.kept.connection !== connection) this.#drop(place);
    place.kept ??= { client: this.#client(place, connection), connection, timer: undefined };
    clearTimeout(place.kept.timer);
    return place.kept;
  }

  #drop(place: Place): void {
    clearTimeout(place.kept?.timer);
    place.kept?.client.close();
    place.kept = undefined;
  }
}

function positive(value: number, what: string): number {
  if (!Number.isInteger(value) || value < 1) {
    throw new RangeError(`${what}: expected a whole number of at least 1, got ${value}`);
  }
  return value;
}
