// An update and its ECUs as they stand in the database: stages, columns, and what goes in and comes out.
import type { PageRequest } from "./page.ts";

/**
 * The stages in their order. A report moves an update forward only; the last three end it, and nothing follows them.
 * Further stages go in where they belong.
 */
export const stages = {
  pending: { rank: 0, final: false },
  accepted: { rank: 1, final: false },
  downloading: { rank: 2, final: false },
  verifying: { rank: 3, final: false },
  installing: { rank: 4, final: false },
  completed: { rank: 5, final: true },
  failed: { rank: 5, final: true },
  cancelled: { rank: 5, final: true },
} as const;

export type UpdateStatus = keyof typeof stages;
export type EcuUpdateStatus =
  | "pending"
  | "installing"
  | "completed"
  | "failed"
  | "cancelled"
  | "rolled_back";

/** What lets an update begin. */
export type UpdateMode = "forced" | "when-parked" | "approve";

/** What one ECU is to get. */
export interface UpdateEcuInput {
  ecuId: string;
  zonalGatewayId?: string | null;
  imageId?: string | null;
  fromVersion?: string | null;
  toVersion?: string | null;
}

export interface UpdateInput {
  vin: string;
  initiator: "operator" | "vehicle";
  packageId?: string | null;
  /** What was asked for; null for every outdated ECU. @default null */
  requestedEcus?: readonly string[] | null;
  /** @default "forced" */
  mode?: UpdateMode;
  /** Which attempt it is. @default 1 */
  attempt?: number;
  /** How many there may be. @default 1 */
  attempts?: number;
  /** The attempt before. @default null */
  retryOf?: string | null;
  /** When it must have been activated. @default null, no limit */
  deadline?: Date | null;
  /** Who approved it at an earlier attempt. @default null */
  approvedBy?: "operator" | "vehicle" | null;
  ecus: readonly UpdateEcuInput[];
}

export interface UpdateEcu {
  ecuId: string;
  zonalGatewayId: string | null;
  imageId: string | null;
  fromVersion: string | null;
  toVersion: string | null;
  status: EcuUpdateStatus;
  progress: number;
  step: string | null;
  bytes: number | null;
  speed: number | null;
  timeLeft: number | null;
  error: string | null;
  updated: Date;
}

export interface Update {
  updateId: string;
  vin: string;
  initiator: "operator" | "vehicle";
  packageId: string | null;
  requestedEcus: string[] | null;
  status: UpdateStatus;
  progress: number;
  error: string | null;
  created: Date;
  /** When the vehicle last reported, by the server's clock. */
  lastReport: Date | null;
  ended: Date | null;
  cancelRequested: Date | null;
  mode: UpdateMode;
  attempt: number;
  attempts: number;
  retryOf: string | null;
  retriedBy: string | null;
  /** When the next attempt begins, where one is to. */
  retryAt: Date | null;
  deadline: Date | null;
  approvedAt: Date | null;
  approvedBy: "operator" | "vehicle" | null;
  /** What the vehicle waits for, by its last report. */
  waitingFor: "approval" | "parked" | "conditions" | null;
  waitingDetail: string | null;
}

export interface UpdateWithEcus extends Update {
  /** By ecu_id. */
  ecus: UpdateEcu[];
}

export interface EcuProgress {
  ecuId: string;
  status: EcuUpdateStatus;
  progress: number;
  step?: string | null;
  /** Bytes that the step is through with; not given: there are none to tell of. */
  bytes?: number | null;
  /** Bytes per second. */
  speed?: number | null;
  /** Seconds. */
  timeLeft?: number | null;
  error?: string | null;
}

export interface UpdateReport {
  updateId: string;
  /** Of the vehicle that reports: another vehicle's update is not found. */
  vin: string;
  status: UpdateStatus;
  progress: number;
  error?: string | null;
  ecus?: readonly EcuProgress[];
  /** What the vehicle waits for. @default null, nothing */
  waiting?: { for: "approval" | "parked" | "conditions"; detail: string } | null;
  /** Who approved it, as far as the vehicle knows. */
  approvedBy?: "operator" | "vehicle";
}

/**
 * What a report did. `applied`: stored, forward or in the same stage; `behind`: older than what is known (a sign of life, its
 * ECU rows still count where they are ahead); `ended`: the update had ended, nothing changed; `unknown`: this vehicle has no
 * such update.
 */
export type ReportOutcome =
  | { outcome: "applied" | "behind" | "ended"; update: Update; before: UpdateStatus }
  | { outcome: "unknown" };

export interface UpdateFilter extends PageRequest {
  vin?: string;
  status?: UpdateStatus;
  /** True: only those that have not ended. */
  active?: boolean;
}

/** Columns of an {@link Update}. */
export const updateColumns =
  `update_id, vin, initiator, package_id, requested_ecus, status, progress, error, created, last_report, ended,
  cancel_requested, mode, attempt, attempts, retry_of, retried_by, retry_at, deadline, approved_at, approved_by,
  waiting_for, waiting_detail`;
/** Columns of an {@link UpdateEcu}. */
export const ecuColumns =
  `ecu_id, zonal_gateway_id, image_id, from_version, to_version, status, progress, step, bytes, speed, time_left, error,
  updated`;

/** Whether nothing comes after this status. */
export function isFinal(status: UpdateStatus): boolean {
  return stages[status].final;
}
