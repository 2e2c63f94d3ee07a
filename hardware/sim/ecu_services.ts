// The diagnostic services of a simulated ECU: which are there, in which session and behind which security level.
import { Buffer } from "node:buffer";
import { Nrc } from "../uds/nrc.ts";
import { decodeMemoryRange } from "../uds/memory_range.ts";
import {
  Refusal,
  type ServerRequest,
  type ServiceConditions,
  type ServiceDefinition,
} from "../uds/server_service.ts";
import {
  CommunicationControl,
  DtcSetting,
  positiveOffset,
  ResetType,
  Routine,
  RoutineControl,
  Session,
  Sid,
} from "../uds/services.ts";
import type { BootLoader } from "./boot_loader.ts";
import type { DtcMemory } from "./dtc_memory.ts";
import type { FlashMemory } from "./flash_memory.ts";

/** A data identifier of the ECU. */
export interface DataIdentifier {
  /** Its data now. @throws {Refusal} when it cannot be given */
  read?: () => Uint8Array;
  /** Takes new data. @throws {Refusal} */
  write?: (data: Uint8Array) => void;
}

/** What the services work on. */
export interface EcuParts {
  readonly memory: FlashMemory;
  readonly boot: BootLoader;
  readonly dtcs: DtcMemory;
  readonly dids: ReadonlyMap<number, DataIdentifier>;
  /** Level that unlocks programming. */
  readonly securityLevel: number;
  readonly maxBlockLength: number;
  readonly readMemorySecured: boolean;
  session(): number;
  /** Whether that level is unlocked. */
  isUnlocked(): boolean;
  /** Whether the application runs, not the boot loader alone. */
  applicationRuns(): boolean;
  setDtcSetting(on: boolean): void;
  setCommunication(control: number): void;
  reset(): void;
}

const nonDefault = [Session.programming, Session.extended];
const programming = [Session.programming];
// More identifiers than any ECU takes in one request; the answer must stay of a length that a bus carries.
const maxDids = 32;
const longestAnswer = 0xffff;

/** The services by their identifier. */
export function ecuServices(ecu: EcuParts): Map<number, ServiceDefinition> {
  const applicationRuns = () => ecu.applicationRuns();
  return new Map<number, ServiceDefinition>([
    [Sid.ecuReset, resetService(ecu)],
    [Sid.clearDiagnosticInformation, ecu.dtcs.clearService(applicationRuns)],
    [Sid.readDtcInformation, ecu.dtcs.readService(applicationRuns)],
    [Sid.readDataByIdentifier, readService(ecu)],
    [Sid.readMemoryByAddress, readMemoryService(ecu)],
    [Sid.communicationControl, communicationService(ecu)],
    [Sid.writeDataByIdentifier, writeService(ecu)],
    [Sid.routineControl, routineService(ecu)],
    [Sid.requestDownload, downloadService(ecu)],
    [Sid.transferData, transferService(ecu)],
    [Sid.requestTransferExit, exitService(ecu)],
    [Sid.controlDtcSetting, dtcSettingService(ecu)],
  ]);
}

function resetService(ecu: EcuParts): ServiceDefinition {
  const two: ServiceConditions = { maxLength: 2 };
  return {
    subFunctions: new Map([[ResetType.hard, two], [ResetType.keyOffOn, two], [ResetType.soft, two]]),
    handle: ({ subFunction, afterAnswer }) => {
      afterAnswer(() => ecu.reset());
      return Uint8Array.of(Sid.ecuReset + positiveOffset, subFunction);
    },
  };
}

