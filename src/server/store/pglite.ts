// The driver for the embedded database: PGlite (PostgreSQL in WebAssembly) in a worker of its own, under a directory.
import { join } from "node:path";
import type { Database, Param, Sql, TransactionOptions } from "./database.ts";
import { lockDirectory } from "./directory_lock.ts";
import type { DirectoryLock } from "./directory_lock.ts";
import { DatabaseTimeoutError, DatabaseUnavailableError, QueryError, StoreError } from "./errors.ts";
import type { WorkerReply, WorkerRequest } from "./pglite_protocol.ts";
import { Turns } from "./turn.ts";
import { encodeParams, toRows } from "./wire.ts";

export interface PgliteOptions {
  /** Where the database lives; made when absent. */
  directory: string;
  /** How long one statement may take, in ms. @default 30000 */
  statementLimit?: number;
  /** How long opening may take, in ms; the first time makes the database, which takes seconds. @default 120000 */
  openLimit?: number;
  /** How long a query may wait for its turn, in ms. @default 30000 */
  waitLimit?: number;
  /** How many queries may wait for a turn; more are refused. @default 10000 */
  maxWaiting?: number;
  /** Ends the wait for the database to open. */
  signal?: AbortSignal;
}

/** How long closing may take before the worker is ended as it is; the write-ahead log makes that safe. */
const CLOSE_LIMIT = 5000;

/**
 * Opens the database in `directory`, making it when there is none.
 * @throws DatabaseLockedError when another program has it open
 * @throws DatabaseUnavailableError when it does not open, with the reason
 */
export async function openPglite(options: PgliteOptions): Promise<Database> {
  const { directory, signal, openLimit = 120_000 } = options;
  signal?.throwIfAborted();
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  const lock = await lockDirectory(directory);
  try {
    const path = join(directory, "pg");
    await makeWhole(directory, path, openLimit, signal);
    const engine = await Engine.open(path, openLimit, signal);
    return new PgliteDatabase(engine, path, lock, options);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** Makes the database files under another name first: a first start that is cut off leaves nothing that looks whole. */
async function makeWhole(
  directory: string,
  path: string,
  limit: number,
  signal?: AbortSignal,
): Promise<void> {
  try {
    await Deno.stat(path);
    return;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const draft = join(directory, "pg.new");
  await Deno.remove(draft, { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  const engine = await Engine.open(draft, limit, signal);
  await engine.close();
  await Deno.rename(draft, path);
}

/**
 * Removes PostgreSQL's own lock file. A full disk leaves it empty, and an empty one is taken for that of another server for ever;
 * there is none, as whoever opens the database holds the directory's lock.
 */
async function removeLockFile(path: string): Promise<void> {
  try {
    await Deno.remove(join(path, "postmaster.pid"));
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new DatabaseUnavailableError(`the embedded database in ${path} does not open: ${reason}`, {
      cause,
    });
  }
}

interface Pending {
  resolve(rows: unknown[]): void;
  reject(error: Error): void;
  limit: number;
}

/** One worker with one open database: statements in, rows out, in order. It ends for good on the first fault. */
class Engine {
  #worker: Worker;
  #pending = new Map<number, Pending>();
  #nextId = 1;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ended: StoreError | null = null;
  #control: { resolve(): void; reject(error: Error): void } | null = null;

  private constructor() {
    this.#worker = new Worker(new URL("./pglite_worker.ts", import.meta.url), {
      type: "module",
      name: "database",
    });
    this.#worker.addEventListener("message", (event: MessageEvent<WorkerReply>) => this.#receive(event.data));
    this.#worker.addEventListener("error", (event) => {
      // Handled here: without this Deno ends the whole program with the worker.
      event.preventDefault();
      this.end(new DatabaseUnavailableError(`the embedded database crashed: ${event.message}`));
    });
    this.#worker.addEventListener("messageerror", () => {
      this.end(new DatabaseUnavailableError("the embedded database sent something unreadable"));
    });
  }

  static async open(path: string, limit: number, signal?: AbortSignal): Promise<Engine> {
    await removeLockFile(path);
    signal?.throwIfAborted();
    const engine = new Engine();
    const abort = () =>
      engine.end(new DatabaseUnavailableError("opening the embedded database was cancelled"));
    signal?.addEventListener("abort", abort, { once: true });
    try {
      await engine.#ask({ kind: "open", path }, limit, `opening the embedded database in ${path}`);
      return engine;
    } catch (error) {
      engine.end(new DatabaseUnavailableError(`the embedded database in ${path} does not open`));
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Why it ended, or null while it works. */
  get ended(): StoreError | null {
    return this.#ended;
  }

  query(text: string, params: (string | null)[], limit: number): Promise<unknown[]> {
    if (this.#ended) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#pending.set(id, { resolve, reject, limit });
      // The limit counts from when a statement's turn in the worker comes, so only the first one's clock runs.
      if (this.#pending.size === 1) this.#watch();
      this.#post({ kind: "query", id, text, params });
    });
  }

  /** Closes the database and ends the worker. */
  async close(): Promise<void> {
    if (this.#ended) return;
    try {
      await this.#ask({ kind: "close" }, CLOSE_LIMIT, "closing the embedded database");
    } finally {
      this.end(new DatabaseUnavailableError("the database is closed"));
    }
  }

  /** Ends the worker as it stands; whoever waits is rejected with `reason`. */
  end(reason: StoreError): void {
    if (this.#ended) return;
    this.#ended = reason;
    clearTimeout(this.#timer);
    this.#worker.terminate();
    for (const { reject } of this.#pending.values()) reject(reason);
    this.#pending.clear();
    this.#control?.reject(reason);
    this.#control = null;
  }

  #post(request: WorkerRequest): void {
    this.#worker.postMessage(request);
  }

  async #ask(request: WorkerRequest, limit: number, what: string): Promise<void> {
    if (this.#ended) throw this.#ended;
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#control = { resolve, reject };
        timer = setTimeout(
          () => reject(new DatabaseTimeoutError(`${what} took longer than ${limit} ms`)),
          limit,
        );
        this.#post(request);
      });
    } finally {
      clearTimeout(timer);
      this.#control = null;
    }
  }

  #watch(): void {
    clearTimeout(this.#timer);
    const [first] = this.#pending.values();
    if (first === undefined) return;
    this.#timer = setTimeout(() => {
      // WebAssembly cannot be interrupted from outside: the worker is ended, as after a crash, and a new one takes over.
      this.end(new DatabaseTimeoutError(`a statement took longer than ${first.limit} ms`));
    }, first.limit);
  }

  #receive(reply: WorkerReply): void {
    switch (reply.kind) {
      case "opened":
      case "closed":
        this.#control?.resolve();
        return;
      case "rows":
        this.#settle(reply.id)?.resolve(toRows(reply.columns, reply.values));
        return;
      case "error": {
        if (reply.id === null) {
          this.#control?.reject(new DatabaseUnavailableError(`the embedded database: ${reply.message}`));
          return;
        }
        const { message, sqlState, constraint, fatal } = reply;
        const pending = this.#settle(reply.id);
        if (sqlState !== null) {
          pending?.reject(new QueryError(`${message} (SQLSTATE ${sqlState})`, sqlState, constraint));
          // As when its log cannot be written: every further statement would wait for ever.
          if (fatal) this.end(new DatabaseUnavailableError(`the embedded database failed: ${message}`));
          return;
        }
        // No SQLSTATE: not the statement but the engine failed (out of memory, an I/O fault, an abort). It is not
        // trusted any further; a new worker recovers from the write-ahead log.
        const fault = new DatabaseUnavailableError(`the embedded database failed: ${message}`);
        pending?.reject(fault);
        this.end(fault);
        return;
      }
    }
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    this.#watch();
    return pending;
  }
}

