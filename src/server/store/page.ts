// Pages of a list, and checks of arguments. Every list of the store is bounded.
import type { Param, Sql } from "./database.ts";
import { InvalidArgumentError } from "./errors.ts";

/** The most rows that one page may have. */
export const MAX_PAGE = 1000;

export interface PageRequest {
  /** How many rows at most, 1 to 1000. @default 100 */
  limit?: number;
  /** How many rows to pass over. @default 0 */
  offset?: number;
}

export interface Page<T> {
  items: T[];
  /** How many there are in all pages together. */
  total: number;
}

/** The checked limit and offset. */
export function pageBounds(request: PageRequest): { limit: number; offset: number } {
  const { limit = 100, offset = 0 } = request;
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_PAGE) {
    throw new InvalidArgumentError("limit", `a whole number from 1 to ${MAX_PAGE}`, limit);
  }
  return { limit, offset: requireCount("offset", offset) };
}

/** Conditions that hold together, with their parameters; a condition whose value is undefined is left out. */
export class Where {
  readonly params: Param[] = [];
  #conditions: string[] = [];

  /** Adds `condition`, in which `?` stands for the value. */
  and(condition: string, value: Param | undefined): this {
    if (value === undefined) return this;
    this.params.push(value);
    this.#conditions.push(condition.replaceAll("?", `$${this.params.length}`));
    return this;
  }

  toString(): string {
    return this.#conditions.length === 0 ? "" : `where ${this.#conditions.join(" and ")}`;
  }
}

export interface ListQuery {
  columns: string;
  from: string;
  where: Where;
  order: string;
}

/** The rows of one page. */
export async function selectRows<T>(sql: Sql, query: ListQuery, request: PageRequest): Promise<T[]> {
  const { limit, offset } = pageBounds(request);
  const { params } = query.where;
  return await sql.query<T>(
    `select ${query.columns} from ${query.from} ${query.where} order by ${query.order}
     limit $${params.length + 1} offset $${params.length + 2}`,
    [...params, limit, offset],
  );
}

/** The rows of one page, and how many there are in all. */
export async function selectPage<T>(sql: Sql, query: ListQuery, request: PageRequest): Promise<Page<T>> {
  const items = await selectRows<T>(sql, query, request);
  const [count] = await sql.query<{ total: number }>(
    `select count(*) as total from ${query.from} ${query.where}`,
    query.where.params,
  );
  return { items, total: count.total };
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/**
 * Whether a text from outside has the form of a UUID. A look-up by anything else finds nothing; asking the database would
 * fail with a syntax error instead.
 */
export function isUuid(text: string): boolean {
  return UUID.test(text);
}

/** A whole number from `least`, checked. */
export function requireCount(argument: string, value: number, least = 0): number {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new InvalidArgumentError(argument, `a whole number from ${least}`, value);
  }
  return value;
}
