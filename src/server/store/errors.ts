// What can go wrong in the store, by cause. A message says what was expected, what came and where; it never carries
// a password or the parameters of a query.

/** The root of this module's errors. */
export class StoreError extends Error {
  override name = "StoreError";
}

/** The database cannot be reached, is closed, or went away while a query waited. Trying again later may help. */
export class DatabaseUnavailableError extends StoreError {
  override name = "DatabaseUnavailableError";
}

/** A query, a transaction or the wait for its turn took longer than its limit. */
export class DatabaseTimeoutError extends StoreError {
  override name = "DatabaseTimeoutError";
}

/** Another program works on the embedded database's directory. */
export class DatabaseLockedError extends StoreError {
  override name = "DatabaseLockedError";
}

/** The database was written by a newer program, or its history of migrations is not this program's. */
export class SchemaVersionError extends StoreError {
  override name = "SchemaVersionError";
  constructor(message: string, readonly found: number, readonly known: number) {
    super(message);
  }
}

/** The database refused a statement. */
export class QueryError extends StoreError {
  override name = "QueryError";
  /** @param sqlState the five characters of PostgreSQL's appendix A, "23505" for a unique violation */
  constructor(
    message: string,
    readonly sqlState: string,
    readonly constraint: string | null = null,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** An argument that no row could hold: wrong form, out of range, an unknown cursor. */
export class InvalidArgumentError extends StoreError {
  override name = "InvalidArgumentError";
  constructor(readonly argument: string, expected: string, got: unknown) {
    super(`${argument}: expected ${expected}, got ${quote(got)}`);
  }
}

/** What was named is not in the store. */
export class NotFoundError extends StoreError {
  override name = "NotFoundError";
  constructor(readonly what: string, readonly id: string) {
    super(`there is no ${what} ${quote(id)}`);
  }
}

/** What should be stored stands against what is there. `existing` is the identifier of what is in the way. */
export class ConflictError extends StoreError {
  override name = "ConflictError";
  constructor(message: string, readonly existing: string) {
    super(message);
  }
}

/** A value for a message: JSON, cut so that a huge input makes no huge message. */
export function quote(value: unknown): string {
  const text = typeof value === "bigint" ? String(value) : JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