function readService(ecu: EcuParts): ServiceDefinition {
  return {
    minLength: 3,
    maxLength: 1 + 2 * maxDids,
    handle: ({ bytes }) => {
      if (bytes.length % 2 === 0) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
      const answer: number[] = [Sid.readDataByIdentifier + positiveOffset];
      for (let at = 1; at < bytes.length; at += 2) {
        const data = ecu.dids.get(bytes[at] << 8 | bytes[at + 1])?.read?.();
        // Of several, those that are not supported are left out; none of them supported is 31 (11.2.4).
        if (data !== undefined) answer.push(bytes[at], bytes[at + 1], ...data);
      }
      if (answer.length === 1) throw new Refusal(Nrc.requestOutOfRange);
      return Uint8Array.from(answer);
    },
  };
}

function writeService(ecu: EcuParts): ServiceDefinition {
  return {
    sessions: nonDefault,
    minLength: 4,
    handle: ({ bytes }) => {
      const did = ecu.dids.get(bytes[1] << 8 | bytes[2]);
      if (did?.write === undefined) throw new Refusal(Nrc.requestOutOfRange);
      did.write(bytes.slice(3));
      return Uint8Array.of(Sid.writeDataByIdentifier + positiveOffset, bytes[1], bytes[2]);
    },
  };
}

function readMemoryService(ecu: EcuParts): ServiceDefinition {
  return {
    securityLevel: ecu.readMemorySecured ? ecu.securityLevel : undefined,
    minLength: 4,
    handle: ({ bytes }) => {
      const { address, size } = memoryRange(bytes, 1);
      const region = ecu.memory.regionOf(address, size);
      if (region === undefined || size > longestAnswer - 1) throw new Refusal(Nrc.requestOutOfRange);
      const answer = new Uint8Array(1 + size);
      answer[0] = Sid.readMemoryByAddress + positiveOffset;
      ecu.memory.read(ecu.boot.activeBank(region), address, answer.subarray(1));
      return answer;
    },
  };
}

function communicationService(ecu: EcuParts): ServiceDefinition {
  const three: ServiceConditions = { minLength: 3, maxLength: 3 };
  return {
    sessions: nonDefault,
    subFunctions: new Map(Object.values(CommunicationControl).map((control) => [control, three])),
    handle: ({ bytes, subFunction }) => {
      // Annex B.1: bits 0 and 1 say which messages; 0 is reserved.
      if ((bytes[2] & 0x03) === 0) throw new Refusal(Nrc.requestOutOfRange);
      ecu.setCommunication(subFunction);
      return Uint8Array.of(Sid.communicationControl + positiveOffset, subFunction);
    },
  };
}

function dtcSettingService(ecu: EcuParts): ServiceDefinition {
  const two: ServiceConditions = { maxLength: 2 };
  return {
    sessions: nonDefault,
    subFunctions: new Map([[DtcSetting.on, two], [DtcSetting.off, two]]),
    handle: ({ subFunction }) => {
      ecu.setDtcSetting(subFunction === DtcSetting.on);
      return Uint8Array.of(Sid.controlDtcSetting + positiveOffset, subFunction);
    },
  };
}

/** What a routine asks for before it starts, and its status record. */
interface RoutineDefinition {
  sessions: readonly number[];
  secured: boolean;
  start: (ecu: EcuParts, option: Uint8Array) => number | Promise<number>;
}

// Status bytes of the routines' answers.
const correct = 0x00;
const incorrect = 0x01;

const routines: ReadonlyMap<number, RoutineDefinition> = new Map([
  [Routine.checkProgrammingPreconditions, {
    sessions: nonDefault,
    secured: false,
    start: (_ecu, option) => {
      if (option.length > 0) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
      return correct;
    },
  }],
  [Routine.eraseMemory, {
    sessions: programming,
    secured: true,
    start: async (ecu, option) => {
      const { address, size } = memoryRange(option, 0);
      await ecu.boot.erase(address, size);
      return correct;
    },
  }],
  [Routine.checkMemory, {
    sessions: programming,
    secured: true,
    start: async (ecu, option) => {
      if (option.length !== 32) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
      return await ecu.boot.checkMemory(Buffer.from(option).toString("hex")) ? correct : incorrect;
    },
  }],
  [Routine.checkProgrammingDependencies, {
    sessions: programming,
    secured: true,
    start: async (ecu, option) => {
      const version = Buffer.from(option).toString("latin1");
      // The version is what F189 will say: text that a fixed-width field takes.
      if (!/^[\x21-\x7e]{1,32}$/.test(version)) throw new Refusal(Nrc.requestOutOfRange);
      return await ecu.boot.commit(version) ? correct : incorrect;
    },
  }],
]);

