// The gateway's door for whoever may use its state folder on its own machine: a Unix socket in that folder, which is 0700, the
// socket 0600. One JSON line in, one out. Nothing of it goes over a network, and the state database has one user still.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { approver, attempt, reportedWait, updateMode } from "../contract/campaign.ts";
import * as id from "../contract/identifiers.ts";
import { updateStatus } from "../contract/ota.ts";
import type { Logger } from "../log.ts";
import { explain, StateLockedError, VmgError } from "./errors.ts";
import { StateDatabase } from "./state/database.ts";
import { type ApprovalOutcome, approveUpdate, type OpenUpdate, openUpdates } from "./update/approvals.ts";
import { UpdateJournal } from "./update/journal.ts";
import { TermsJournal } from "./update/terms.ts";

const request = z.discriminatedUnion("ask", [
  z.strictObject({ ask: z.literal("updates") }),
  z.strictObject({ ask: z.literal("approve"), update_id: id.uuid }),
]);

const outcomes = [
  "approved",
  "before",
  "not_needed",
  "to_be_cancelled",
  "ended",
  "unknown",
] as const satisfies readonly ApprovalOutcome[];

const openUpdate = z.strictObject({
  update_id: id.uuid,
  status: updateStatus,
  target_ecus: z.array(id.ecuId),
  mode: updateMode,
  attempt,
  attempts: attempt,
  deadline: id.timestamp.nullable(),
  approved_by: approver.nullable(),
  waiting: reportedWait.nullable(),
});

const answer = z.union([
  z.strictObject({ updates: z.array(openUpdate) }),
  z.strictObject({ outcome: z.enum(outcomes) }),
  z.strictObject({ error: z.string() }),
]);

/** An update that has not ended, as `vehicle updates` shows it. */
export type LocalUpdate = z.infer<typeof openUpdate>;

type Request = z.infer<typeof request>;
type Answer = z.infer<typeof answer>;

/** What the door leads to. */
export interface LocalControlOptions {
  /** Folder of the gateway's state. */
  directory: string;
  updates: () => OpenUpdate[];
  /** Approves an update, on disk when it returns. */
  approve: (updateId: string) => ApprovalOutcome;
  log: Logger;
}

const socketName = "control.sock";
/** Says where the socket is when the folder's own path is too long for one. */
const placeName = "control.path";
/** Longest path of a socket that every system takes, bytes (sockaddr_un.sun_path: 104 and more). */
const maxSocketPath = 100;
const maxRequest = 4_096;
const maxAnswer = 1_048_576;
/** Longest time for a request, and for an answer, milliseconds. */
const timeout = 5_000;
const maxConnections = 16;
/** Wait after a connection that could not be taken, milliseconds. */
const acceptPause = 100;

/** The open door. */
export class LocalControl {
  readonly #options: LocalControlOptions;
  readonly #listener: Deno.UnixListener;
  readonly #remove: () => void;
  readonly #open = new Set<Deno.Conn>();
  #closed = false;

  private constructor(options: LocalControlOptions, listener: Deno.UnixListener, remove: () => void) {
    this.#options = options;
    this.#listener = listener;
    this.#remove = remove;
    void this.#accept();
  }

  /**
   * Opens it. The caller has the state folder to itself: what an earlier gateway left is taken away.
   * @returns undefined, with a word in the log, where the system has no such sockets
   */
  static open(options: LocalControlOptions): LocalControl | undefined {
    const { directory, log } = options;
    const removals: string[] = [];
    const remove = () => {
      for (const path of removals) removeQuietly(path);
    };
    try {
      const own = join(directory, socketName);
      const place = join(directory, placeName);
      removeQuietly(own);
      removeQuietly(place);
      let path = own;
      if (new TextEncoder().encode(own).length > maxSocketPath) {
        // Made for this user alone.
        const elsewhere = Deno.makeTempDirSync({ prefix: "zonebench-" });
        path = join(elsewhere, socketName);
        Deno.writeTextFileSync(place, path, { mode: 0o600 });
        removals.push(place, path, elsewhere);
      } else removals.push(own);
      const listener = Deno.listen({ transport: "unix", path });
      Deno.chmodSync(path, 0o600);
      return new LocalControl(options, listener, remove);
    } catch (error) {
      remove();
      log.warn(`No commands on this machine (zonebench vehicle): ${explain(error)}`);
      return undefined;
    }
  }

