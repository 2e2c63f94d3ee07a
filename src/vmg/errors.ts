// What can go wrong in the gateway itself. What an ECU, the bus or the server said stays below as `cause`.

/** Root of the tree. */
export class VmgError extends Error {
  override readonly name: string = "VmgError";
}

/** The state on disk cannot be used. */
export class StateError extends VmgError {
  override readonly name: string = "StateError";
}

/** Another gateway uses the folder. */
export class StateLockedError extends StateError {
  override readonly name = "StateLockedError";
}

/** What the journal says of an update cannot be believed. */
export class JournalDamagedError extends StateError {
  override readonly name = "JournalDamagedError";
  constructor(message: string, readonly updateId: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** No ECU of that name in this vehicle. */
export class UnknownEcuError extends VmgError {
  override readonly name = "UnknownEcuError";
}

/** The ECU is taken by something that must not be disturbed, or its turn did not come in time. */
export class EcuBusyError extends VmgError {
  override readonly name = "EcuBusyError";
}

/** What leads to an ECU could not be reached. */
export class PathUnreachableError extends VmgError {
  override readonly name: string = "PathUnreachableError";
}

/** The zonal gateway could not be reached. */
export class GatewayUnreachableError extends PathUnreachableError {
  override readonly name = "GatewayUnreachableError";
}

/** The CAN adapter could not be reached. */
export class AdapterUnreachableError extends PathUnreachableError {
  override readonly name = "AdapterUnreachableError";
}

/** A package could not be fetched. */
export class DownloadError extends VmgError {
  override readonly name: string = "DownloadError";
  /** HTTP status, when the server answered. */
  readonly status: number | undefined;
  constructor(message: string, options: ErrorOptions & { status?: number } = {}) {
    super(message, options);
    this.status = options.status;
  }
}

/** Nothing of a package came for as long as it is waited for. */
export class DownloadWithheldError extends DownloadError {
  override readonly name = "DownloadWithheldError";
}

/** A package comes so slowly that it might as well not come. */
export class DownloadSlowError extends DownloadError {
  override readonly name = "DownloadSlowError";
}

/** A package is longer than any that is taken, or does not say how long it is. */
export class DownloadSizeError extends DownloadError {
  override readonly name = "DownloadSizeError";
}

/** A package is not for this vehicle, or not what was asked for. */
export class PackageMismatchError extends VmgError {
  override readonly name = "PackageMismatchError";
}

/** An ECU that is to be updated does not answer. */
export class EcuUnreadableError extends VmgError {
  override readonly name = "EcuUnreadableError";
}

/** What an ECU ran cannot be saved, or what was saved cannot be brought back. */
export class BackupError extends VmgError {
  override readonly name = "BackupError";
}

/** An ECU refuses software of a release below the one that it has committed: trying again changes nothing. */
export class ReleaseRefusedError extends VmgError {
  override readonly name = "ReleaseRefusedError";
}

/** What must hold in the vehicle before ECUs are changed did not hold in time. */
export class ConditionError extends VmgError {
  override readonly name = "ConditionError";
}

/** Nobody approved an update in time. */
export class ApprovalError extends VmgError {
  override readonly name = "ApprovalError";
}

/** Why a wait or a flash was ended: the update is to be cancelled. */
export class CancelRequested extends VmgError {
  override readonly name = "CancelRequested";
}

/** Why a wait or a flash was ended: the gateway stops. */
export class StopRequested extends VmgError {
  override readonly name = "StopRequested";
}

/** The text of an error with those of its causes that say more than it says itself. */
export function explain(error: unknown): string {
  let text = "";
  let at: unknown = error;
  for (let depth = 0; depth < 5 && at !== undefined && at !== null; depth++) {
    const own = at instanceof Error ? at.message || at.name : String(at);
    if (!text.includes(own)) text += `${text === "" ? "" : ": "}${own}`;
    at = at instanceof Error ? at.cause : undefined;
  }
  return text;
}

/** Whether the gateway's state could not be read or written: its disk is full, or fails. */
export function isStateFault(error: unknown): boolean {
  let at = error;
  for (let depth = 0; depth < 5 && at instanceof Error; depth++) {
    if ("code" in at && at.code === "ERR_SQLITE_ERROR") return true;
    at = at.cause;
  }
  return false;
}

/** As {@link explain}, of an error about an ECU: what the bus below says may name an address only. */
export function explainFor(ecuId: string, error: unknown): string {
  const text = explain(error);
  return text.includes(ecuId) ? text : `${ecuId}: ${text}`;
}
