// The gateway's one way to its ECUs: identification, diagnosis and flashing all come through here and take turns at each
// ECU. Different ECUs, and different zonal gateways, are used side by side.

import { UdsClient } from "../../../hardware/uds/client.ts";
import { Session } from "../../../hardware/uds/services.ts";
import type { Logger } from "../../log.ts";
import { UnknownEcuError } from "../errors.ts";
import type { BusSettings } from "../options.ts";
import type { VehicleDescription, VehicleEcu } from "../vehicle.ts";
import { AdapterPath } from "./adapter_path.ts";
import { EcuLane } from "./ecu_lane.ts";
import { GatewayPath } from "./gateway_path.ts";
import type { EcuLink, EcuPath, OpenTransport } from "./path.ts";

/** How an ECU is used. */
export interface BusUse {
  /** What for, as others are told who find the ECU taken. */
  purpose: string;
  /** Nobody else gets at the ECU meanwhile, and nobody waits for it: they get `EcuBusyError`. @default false */
  exclusive?: boolean;
  signal?: AbortSignal;
}

/** A client with the transport below it. */
interface OpenClient {
  client: UdsClient;
  open: OpenTransport;
}

/** A client that outlives one use, so that a diagnostic session holds from one remote request to the next. */
interface KeptClient extends OpenClient {
  link: EcuLink;
  timer: ReturnType<typeof setTimeout> | undefined;
}

interface Place {
  ecu: VehicleEcu;
  path: EcuPath;
  lane: EcuLane;
  kept: KeptClient | undefined;
}

/** The ECUs of one vehicle. */
export class VehicleBus {
  readonly #places = new Map<string, Place>();
  readonly #paths: EcuPath[];
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
      reconnect: {
        from: positive(settings.gatewayRetryDelay ?? 1_000, "gatewayRetryDelay"),
        to: positive(settings.maxGatewayRetryDelay ?? 30_000, "maxGatewayRetryDelay"),
      },
      log,
    };
    this.#log = log;
    this.#latency = settings.latency;
    this.#sessionHold = positive(settings.sessionHold ?? 10_000, "sessionHold");
    this.#turnTimeout = positive(settings.turnTimeout ?? 30_000, "turnTimeout");
    const adapterOptions = {
      downFor: positive(settings.downFor ?? 2_000, "downFor"),
      reconnect: {
        from: positive(settings.adapterRetryDelay ?? 1_000, "adapterRetryDelay"),
        to: positive(settings.maxAdapterRetryDelay ?? 30_000, "maxAdapterRetryDelay"),
      },
      log,
    };
    const gateways = new Map(
      vehicle.gateways.map((gateway) => [gateway.zonalGatewayId, new GatewayPath(gateway, options)]),
    );
    const adapters = new Map(
      vehicle.adapters.map((adapter) => [adapter.adapterId, new AdapterPath(adapter, adapterOptions)]),
    );
    this.#paths = [...gateways.values(), ...adapters.values()];
    for (const ecu of vehicle.ecus) {
      const path = ecu.can === undefined ? gateways.get(ecu.zonalGatewayId) : adapters.get(ecu.can.adapterId);
      if (path === undefined) {
        throw new RangeError(
          `${ecu.ecuId}: no ${
            ecu.can === undefined ? `gateway ${ecu.zonalGatewayId}` : `adapter ${ecu.can.adapterId}`
          }`,
        );
      }
      this.#places.set(ecu.ecuId, { ecu, path, lane: new EcuLane(ecu.ecuId), kept: undefined });
    }
  }

  /** The ECU of that name. @throws {UnknownEcuError} */
  ecu(ecuId: string): VehicleEcu {
    return this.#place(ecuId).ecu;
  }

  /**
   * Runs `work` with a client for the ECU, alone at it. The client is closed by the bus, not by `work`. An exclusive use
   * whose connection was lost gets another client by the function that it is given.
   *
   * @throws {UnknownEcuError} {@link EcuBusyError} {@link PathUnreachableError} and what `work` throws
   */
  async use<T>(
    ecuId: string,
    use: BusUse,
    work: (client: UdsClient, reconnect: () => Promise<UdsClient>) => Promise<T>,
  ): Promise<T> {
    const place = this.#place(ecuId);
    const { purpose, exclusive = false, signal } = use;
    const leave = await place.lane.enter({ purpose, exclusive, timeout: this.#turnTimeout, signal });
    try {
      const link = await place.path.open(signal);
      if (exclusive) {
        this.#drop(place);
        let own = this.#client(place, link);
        try {
          return await work(own.client, async () => {
            end(own);
            own = this.#client(place, await place.path.open(signal));
            return own.client;
          });
        } finally {
          end(own);
        }
      }
      const kept = this.#keep(place, link);
      try {
        return await work(
          kept.client,
          () => Promise.reject(new RangeError(`${ecuId}: expected an exclusive use, got a shared one`)),
        );
      } finally {
        // Without a session to hold, the ECU is left: others on a shared bus may speak to it.
        if (kept.client.session === Session.default) this.#drop(place);
        else kept.timer = setTimeout(() => this.#drop(place), this.#sessionHold);
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

  #client(place: Place, link: EcuLink): OpenClient {
    const open = link.transport(place.ecu);
    const client = new UdsClient(open.transport, {
      ecu: place.ecu.ecuId,
      latency: this.#latency,
      log: (message) => this.#log.debug(message),
    });
    return { client, open };
  }

  #keep(place: Place, link: EcuLink): KeptClient {
    if (place.kept !== undefined && place.kept.link !== link) this.#drop(place);
    place.kept ??= { ...this.#client(place, link), link, timer: undefined };
    clearTimeout(place.kept.timer);
    return place.kept;
  }

  #drop(place: Place): void {
    const { kept } = place;
    if (kept === undefined) return;
    place.kept = undefined;
    clearTimeout(kept.timer);
    end(kept);
  }
}

function end({ client, open }: OpenClient): void {
  client.close();
  open.close();
}

function positive(value: number, what: string): number {
  if (!Number.isInteger(value) || value < 1) {
    throw new RangeError(`${what}: expected a whole number of at least 1, got ${value}`);
  }
  return value;
}
