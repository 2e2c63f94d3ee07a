// The diagnostic services of a simulated ECU: which are there, in which session and behind which security level.
import { Buffer } from "node:buffer";
import type { Clock } from "../clock.ts";
import { communicationControl, type TimingParameters } from "../uds/codec/management.ts";
import { transferData } from "../uds/codec/transfer.ts";
import { Nrc } from "../uds/nrc.ts";
import type { DynamicIdentifiers } from "../uds/server/dynamic_identifiers.ts";
import type { ServerEvents } from "../uds/server/events.ts";
import { timingService } from "../uds/server/link.ts";
import { periodicService } from "../uds/server/periodic.ts";
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
import { clearDtcService, readDtcService } from "./dtc_reports.ts";
import {
  type DataParts,
  ioControlService,
  readMemoryService,
  readService,
  scalingService,
  writeMemoryService,
  writeService,
} from "./ecu_data.ts";
import { fileService, type OpenTransfer, type TransferParts, uploadService } from "./ecu_transfers.ts";
import { memoryRange } from "./memory_request.ts";

/** What the services work on. */
export interface EcuParts extends DataParts, TransferParts {
  readonly boot: BootLoader;
  readonly dtcs: DtcMemory;
  readonly dynamic: DynamicIdentifiers;
  readonly events: ServerEvents;
  readonly clock: Clock;
  /** Services that only some ECUs have: 29, 84, 87. */
  readonly further: ReadonlyMap<number, ServiceDefinition>;
  /** The transfer that is open beside a download, if one is. */
  transfer(): OpenTransfer | undefined;
  /** Closes it. */
  closeTransfer(): void;
  session(): number;
  timing(): TimingParameters;
  setTiming(timing: TimingParameters | undefined): void;
  /** @throws {Refusal} 33 or 34 while the way to programming is closed */
  checkProgrammingAccess(): void;
  /** Whether the application runs, not the boot loader alone. */
  applicationRuns(): boolean;
  setDtcSetting(on: boolean): void;
  setCommunication(control: number): void;
  reset(): void;
}

const nonDefault = [Session.programming, Session.extended];
const programming = [Session.programming];
/** Shortest P2 and P2* that the ECU can keep, ms. */
const shortestTiming: TimingParameters = { p2: 25, p2Star: 1_000 };

/** The services by their identifier. */
export function ecuServices(ecu: EcuParts): Map<number, ServiceDefinition> {
  const applicationRuns = () => ecu.applicationRuns();
  return new Map<number, ServiceDefinition>([
    [Sid.ecuReset, resetService(ecu)],
    [Sid.clearDiagnosticInformation, clearDtcService(ecu.dtcs, applicationRuns)],
    [Sid.readDtcInformation, readDtcService(ecu.dtcs, applicationRuns)],
    [Sid.readDataByIdentifier, readService(ecu)],
    [Sid.readMemoryByAddress, readMemoryService(ecu)],
    [Sid.readScalingDataByIdentifier, scalingService(ecu)],
    [Sid.communicationControl, communicationService(ecu)],
    [
      Sid.readDataByPeriodicIdentifier,
      periodicService({ read: (did) => ecu.readIdentifier(did), clock: ecu.clock, sessions: nonDefault }),
    ],
    [Sid.dynamicallyDefineDataIdentifier, ecu.dynamic.service()],
    [Sid.writeDataByIdentifier, writeService(ecu)],
    [Sid.inputOutputControlByIdentifier, ioControlService(ecu)],
    [Sid.routineControl, routineService(ecu)],
    [Sid.requestDownload, downloadService(ecu)],
    [Sid.requestUpload, uploadService(ecu)],
    [Sid.transferData, transferService(ecu)],
    [Sid.requestTransferExit, exitService(ecu)],
    [Sid.requestFileTransfer, fileService(ecu)],
    [Sid.writeMemoryByAddress, writeMemoryService(ecu)],
    [
      Sid.accessTimingParameter,
      timingService({
        active: () => ecu.timing(),
        set: (timing) => ecu.setTiming(timing),
        shortest: shortestTiming,
        sessions: nonDefault,
      }),
    ],
    [Sid.controlDtcSetting, dtcSettingService(ecu)],
    [Sid.responseOnEvent, ecu.events.service()],
    ...ecu.further,
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

function communicationService(ecu: EcuParts): ServiceDefinition {
  const three: ServiceConditions = { minLength: 3, maxLength: 3 };
  const withNode: ServiceConditions = { minLength: 5, maxLength: 5 };
  return {
    sessions: nonDefault,
    subFunctions: new Map(
      Object.values(CommunicationControl).map((control) => [control, control < 0x04 ? three : withNode]),
    ),
    handle: ({ bytes }) => {
      const { control, communicationType, node } = communicationControl.request.decode(bytes);
      // Annex B.1: bits 0 and 1 say which messages; 0 is reserved. Node 0 is none (Annex B.4).
      if ((communicationType & 0x03) === 0 || node === 0) throw new Refusal(Nrc.requestOutOfRange);
      // Messages of a node behind the ECU: it has none that could be switched, so its own stay as they are.
      if (node === undefined) ecu.setCommunication(control);
      return communicationControl.response.encode({ control });
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
  if (routine.secured) ecu.checkProgrammingAccess();
  const answer = Uint8Array.of(Sid.routineControl + positiveOffset, bytes[1] & 0x7f, bytes[2], bytes[3], 0);
  answer[4] = await routine.start(ecu, bytes.slice(4));
  return answer;
}

function downloadService(ecu: EcuParts): ServiceDefinition {
  return {
    sessions: programming,
    ...ecu.programmingAccess,
    minLength: 5,
    handle: ({ bytes }) => {
      // Neither compression nor encryption (15.2.2.2).
      if (bytes[1] !== 0) throw new Refusal(Nrc.requestOutOfRange);
      const { address, size } = memoryRange(bytes, 2);
      if (ecu.transfer() !== undefined) throw new Refusal(Nrc.conditionsNotCorrect);
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
    minLength: 2,
    maxLength: ecu.maxBlockLength,
    handle: ({ bytes }) => {
      const counter = bytes[1];
      const open = ecu.transfer();
      if (open !== undefined) {
        return transferData.response.encode({ counter, data: open.block(counter, bytes.slice(2)) });
      }
      if (bytes.length < 3) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
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
      const open = ecu.transfer();
      if (open === undefined) ecu.boot.requestTransferExit();
      else {
        open.exit();
        ecu.closeTransfer();
      }
      return Uint8Array.of(Sid.requestTransferExit + positiveOffset);
    },
  };
}
