// Mounts routes of the contract: each request is checked against its route, in a fixed order, before a handler sees it.

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Context, Hono } from "hono";
import type { z } from "zod";
import * as id from "../../contract/identifiers.ts";
import { describeIssues } from "../../contract/problem.ts";
import type { Route } from "../../contract/routes.ts";
import { directorFile, imageFile } from "../../contract/uptane.ts";
import type { Logger } from "../../log.ts";
import { describeError } from "../../log.ts";
import type { Identity } from "../identity.ts";
import type { Metrics } from "../metrics.ts";
import type { ServerState } from "../state.ts";
import type { Vehicle } from "../store/vehicles.ts";
import { accepts, isJson } from "./accept.ts";
import { readJson } from "./body.ts";
import { HttpProblem, problemResponse, toProblem } from "./problem.ts";

/** What node:http hands to each request. */
export interface Bindings {
  incoming: IncomingMessage;
  outgoing: ServerResponse;
}

export type App = Hono<{ Bindings: Bindings }>;

/** The checked request, as a handler gets it. */
export interface Call<R extends Route> {
  readonly path: Readonly<Record<PathParameter<R["path"]>, string>>;
  readonly query: R["query"] extends z.ZodType ? z.output<R["query"]> : undefined;
  readonly body: R["body"] extends z.ZodType ? z.output<R["body"]> : undefined;
  readonly caller: Identity;
  /** The registered vehicle that `{vin}` names. */
  readonly vehicle: "vin" extends PathParameter<R["path"]> ? Vehicle : undefined;
  readonly method: string;
  readonly incoming: IncomingMessage;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
  header(name: string): string | undefined;
}

/** {@link Call} before its parts have their types. */
type CheckedCall =
  & Omit<Call<Route>, "path" | "query" | "body" | "vehicle">
  & {
    path: Record<string, string>;
    query: unknown;
    body: unknown;
    vehicle: Vehicle | undefined;
  };

type PathParameter<P extends string> = P extends `${string}{${infer Name}}${infer Rest}`
  ? Name | PathParameter<Rest>
  : never;

/** A handler gives the answer's body, or a whole response where the route has no JSON answer. */
export type Handler<R extends Route> = (
  call: Call<R>,
) => Promise<R["answer"] extends z.ZodType ? z.input<R["answer"]> : Response>;

export type Mount = <const R extends Route>(route: R, handler: Handler<R>) => void;

export interface MountOptions {
  log: Logger;
  metrics: Metrics;
  state: ServerState;
  /** Who is at the other end of a request's connection. */
  callerOf(incoming: IncomingMessage): Identity;
  /** Finds a vehicle by VIN or gateway id. */
  findVehicle(id: string): Promise<Vehicle | null>;
  /** Largest JSON body. */
  maxBody: number;
  /** Longest pause within a body, in milliseconds. */
  bodyTimeout: number;
}

/** What each path parameter must be. */
const parameters: Readonly<Record<string, z.ZodType<string>>> = {
  vin: id.vehicleId,
  id: id.uuid,
  request_id: id.uuid,
  message_id: id.messageId,
  director_file: directorFile,
  image_file: imageFile,
};

