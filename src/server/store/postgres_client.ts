// One npm:postgres client: runs statements, turns its errors into the store's, and is replaced when it does not answer.
// Its own value conversions are switched off in favour of wire.ts.
import postgres from "postgres";
import type { Param } from "./database.ts";
import { DatabaseTimeoutError, DatabaseUnavailableError, QueryError, StoreError } from "./errors.ts";
import { decoders, encodeParams, oid, toRows } from "./wire.ts";

export interface ClientOptions {
  url: string;
  /** Where the URL points, for messages, without the password. */
  where: string;
  connections: number;
  /** In ms. */
  connectLimit: number;
  /** In ms. */
  statementLimit: number;
  /** Whether connections may be renewed while they are idle; not where a transaction's statements come one by one. */
  renewable: boolean;
}

/** How much later than the server's own limit this side gives up: only then is the server or the network gone. */
const GRACE = 5000;

/** Connections to one server. */
export class PostgresClient {
  #sql: postgres.Sql;
  #lost = 0;

  constructor(private readonly options: ClientOptions) {
    this.#sql = this.#connect();
  }

  /** How many connections were lost so far. */
  get lost(): number {
    return this.#lost;
  }

  /** Runs one statement; `limit` is the server's limit on it, in ms. */
  async run<Row>(
    text: string,
    params: readonly Param[],
    limit = this.options.statementLimit,
  ): Promise<Row[]> {
    const encoded = encodeParams(params);
    try {
      const work = this.#sql.unsafe(text, encoded, { prepare: true }).values();
      const result = await withLimit(work, limit + GRACE, "a statement", () => this.abandon());
      const columns = result.columns?.map((column) => column.name) ?? [];
      return toRows(columns, result) as Row[];
    } catch (error) {
      throw this.#translate(error);
    }
  }

  /** Waits up to `seconds` for what runs. */
  async close(seconds: number): Promise<void> {
    await this.#sql.end({ timeout: seconds });
  }

  #connect(): postgres.Sql {
    const { url, connections, connectLimit, statementLimit, renewable } = this.options;
    return postgres(url, {
      max: connections,
      connect_timeout: connectLimit / 1000,
      ...(renewable ? {} : { max_lifetime: null, idle_timeout: 0 }),
      // Saves a query per connection; arrays are not used.
      fetch_types: false,
      types: rawTypes(),
      onnotice: () => {},
      onclose: () => {
        this.#lost++;
      },
      connection: {
        application_name: "zonebench",
        TimeZone: "UTC",
        DateStyle: "ISO, YMD",
        statement_timeout: statementLimit,
        idle_in_transaction_session_timeout: statementLimit,
      },
    });
  }

  /**
   * Leaves the connections as they are and goes on with new ones: nothing comes back on them, or what state they are in is
   * not known. (Cancelling would go to the same silent server.)
   */
  abandon(): void {
    const silent = this.#sql;
    this.#lost++;
    this.#sql = this.#connect();
    // Whatever ends badly here belonged to connections that are given up.
    silent.end({ timeout: 0 }).catch(() => {});
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
    return new DatabaseUnavailableError(`no PostgreSQL at ${this.options.where}: ${detail}; ${check}`, {
      cause,
    });
  }
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

/** The promise, or a DatabaseTimeoutError after `limit` ms; `onLimit` may stop the work. */
export async function withLimit<T>(
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
