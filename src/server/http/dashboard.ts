// The dashboard's routes: the page, and what happens as server-sent events (HTML standard, section 9.2).

import type { Events, ServerEvent } from "../events.ts";
import type { DiagnosticsService } from "../diagnostics/service.ts";
import type { UpdateService } from "../ota/updates.ts";
import type { Registry } from "../registry.ts";
import type { Store } from "../store/mod.ts";
import { dashboardPage, dashboardPolicy } from "./dashboard_page.ts";
import type { App } from "./mount.ts";
import { HttpProblem, problemResponse } from "./problem.ts";

export interface DashboardOptions {
  store: Store;
  registry: Registry;
  updates: UpdateService;
  diagnostics: DiagnosticsService;
  events: Events;
  /** Aborted when the server stops: the streams end. */
  signal: AbortSignal;
}

/** Watchers at once. */
const maxWatchers = 32;
/** Events that wait for a watcher that reads slowly; more are passed over. */
const maxBehind = 256;
/** Between two comments that keep the connection alive, in milliseconds. */
const keepAlive = 15_000;
/** Least time between two telemetry events of a vehicle, in milliseconds. */
const telemetryInterval = 500;

export const dashboardPaths = [{ method: "GET", path: "/" }, { method: "GET", path: "/events" }] as const;

export async function mountDashboard(app: App, options: DashboardOptions): Promise<void> {
  const policy = await dashboardPolicy();
  let watchers = 0;

  app.get("/", () =>
    new Response(dashboardPage, {
      headers: {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
      },
    }));

  app.get("/events", (context) => {
    if (watchers >= maxWatchers) {
      const problem = new HttpProblem(503, `there are ${maxWatchers} watchers already`, {
        code: "too_many_watchers",
      });
      return problemResponse(problem, context.req.path);
    }
    watchers++;
    const { outgoing } = context.env;
    const gone = new AbortController();
    outgoing.once("close", () => {
      watchers--;
      gone.abort();
    });
    const stream = eventStream(options, AbortSignal.any([gone.signal, options.signal]));
    return new Response(stream, {
      headers: {
        "content-type": "text/event-stream",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
      },
    });
  });
}

function eventStream(options: DashboardOptions, signal: AbortSignal): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const lastTelemetry = new Map<string, number>();
  return new ReadableStream({
    async start(controller) {
      const send = (text: string) => {
        if ((controller.desiredSize ?? 0) > -maxBehind) controller.enqueue(encoder.encode(text));
      };
      let ended = false;
      const early: ServerEvent[] = [];
      let ready = false;
      const deliver = (event: ServerEvent) => {
        if (event.type === "telemetry") {
          const now = Date.now();
          if (now - (lastTelemetry.get(event.vin) ?? 0) < telemetryInterval) return;
          lastTelemetry.set(event.vin, now);
        }
        send(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
      };
      const stopListening = options.events.listen((event) => {
        if (ready) deliver(event);
        else if (early.length < maxBehind) early.push(event);
      });
      const timer = setInterval(() => send(": still here\n\n"), keepAlive);
      const end = () => {
        if (ended) return;
        ended = true;
        stopListening();
        clearInterval(timer);
        controller.close();
      };
      if (signal.aborted) return end();
      signal.addEventListener("abort", end, { once: true });
      try {
        const data = JSON.stringify(await snapshot(options));
        if (ended) return;
        send(`event: snapshot\ndata: ${data}\n\n`);
        ready = true;
        for (const event of early.splice(0)) deliver(event);
      } catch {
        // The database does not answer: the stream ends, and the page tries again.
        end();
      }
    },
  }, { highWaterMark: 16 });
}

async function snapshot({ store, registry, updates, diagnostics }: DashboardOptions) {
  const { vehicles } = await registry.list({ limit: 200, offset: 0 });
  const anomalies = [];
  for (const { vin } of vehicles.slice(0, 20)) {
    anomalies.push(...await store.anomalies.list(vin, { limit: 20 }));
  }
  anomalies.sort((a, b) => b.timestamp.getTime() - a.timestamp.getTime());
  return {
    vehicles: vehicles.map(({ vin, vmg_id, status, verified, current_ip, last_heartbeat }) => ({
      vin,
      vmg_id,
      status,
      verified,
      current_ip,
      last_heartbeat,
    })),
    updates: (await updates.list({ limit: 50, offset: 0 })).updates,
    diagnostics: (await diagnostics.list({ limit: 50, offset: 0 })).results,
    anomalies: anomalies.slice(0, 50),
  };
}