/** Makes `mount` for an app. Options are checked here, once. */
export function mounter(app: App, options: MountOptions): Mount {
  if (!(options.maxBody > 0)) throw new RangeError(`maxBody must be above 0 bytes, got ${options.maxBody}`);
  const { log, metrics, state } = options;

  return function mount<const R extends Route>(route: R, handler: Handler<R>): void {
    const names = [...route.path.matchAll(/\{([a-z_]+)\}/g)].map(([, name]) => name);
    for (const name of names) {
      if (!Object.hasOwn(parameters, name)) {
        throw new TypeError(`${route.id}: no rule for path parameter "${name}"`);
      }
    }
    const pattern = route.path.replaceAll(/\{([a-z_]+)\}/g, ":$1");

    app.on(route.method, pattern, async (context) => {
      const { incoming, outgoing } = context.env;
      const began = performance.now();
      const leave = state.enter("PROCESSING");
      // Who follows an update asks twice a second: what only reads a document is told to those who debug.
      const reads = route.method === "GET" && route.answer !== undefined;
      const tell = reads ? log.debug : log.info;
      outgoing.once("close", () => {
        leave();
        const labels = {
          route: route.id,
          method: context.req.raw.method,
          status: String(outgoing.statusCode),
        };
        metrics.requests.inc(labels);
        metrics.requestSeconds.observe({ route: route.id }, (performance.now() - began) / 1000);
        const took = `${(performance.now() - began).toFixed(1)} ms`;
        tell(outgoing.writableFinished ? "Response sent" : "The client went away", {
          status: outgoing.statusCode,
          took,
        });
      });
      const caller = options.callerOf(incoming);
      tell(`${context.req.raw.method} ${context.req.path}`, { caller: caller.name });
      try {
        const call = await check(route, names, context, caller);
        // check() has held every part against the route's own schemas; the checker cannot follow that from R to here.
        const answer = await handler(call as unknown as Call<R>);
        return answer instanceof Response ? answer : jsonResponse(answer, route.status);
      } catch (error) {
        return refusal(error, context, log);
      }
    });
  };

  /** The checks, in order: who, what they take, where, what they ask, what they sent. */
  async function check(
    route: Route,
    names: readonly string[],
    context: Context<{ Bindings: Bindings }>,
    caller: Identity,
  ): Promise<CheckedCall> {
    const { incoming, outgoing } = context.env;
    checkCaller(route, caller);
    const answers = route.answer ? "application/json" : "application/octet-stream";
    if (!accepts(incoming.headers.accept, answers)) {
      throw new HttpProblem(406, `this answers ${answers}, the client accepts ${incoming.headers.accept}`, {
        code: "not_acceptable",
      });
    }
    const path: Record<string, string> = {};
    for (const name of names) path[name] = pathParameter(name, context.req.param(name) ?? "");
    const query = checkQuery(route, new URL(context.req.url).searchParams);
    const vehicle = path.vin === undefined ? undefined : await vehicleOf(path.vin, caller);
    const body = await checkBody(route, incoming);
    const gone = new AbortController();
    outgoing.once("close", () => {
      if (!outgoing.writableFinished) gone.abort(new DOMException("the client went away", "AbortError"));
    });
    return {
      path,
      query,
      body,
      caller,
      vehicle,
      method: context.req.raw.method,
      incoming,
      signal: gone.signal,
      header: (name) => context.req.header(name),
    };
  }

  async function vehicleOf(name: string, caller: Identity): Promise<Vehicle> {
    if (caller.kind !== "vehicle") {
      const vehicle = await options.findVehicle(name);
      if (!vehicle) throw new HttpProblem(404, `there is no vehicle ${name}`, { code: "vehicle_unknown" });
      return vehicle;
    }
    // A vehicle learns nothing about others: whether the name exists makes no difference to the answer.
    const own = await options.findVehicle(caller.vin);
    if (name !== caller.vin && name !== own?.vmgId) throw otherVehicle(caller, name);
    if (!own) {
      throw new HttpProblem(404, `vehicle ${caller.vin} is not registered`, { code: "vehicle_unknown" });
    }
    return own;
  }

  async function checkBody(route: Route, incoming: IncomingMessage): Promise<unknown> {
    if (route.streamBody) return undefined;
    if (!route.body) return undefined;
    const type = incoming.headers["content-type"];
    if (!isJson(type)) {
      throw new HttpProblem(415, `expected a body of type application/json, got ${type ?? "none"}`, {
        code: "not_json",
        headers: { accept: "application/json" },
      });
    }
    const encoding = incoming.headers["content-encoding"];
    if (encoding !== undefined && encoding !== "identity") {
      throw new HttpProblem(415, `expected a body without content coding, got ${encoding}`, {
        code: "content_coding",
        headers: { "accept-encoding": "identity" },
      });
    }
    const maxBytes = Math.max(options.maxBody, route.maxBody ?? 0);
    const value = await readJson(incoming, { maxBytes, pause: options.bodyTimeout });
    return checked(route.body, value, "body", "invalid_body");
  }
}

