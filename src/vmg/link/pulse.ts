// What the vehicle says of itself at intervals: a heartbeat, and what it measures.

import type { RestClient } from "../../contract/client.ts";
import { telemetry, topicOf } from "../../contract/mqtt.ts";
import { describeIssues } from "../../contract/problem.ts";
import { routes } from "../../contract/routes.ts";
import type { Logger } from "../../log.ts";
import { readNow, type TelemetrySource } from "../telemetry.ts";
import { delay } from "../../wait.ts";
import type { CommunicationMode } from "./communication.ts";
import type { Link } from "./link.ts";
import { toLinkReport } from "./link_report.ts";
import type { Outbox } from "./outbox.ts";
import type { RemoteConfig } from "./remote_config.ts";
import { explain } from "../errors.ts";

/** Options of {@link Pulse}. Times in milliseconds. */
export interface PulseOptions {
  vin: string;
  vmgId: string;
  link: Link;
  rest: RestClient;
  outbox: Outbox;
  remoteConfig: RemoteConfig;
  source?: TelemetrySource;
  heartbeatInterval: number;
  telemetryInterval: number;
  /** This side's address on the newest HTTPS connection, if there was one. */
  httpsAddress: () => string | null;
  mode: () => CommunicationMode;
  /** Told of each turn of the heartbeat, before it is sent. */
  onBeat: () => void;
  log: Logger;
}

/** Heartbeat and telemetry. */
export class Pulse {
  readonly #options: PulseOptions;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  #running: Promise<unknown> | undefined;
  #unfit: string | undefined;
  #measured: Readonly<Record<string, number>> | undefined;

  constructor(options: PulseOptions) {
    this.#options = options;
    this.#log = options.log;
  }

  start(): void {
    const { source, remoteConfig, heartbeatInterval, telemetryInterval } = this.#options;
    this.#running ??= Promise.all([
      this.#every(
        () => remoteConfig.interval("heartbeat_interval", heartbeatInterval),
        () => this.#heartbeat(),
      ),
      source === undefined ? undefined : this.#every(
        () => remoteConfig.interval("telemetry_interval", telemetryInterval),
        () => this.#telemetry(source),
      ),
    ]);
  }

  /** A heartbeat out of turn, as at each new connection: the vehicle's address may be another one now. */
  beat(): void {
    this.#heartbeat().catch((error: unknown) => {
      if (!this.#stopping.signal.aborted) this.#log.warn(explain(error));
    });
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #every(interval: () => number, work: () => Promise<void>): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        await delay(interval(), signal);
        await work();
      } catch (error) {
        // One that failed is not made up for: the next one comes.
        if (!signal.aborted) this.#log.warn(`${explain(error)}`);
      }
    }
  }

  /** Over MQTT; over HTTPS while that is away. A late heartbeat is worth nothing, so that it does not wait. */
  async #heartbeat(): Promise<void> {
    const { vin, vmgId, link, rest, httpsAddress, source, mode, onBeat } = this.#options;
    onBeat();
    const statistics = link.statistics;
    const { localAddress } = statistics;
    const ip = localAddress ?? httpsAddress();
    if (ip === null) return;
    // What was measured last will do: a source is not asked twice for what it says at its own interval.
    if (source !== undefined) this.#measured ??= await readNow(source, this.#stopping.signal);
    const battery = this.#measured?.battery_soc;
    const heartbeat = {
      vin,
      ip,
      status: "online" as const,
      timestamp: new Date().toISOString(),
      ...(battery !== undefined && battery >= 0 && battery <= 100 ? { battery } : {}),
      ...location(this.#measured),
      link: toLinkReport({ mode: mode(), ...statistics }),
    };
    if (await link.publishNow(topicOf(vmgId, "heartbeat"), heartbeat)) {
      this.#log.debug(`Sent: IP=${ip}`);
      return;
    }
    await rest.call(routes.heartbeat, { path: { vin }, body: heartbeat, signal: this.#stopping.signal });
    this.#log.debug(`Sent over HTTPS: IP=${ip}`);
  }

  async #telemetry(source: TelemetrySource): Promise<void> {
    const { vmgId, outbox } = this.#options;
    this.#measured = await readNow(source, this.#stopping.signal);
    const values = { ...this.#measured, timestamp: new Date().toISOString() };
    const parsed = telemetry.safeParse(values);
    if (!parsed.success) {
      const text = describeIssues(parsed.error).map(({ path, message }) => `${path}: ${message}`).join("; ");
      // Said once for each reason: a source that is wrong is wrong every time.
      if (text !== this.#unfit) {
        this.#log.warn(`Telemetry of ${source.name} does not fit the contract: ${text}`);
      }
      this.#unfit = text;
      return;
    }
    this.#unfit = undefined;
    outbox.add({ topic: topicOf(vmgId, "telemetry"), payload: parsed.data, kind: "telemetry" });
  }
}

/** Where the vehicle is, as far as it measures that. */
function location(
  measured: Readonly<Record<string, number>> | undefined,
): { location?: { latitude: number; longitude: number } } {
  const { latitude, longitude } = measured ?? {};
  const known = latitude !== undefined && longitude !== undefined && Math.abs(latitude) <= 90 &&
    Math.abs(longitude) <= 180;
  return known ? { location: { latitude, longitude } } : {};
}
