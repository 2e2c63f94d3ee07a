// The plain HTTP listener on a loopback address: health, figures, dashboard. It takes only requests that name it, so that a
// web page cannot reach it through a name that its owner points here (DNS rebinding).

import { createServer, type Server } from "node:http";
import { getRequestListener } from "@hono/node-server";
import { Hono } from "hono";
import type { Logger } from "../../log.ts";
import { describeError } from "../../log.ts";
import { ListenFailed } from "../errors.ts";
import { answerTheRest, type App, type Bindings } from "./mount.ts";
import { HttpProblem, problemResponse } from "./problem.ts";
import type { Route } from "../../contract/routes.ts";

export interface LocalServerOptions {
  /** A loopback address. */
  hostname: string;
  port: number;
  /** Mounts the routes. */
  mount(app: App): Promise<void>;
  /** Every path that `mount` mounts. */
  paths: readonly Pick<Route, "method" | "path">[];
  log: Logger;
}

export interface LocalServer {
  readonly hostname: string;
  readonly port: number;
  stop(): Promise<void>;
}

/**
 * @throws {RangeError} when the address is not a loopback one
 * @throws {ListenFailed} when it cannot be bound
 */
export async function startLocalServer(options: LocalServerOptions): Promise<LocalServer> {
  const { hostname, port, log } = options;
  if (!/^127(?:\.\d{1,3}){3}$/.test(hostname) && hostname !== "::1") {
    throw new RangeError(`the local listener must be on a loopback address, got ${hostname}`);
  }
  const app: App = new Hono<{ Bindings: Bindings }>();
  app.use(async (context, next) => {
    const host = context.req.header("host");
    if (!isOwnHost(host, hostname, server)) {
      log.warn(`Request for host ${host ?? "(none)"} refused: it is not a name of this machine`);
      const problem = new HttpProblem(421, `expected a loopback host, got ${host ?? "none"}`, {
        code: "wrong_host",
      });
      return problemResponse(problem, context.req.path);
    }
    // A page of another origin may send requests here, but must not act or read through them.
    await next();
  });
  await options.mount(app);
  answerTheRest(app, options.paths, log);

  const handle = getRequestListener(app.fetch, { overrideGlobalObjects: false, errorHandler: malformed });
  const server: Server = createServer(
    { maxHeaderSize: 16 * 1024 },
    (incoming, outgoing) => void handle(incoming, outgoing),
  );
  server.headersTimeout = 10_000;
  server.requestTimeout = 30_000;
  server.maxConnections = 128;
  await new Promise<void>((resolve, reject) => {
    server.once(
      "error",
      (cause) =>
        reject(
          new ListenFailed(`the local listener cannot listen on ${hostname}:${port}: ${cause.message}`, {
            cause,
          }),
        ),
    );
    server.listen(port, hostname, resolve);
  });
  server.on("error", (error) => log.error(`The local listener: ${describeError(error)}`));
  const bound = server.address();
  return {
    hostname,
    port: typeof bound === "object" && bound !== null ? bound.port : port,
    stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      return closed;
    },
  };
}

/** Whether a Host field names this listener, by its address or as localhost, with its own port. */
function isOwnHost(host: string | undefined, hostname: string, server: Server): boolean {
  const match = /^(localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::(\d{1,5}))?$/i.exec(host ?? "");
  if (!match) return false;
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : 0;
  const named = match[1].toLowerCase();
  return Number(match[2] ?? 80) === port &&
    (named === "localhost" || named === hostname || named === `[${hostname}]`);
}

/** What cannot even be made a request of. */
export function malformed(error: unknown): Response {
  const detail = error instanceof Error ? error.message : "malformed request";
  return problemResponse(new HttpProblem(400, detail, { code: "malformed_request", close: true }), "/");
}
