// RoutineControl (0x31) of a simulated ECU: the routines that its flash plan names, and what each does.
import { Buffer } from "node:buffer";
import { sameBytes } from "../same_bytes.ts";
import { decodeMemoryRange, takeNumber } from "../uds/memory_range.ts";
import { Nrc } from "../uds/nrc.ts";
import { Refusal, type ServerRequest, type ServiceDefinition } from "../uds/server_service.ts";
import { positiveOffset, RoutineControl, Session, Sid } from "../uds/services.ts";
import type { BootLoader } from "./boot_loader.ts";
import { resumeRecord } from "./memory_request.ts";
import type { ProgrammingRules } from "./programming.ts";

/** What the routines work on. */
export interface RoutineParts {
  readonly boot: BootLoader;
  readonly programming: ProgrammingRules;
  session(): number;
  /** @throws {Refusal} 33 or 34 while the way to programming is closed */
  checkProgrammingAccess(): void;
  reset(): void;
  /** The routine that signs version reports, if there is one. */
  readonly versionReport: {
    readonly routine: number;
    /** @throws {Refusal} 13, 22 */
    answer(option: Uint8Array): Promise<Uint8Array>;
  } | undefined;
  readonly log: (message: string) => void;
}

/** What a routine asks for before it starts, and what it does. */
interface RoutineDefinition {
  sessions: readonly number[];
  secured: boolean;
  /** @returns whether it went well, or what stands behind the status byte that says so */
  start: (option: Uint8Array, request: ServerRequest) => boolean | Uint8Array | Promise<boolean | Uint8Array>;
}

const nothing: Uint8Array = new Uint8Array();

/** 0x31 */
export function routineService(ecu: RoutineParts): ServiceDefinition {
  const routines = routinesOf(ecu);
  const { routineOk } = ecu.programming.plan;
  return {
    subFunctions: new Map([[RoutineControl.start, { minLength: 4 }]]),
    handle: async (request) => {
      const { bytes } = request;
      const head = bytes.slice(0, 4);
      const routine = routines.get(head[2] << 8 | head[3]);
      // A routine that the active session does not have is out of range, not a wrong session (14.2.4).
      if (routine === undefined || !routine.sessions.includes(ecu.session())) {
        throw new Refusal(Nrc.requestOutOfRange);
      }
      if (routine.secured) ecu.checkProgrammingAccess();
      const result = await routine.start(bytes.slice(4), request);
      const status = result === false ? (routineOk + 1) & 0xff : routineOk;
      const record = result instanceof Uint8Array ? result : nothing;
      const sid = Sid.routineControl + positiveOffset;
      return Uint8Array.of(sid, head[1] & 0x7f, head[2], head[3], status, ...record);
    },
  };
}

