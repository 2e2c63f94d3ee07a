// Calls routes of the contract over a dispatcher that the caller hands in, and checks both what goes out and what
// comes back.

import { Readable } from "node:stream";
import { type Dispatcher, request } from "undici";
import type { z } from "zod";
import { describeIssues, type Problem, problem, problemMediaType } from "./problem.ts";
import { pathOf, type Route } from "./routes.ts";

/** What a good answer of a route carries. */
export type Answer<R extends Route> = R["answer"] extends z.ZodType ? z.output<R["answer"]> : undefined;

export interface CallOptions<R extends Route> {
  path?: Record<string, string>;
  query?: R["query"] extends z.ZodType ? z.input<R["query"]> : never;
  body?: R["body"] extends z.ZodType ? z.input<R["body"]> : never;
  signal?: AbortSignal;
}

export interface RestClientOptions {
  /** e.g. `https://localhost:8443` */
  origin: string;
  /** Opens the connections; it decides on certificates and trust. */
  dispatcher: Dispatcher;
  /** Longest wait for the answer's head, and between two parts of its body, in milliseconds. @default 30000 */
  timeout?: number;
}

/** Longest JSON answer that is read, in bytes. */
const maxAnswer = 64 * 1024 * 1024;

/** The server refused: its problem details say why. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";
  readonly status: number;
  readonly code: string | undefined;
  constructor(readonly route: string, readonly problem: Problem) {
    const places = problem.errors?.map((e) => `${e.path}: ${e.message}`).join("; ");
    super(`${problem.detail || problem.title}${places ? ` (${places})` : ""}`);
    this.status = problem.status;
    this.code = problem.code;
  }
}

/** The answer is not what the contract says. */
export class AnswerError extends Error {
  override readonly name = "AnswerError";
  /** @param status HTTP status, where it is what did not fit */
  constructor(message: string, readonly status?: number, options?: ErrorOptions) {
    super(message, options);
  }
}

export class RestClient {
  readonly #origin: string;
  readonly #dispatcher: Dispatcher;
  readonly #timeout: number;

  constructor(options: RestClientOptions) {
    this.#origin = new URL(options.origin).origin;
    this.#dispatcher = options.dispatcher;
    this.#timeout = options.timeout ?? 30_000;
    if (!(this.#timeout > 0)) throw new RangeError(`timeout must be above 0 ms, got ${this.#timeout}`);
  }

  /**
   * Calls a route with a JSON body, if it has one.
   * @throws {ProblemError} when the server refuses; other errors when it cannot be reached
   */
  async call<R extends Route>(route: R, options: CallOptions<R> = {}): Promise<Answer<R>> {
    return await this.#send(route, options.path, options.query, options.body, options.signal);
  }

  /** Calls a route whose body is a byte stream. */
  async upload<R extends Route>(
    route: R,
    options: Omit<CallOptions<R>, "body"> & { stream: AsyncIterable<Uint8Array>; timeout?: number },
  ): Promise<Answer<R>> {
    const response = await this.#request(route, options.path, options.query, {
      body: Readable.from(options.stream),
      headers: { "content-type": "application/octet-stream" },
      signal: options.signal,
      // The answer comes once the whole file is stored and checked.
      headersTimeout: options.timeout ?? this.#timeout,
    });
    return await this.#answer(route, response);
  }

  /**
   * Sends a JSON body, if there is one, and opens the answer as a byte stream. The caller reads or destroys it.
   * @throws {ProblemError} for any status that is not in `expected`
   */
  async open(
    route: Route,
    options: {
      path?: Record<string, string>;
      body?: unknown;
      headers?: Record<string, string>;
      expected?: readonly number[];
      signal?: AbortSignal;
    } = {},
  ): Promise<Dispatcher.ResponseData> {
    const response = await this.#request(route, options.path, undefined, {
      ...jsonBody(options.body, options.headers),
      signal: options.signal,
    });
    if ((options.expected ?? [200]).includes(response.statusCode)) return response;
    throw await this.#refusal(route, response);
  }

  async #send<R extends Route>(
    route: R,
    path: Record<string, string> | undefined,
    query: unknown,
    body: unknown,
    signal: AbortSignal | undefined,
  ): Promise<Answer<R>> {
    const response = await this.#request(route, path, query, {
      ...jsonBody(body),
      signal,
    });
    return await this.#answer(route, response);
  }

  #request(
    route: Route,
    path: Record<string, string> | undefined,
    query: unknown,
    options: Partial<Dispatcher.RequestOptions>,
  ): Promise<Dispatcher.ResponseData> {
    const search = new URLSearchParams();
    for (const [key, value] of Object.entries(query ?? {})) {
      if (value !== undefined) search.set(key, String(value));
    }
    const url = `${this.#origin}${pathOf(route, path)}${search.size > 0 ? `?${search}` : ""}`;
    return request(url, {
      headersTimeout: this.#timeout,
      bodyTimeout: this.#timeout,
      ...options,
      dispatcher: this.#dispatcher,
      method: route.method,
    });
  }

  async #answer<R extends Route>(route: R, response: Dispatcher.ResponseData): Promise<Answer<R>> {
    if (response.statusCode !== route.status) throw await this.#refusal(route, response);
    const text = await readText(route, response);
    if (!route.answer) return undefined as Answer<R>;
    const parsed = route.answer.safeParse(parseJson(route, text));
    if (!parsed.success) {
      const places = describeIssues(parsed.error).map((e) => `${e.path}: ${e.message}`).join("; ");
      throw new AnswerError(`${route.id}: the answer does not fit the contract: ${places}`);
    }
    return parsed.data as Answer<R>;
  }

  async #refusal(route: Route, response: Dispatcher.ResponseData): Promise<Error> {
    const text = await readText(route, response);
    if (String(response.headers["content-type"] ?? "").startsWith(problemMediaType)) {
      const parsed = problem.safeParse(parseJson(route, text));
      if (parsed.success) return new ProblemError(route.id, parsed.data);
    }
    return new AnswerError(
      `${route.id}: expected status ${route.status}, got ${response.statusCode}: ${text.slice(0, 200)}`,
      response.statusCode,
    );
  }
}

function jsonBody(
  body: unknown,
  headers: Record<string, string> = {},
): Pick<Dispatcher.RequestOptions, "body" | "headers"> {
  return body === undefined
    ? { headers }
    : { body: JSON.stringify(body), headers: { ...headers, "content-type": "application/json" } };
}

async function readText(route: Route, response: Dispatcher.ResponseData): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of response.body) {
    size += part.length;
    if (size > maxAnswer) {
      response.body.destroy();
      throw new AnswerError(`${route.id}: the answer is longer than ${maxAnswer} bytes`);
    }
    parts.push(part);
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return new TextDecoder().decode(whole);
}

function parseJson(route: Route, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AnswerError(
      `${route.id}: expected JSON, got ${JSON.stringify(text.slice(0, 200))}`,
      undefined,
      { cause },
    );
  }
}
