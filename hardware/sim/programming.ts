// What a simulated ECU expects of whoever programs it: a flash plan, read from the ECU's side.
import { type FlashPlan, type ResolvedFlashPlan, resolveFlashPlan } from "../flash/plan.ts";
import type { MemoryRange } from "../uds/memory_range.ts";
import { Nrc } from "../uds/nrc.ts";
import { Refusal } from "../uds/server_service.ts";
import { memoryRange } from "./memory_request.ts";

/** By what an ECU comes to run what was downloaded. */
export type TakeOver = "check_dependencies" | "ecu_reset" | "check_memory";

/** The plan as the ECU's services ask for it. */
export interface ProgrammingRules {
  readonly plan: ResolvedFlashPlan;
  readonly takenOverBy: TakeOver;
  /** Sessions: for programming, for preparation, both. */
  readonly programming: readonly number[];
  readonly extended: readonly number[];
  readonly nonDefault: readonly number[];
  /** Address and size at `at`, with nothing behind them, in the widths of the plan. @throws {Refusal} 13, 31 */
  range(bytes: Uint8Array, at: number): MemoryRange;
}

/** @throws {RangeError} for a plan that leaves no way to take new software over, or cannot be */
export function programmingRules(ecuId: string, flash: FlashPlan): ProgrammingRules {
  // Which security there is, the ECU's other options say.
  const steps = { ...flash.steps, security_access: false };
  const plan = resolveFlashPlan({ ...flash, steps, seedKey: undefined, authentication: undefined });
  const { programmingSession, extendedSession, skipped } = plan;
  const order: readonly TakeOver[] = ["check_dependencies", "ecu_reset", "check_memory"];
  const takenOverBy = order.find((step) => !skipped.has(step));
  if (takenOverBy === undefined) {
    throw new RangeError(
      `${ecuId} flash.steps: expected one of ${order.join(", ")} for new software to be taken over, got none`,
    );
  }
  const { addressBytes, sizeBytes } = flash;
  return {
    plan,
    takenOverBy,
    programming: [programmingSession],
    extended: [extendedSession],
    nonDefault: [programmingSession, extendedSession],
    range(bytes, at) {
      const found = memoryRange(bytes, at);
      const isOther = (width: number | undefined, got: number) => width !== undefined && width !== got;
      if (isOther(addressBytes, bytes[at] & 0x0f) || isOther(sizeBytes, bytes[at] >> 4)) {
        throw new Refusal(Nrc.requestOutOfRange);
      }
      return found;
    },
  };
}