  /** Closes it; what is under way is cut off. */
  close(): void {
    this.#closed = true;
    this.#listener.close();
    for (const connection of this.#open) closeQuietly(connection);
    this.#remove();
  }

  async #accept(): Promise<void> {
    while (!this.#closed) {
      let connection: Deno.Conn;
      try {
        connection = await this.#listener.accept();
      } catch (error) {
        if (this.#closed) return;
        // One that failed, for want of descriptors say, is not the end of the others.
        this.#options.log.warn(`A command on this machine was not taken: ${explain(error)}`);
        await new Promise((resolve) => setTimeout(resolve, acceptPause));
        continue;
      }
      if (this.#open.size >= maxConnections) closeQuietly(connection);
      else void this.#serve(connection);
    }
  }

  async #serve(connection: Deno.Conn): Promise<void> {
    this.#open.add(connection);
    const timer = setTimeout(() => closeQuietly(connection), timeout);
    try {
      const answer = this.#answer(await readLine(connection, maxRequest));
      await writeAll(connection, `${JSON.stringify(answer)}\n`);
    } catch (error) {
      this.#options.log.debug(`A command on this machine was cut off: ${explain(error)}`);
    } finally {
      clearTimeout(timer);
      this.#open.delete(connection);
      closeQuietly(connection);
    }
  }

  #answer(line: string): Answer {
    try {
      const asked = request.parse(JSON.parse(line));
      return asked.ask === "updates"
        ? { updates: this.#options.updates().map(toLocal) }
        : { outcome: this.#options.approve(asked.update_id) };
    } catch (error) {
      return { error: explain(error) };
    }
  }
}

/** Updates of the gateway with this folder that have not ended, whether it runs or not. @throws {VmgError} */
export async function localUpdates(directory: string): Promise<LocalUpdate[]> {
  const got = await ask(directory, { ask: "updates" });
  if (got === undefined) return withoutGateway(directory, (records) => openUpdates(records).map(toLocal));
  if ("updates" in got) return got.updates;
  throw unexpected(got);
}

/** Approves an update at the vehicle, whether its gateway runs or not. @throws {VmgError} */
export async function approveLocally(directory: string, updateId: string): Promise<ApprovalOutcome> {
  const got = await ask(directory, { ask: "approve", update_id: updateId });
  if (got === undefined) {
    return withoutGateway(directory, (records) => approveUpdate(records, updateId, "vehicle"));
  }
  if ("outcome" in got) return got.outcome;
  throw unexpected(got);
}

/** Asks the gateway; undefined when none runs. */
async function ask(directory: string, asked: Request): Promise<Answer | undefined> {
  let connection: Deno.Conn;
  try {
    connection = await Deno.connect({ transport: "unix", path: socketPath(directory) });
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.ConnectionRefused) {
      return undefined;
    }
    throw new VmgError(`the gateway of ${directory} cannot be asked: ${explain(cause)}`, { cause });
  }
  const timer = setTimeout(() => closeQuietly(connection), timeout);
  try {
    await writeAll(connection, `${JSON.stringify(asked)}\n`);
    return answer.parse(JSON.parse(await readLine(connection, maxAnswer)));
  } catch (cause) {
    throw new VmgError(`the gateway of ${directory} gave no answer: ${explain(cause)}`, { cause });
  } finally {
    clearTimeout(timer);
    closeQuietly(connection);
  }
}

/** Works on the state itself, which no gateway uses meanwhile. */
function withoutGateway<T>(
  directory: string,
  work: (records: { journal: UpdateJournal; terms: TermsJournal }) => T,
): T {
  if (!existsSync(join(directory, "vmg.db"))) {
    throw new VmgError(`no gateway has run with the folder ${directory}`);
  }
  try {
    using state = StateDatabase.open(directory);
    const records = { journal: new UpdateJournal(state), terms: new TermsJournal(state) };
    return state.transaction(() => work(records));
  } catch (error) {
    if (!(error instanceof StateLockedError)) throw error;
    throw new VmgError(`the gateway of ${directory} runs and takes no commands now: try again`, {
      cause: error,
    });
  }
}

function socketPath(directory: string): string {
  const place = join(directory, placeName);
  return existsSync(place) ? Deno.readTextFileSync(place) : join(directory, socketName);
}

function toLocal(update: OpenUpdate): LocalUpdate {
  return {
    update_id: update.updateId,
    status: update.status,
    target_ecus: [...update.targetEcus],
    mode: update.mode,
    attempt: update.attempt,
    attempts: update.attempts,
    deadline: update.deadline === null ? null : new Date(update.deadline).toISOString(),
    approved_by: update.approvedBy,
    waiting: update.waiting,
  };
}

function unexpected(got: Answer): VmgError {
  return new VmgError(
    "error" in got ? `the gateway refused: ${got.error}` : "the gateway answered something else",
  );
}

/** @throws {VmgError} for more than `most` bytes, or an end before the line's */
async function readLine(connection: Deno.Conn, most: number): Promise<string> {
  const bytes = new Uint8Array(most);
  for (let length = 0; length < most;) {
    const got = await connection.read(bytes.subarray(length));
    if (got === null) throw new VmgError(`expected a line, got ${length} bytes without its end`);
    const end = bytes.subarray(length, length + got).indexOf(0x0a);
    if (end >= 0) return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, length + end));
    length += got;
  }
  throw new VmgError(`expected a line of at most ${most} bytes`);
}

async function writeAll(connection: Deno.Conn, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

function closeQuietly(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch (error) {
    // It was closed from the other side, or by its time-out.
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

function removeQuietly(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
