// The OTA server: opens the store and the listeners in the order of the design, and stops them again.

import type { ServerOptions } from "./options.ts";

export type * from "./options.ts";

/** Where a listener is bound. */
export interface Bound {
  readonly hostname: string;
  readonly port: number;
}

export interface RunningServer {
  readonly https: Bound;
  readonly mqtt: Bound;
  readonly local: Bound;
  /** Stops accepting, lets work under way end within the limit, and closes the store. Calling it again waits too. */
  stop(): Promise<void>;
}

/** Starts the server; it serves when the promise resolves. Nothing stays behind when it rejects. */
export function startServer(options: ServerOptions): Promise<RunningServer> {
  return Promise.reject(new Error(`not startable yet with ${options.dataDirectory}`));
}