function routinesOf(ecu: RoutineParts): Map<number, RoutineDefinition> {
  const { boot, programming: { plan, takenOverBy, programming, nonDefault } } = ecu;
  const secured = { sessions: programming, secured: true };
  const routines = new Map<number, RoutineDefinition>();
  const { versionReport } = ecu;
  if (versionReport !== undefined) {
    routines.set(versionReport.routine, {
      sessions: [Session.default, ...nonDefault],
      secured: false,
      start: (option) => versionReport.answer(option),
    });
  }
  // What a plan names for something else goes before the usual numbers of these.
  routines.set(plan.activateRoutine, {
    ...secured,
    start: (option) => {
      if (option.length !== 0 && option.length !== 4) {
        throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
      }
      boot.activate(option.length === 0 ? undefined : takeNumber(option, 0, 4));
      return true;
    },
  });
  // What ends a trial is asked of the application that is on trial.
  for (
    const [routine, start] of [
      [plan.confirmRoutine, () => boot.confirm()],
      [plan.rollBackRoutine, () => boot.rollBack()],
      [plan.commitRoutine, () => boot.giveUpOld()],
    ] as const
  ) {
    routines.set(routine, {
      sessions: nonDefault,
      secured: true,
      start: (option) => {
        if (option.length !== 0) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
        start();
        return true;
      },
    });
  }
  for (const condition of plan.preconditions) {
    if (!("routine" in condition)) continue;
    const { routine, option = nothing } = condition;
    routines.set(routine, {
      sessions: nonDefault,
      secured: false,
      start: (given) => {
        if (given.length !== option.length) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
        if (!sameBytes(given, option)) throw new Refusal(Nrc.requestOutOfRange);
        return true;
      },
    });
  }
  routines.set(plan.eraseRoutine, { ...secured, start: (option) => erase(ecu, option) });
  routines.set(plan.callRoutine, { ...secured, start: (option) => call(ecu, option) });
  if (!plan.skipped.has("check_memory")) {
    routines.set(plan.checkMemoryRoutine, {
      ...secured,
      start: async (option, request) => {
        const right = await checkMemory(ecu, option);
        if (takenOverBy !== "check_memory" || !boot.checked) return right;
        return await takeOver(ecu, undefined, request);
      },
    });
  }
  if (!plan.skipped.has("check_dependencies")) {
    routines.set(plan.checkDependenciesRoutine, {
      ...secured,
      start: (option, request) => takeOver(ecu, versionIn(ecu, option), request),
    });
  }
  if (plan.resume !== false && "routine" in plan.resume) {
    routines.set(plan.resume.routine, { ...secured, start: () => resumeRecord(boot, plan) });
  }
  return routines;
}

async function erase(
  { boot, programming: { plan, range } }: RoutineParts,
  option: Uint8Array,
): Promise<boolean> {
  if (plan.erase === "all" && sameBytes(option, plan.eraseOption)) {
    await boot.eraseAll();
    return true;
  }
  const { address, size } = range(option, 0);
  await boot.erase(address, size);
  return true;
}

/** A secondary boot loader: there is no processor that could run it, so that it is there is all that is asked. */
function call({ boot, programming: { plan }, log }: RoutineParts, option: Uint8Array): boolean {
  if (option.length !== plan.addressBytes) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
  const address = takeNumber(option, 0, plan.addressBytes);
  if (!boot.holds(address)) throw new Refusal(Nrc.requestOutOfRange);
  log(`software called at 0x${address.toString(16).toUpperCase().padStart(8, "0")}`);
  return true;
}

/** Bytes of a checksum. */
const checkLength = { sha256: 32, crc32: 4, crc16: 2, none: 0 } as const;

async function checkMemory({ boot, programming }: RoutineParts, option: Uint8Array): Promise<boolean> {
  const { checkMethod, checkScope } = programming.plan;
  const length = checkLength[checkMethod];
  if (checkScope === "image") {
    if (option.length !== length) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
    return await boot.checkMemory(option, checkMethod);
  }
  const at = decodeMemoryRange(option, 0)?.length ?? option.length;
  if (option.length !== at + length) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
  const { address, size } = programming.range(option.slice(0, at), 0);
  return await boot.checkMemory(option.slice(at), checkMethod, { address, length: size });
}

/** The version that the option record tells; undefined where the plan has other bytes for it. @throws {Refusal} 31 */
function versionIn({ programming: { plan } }: RoutineParts, option: Uint8Array): string | undefined {
  if (plan.checkDependenciesOption !== "version") {
    if (!sameBytes(option, plan.checkDependenciesOption)) throw new Refusal(Nrc.requestOutOfRange);
    return undefined;
  }
  const version = Buffer.from(option).toString("latin1");
  // The version is what F189 will say: text that a fixed-width field takes.
  if (!/^[\x21-\x7e]{1,32}$/.test(version)) throw new Refusal(Nrc.requestOutOfRange);
  return version;
}

async function takeOver(
  { boot, programming, reset }: RoutineParts,
  version: string | undefined,
  { afterAnswer }: ServerRequest,
): Promise<boolean> {
  const taken = await boot.commit(version);
  // Where nobody sends a reset, the ECU restarts by itself.
  if (taken && programming.plan.skipped.has("ecu_reset")) afterAnswer(reset);
  return taken;
}
