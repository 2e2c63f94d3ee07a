// What every repository shares: the connection, the clock and the source of identifiers.
import type { Database, Sql } from "./database.ts";

export interface Context {
  readonly sql: Sql | Database;
  /** The server's clock; every stored time that is not a vehicle's own comes from it. */
  now(): Date;
  /** A new random UUID. */
  newId(): string;
}
