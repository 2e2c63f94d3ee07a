// The one DoIP connection to a zonal gateway: opened when it is first needed, kept, and opened anew after it was lost.
// While the gateway is away, requests fail at once with the reason, and tries go on in the background until it is back.

import { DoipConnection } from "../../../hardware/doip/client.ts";
import { timing } from "../../../hardware/doip/constants.ts";
import { checkMilliseconds, type Clock, sleep, systemClock } from "../../../hardware/clock.ts";
import type { Logger } from "../../log.ts";
import { explain, GatewayUnreachableError } from "../errors.ts";
import type { ZonalGateway } from "../vehicle.ts";
import { Backoff, orAborted } from "../../wait.ts";
import type { EcuLink, EcuPath } from "./path.ts";

/** Options of {@link GatewayPath}. Times in milliseconds. */
export interface GatewayPathOptions {
  sourceAddress: number;
  connectTimeout: number;
  /** Tries before requests fail. */
  connectAttempts: number;
  /** Wait before the second of them; it doubles. */
  retryDelay: number;
  /**
   * Waits between the tries that follow: from `from`, doubled each time up to `to`. Each is random between half of that
   * and all of it, so that gateways that were lost together are not looked for together.
   */
  reconnect: { from: number; to: number };
  log: Logger;
  /** @default the machine's time */
  clock?: Clock;
  /** 0 ≤ x < 1, for the waits. @default {Math.random} */
  random?: () => number;
}

/** The random share of a wait. */
const jitter = 0.5;

/** So many connections that do not last, one after another, and the next is not opened at once. */
const mostBrief = 2;

/** How far from our count the gateway's may be when it finds a connection inactive, in milliseconds. */
const inactivitySlack = 5_000;

/** The way to one zonal gateway. */
export class GatewayPath implements EcuPath {
  readonly gateway: ZonalGateway;
  readonly #options: GatewayPathOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  readonly #ended = new AbortController();
  #connection: DoipConnection | undefined;
  #link: EcuLink | undefined;
  /** Tries until there is a link. */
  #connecting: Promise<void> | undefined;
  /** What those wait for who asked before it was known whether the gateway can be reached. */
  #asked: PromiseWithResolvers<EcuLink> | undefined;
  /** Why the gateway cannot be reached at the moment. */
  #failure: GatewayUnreachableError | undefined;
  /** Connections one after another that were lost before the first wait would have been over. */
  #brief = 0;
  /** The last connection ended because nobody had anything to say on it. */
  #idled = false;

  constructor(gateway: ZonalGateway, options: GatewayPathOptions) {
    const { reconnect, log, clock = systemClock, random } = options;
    checkMilliseconds(reconnect.from, "reconnect.from");
    checkMilliseconds(reconnect.to, "reconnect.to");
    this.gateway = gateway;
    this.#options = options;
    this.#log = log;
    this.#clock = clock;
    this.#backoff = new Backoff({ initial: reconnect.from, max: reconnect.to, jitter, random });
  }

