// What leads to ECUs: the connection to a zonal gateway, or to the CAN bus behind an adapter. Whoever uses an ECU does not
// see which.

import type { UdsTransport } from "../../../hardware/uds/transport.ts";
import type { VehicleEcu } from "../vehicle.ts";

/** A way to some of the vehicle's ECUs. */
export interface EcuPath {
  /**
   * The link, opened if there is none. Callers that come together share one try.
   * @throws {PathUnreachableError} when no try succeeded, or the last one failed a moment ago
   */
  open(signal?: AbortSignal): Promise<EcuLink>;
  /** Ends the link and refuses to open another. */
  close(): Promise<void>;
}

/** An open link. One that was lost is replaced by another object. */
export interface EcuLink {
  /** The transport to one ECU, the caller's until it is closed. */
  transport(ecu: VehicleEcu): OpenTransport;
}

/** A transport that is in use. */
export interface OpenTransport {
  readonly transport: UdsTransport;
  /** Hears the ECU no more: others may, who share the bus. */
  close(): void;
}
