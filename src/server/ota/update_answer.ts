// An update as operators are shown it.

import type { ShownWait } from "../../contract/campaign.ts";
import type { Update as UpdateAnswer } from "../../contract/ota.ts";
import type { Update, UpdateEcu, Vehicle } from "../store/mod.ts";

/** @param vehicle the update's, where it is known */
export function toAnswer(
  update: Update,
  ecus: readonly UpdateEcu[],
  vehicle: Pick<Vehicle, "status"> | null,
): UpdateAnswer {
  const { approvedBy, approvedAt } = update;
  return {
    update_id: update.updateId,
    vin: update.vin,
    package_id: update.packageId,
    initiator: update.initiator,
    status: update.status,
    progress: update.progress,
    error: update.error,
    cancel_requested: update.cancelRequested !== null,
    mode: update.mode,
    attempt: update.attempt,
    attempts: update.attempts,
    retry_of: update.retryOf,
    retried_by: update.retriedBy,
    deadline: update.deadline?.toISOString() ?? null,
    approved: approvedBy === null || approvedAt === null
      ? null
      : { by: approvedBy, at: approvedAt.toISOString() },
    waiting: waitOf(update, vehicle),
    created: update.created.toISOString(),
    last_report: update.lastReport?.toISOString() ?? null,
    ended: update.ended?.toISOString() ?? null,
    ecus: ecus.map((ecu) => ({
      ecu_id: ecu.ecuId,
      zonal_gateway_id: ecu.zonalGatewayId ?? "",
      from_version: ecu.fromVersion ?? "",
      to_version: ecu.toVersion ?? "",
      status: ecu.status,
      progress: ecu.progress,
      step: ecu.step,
      bytes: ecu.bytes,
      speed: ecu.speed,
      time_left: ecu.timeLeft,
      error: ecu.error,
    })),
  };
}

/** What an update waits for; null when it is under way, or over. */
export function waitOf(update: Update, vehicle: Pick<Vehicle, "status"> | null): ShownWait | null {
  const { status, retryAt, attempt, attempts, waitingFor, waitingDetail, deadline } = update;
  if (retryAt !== null) {
    return { for: "retry", detail: `attempt ${attempt + 1} of ${attempts}`, until: retryAt.toISOString() };
  }
  if (waitingFor !== null && waitingDetail !== null) {
    return { for: waitingFor, detail: waitingDetail, until: deadline?.toISOString() ?? null };
  }
  if (status !== "pending") return null;
  const detail = vehicle?.status === "offline"
    ? "the vehicle is offline; it gets the command when it is back"
    : "the vehicle has not taken the command yet";
  return { for: "vehicle", detail, until: deadline?.toISOString() ?? null };
}