function routineService(ecu: EcuParts): ServiceDefinition {
  return {
    subFunctions: new Map([[RoutineControl.start, { minLength: 4 }]]),
    handle: (request) => startRoutine(ecu, request),
  };
}

async function startRoutine(ecu: EcuParts, { bytes }: ServerRequest): Promise<Uint8Array> {
  const routine = routines.get(bytes[2] << 8 | bytes[3]);
  // A routine that the active session does not have is out of range, not a wrong session (14.2.4).
  if (routine === undefined || !routine.sessions.includes(ecu.session())) {
    throw new Refusal(Nrc.requestOutOfRange);
  }
  if (routine.secured && !ecu.isUnlocked()) throw new Refusal(Nrc.securityAccessDenied);
  const answer = Uint8Array.of(Sid.routineControl + positiveOffset, bytes[1] & 0x7f, bytes[2], bytes[3], 0);
  answer[4] = await routine.start(ecu, bytes.slice(4));
  return answer;
}

function downloadService(ecu: EcuParts): ServiceDefinition {
  return {
    sessions: programming,
    securityLevel: ecu.securityLevel,
    minLength: 5,
    handle: ({ bytes }) => {
      // Neither compression nor encryption (15.2.2.2).
      if (bytes[1] !== 0) throw new Refusal(Nrc.requestOutOfRange);
      const { address, size } = memoryRange(bytes, 2);
      ecu.boot.requestDownload(address, size);
      const { maxBlockLength } = ecu;
      const sid = Sid.requestDownload + positiveOffset;
      return maxBlockLength <= 0xffff
        ? Uint8Array.of(sid, 0x20, maxBlockLength >> 8, maxBlockLength & 0xff)
        : Uint8Array.of(sid, 0x30, maxBlockLength >> 16, maxBlockLength >> 8 & 0xff, maxBlockLength & 0xff);
    },
  };
}

function transferService(ecu: EcuParts): ServiceDefinition {
  // One answer for all blocks: there are thousands a second, and the server has sent it before the next one comes.
  const answer = Uint8Array.of(Sid.transferData + positiveOffset, 0);
  return {
    sessions: programming,
    minLength: 3,
    maxLength: ecu.maxBlockLength,
    handle: ({ bytes }) => {
      const counter = bytes[1];
      const programmed = ecu.boot.transferData(counter, bytes.subarray(2));
      answer[1] = counter;
      return programmed === undefined ? answer : programmed.then(() => answer);
    },
  };
}

function exitService(ecu: EcuParts): ServiceDefinition {
  return {
    sessions: programming,
    maxLength: 1,
    handle: () => {
      ecu.boot.requestTransferExit();
      return Uint8Array.of(Sid.requestTransferExit + positiveOffset);
    },
  };
}

/** Address and size at `at`, with nothing behind them. @throws {Refusal} 13, 31 */
function memoryRange(bytes: Uint8Array, at: number): { address: number; size: number } {
  const decoded = decodeMemoryRange(bytes, at);
  if (decoded === undefined) {
    // Widths that cannot be are out of range; bytes that are missing are a wrong length.
    const widths = at < bytes.length ? [bytes[at] & 0x0f, bytes[at] >> 4] : [];
    throw new Refusal(
      widths.some((width) => width < 1 || width > 5)
        ? Nrc.requestOutOfRange
        : Nrc.incorrectMessageLengthOrInvalidFormat,
    );
  }
  if (at + decoded.length !== bytes.length) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
  return decoded.range;
}