  /**
   * The connection, opened if there is none. Callers that come together share the tries.
   * @throws {GatewayUnreachableError} at once while the gateway is known to be away, else when no try succeeded
   */
  open(signal?: AbortSignal): Promise<EcuLink> {
    if (this.#link !== undefined) return Promise.resolve(this.#link);
    if (this.#ended.signal.aborted) return Promise.reject(this.#ended.signal.reason);
    // Ten ECUs behind a dead gateway must not each wait for it.
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    this.#begin();
    if (this.#asked === undefined) {
      this.#asked = Promise.withResolvers();
      // Whoever asked may have gone by the time it fails.
      this.#asked.promise.catch(() => {});
    }
    return orAborted(this.#asked.promise, signal);
  }

  /** Closes the connection and refuses to open another. */
  async close(): Promise<void> {
    const reason = new GatewayUnreachableError(`${this.#name}: the gateway stops`);
    this.#ended.abort(reason);
    this.#asked?.reject(reason);
    const connection = this.#connection;
    this.#connection = undefined;
    this.#link = undefined;
    await connection?.close();
    // A connection that was on its way closes itself when it sees the end.
    await this.#connecting;
  }

  get #name(): string {
    const { zonalGatewayId, hostname, port } = this.gateway;
    return hostname === undefined ? zonalGatewayId : `${zonalGatewayId} at ${hostname}:${port}`;
  }

  #begin(): void {
    if (this.#connecting !== undefined || this.#ended.signal.aborted) return;
    this.#connecting = this.#connect().catch((error: unknown) => {
      if (!this.#ended.signal.aborted) throw error;
    }).finally(() => this.#connecting = undefined);
  }

  /** Tries until there is a connection, or the end. */
  async #connect(): Promise<void> {
    const { connectAttempts, retryDelay } = this.#options;
    const { signal } = this.#ended;
    // One that takes connections and ends them is away as well: without a wait it would be tried without end.
    if (this.#brief >= mostBrief) await sleep(this.#clock, this.#backoff.next(), signal);
    else this.#backoff.reset();
    for (let attempt = 1;; attempt++) {
      try {
        return this.#adopt(await this.#dial(signal));
      } catch (error) {
        signal.throwIfAborted();
        this.#log.debug(`${this.#name}: try ${attempt} failed`, { error });
        if (attempt >= connectAttempts) this.#unreachable(attempt, error);
      }
      await sleep(
        this.#clock,
        attempt < connectAttempts ? retryDelay * 2 ** (attempt - 1) : this.#backoff.next(),
        signal,
      );
    }
  }

  #unreachable(tries: number, cause: unknown): void {
    this.#away(`is unreachable after ${tries} tries: ${explain(cause)}`, cause);
  }

  #away(how: string, cause: unknown): void {
    const known = this.#failure !== undefined;
    this.#failure = new GatewayUnreachableError(`${this.#name} ${how}`, { cause });
    // That it is back is news then.
    this.#idled = false;
    if (!known) this.#log.warn(`${this.#failure.message}; it is tried again until it is back`);
    this.#asked?.reject(this.#failure);
    this.#asked = undefined;
  }

  async #dial(signal: AbortSignal): Promise<DoipConnection> {
    const { sourceAddress, connectTimeout } = this.#options;
    const { gateway } = this;
    const { hostname, port } = gateway.hostname === undefined
      ? await gateway.locate(signal)
      : { hostname: gateway.hostname, port: gateway.port };
    const { openStream, tap } = gateway;
    return await DoipConnection.connect({
      hostname,
      port,
      sourceAddress,
      connectTimeout,
      signal,
      ...openStream === undefined ? { tap } : { open: (signal) => openStream(hostname, signal) },
      warn: (message) => this.#log.warn(message),
      clock: this.#clock,
    });
  }

  #adopt(connection: DoipConnection): void {
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
    this.#failure = undefined;
    this.#asked?.resolve(link);
    this.#asked = undefined;
    // What happens every five minutes while nobody uses the gateway is no news.
    this.#log[this.#idled ? "debug" : "info"](`${this.#name}: connected`);
    const began = this.#clock.now();
    connection.closed.then((cause) => {
      if (this.#connection !== connection) return;
      this.#connection = undefined;
      this.#link = undefined;
      // ISO 13400-2, T_TCP_General_Inactivity. After any other silence the connection was lost, and that is told.
      const { silence } = connection;
      this.#idled = Math.abs(silence - timing.generalInactivity) <= inactivitySlack;
      if (this.#idled) {
        this.#log.debug(
          `${this.#name}: connection over after ${
            Math.round(silence / 1000)
          } s of silence, as for inactivity`,
        );
      } else {
        this.#log.warn(
          `${this.#name}: connection lost${cause === undefined ? "" : `: ${explain(cause)}`}`,
        );
      }
      const lasted = this.#clock.now() - began >= this.#options.reconnect.from;
      this.#brief = lasted ? 0 : this.#brief + 1;
      if (this.#brief >= mostBrief) {
        this.#away(
          `ends connections as soon as they are made${cause === undefined ? "" : `: ${explain(cause)}`}`,
          cause,
        );
      }
      this.#begin();
    });
  }
}

function hex(address: number): string {
  return `0x${address.toString(16).toUpperCase().padStart(4, "0")}`;
}
