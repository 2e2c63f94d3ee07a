// The messages between the program and the worker in which the embedded database runs.

/** Must be the first. */
export interface OpenRequest {
  kind: "open";
  /** PGlite's data directory. */
  path: string;
}

/** One statement with its parameters in text form. */
export interface QueryRequest {
  kind: "query";
  id: number;
  text: string;
  params: (string | null)[];
}

export interface CloseRequest {
  kind: "close";
}

export type WorkerRequest = OpenRequest | QueryRequest | CloseRequest;

export interface OpenedReply {
  kind: "opened";
}

export interface RowsReply {
  kind: "rows";
  id: number;
  columns: string[];
  values: unknown[][];
}

/** A statement that the database refused, or (with `id` null) a database that does not open or close. */
export interface ErrorReply {
  kind: "error";
  id: number | null;
  message: string;
  sqlState: string | null;
  constraint: string | null;
  /** Whether the engine ends with it. */
  fatal: boolean;
}

export interface ClosedReply {
  kind: "closed";
}

export type WorkerReply = OpenedReply | RowsReply | ErrorReply | ClosedReply;
