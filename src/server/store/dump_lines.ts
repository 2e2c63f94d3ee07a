// The form in which a database is written down, the same for both databases: JSON lines.
//
//   {"format":"zonebench-database","version":1,"migrations":["base","download"]}     the first line
//   {"table":"vehicles","columns":["vin","status"]}                                  a table begins
//   ["KMHZB00BENCH00001",null]                                                       its rows, each value as PostgreSQL's text
//   {"sequence":"telemetry_seq_seq","last_value":"17","is_called":true}              where numbering goes on
//   {"end":true,"tables":1,"rows":1}                                                 the last line: nothing is missing
//
// Values are PostgreSQL's text forms in UTC, so no precision is lost on the way, whichever database reads them.
import { z } from "zod";
import { quote, StoreError } from "./errors.ts";

/** The form's number; another one is another program's. */
export const dumpVersion = 1;

/** Longest line in bytes: PostgreSQL could store longer ones, the program never does. */
export const maxDumpLine = 64 * 1024 * 1024;

/** PostgreSQL's NAMEDATALEN - 1 bytes; the program's own names are of these characters. */
const name = z.string().regex(/^[a-z_][a-z0-9_]{0,62}$/);
const count = z.int().min(0);

const header = z.strictObject({
  format: z.literal("zonebench-database"),
  version: z.literal(dumpVersion),
  migrations: z.array(z.string().min(1).max(200)).max(10_000),
});
const table = z.strictObject({ table: name, columns: z.array(name).min(1).max(1600) });
const sequence = z.strictObject({
  sequence: name,
  last_value: z.string().regex(/^-?\d{1,19}$/),
  is_called: z.boolean(),
});
const end = z.strictObject({ end: z.literal(true), tables: count, rows: count });

export type DumpHeader = z.infer<typeof header>;
export type DumpTable = z.infer<typeof table>;
export type DumpSequence = z.infer<typeof sequence>;

/** What is not the dump of a database, or not a whole one. */
export class DumpError extends StoreError {
  override name = "DumpError";
}

/** What a line said. Of a row, which is JSON already, the text is kept. */
export type DumpLine =
  | { kind: "header"; header: DumpHeader }
  | { kind: "table"; table: DumpTable }
  | { kind: "row"; text: string }
  | { kind: "sequence"; sequence: DumpSequence }
  | { kind: "end" };

/** Reads a dump line by line and holds each against what came before. */
export class DumpReader {
  #line = 0;
  #header: DumpHeader | undefined;
  #tables = new Set<string>();
  #columns = 0;
  #rows = 0;
  #ended = false;

  /** The first line, once it has come. */
  get header(): DumpHeader | undefined {
    return this.#header;
  }

  get tables(): number {
    return this.#tables.size;
  }

  get rows(): number {
    return this.#rows;
  }

  /** @throws {DumpError} for a line that does not belong there */
  read(text: string): DumpLine {
    this.#line++;
    if (this.#ended) throw this.#wrong("nothing after the last line", text);
    const value = this.#json(text);
    if (this.#header === undefined) {
      this.#header = this.#is(header, value, "the dump's first line, of a version that this program knows");
      return { kind: "header", header: this.#header };
    }
    if (Array.isArray(value)) return this.#row(value, text);
    if (typeof value === "object" && value !== null) {
      if ("table" in value) return this.#table(this.#is(table, value, "a table"));
      if ("sequence" in value) {
        return { kind: "sequence", sequence: this.#is(sequence, value, "a sequence") };
      }
      if ("end" in value) return this.#end(this.#is(end, value, "the last line"));
    }
    throw this.#wrong("a table, a row, a sequence or the end", text);
  }

  /** Says that there are no more lines. @throws {DumpError} when the last one has not come */
  finish(): void {
    if (!this.#ended) {
      throw new DumpError(
        `the database's dump is cut off after line ${this.#line}: its last line is missing`,
      );
    }
  }

  #json(text: string): unknown {
    try {
      return JSON.parse(text);
    } catch {
      throw this.#wrong("JSON", text);
    }
  }

  #is<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw this.#wrong(what, JSON.stringify(value));
  }

  #table(it: DumpTable): DumpLine {
    if (this.#tables.has(it.table)) throw this.#wrong("each table once", it.table);
    if (new Set(it.columns).size !== it.columns.length) {
      throw this.#wrong(`each column of ${it.table} once`, it.columns.join(" "));
    }
    this.#tables.add(it.table);
    this.#columns = it.columns.length;
    return { kind: "table", table: it };
  }

  #row(values: readonly unknown[], text: string): DumpLine {
    if (this.#tables.size === 0) throw this.#wrong("a table before its rows", text);
    if (values.length !== this.#columns) throw this.#wrong(`${this.#columns} values`, text);
    if (values.some((value) => value !== null && typeof value !== "string")) {
      throw this.#wrong("text or null in each column", text);
    }
    this.#rows++;
    return { kind: "row", text };
  }

  #end({ tables, rows }: z.infer<typeof end>): DumpLine {
    if (tables !== this.#tables.size || rows !== this.#rows) {
      throw this.#wrong(`${this.#tables.size} tables and ${this.#rows} rows`, `${tables} and ${rows}`);
    }
    this.#ended = true;
    return { kind: "end" };
  }

  #wrong(expected: string, got: string): DumpError {
    return new DumpError(`the database's dump, line ${this.#line}: expected ${expected}, got ${quote(got)}`);
  }
}

/** Puts lines together from bytes as they come. */
export class LineSplitter {
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });
  #begun: Uint8Array[] = [];
  #size = 0;

  /**
   * The lines that these bytes end.
   * @throws {DumpError} for a line that is too long or no UTF-8
   */
  *push(bytes: Uint8Array): Generator<string, void, void> {
    let from = 0;
    for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, from)) {
      yield this.#line(bytes.subarray(from, at));
      from = at + 1;
    }
    if (from === bytes.length) return;
    // The bytes may be used again by whoever gave them.
    this.#begun.push(bytes.slice(from));
    this.#size += bytes.length - from;
    if (this.#size > maxDumpLine) {
      throw new DumpError(
        `the database's dump: expected lines of ${maxDumpLine} bytes at most, got a longer one`,
      );
    }
  }

  /** Says that no more bytes come. @throws {DumpError} in mid-line */
  finish(): void {
    if (this.#size > 0) throw new DumpError("the database's dump is cut off in mid-line");
  }

  #line(last: Uint8Array): string {
    const whole = new Uint8Array(this.#size + last.length);
    let at = 0;
    for (const part of [...this.#begun, last]) {
      whole.set(part, at);
      at += part.length;
    }
    this.#begun = [];
    this.#size = 0;
    try {
      return this.#decoder.decode(whole);
    } catch (cause) {
      throw new DumpError("the database's dump: expected UTF-8, got other bytes", { cause });
    }
  }
}

/** The lines of a stream. @throws {DumpError} */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, void> {
  const splitter = new LineSplitter();
  for await (const chunk of chunks) yield* splitter.push(chunk);
  splitter.finish();
}
