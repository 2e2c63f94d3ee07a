// What the server counts, as Prometheus reads it.

import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { activities, type State } from "./state.ts";

export interface Metrics {
  readonly registry: Registry;
  readonly requests: Counter<"route" | "method" | "status">;
  readonly requestSeconds: Histogram<"route">;
  readonly messages: Counter<"channel" | "transport" | "result">;
  readonly telemetryStored: Counter;
  readonly telemetryBatchSize: Histogram;
  readonly telemetryQueue: Gauge;
  readonly anomalies: Counter<"rule">;
  readonly versionReports: Counter<"result">;
  readonly attacks: Counter<"check">;
  readonly commands: Counter<"command" | "result">;
  readonly updatesEnded: Counter<"status">;
  readonly downloadBytes: Counter;
  readonly deltas: Counter<"result">;
  readonly savedBytes: Counter;
  readonly connections: Gauge<"listener">;
  readonly refused: Counter<"listener" | "reason">;
  readonly maintenanceRuns: Counter<"task" | "result">;
  readonly vehicles: Gauge<"status">;
  readonly activeUpdates: Gauge;
  showState(state: State): void;
}

/** The server's own registry: two servers in one process do not share figures. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const state = new Gauge({
    name: "zonebench_server_state",
    help: "1 for the state that the server is in",
    labelNames: ["state"],
    registers,
  });
  const metrics: Metrics = {
    registry,
    requests: new Counter({
      name: "zonebench_http_requests_total",
      help: "Answered HTTP requests",
      labelNames: ["route", "method", "status"],
      registers,
    }),
    requestSeconds: new Histogram({
      name: "zonebench_http_request_duration_seconds",
      help: "Time from the request's head to the end of the answer",
      labelNames: ["route"],
      buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60],
      registers,
    }),
    messages: new Counter({
      name: "zonebench_messages_total",
      help: "Messages from vehicles",
      labelNames: ["channel", "transport", "result"],
      registers,
    }),
    telemetryStored: new Counter({
      name: "zonebench_telemetry_stored_total",
      help: "Telemetry messages that are in the database",
      registers,
    }),
    telemetryBatchSize: new Histogram({
      name: "zonebench_telemetry_batch_size",
      help: "Telemetry messages in one transaction",
      buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000],
      registers,
    }),
    telemetryQueue: new Gauge({
      name: "zonebench_telemetry_queue",
      help: "Telemetry messages that wait for the database",
      registers,
    }),
    anomalies: new Counter({
      name: "zonebench_anomalies_total",
      help: "Anomalies found in telemetry",
      labelNames: ["rule"],
      registers,
    }),
    versionReports: new Counter({
      name: "zonebench_version_reports_total",
      help: "Reports of vehicles by what their ECUs' keys say of them: verified, unverified, refused",
      labelNames: ["result"],
      registers,
    }),
    attacks: new Counter({
      name: "zonebench_attacks_total",
      help: "Attacks that the server saw in a report, or that ECUs report, by the check that failed",
      labelNames: ["check"],
      registers,
    }),
    commands: new Counter({
      name: "zonebench_commands_total",
      help: "Commands to vehicles",
      labelNames: ["command", "result"],
      registers,
    }),
    updatesEnded: new Counter({
      name: "zonebench_updates_ended_total",
      help: "Updates that ended",
      labelNames: ["status"],
      registers,
    }),
    downloadBytes: new Counter({
      name: "zonebench_download_bytes_total",
      help: "Bytes of packages that were sent",
      registers,
    }),
    deltas: new Counter({
      name: "zonebench_deltas_total",
      help: "Images for which a delta was looked for: made, reused, too_large or failed",
      labelNames: ["result"],
      registers,
    }),
    savedBytes: new Counter({
      name: "zonebench_delta_saved_bytes_total",
      help: "Bytes by which deltas made the packages smaller that were built",
      registers,
    }),
    connections: new Gauge({
      name: "zonebench_connections",
      help: "Open connections",
      labelNames: ["listener"],
      registers,
    }),
    refused: new Counter({
      name: "zonebench_refused_total",
      help: "Connections and clients that were refused",
      labelNames: ["listener", "reason"],
      registers,
    }),
    maintenanceRuns: new Counter({
      name: "zonebench_maintenance_runs_total",
      help: "Runs of maintenance tasks",
      labelNames: ["task", "result"],
      registers,
    }),
    vehicles: new Gauge({
      name: "zonebench_vehicles",
      help: "Registered vehicles",
      labelNames: ["status"],
      registers,
    }),
    activeUpdates: new Gauge({
      name: "zonebench_active_updates",
      help: "Updates that have not ended",
      registers,
    }),
    showState(shown) {
      for (const name of ["IDLE", ...activities]) state.set({ state: name }, name === shown ? 1 : 0);
    },
  };
  metrics.showState("IDLE");
  return metrics;
}
