// The diagnostic services of a simulated ECU: which are there, in which session and behind which security level.
import type { Clock } from "../clock.ts";
import { communicationControl, type TimingParameters } from "../uds/codec/management.ts";
import { transferData } from "../uds/codec/transfer.ts";
import { Nrc } from "../uds/nrc.ts";
import type { DynamicIdentifiers } from "../uds/server/dynamic_identifiers.ts";
import type { ServerEvents } from "../uds/server/events.ts";
import { timingService } from "../uds/server/link.ts";
import { periodicService } from "../uds/server/periodic.ts";
import { Refusal, type ServiceConditions, type ServiceDefinition } from "../uds/server_service.ts";
import { CommunicationControl, DtcSetting, positiveOffset, ResetType, Sid } from "../uds/services.ts";
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
import { type RoutineParts, routineService } from "./ecu_routines.ts";
import { fileService, type OpenTransfer, type TransferParts, uploadService } from "./ecu_transfers.ts";

/** What the services work on. */
export interface EcuParts extends DataParts, TransferParts, RoutineParts {
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
  timing(): TimingParameters;
  setTiming(timing: TimingParameters | undefined): void;
  /** Whether the application runs, not the boot loader alone. */
  applicationRuns(): boolean;
  setDtcSetting(on: boolean): void;
  setCommunication(control: number): void;
}

/** Shortest P2 and P2* that the ECU can keep, ms. */
const shortestTiming: TimingParameters = { p2: 25, p2Star: 1_000 };

/** The services by their identifier. */
export function ecuServices(ecu: EcuParts): Map<number, ServiceDefinition> {
  const applicationRuns = () => ecu.applicationRuns();
  const { nonDefault } = ecu.programming;
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
    subFunctions: new Map(
      [ResetType.hard, ResetType.keyOffOn, ResetType.soft, ecu.programming.plan.resetType].map((
        type,
      ) => [type, two]),
    ),
    handle: ({ subFunction, afterAnswer }) => {
      afterAnswer(() => ecu.reset());
      const answer = Uint8Array.of(Sid.ecuReset + positiveOffset, subFunction);
      // Without a routine that takes the new software over, it is the reset that does.
      const { takenOverBy, plan } = ecu.programming;
      const ready = plan.skipped.has("check_memory") ? ecu.boot.complete : ecu.boot.checked;
      if (takenOverBy !== "ecu_reset" || !ready) return answer;
      return ecu.boot.commit().then(() => answer);
    },
  };
}

function communicationService(ecu: EcuParts): ServiceDefinition {
  const { nonDefault } = ecu.programming;
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
  const { nonDefault } = ecu.programming;
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

function downloadService(ecu: EcuParts): ServiceDefinition {
  const { programming, plan, range } = ecu.programming;
  return {
    sessions: programming,
    ...ecu.programmingAccess,
    minLength: 5,
    handle: ({ bytes }) => {
      const format = bytes[1];
      // Neither compression nor encryption (15.2.2.2), or the one that is configured.
      if (format !== 0 && format !== plan.dataFormat) throw new Refusal(Nrc.requestOutOfRange);
      const { address, size } = range(bytes, 2);
      if (ecu.transfer() !== undefined) throw new Refusal(Nrc.conditionsNotCorrect);
      ecu.boot.requestDownload(address, size, format === 0 ? "none" : plan.compression);
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
    sessions: ecu.programming.programming,
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
  const answer = Uint8Array.of(Sid.requestTransferExit + positiveOffset);
  return {
    sessions: ecu.programming.programming,
    maxLength: 1,
    handle: () => {
      const open = ecu.transfer();
      if (open === undefined) return ecu.boot.requestTransferExit()?.then(() => answer) ?? answer;
      open.exit();
      ecu.closeTransfer();
      return answer;
    },
  };
}
