// The driver for a PostgreSQL server, over npm:postgres. Its own value conversions are switched off in favour of wire.ts.
import postgres from "postgres";
import type { Database, Param, Sql, TransactionOptions } from "./database.ts";
import { DatabaseTimeoutError, DatabaseUnavailableError, QueryError, StoreError } from "./errors.ts";
import { decoders, encodeParams, oid, toRows } from "./wire.ts";

export interface PostgresOptions {
  /** postgresql://user:password@host:port/database */
  url: string;
  /** How many connections at most. @default 10 */
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

/** How much later than the server's own limit this side gives up: only then is the server or the network gone. */
const GRACE = 5000;

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
  const { connections = 10, connectLimit = 10_000, statementLimit = 30_000, maxWaiting = 10_000 } = options;
  const client = postgres(options.url, {
    max: connections,
    connect_timeout: connectLimit / 1000,
    // Saves a query per connection; arrays are not used.
    fetch_types: false,
    types: rawTypes(),
    onnotice: () => {},
    connection: {
      application_name: "zonebench",
      TimeZone: "UTC",
      DateStyle: "ISO, YMD",
      statement_timeout: statementLimit,
      idle_in_transaction_session_timeout: statementLimit,
    },
  });
  const database = new PostgresDatabase(client, where, statementLimit, maxWaiting);
  try {
    const abort = options.signal;
    abort?.throwIfAborted();
    await Promise.race([database.query("select 1"), ...(abort ? [rejectOnAbort(abort)] : [])]);
  } catch (error) {
    await client.end({ timeout: 0 });
    throw error;
  }
  return database;
}

function rejectOnAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) =>
    signal.addEventListener("abort", () => reject(signal.reason), { once: true })
  );
}

/** Every type as wire.ts has it, and parameters passed as they are (they are text already). */
function rawTypes(): Record<string, postgres.PostgresType> {
  const types: Record<string, postgres.PostgresType> = {};
  for (const type of Object.values(oid)) {
    types[`oid${type}`] = {
      to: type,
      from: [type],
      serialize: (value: unknown) => value,
      parse: decoders[type] ?? ((text: string) => text),
    };
  }
  return types;
}

class PostgresDatabase implements Database {
  readonly kind = "postgresql";
  #underWay = 0;
  #closed = false;

  constructor(
    private readonly client: postgres.Sql,
    private readonly where: string,
    private readonly statementLimit: number,
    private readonly maxWaiting: number,
  ) {}

  async query<Row>(text: string, params: readonly Param[] = []): Promise<Row[]> {
    return await this.#counted(() => this.#run<Row>(this.client, text, params));
  }

  async transaction<T>(fn: (tx: Sql) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    const limit = options.limit ?? 30_000;
    return await this.#counted(async () => {
      let failure: { error: unknown } | null = null;
      const begun = this.client.begin(async (connection) => {
        let open = true;
        let refused: { error: unknown } | null = null;
        const tx: Sql = {
          query: async <Row>(text: string, params: readonly Param[] = []): Promise<Row[]> => {
            if (!open) throw new StoreError("the transaction has ended");
            try {
              return await this.#run<Row>(connection, text, params);
            } catch (error) {
              refused ??= { error };
              throw error;
            }
          },
        };
        try {
          // A longer transaction may also have longer statements; both limits end with it.
          if (limit > this.statementLimit) {
            await tx.query(`set local statement_timeout = ${Math.trunc(limit)}`);
            await tx.query(`set local idle_in_transaction_session_timeout = ${Math.trunc(limit)}`);
          }
          const value = await withLimit(fn(tx), limit, "a transaction");
          // PostgreSQL answers a commit after a failed statement with a silent rollback.
          if (refused !== null) throw (refused as { error: unknown }).error;
          return { value };
        } catch (error) {
          failure = { error };
          throw error;
        } finally {
          open = false;
        }
      });
      try {
        const { value } = await begun;
        return value;
      } catch (error) {
        // What `fn` threw is the caller's own error; anything else came from begin, commit or the connection.
        if (failure !== null && (failure as { error: unknown }).error === error) throw error;
        throw this.#translate(error);
      }
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.client.end({ timeout: CLOSE_SECONDS });
  }

  async #counted<T>(fn: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new DatabaseUnavailableError("the database is closed");
    if (this.#underWay >= this.maxWaiting) {
      throw new DatabaseUnavailableError(`the database is busy: ${this.maxWaiting} queries wait already`);
    }
    this.#underWay++;
    try {
      return await fn();
    } finally {
      this.#underWay--;
    }
  }

  async #run<Row>(on: Pick<postgres.Sql, "unsafe">, text: string, params: readonly Param[]): Promise<Row[]> {
    const encoded = encodeParams(params);
    const query = on.unsafe(text, encoded, { prepare: true }).values();
    try {
      const result = await withLimit(query, this.statementLimit + GRACE, "a statement", () => query.cancel());
      const columns = result.columns?.map((column) => column.name) ?? [];
      return toRows(columns, result) as Row[];
    } catch (error) {
      throw this.#translate(error);
    }
  }

  #translate(error: unknown): unknown {
    if (error instanceof StoreError) return error;
    if (!(error instanceof Error)) return error;
    const code = "code" in error && typeof error.code === "string" ? error.code : "";
    if (error instanceof postgres.PostgresError) {
      // 28: invalid authorization; 3D000: no such database; 57P: server shuts down; 53300: too many connections
      if (/^(28|3D000|57P0[1-5]|53300)/.test(code)) return this.#unreachable(code, error.message, error);
      if (code === "57014") {
        return new DatabaseTimeoutError(`a statement was cancelled: ${error.message}`, { cause: error });
      }
      return new QueryError(`${error.message} (SQLSTATE ${code})`, code, error.constraint_name ?? null, {
        cause: error,
      });
    }
    // Only the code and the kind are kept: the driver's own errors carry its options, with the password.
    const message = error instanceof AggregateError && error.errors.length > 0
      ? String(error.errors[0].message)
      : error.message;
    return this.#unreachable(code, message);
  }

  #unreachable(code: string, reason: string, cause?: Error): DatabaseUnavailableError {
    const detail = code === "" || reason.includes(code) ? reason : `${reason} (${code})`;
    const check = /^28/.test(code)
      ? "check the user and password in database.url"
      : code === "3D000"
      ? "create the database, or correct its name in database.url"
      : "check that PostgreSQL runs there and that database.url is right";
    return new DatabaseUnavailableError(`no PostgreSQL at ${this.where}: ${detail}; ${check}`, { cause });
  }
}

/** The promise, or a DatabaseTimeoutError after `limit` ms; `onLimit` may stop the work. */
async function withLimit<T>(
  work: PromiseLike<T>,
  limit: number,
  what: string,
  onLimit?: () => void,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      onLimit?.();
      reject(new DatabaseTimeoutError(`${what} took longer than ${limit} ms`));
    }, limit);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