class PgliteDatabase implements Database {
  readonly kind = "pglite";
  #engine: Engine;
  #turns: Turns;
  #statementLimit: number;
  #openLimit: number;
  #reopening: Promise<Engine> | null = null;
  #closing: Promise<void> | null = null;

  constructor(
    engine: Engine,
    private readonly path: string,
    private readonly lock: DirectoryLock,
    options: PgliteOptions,
  ) {
    this.#engine = engine;
    this.#statementLimit = options.statementLimit ?? 30_000;
    this.#openLimit = options.openLimit ?? 120_000;
    this.#turns = new Turns({
      maxWaiting: options.maxWaiting ?? 10_000,
      waitLimit: options.waitLimit ?? 30_000,
    });
  }

  async query<Row>(text: string, params: readonly Param[] = []): Promise<Row[]> {
    const encoded = encodeParams(params);
    const done = await this.#turns.take(false);
    try {
      const engine = await this.#working();
      return await engine.query(text, encoded, this.#statementLimit) as Row[];
    } finally {
      done();
    }
  }

  async transaction<T>(fn: (tx: Sql) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    const limit = options.limit ?? 30_000;
    const done = await this.#turns.take(true);
    try {
      return await this.#transaction(await this.#working(), fn, limit);
    } finally {
      done();
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #transaction<T>(engine: Engine, fn: (tx: Sql) => Promise<T>, limit: number): Promise<T> {
    const statementLimit = Math.max(limit, this.#statementLimit);
    let open = true;
    let refused: { error: unknown } | null = null;
    let expire: ((error: Error) => void) | undefined;
    const expired = new Promise<never>((_, reject) => expire = reject);
    // The limit may pass while "begin" is under way and nobody listens yet.
    expired.catch(() => {});
    const timer = setTimeout(() => {
      open = false;
      expire?.(new DatabaseTimeoutError(`a transaction took longer than ${limit} ms`));
    }, limit);
    const tx: Sql = {
      query: async <Row>(text: string, params: readonly Param[] = []): Promise<Row[]> => {
        if (!open) throw new StoreError("the transaction has ended");
        try {
          return await engine.query(text, encodeParams(params), statementLimit) as Row[];
        } catch (error) {
          refused ??= { error };
          throw error;
        }
      },
    };
    try {
      await engine.query("begin", [], statementLimit);
      const value = await Promise.race([fn(tx), expired]);
      open = false;
      // PostgreSQL answers a commit after a failed statement with a silent rollback.
      if (refused !== null) throw (refused as { error: unknown }).error;
      await engine.query("commit", [], statementLimit);
      return value;
    } catch (error) {
      open = false;
      if (engine.ended === null) await engine.query("rollback", [], statementLimit);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** The engine, or a new one in place of one that crashed. */
  async #working(): Promise<Engine> {
    if (this.#closing) throw new DatabaseUnavailableError("the database is closed");
    if (this.#engine.ended === null) return this.#engine;
    this.#reopening ??= Engine.open(this.path, this.#openLimit);
    try {
      this.#engine = await this.#reopening;
    } finally {
      this.#reopening = null;
    }
    if (!this.#closing) return this.#engine;
    await this.#engine.close();
    throw new DatabaseUnavailableError("the database is closed");
  }

  async #close(): Promise<void> {
    // What has its turn already is waited for; what still waits for one is rejected.
    const drained = this.#turns.close(new DatabaseUnavailableError("the database is closed"));
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, CLOSE_LIMIT));
    await Promise.race([drained, late]);
    clearTimeout(timer);
    try {
      await this.#engine.close();
    } finally {
      await this.lock.release();
    }
  }
}
