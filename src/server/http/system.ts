// What every listener has: state, figures, and on HTTPS the description of the interface.

import type { Route } from "../../contract/routes.ts";
import type { Metrics } from "../metrics.ts";
import type { ServerState } from "../state.ts";
import type { Store } from "../store/mod.ts";
import type { App } from "./mount.ts";
import { openApi } from "./openapi.ts";

export interface SystemRouteOptions {
  store: Store;
  state: ServerState;
  metrics: Metrics;
  /** Whether the listeners are open. */
  ready(): boolean;
}

/** Longest wait for the database when somebody asks for the health, in milliseconds. */
const pingLimit = 2000;

/** Paths of {@link mountSystem} and {@link mountOpenApi}, for the answers to other methods. */
export const systemPaths = [
  { method: "GET", path: "/healthz" },
  { method: "GET", path: "/metrics" },
] as const;
export const openApiPath = { method: "GET", path: "/api/v1/openapi.json" } as const;

export function mountSystem(app: App, { store, state, metrics, ready }: SystemRouteOptions): void {
  app.get("/healthz", async () => {
    const database = await answers(store);
    const healthy = database && ready();
    const body = {
      status: healthy ? "ok" : "unavailable",
      state: state.current,
      database: database ? "ok" : "unavailable",
      listeners: ready() ? "open" : "closed",
    };
    return new Response(JSON.stringify(body), {
      status: healthy ? 200 : 503,
      headers: { "content-type": "application/json", "cache-control": "no-store" },
    });
  });

  app.get("/metrics", async () =>
    new Response(await metrics.registry.metrics(), {
      headers: { "content-type": metrics.registry.contentType, "cache-control": "no-store" },
    }));
}

export function mountOpenApi(app: App, routes: readonly Route[], version: string): void {
  const document = JSON.stringify(openApi(routes, version));
  app.get(
    openApiPath.path,
    () => new Response(document, { headers: { "content-type": "application/json" } }),
  );
}

async function answers(store: Store): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), pingLimit);
  try {
    // A database that does not answer is what is asked here: the reason stands in the log of whoever needed it.
    return await Promise.race([store.ping().then(() => true, () => false), late]);
  } finally {
    clearTimeout(timer);
  }
}
