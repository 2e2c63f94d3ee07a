// The remote configuration that the server publishes: kept on disk, and asked for single values.
// The gateway itself knows `telemetry_interval` and `heartbeat_interval`, in seconds; the rest is for others.

import { z } from "zod";
import type { Logger } from "../../log.ts";
import { explain } from "../errors.ts";
import type { StateDatabase } from "../state/database.ts";

const row = z.object({ version: z.int(), config: z.string() });
const object = z.record(z.string(), z.json());

/** The newest remote configuration. */
export class RemoteConfig {
  readonly #save;
  readonly #log: Logger;
  #version = 0;
  #config: Record<string, unknown> = {};

  constructor(state: StateDatabase, log: Logger) {
    this.#log = log;
    this.#save = state.sqlite.prepare(
      "INSERT INTO remote_config (id, version, config) VALUES (1, ?, ?) " +
        "ON CONFLICT (id) DO UPDATE SET version = excluded.version, config = excluded.config",
    );
    const found = state.sqlite.prepare("SELECT version, config FROM remote_config WHERE id = 1").get();
    if (found === undefined) return;
    try {
      const { version, config } = row.parse(found);
      this.#config = object.parse(JSON.parse(config));
      this.#version = version;
    } catch (error) {
      // The server's retained message is the truth and comes with the next connection.
      log.warn(`The remote configuration on disk is damaged and not used: ${explain(error)}`);
    }
  }

  get version(): number {
    return this.#version;
  }

  get config(): Readonly<Record<string, unknown>> {
    return this.#config;
  }

  /** Takes a configuration over. The retained message is the truth, also when its number is lower than before. */
  take(version: number, config: Record<string, unknown>): void {
    const text = JSON.stringify(config);
    if (version === this.#version && text === JSON.stringify(this.#config)) return;
    this.#save.run(version, text);
    this.#version = version;
    this.#config = config;
    this.#log.info(`Remote configuration ${version} taken over`);
  }

  /**
   * An interval in milliseconds, from a field in seconds.
   * @param fallback milliseconds, when the field is absent or no number from 1 to 86400
   */
  interval(field: string, fallback: number): number {
    const value = this.#config[field];
    return typeof value === "number" && value >= 1 && value <= 86_400 ? value * 1_000 : fallback;
  }
}
