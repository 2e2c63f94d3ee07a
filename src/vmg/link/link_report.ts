// How the link fares, for those who look: in the heartbeat, and in a file beside the gateway's state, which `zonebench link
// status` reads whether the server can be reached or not.

import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type LinkReport as Report, linkReport } from "../../contract/vehicles.ts";
import { z } from "zod";
import type { Logger } from "../../log.ts";
import { explain, VmgError } from "../errors.ts";
import { isInUse } from "../state/database.ts";
import type { CommunicationMode } from "./communication.ts";
import type { LinkStatistics } from "./statistics.ts";

/** The file's content. */
const linkState = z.strictObject({
  vin: z.string(),
  /** Process that wrote it. */
  pid: z.int(),
  written: z.iso.datetime(),
  connected: z.boolean(),
  /** Whether the gateway has said goodbye. */
  stopped: z.boolean(),
  link: linkReport,
});

/** What the file says, and whether the gateway that wrote it runs. */
export type LinkState = z.infer<typeof linkState> & { running: boolean };

type Statistics = LinkStatistics & { mode: CommunicationMode };

const fileName = "link.json";

/** The statistics as the contract has them. */
export function toLinkReport(statistics: Statistics): Report {
  return {
    mode: statistics.mode,
    total_connections: statistics.totalConnections,
    failed_connections: statistics.failedConnections,
    reconnections: statistics.reconnections,
    address_changes: statistics.addressChanges,
    messages_sent: statistics.messagesSent,
    messages_received: statistics.messagesReceived,
    messages_dropped: statistics.messagesDropped,
    queued: statistics.queued,
    offline_time: Math.round(statistics.offlineTime),
    last_connection_time: statistics.lastConnectionTime,
    local_address: statistics.localAddress,
  };
}

/** Options of {@link LinkReport}. */
export interface LinkReportOptions {
  /** Folder of the gateway's state. */
  directory: string;
  vin: string;
  state: () => Statistics;
  log: Logger;
}

/** Writes the file. */
export class LinkReport {
  readonly #options: LinkReportOptions;

  constructor(options: LinkReportOptions) {
    this.#options = options;
  }

  /** Writes the present state; what goes wrong is logged, it must not disturb the link. */
  write(stopped = false): void {
    const { directory, vin, state, log } = this.#options;
    const statistics = state();
    const content: z.infer<typeof linkState> = {
      vin,
      pid: Deno.pid,
      written: new Date().toISOString(),
      connected: statistics.connected,
      stopped,
      link: toLinkReport(statistics),
    };
    const path = join(directory, fileName);
    try {
      // Whole or not at all; it is of no use after a crash, so that it need not survive one.
      writeFileSync(`${path}.new`, `${JSON.stringify(content)}\n`, { mode: 0o600 });
      renameSync(`${path}.new`, path);
    } catch (error) {
      log.debug(`${path} could not be written: ${explain(error)}`);
    }
  }

  /** The last word: the gateway has stopped. */
  close(): void {
    this.write(true);
  }
}

/**
 * What the gateway with this folder wrote last, and whether it runs; undefined when it never ran.
 * @throws {VmgError} for a file that cannot be read
 */
export function readLinkState(directory: string): LinkState | undefined {
  const path = join(directory, fileName);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return undefined;
    throw new VmgError(`${path} cannot be read: ${explain(cause)}`, { cause });
  }
  try {
    const state = linkState.parse(JSON.parse(text));
    const running = !state.stopped && isInUse(directory);
    return { ...state, running, connected: running && state.connected };
  } catch (cause) {
    throw new VmgError(`${path}: expected the state of a link, as a gateway of this version writes it`, {
      cause,
    });
  }
}
