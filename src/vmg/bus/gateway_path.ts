// The one DoIP connection to a zonal gateway: opened when it is needed, kept, opened anew after it was lost.

import { DoipConnection, type DoipConnectOptions } from "../../../hardware/doip/client.ts";
import type { Logger } from "../../log.ts";
import { explain, GatewayUnreachableError } from "../errors.ts";
import type { ZonalGateway } from "../vehicle.ts";
import { delay, orAborted } from "../wait.ts";
import type { EcuLink, EcuPath } from "./path.ts";

/** Options of {@link GatewayPath}. Times in milliseconds. */
export interface GatewayPathOptions {
  sourceAddress: number;
  connectTimeout: number;
  /** Tries before a request fails. */
  connectAttempts: number;
  /** Wait before the second try; it doubles. */
  retryDelay: number;
  /** How long a failure is answered for without another try. */
  downFor: number;
  log: Logger;
}

/** The way to one zonal gateway. */
export class GatewayPath implements EcuPath {
  readonly gateway: ZonalGateway;
  readonly #options: GatewayPathOptions;
  readonly #log: Logger;
  readonly #ended = new AbortController();
  #connection: DoipConnection | undefined;
  #link: EcuLink | undefined;
  #connecting: Promise<EcuLink> | undefined;
  #down: { until: number; error: GatewayUnreachableError } | undefined;

  constructor(gateway: ZonalGateway, options: GatewayPathOptions) {
    this.gateway = gateway;
    this.#options = options;
    this.#log = options.log;
  }

  /**
   * The connection, opened if there is none. Callers that come together share one try.
   * @throws {GatewayUnreachableError} when no try succeeded, or the last one failed a moment ago
   */
  open(signal?: AbortSignal): Promise<EcuLink> {
    if (this.#link !== undefined) return Promise.resolve(this.#link);
    if (this.#connecting === undefined) {
      // Ten ECUs behind a dead gateway must not each wait for it.
      if (this.#down !== undefined && Date.now() < this.#down.until) return Promise.reject(this.#down.error);
      this.#connecting = this.#connect().finally(() => this.#connecting = undefined);
      // Whoever asked may have gone by the time it fails.
      this.#connecting.catch(() => {});
    }
    return orAborted(this.#connecting, signal);
  }

  /** Closes the connection and refuses to open another. */
  async close(): Promise<void> {
    this.#ended.abort(new GatewayUnreachableError(`${this.#name}: the gateway stops`));
    const connection = this.#connection;
    this.#connection = undefined;
    this.#link = undefined;
    await connection?.close();
    // A connection that was on its way closes itself when it sees the end.
    await this.#connecting?.catch(() => {});
  }

  get #name(): string {
    const { zonalGatewayId, hostname, port } = this.gateway;
    return `${zonalGatewayId} at ${hostname}:${port}`;
  }

  async #connect(): Promise<EcuLink> {
    const { connectAttempts, retryDelay, downFor } = this.#options;
    const { signal } = this.#ended;
    let failure: unknown;
    for (let attempt = 0; attempt < connectAttempts; attempt++) {
      signal.throwIfAborted();
      if (attempt > 0) await delay(retryDelay * 2 ** (attempt - 1), signal);
      try {
        return this.#adopt(await DoipConnection.connect(this.#connectOptions()));
      } catch (error) {
        signal.throwIfAborted();
        failure = error;
        this.#log.debug(`${this.#name}: try ${attempt + 1} of ${connectAttempts} failed`, { error });
      }
    }
    const error = new GatewayUnreachableError(
      `${this.#name} is unreachable after ${connectAttempts} tries: ${explain(failure)}`,
      { cause: failure },
    );
    this.#down = { until: Date.now() + downFor, error };
    this.#log.warn(error.message);
    throw error;
  }

  #connectOptions(): DoipConnectOptions {
    const { sourceAddress, connectTimeout } = this.#options;
    const { hostname, port } = this.gateway;
    return {
      hostname,
      port,
      sourceAddress,
      connectTimeout,
      signal: this.#ended.signal,
      warn: (message) => this.#log.warn(message),
    };
  }

  #adopt(connection: DoipConnection): EcuLink {
    const { logicalAddress } = this.gateway;
    if (this.#ended.signal.aborted) {
      void connection.close();
      throw this.#ended.signal.reason;
    }
    if (connection.entityAddress !== logicalAddress) {
      this.#log.warn(
        `${this.#name}: expected the logical address ${hex(logicalAddress)}, it answers as ${
          hex(connection.entityAddress)
        }`,
      );
    }
    // On a connection of its own nobody else hears the ECUs: a transport needs no end before the connection's.
    const link: EcuLink = {
      transport: (ecu) => ({ transport: connection.transport(ecu.logicalAddress), close: () => {} }),
    };
    this.#connection = connection;
    this.#link = link;
    this.#down = undefined;
    this.#log.info(`${this.#name}: connected`);
    connection.closed.then((cause) => {
      if (this.#connection !== connection) return;
      this.#connection = undefined;
      this.#link = undefined;
      this.#log.warn(
        `${this.#name}: connection lost${cause === undefined ? "" : `: ${explain(cause)}`}`,
      );
    });
    return link;
  }
}

function hex(address: number): string {
  return `0x${address.toString(16).toUpperCase().padStart(4, "0")}`;
}