/** A vehicle's certificate against another vehicle's name. */
export function otherVehicle(caller: Identity, name: string): HttpProblem {
  return new HttpProblem(403, `the certificate of ${caller.name} does not open ${name}`, {
    code: "vin_mismatch",
  });
}

/** Answers everything that no route took: 405 where the path is known, else 404. */
export function answerTheRest(
  app: App,
  routes: readonly Pick<Route, "method" | "path">[],
  log: Logger,
): void {
  const methods = new Map<string, Set<string>>();
  for (const { method, path } of routes) {
    const pattern = path.replaceAll(/\{([a-z_]+)\}/g, ":$1");
    const known = methods.get(pattern) ?? new Set();
    known.add(method);
    if (method === "GET") known.add("HEAD");
    methods.set(pattern, known);
  }
  for (const [pattern, known] of methods) {
    const allow = [...known].sort().join(", ");
    app.all(pattern, (context) => {
      log.info(`${context.req.raw.method} ${context.req.path}`);
      return problemResponse(
        new HttpProblem(405, `this path takes ${allow}, not ${context.req.raw.method}`, {
          code: "method_not_allowed",
          headers: { allow },
        }),
        context.req.path,
      );
    });
  }
  app.notFound((context) => {
    log.info(`${context.req.raw.method} ${context.req.path}`);
    const problem = new HttpProblem(404, `there is nothing at ${context.req.path}`, { code: "no_such_path" });
    return problemResponse(problem, context.req.path);
  });
  app.onError((error, context) => refusal(error, context, log));
}

function refusal(error: unknown, context: Context<{ Bindings: Bindings }>, log: Logger): Response {
  const known = toProblem(error);
  if (known?.usual) {
    log.debug(`${context.req.raw.method} ${context.req.path}: ${known.message}`, { status: known.status });
  } else if (known && known.status < 500) {
    log.warn(`${context.req.raw.method} ${context.req.path} refused: ${known.message}`, {
      status: known.status,
    });
  } else {
    const where = `${context.req.raw.method} ${context.req.path}`;
    log.error(`${where} failed: ${describeError(known?.cause ?? error)}`, { status: known?.status ?? 500 });
  }
  // What nobody expected is for the log; the client learns that it happened.
  const problem = known ?? new HttpProblem(500, "the server failed on this request", { code: "internal" });
  return problemResponse(problem, context.req.path);
}

function jsonResponse(answer: unknown, status: number): Response {
  return new Response(JSON.stringify(answer), {
    status,
    headers: { "content-type": "application/json", "cache-control": "no-store" },
  });
}

function checkCaller(route: Route, caller: Identity): void {
  if (caller.kind !== "unknown" && route.caller.includes(caller.kind)) return;
  throw new HttpProblem(403, `this route is for: ${route.caller}; the certificate of ${caller.name} is not`, {
    code: "wrong_caller",
  });
}

function pathParameter(name: string, value: string): string {
  return checked(parameters[name], value, "path", "invalid_path", name);
}

function checkQuery(route: Route, search: URLSearchParams): unknown {
  const given: Record<string, string> = {};
  for (const [key, value] of search) {
    if (Object.hasOwn(given, key)) {
      throw new HttpProblem(400, "the query does not fit", {
        code: "invalid_query",
        errors: [{ path: key, message: "stands twice" }],
      });
    }
    Object.defineProperty(given, key, { value, enumerable: true });
  }
  if (route.query) return checked(route.query, given, "query", "invalid_query");
  const [extra] = Object.keys(given);
  if (extra === undefined) return undefined;
  throw new HttpProblem(400, "the query does not fit", {
    code: "invalid_query",
    errors: [{ path: "(top)", message: `unknown field "${extra}"` }],
  });
}

function checked<T>(schema: z.ZodType<T>, value: unknown, what: string, code: string, at?: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const errors = describeIssues(result.error).slice(0, 20);
  if (at !== undefined) { for (const error of errors) error.path = at; }
  throw new HttpProblem(400, `the ${what} does not fit`, { code, errors });
}
