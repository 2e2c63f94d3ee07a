// What happens, for those who watch: the dashboard and the broker. Nothing is kept; the store is the truth.

export interface VehicleEvent {
  type: "vehicle";
  vin: string;
  /** Absent: as it was. */
  status?: "online" | "offline";
  /** Whether the ECUs' keys bear out the newest report; absent: as it was. */
  verified?: boolean;
}

export interface TelemetryEvent {
  type: "telemetry";
  vin: string;
  timestamp: string;
  metrics: Record<string, number>;
}

export interface AnomalyEvent {
  type: "anomaly";
  vin: string;
  timestamp: string;
  metric: string;
  rule: string;
  value: number;
  message: string;
}

export interface UpdateEvent {
  type: "update";
  vin: string;
  update_id: string;
  status: string;
  progress: number;
  mode: string;
  attempt: number;
  attempts: number;
  /** What it waits for. */
  waiting: { for: string; detail: string; until: string | null } | null;
}

export interface DiagnosticEvent {
  type: "diagnostic";
  vin: string;
  request_id: string;
  ecu_id: string;
  service_id: string;
  status: string;
  response_data: string | null;
}

export type ServerEvent = VehicleEvent | TelemetryEvent | AnomalyEvent | UpdateEvent | DiagnosticEvent;

/** Hands each event to everyone who listens, at once. */
export class Events {
  readonly #listeners = new Set<(event: ServerEvent) => void>();

  /** @returns a function that ends it */
  listen(listener: (event: ServerEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  emit(event: ServerEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
