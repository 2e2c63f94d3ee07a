// Finds DoIP entities by vehicle identification requests over UDP.

/** A DoIP entity that answered. */
export interface DiscoveredEntity {
  address: string;
  port: number;
  logicalAddress: number;
  vin: string;
  eid: Uint8Array;
  gid: Uint8Array;
  furtherAction: number;
}

/** Where and how long to ask. */
export interface DiscoverOptions {
  targets: readonly { hostname: string; port: number }[];
  /** Milliseconds. */
  timeout?: number;
  eid?: Uint8Array;
  vin?: string;
  signal?: AbortSignal;
}
