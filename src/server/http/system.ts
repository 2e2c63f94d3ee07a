// What every listener has: state, figures, and on HTTPS the description of the interface.

import { statfs } from "node:fs/promises";
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
  /** Folders that the server writes into. */
  folders: readonly string[];
  /** Whether the listeners are open. */
  ready(): boolean;
}

/** Longest wait for the database when somebody asks for the health, in milliseconds. */
const pingLimit = 2000;

/** With less room than this on a disk, or for fewer files, the next upload or the database may find none. */
const room = { bytes: 100 * 2 ** 20, files: 1000 } as const;

/** Paths of {@link mountSystem} and {@link mountOpenApi}, for the answers to other methods. */
export const systemPaths = [
  { method: "GET", path: "/healthz" },
  { method: "GET", path: "/metrics" },
] as const;
export const openApiPath = { method: "GET", path: "/api/v1/openapi.json" } as const;

export function mountSystem(app: App, { store, state, metrics, folders, ready }: SystemRouteOptions): void {
  app.get("/healthz", async () => {
    const database = await answers(store);
    const healthy = database && ready();
    // No reason to be taken out of service: what needs no room goes on.
    const disk = await diskOf(folders);
    const body = {
      status: !healthy ? "unavailable" : disk === "ok" ? "ok" : "degraded",
      state: state.current,
      database: database ? "ok" : "unavailable",
      listeners: ready() ? "open" : "closed",
      disk,
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

async function diskOf(folders: readonly string[]): Promise<"ok" | "nearly full" | "unavailable"> {
  try {
    const found = await Promise.all(folders.map((folder) => statfs(folder)));
    // Some file systems do not count files.
    const enough = found.every(({ bavail, bsize, files, ffree }) =>
      bavail * bsize >= room.bytes && (files === 0 || ffree >= room.files)
    );
    return enough ? "ok" : "nearly full";
  } catch {
    // A folder that is gone is what is asked here; whoever needs it says why in the log.
    return "unavailable";
  }
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
