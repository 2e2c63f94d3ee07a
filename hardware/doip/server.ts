// A DoIP entity: gateway or node with the ECUs behind it, on TCP and UDP.

import type { DiagnosticEndpoint } from "../uds/transport.ts";

/** What an entity is and may be asked. */
export interface DoipEntityOptions {
  hostname: string;
  /** @default {13400} */
  port?: number;
  /** false: no UDP. @default the TCP port */
  udpPort?: number | false;
  vin: string;
  logicalAddress: number;
  eid: Uint8Array;
  gid: Uint8Array;
  nodes: ReadonlyMap<number, DiagnosticEndpoint>;
  functional?: ReadonlyMap<number, readonly number[]>;
}
