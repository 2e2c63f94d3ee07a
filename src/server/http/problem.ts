// The one error class of the REST interface and how it, and what the modules below throw, becomes an answer (RFC 9457).

import { CodecBusyError } from "../../codec/errors.ts";
import { type Problem, problemMediaType } from "../../contract/problem.ts";
import { isBrokenDisk, isFullDisk } from "../files.ts";
import {
  ConflictError,
  DatabaseTimeoutError,
  DatabaseUnavailableError,
  InvalidArgumentError,
  NotFoundError,
  QueryError,
} from "../store/errors.ts";
import { PayloadMissing } from "../ota/catalogue.ts";
import { PackageFileMissing } from "../ota/packages.ts";
import { NotPublished } from "../uptane/director.ts";
import { RoleKeysMissing } from "../uptane/role_signers.ts";
import { TooManyTimes } from "../uptane/time_server.ts";

/** Titles of the statuses that this server answers with (RFC 9110 section 15, RFC 4918 for 507). */
const titles: Readonly<Record<number, string>> = {
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  406: "Not Acceptable",
  408: "Request Timeout",
  409: "Conflict",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  416: "Range Not Satisfiable",
  421: "Misdirected Request",
  412: "Precondition Failed",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  503: "Service Unavailable",
  507: "Insufficient Storage",
};

export interface HttpProblemOptions extends ErrorOptions {
  /** Short name for programs, e.g. `vin_mismatch`. */
  code?: string;
  errors?: Problem["errors"];
  headers?: Record<string, string>;
  /** The connection cannot be used for another request. */
  close?: boolean;
  /** Nothing is wrong: the protocol has its clients ask until there is no more. @default false */
  usual?: boolean;
}

/** A request that is refused. */
export class HttpProblem extends Error {
  override readonly name = "HttpProblem";
  readonly code: string | undefined;
  readonly errors: Problem["errors"];
  readonly headers: Record<string, string>;
  readonly usual: boolean;

  constructor(readonly status: number, detail: string, options: HttpProblemOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code;
    this.errors = options.errors;
    this.usual = options.usual ?? false;
    this.headers = { ...options.headers, ...(options.close ? { connection: "close" } : {}) };
  }
}

/** What the modules below threw, as a problem; undefined for what nobody expected. */
export function toProblem(error: unknown): HttpProblem | undefined {
  if (error instanceof HttpProblem) return error;
  if (error instanceof NotFoundError) {
    return new HttpProblem(404, error.message, { code: "not_found", cause: error });
  }
  if (error instanceof ConflictError) {
    return new HttpProblem(409, error.message, { code: "conflict", cause: error });
  }
  if (error instanceof InvalidArgumentError) {
    return new HttpProblem(400, error.message, { code: "invalid_argument", cause: error });
  }
  if (error instanceof DatabaseUnavailableError || error instanceof DatabaseTimeoutError) {
    return new HttpProblem(503, "the database does not answer", {
      code: "database_unavailable",
      headers: { "retry-after": "5" },
      cause: error,
    });
  }
  if (error instanceof CodecBusyError) {
    return new HttpProblem(503, "too many images are being compressed and packages built", {
      code: "busy",
      headers: { "retry-after": "10" },
      cause: error,
    });
  }
  // Where it should be stands in the log.
  if (error instanceof PackageFileMissing || error instanceof PayloadMissing) {
    return new HttpProblem(503, "a file that this needs is not on the server's disk", {
      code: "file_missing",
      cause: error,
    });
  }
  if (error instanceof NotPublished) {
    return new HttpProblem(409, error.message, { code: "not_published", cause: error });
  }
  if (error instanceof RoleKeysMissing) {
    return new HttpProblem(503, error.message, { code: "role_keys_missing", cause: error });
  }
  if (error instanceof TooManyTimes) {
    return new HttpProblem(429, error.message, {
      code: "too_many_times",
      headers: { "retry-after": String(error.wait) },
      cause: error,
    });
  }
  // What the database says of its own disk: PostgreSQL, appendix A, classes 53 and 58.
  const sqlState = error instanceof QueryError ? error.sqlState : undefined;
  if (isFullDisk(error) || sqlState === "53100") {
    return new HttpProblem(507, "there is no room left on the server's disk: make some, and try again", {
      code: "disk_full",
      close: true,
      cause: error,
    });
  }
  if (isBrokenDisk(error) || sqlState === "58030") {
    return new HttpProblem(503, "the server's disk fails: look at its log and its disk, and try again", {
      code: "disk_failed",
      close: true,
      cause: error,
    });
  }
  return undefined;
}

/** The answer for a problem. @param instance path that was asked for */
export function problemResponse(problem: HttpProblem, instance: string): Response {
  const { status, code, errors, message } = problem;
  const body: Problem = {
    type: code === undefined ? "about:blank" : `urn:zonebench:problem:${code}`,
    title: titles[status] ?? "Error",
    status,
    detail: message,
    instance,
    ...(code === undefined ? {} : { code }),
    ...(errors === undefined ? {} : { errors }),
  };
  return new Response(JSON.stringify(body), {
    status,
    headers: { "content-type": problemMediaType, "cache-control": "no-store", ...problem.headers },
  });
}
