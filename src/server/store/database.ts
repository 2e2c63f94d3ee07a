// The two databases behind one face: SQL in, typed rows out. Drivers implement it, repositories stand on it.

/**
 * A value bound to `$1`, `$2`, … . Both drivers send every value as PostgreSQL's text form and let the server infer the
 * type from the statement, so the same SQL means the same on both. JSON goes through `json()`.
 */
export type Param = string | number | bigint | boolean | Date | Uint8Array | null;

/**
 * Runs statements. A result's column named in snake_case arrives in camelCase, and each SQL type has one JavaScript type:
 *
 * | SQL | JavaScript |
 * |---|---|
 * | boolean | boolean |
 * | smallint, integer, real, double precision | number |
 * | bigint | number; bigint where the number would not be exact (beyond ±2⁵³−1) |
 * | timestamptz, timestamp (read as UTC) | Date |
 * | json, jsonb | the parsed value |
 * | bytea | Uint8Array |
 * | numeric, text, uuid and every other | string |
 */
export interface Sql {
  /**
   * Runs one statement. `Row` is the caller's promise about the columns that the statement selects.
   * @throws QueryError, DatabaseUnavailableError, DatabaseTimeoutError
   */
  query<Row>(text: string, params?: readonly Param[]): Promise<Row[]>;
}

export interface TransactionOptions {
  /** How long the whole transaction may take, in ms, before it is rolled back. @default 30000 */
  limit?: number;
}

/** A database. */
export interface Database extends Sql {
  readonly kind: "postgresql" | "pglite";
  /**
   * Runs `fn` in a transaction: committed when it resolves, rolled back when it rejects or exceeds its limit. Inside, only
   * `tx` may be used; the embedded database has one connection, so a query beside it would wait for itself.
   */
  transaction<T>(fn: (tx: Sql) => Promise<T>, options?: TransactionOptions): Promise<T>;
  /** Waits for what runs (a few seconds at most), then closes. Later calls reject. */
  close(): Promise<void>;
}

/**
 * A value for a `json` or `jsonb` parameter. PostgreSQL refuses U+0000 and lone surrogates in jsonb; JSON.stringify writes
 * both as escapes, and they become U+FFFD so that one odd character from outside does not lose the whole row.
 */
export function json(value: unknown): string {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`expected a JSON value, got ${typeof value}`);
  if (!/\\u(?:0000|d[89a-f])/.test(text)) return text;
  return text.replace(
    /(\\\\)|\\u(?:0000|d[89a-f][0-9a-f]{2})/g,
    (_, escaped?: string) => escaped ?? "\\ufffd",
  );
}

/** Runs `fn` in a transaction of its own, or in the one that `sql` already is. */
export function atomically<T>(sql: Sql | Database, fn: (tx: Sql) => Promise<T>): Promise<T> {
  return "transaction" in sql ? sql.transaction(fn) : fn(sql);
}
