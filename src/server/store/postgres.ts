// The driver for a PostgreSQL server: a pool for single statements and connections of their own for transactions.
import type { Database, Param, Sql, TransactionOptions } from "./database.ts";
import { DatabaseTimeoutError, DatabaseUnavailableError, StoreError } from "./errors.ts";
import { PostgresClient, withLimit } from "./postgres_client.ts";

export interface PostgresOptions {
  /** postgresql://user:password@host:port/database */
  url: string;
  /** How many connections at most, at least 2; half of them are for transactions. @default 10 */
  connections?: number;
  /** How long making a connection may take, in ms. @default 10000 */
  connectLimit?: number;
  /** How long one statement may take, in ms. @default 30000 */
  statementLimit?: number;
  /** How many statements may be under way or waiting at once; more are refused. @default 10000 */
  maxWaiting?: number;
  /** Ends the wait for the first connection. */
  signal?: AbortSignal;
}

/** How long `close` waits for what runs. */
const CLOSE_SECONDS = 3;

/** Where the URL points, without password and options, for messages. */
export function describeUrl(url: string): string {
  const at = parseUrl(url);
  const user = at.username === "" ? "" : `${decodeURIComponent(at.username)}@`;
  return `postgresql://${user}${at.host}${at.pathname}`;
}

function parseUrl(url: string): URL {
  let parsed: URL | null = null;
  try {
    parsed = new URL(url);
  } catch {
    // The parser's message quotes the whole text, password included: it is not kept.
  }
  if (parsed === null || !["postgresql:", "postgres:"].includes(parsed.protocol)) {
    throw new StoreError(
      "database.url: expected postgresql://user:password@host:port/database, got something else (not shown: it may hold a password)",
    );
  }
  return parsed;
}

/**
 * Connects and proves that the server answers.
 * @throws DatabaseUnavailableError when it does not, with the cause and what to check, never with the password
 */
export async function openPostgres(options: PostgresOptions): Promise<Database> {
  const where = describeUrl(options.url);
  const { signal } = options;
  signal?.throwIfAborted();
  const database = new PostgresDatabase(options, where);
  let abort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
  });
  try {
    await Promise.race([database.query("select 1"), aborted]);
  } catch (error) {
    await database.close(0);
    throw error;
  } finally {
    if (abort) signal?.removeEventListener("abort", abort);
  }
  return database;
}

interface LaneWaiter {
  start(lane: PostgresClient): void;
  reject(error: Error): void;
}

class PostgresDatabase implements Database {
  readonly kind = "postgresql";
  #pool: PostgresClient;
  /** Clients of one connection each. npm:postgres' own `begin` writes to a connection that is gone, and the program dies. */
  #lanes: PostgresClient[];
  #free: PostgresClient[];
  #waiting: LaneWaiter[] = [];
  #statementLimit: number;
  #maxWaiting: number;
  #underWay = 0;
  #closing: Promise<void> | null = null;

  constructor(options: PostgresOptions, private readonly where: string) {
    const { connections = 10, connectLimit = 10_000, statementLimit = 30_000, maxWaiting = 10_000 } = options;
    const common = { url: options.url, where, connectLimit, statementLimit };
    const forTransactions = Math.max(1, Math.floor(connections / 2));
    this.#pool = new PostgresClient({
      ...common,
      connections: Math.max(1, connections - forTransactions),
      renewable: true,
    });
    this.#lanes = Array.from(
      { length: forTransactions },
      () => new PostgresClient({ ...common, connections: 1, renewable: false }),
    );
    this.#free = [...this.#lanes];
    this.#statementLimit = statementLimit;
    this.#maxWaiting = maxWaiting;
  }

  async query<Row>(text: string, params: readonly Param[] = []): Promise<Row[]> {
    return await this.#counted(() => this.#pool.run<Row>(text, params));
  }

  async transaction<T>(fn: (tx: Sql) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    return await this.#counted(async () => {
      const lane = await this.#takeLane();
      try {
        return await this.#transaction(lane, fn, options.limit ?? 30_000);
      } finally {
        this.#giveLane(lane);
      }
    });
  }

  /** Waits up to `seconds` for what runs. */
  close(seconds = CLOSE_SECONDS): Promise<void> {
    this.#closing ??= (async () => {
      const closed = new DatabaseUnavailableError("the database is closed");
      for (const waiter of this.#waiting.splice(0)) waiter.reject(closed);
      await Promise.all([this.#pool, ...this.#lanes].map((client) => client.close(seconds)));
    })();
    return this.#closing;
  }

  async #transaction<T>(lane: PostgresClient, fn: (tx: Sql) => Promise<T>, limit: number): Promise<T> {
    const statementLimit = Math.max(limit, this.#statementLimit);
    await lane.run("begin", []);
    const { lost } = lane;
    let open = true;
    let refused: { error: unknown } | null = null;
    const tx: Sql = {
      query: async <Row>(text: string, params: readonly Param[] = []): Promise<Row[]> => {
        if (!open) throw new StoreError("the transaction has ended");
        try {
          // On a new connection the statement would run outside of the transaction.
          if (lane.lost !== lost) throw this.#connectionLost();
          return await lane.run<Row>(text, params, statementLimit);
        } catch (error) {
          refused ??= { error };
          throw error;
        }
      },
    };
    try {
      if (limit > this.#statementLimit) {
        await tx.query(`set local statement_timeout = ${Math.trunc(limit)}`);
        await tx.query(`set local idle_in_transaction_session_timeout = ${Math.trunc(limit)}`);
      }
      const value = await withLimit(fn(tx), limit, "a transaction");
      open = false;
      // PostgreSQL answers a commit after a failed statement with a silent rollback.
      if (refused !== null) throw (refused as { error: unknown }).error;
      if (lane.lost !== lost) throw this.#connectionLost();
      await lane.run("commit", []);
      return value;
    } catch (error) {
      open = false;
      // A lost connection's transaction is rolled back by the server. One whose rollback fails is left for good, so that
      // the next transaction on this lane does not begin inside of it.
      if (lane.lost === lost) await lane.run("rollback", []).catch(() => lane.abandon());
      throw error;
    }
  }

  #connectionLost(): DatabaseUnavailableError {
    return new DatabaseUnavailableError(`the connection to ${this.where} was lost in a transaction`);
  }

  async #counted<T>(fn: () => Promise<T>): Promise<T> {
    if (this.#closing) throw new DatabaseUnavailableError("the database is closed");
    if (this.#underWay >= this.#maxWaiting) {
      throw new DatabaseUnavailableError(`the database is busy: ${this.#maxWaiting} queries wait already`);
    }
    this.#underWay++;
    try {
      return await fn();
    } finally {
      this.#underWay--;
    }
  }

  #takeLane(): Promise<PostgresClient> {
    const lane = this.#free.pop();
    if (lane !== undefined) return Promise.resolve(lane);
    return new Promise((resolve, reject) => {
      const waiter: LaneWaiter = {
        start: (lane) => {
          clearTimeout(timer);
          resolve(lane);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        reject(
          new DatabaseTimeoutError(`waited ${this.#statementLimit} ms for a connection to ${this.where}`),
        );
      }, this.#statementLimit);
      this.#waiting.push(waiter);
    });
  }

  #giveLane(lane: PostgresClient): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(lane);
    else next.start(lane);
  }
}
