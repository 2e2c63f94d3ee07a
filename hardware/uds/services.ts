// Service identifiers, sub-functions and data identifiers of ISO 14229-1:2020, each table with its clause.

/** Service identifiers, ISO 14229-1:2020, each with its clause. */
export const Sid = {
  /** 10.2 */
  diagnosticSessionControl: 0x10,
  /** 10.3 */
  ecuReset: 0x11,
  /** 12.2 */
  clearDiagnosticInformation: 0x14,
  /** 12.3 */
  readDtcInformation: 0x19,
  /** 11.2 */
  readDataByIdentifier: 0x22,
  /** 11.3 */
  readMemoryByAddress: 0x23,
  /** 11.4 */
  readScalingDataByIdentifier: 0x24,
  /** 10.4 */
  securityAccess: 0x27,
  /** 10.5 */
  communicationControl: 0x28,
  /** 10.6 */
  authentication: 0x29,
  /** 11.5 */
  readDataByPeriodicIdentifier: 0x2a,
  /** 11.6 */
  dynamicallyDefineDataIdentifier: 0x2c,
  /** 11.7 */
  writeDataByIdentifier: 0x2e,
  /** 13.2 */
  inputOutputControlByIdentifier: 0x2f,
  /** 14.2 */
  routineControl: 0x31,
  /** 15.2 */
  requestDownload: 0x34,
  /** 15.3 */
  requestUpload: 0x35,
  /** 15.4 */
  transferData: 0x36,
  /** 15.5 */
  requestTransferExit: 0x37,
  /** 15.6 */
  requestFileTransfer: 0x38,
  /** 11.8 */
  writeMemoryByAddress: 0x3d,
  /** 10.7 */
  testerPresent: 0x3e,
  /** ISO 14229-1:2013 9.7, dropped in 2020 and still met */
  accessTimingParameter: 0x83,
  /** 16 */
  securedDataTransmission: 0x84,
  /** 10.8 */
  controlDtcSetting: 0x85,
  /** 10.9 */
  responseOnEvent: 0x86,
  /** 10.10 */
  linkControl: 0x87,
} as const;

/** First byte of a negative response, 8.4. */
export const negativeResponse = 0x7f;

/** What is added to a service identifier in its positive response, 8.3. */
export const positiveOffset = 0x40;

/** Bit 7 of the sub-function: suppressPosRspMsgIndicationBit, 8.2.2. */
export const suppressPositiveResponse = 0x80;

/** Diagnostic sessions, 10.2. */
export const Session = {
  default: 0x01,
  programming: 0x02,
  extended: 0x03,
  safetySystem: 0x04,
} as const;

/** Reset types, 10.3. */
export const ResetType = {
  hard: 0x01,
  keyOffOn: 0x02,
  soft: 0x03,
  enableRapidPowerShutDown: 0x04,
  disableRapidPowerShutDown: 0x05,
} as const;

/** Control types of CommunicationControl, 10.5. */
export const CommunicationControl = {
  enableRxAndTx: 0x00,
  enableRxAndDisableTx: 0x01,
  disableRxAndEnableTx: 0x02,
  disableRxAndTx: 0x03,
  enableRxAndDisableTxWithEnhancedAddress: 0x04,
  enableRxAndTxWithEnhancedAddress: 0x05,
} as const;

/** Communication types in bits 0–1, Annex B.1. */
export const CommunicationType = { normal: 0x01, networkManagement: 0x02, both: 0x03 } as const;

/** Routine control types, 14.2. */
export const RoutineControl = { start: 0x01, stop: 0x02, requestResults: 0x03 } as const;

/** DTC setting types, 10.8. */
export const DtcSetting = { on: 0x01, off: 0x02 } as const;

/** Report types of ReadDTCInformation, 12.3; 0x0F–0x13 are those of the 2013 edition. */
export const DtcReport = {
  numberByStatusMask: 0x01,
  byStatusMask: 0x02,
  snapshotIdentification: 0x03,
  snapshotByDtcNumber: 0x04,
  storedDataByRecordNumber: 0x05,
  extendedDataByDtcNumber: 0x06,
  numberBySeverityMask: 0x07,
  bySeverityMask: 0x08,
  severityOfDtc: 0x09,
  supported: 0x0a,
  firstTestFailed: 0x0b,
  firstConfirmed: 0x0c,
  mostRecentTestFailed: 0x0d,
  mostRecentConfirmed: 0x0e,
  mirrorMemoryByStatusMask: 0x0f,
  mirrorMemoryExtendedDataByDtcNumber: 0x10,
  numberOfMirrorMemoryByStatusMask: 0x11,
  numberOfEmissionsByStatusMask: 0x12,
  emissionsByStatusMask: 0x13,
  faultDetectionCounters: 0x14,
  withPermanentStatus: 0x15,
  extendedDataByRecordNumber: 0x16,
  userMemoryByStatusMask: 0x17,
  userMemorySnapshotByDtcNumber: 0x18,
  userMemoryExtendedDataByDtcNumber: 0x19,
  supportedExtendedDataRecord: 0x1a,
  wwhObdByMask: 0x42,
  wwhObdWithPermanentStatus: 0x55,
  byReadinessGroup: 0x56,
} as const;

/** Data identifiers, Annex C.1. */
export const Did = {
  bootSoftwareIdentification: 0xf180,
  applicationSoftwareFingerprint: 0xf15b,
  /** In the range of identificationOptionVehicleManufacturerSpecific; the usual place to write a fingerprint. */
  writeFingerprint: 0xf15a,
  activeDiagnosticSession: 0xf186,
  sparePartNumber: 0xf187,
  ecuSoftwareVersion: 0xf189,
  systemSupplier: 0xf18a,
  ecuSerialNumber: 0xf18c,
  vin: 0xf190,
  ecuHardwareNumber: 0xf191,
  supplierHardwareVersion: 0xf193,
  supplierSoftwareVersion: 0xf195,
  systemName: 0xf197,
} as const;

/** Routine identifiers, Annex F.1; 0203 and 0202 are the usual ones of boot loaders. */
export const Routine = {
  checkMemory: 0x0202,
  checkProgrammingPreconditions: 0x0203,
  eraseMemory: 0xff00,
  checkProgrammingDependencies: 0xff01,
} as const;

interface ServiceShape {
  name: string;
  /** Whether the second byte is a sub-function with bit 7 as suppress bit. */
  subFunction: boolean;
  /** How many bytes after the SID the positive response repeats from the request. */
  echo: number;
}

// The response message definitions of each service's clause: what of the request comes back tells whose answer it is.
const shapes = new Map<number, ServiceShape>([
  [0x10, { name: "DiagnosticSessionControl", subFunction: true, echo: 1 }],
  [0x11, { name: "ECUReset", subFunction: true, echo: 1 }],
  [0x14, { name: "ClearDiagnosticInformation", subFunction: false, echo: 0 }],
  [0x19, { name: "ReadDTCInformation", subFunction: true, echo: 1 }],
  [0x22, { name: "ReadDataByIdentifier", subFunction: false, echo: 2 }],
  [0x23, { name: "ReadMemoryByAddress", subFunction: false, echo: 0 }],
  [0x24, { name: "ReadScalingDataByIdentifier", subFunction: false, echo: 2 }],
  [0x27, { name: "SecurityAccess", subFunction: true, echo: 1 }],
  [0x28, { name: "CommunicationControl", subFunction: true, echo: 1 }],
  [0x29, { name: "Authentication", subFunction: true, echo: 1 }],
  [0x2a, { name: "ReadDataByPeriodicIdentifier", subFunction: false, echo: 0 }],
  [0x2c, { name: "DynamicallyDefineDataIdentifier", subFunction: true, echo: 1 }],
  [0x2e, { name: "WriteDataByIdentifier", subFunction: false, echo: 2 }],
  [0x2f, { name: "InputOutputControlByIdentifier", subFunction: false, echo: 2 }],
  [0x31, { name: "RoutineControl", subFunction: true, echo: 3 }],
  [0x34, { name: "RequestDownload", subFunction: false, echo: 0 }],
  [0x35, { name: "RequestUpload", subFunction: false, echo: 0 }],
  [0x36, { name: "TransferData", subFunction: false, echo: 1 }],
  [0x37, { name: "RequestTransferExit", subFunction: false, echo: 0 }],
  [0x38, { name: "RequestFileTransfer", subFunction: false, echo: 1 }],
  [0x3d, { name: "WriteMemoryByAddress", subFunction: false, echo: 1 }],
  [0x3e, { name: "TesterPresent", subFunction: true, echo: 1 }],
  [0x83, { name: "AccessTimingParameter", subFunction: true, echo: 1 }],
  [0x84, { name: "SecuredDataTransmission", subFunction: false, echo: 0 }],
  [0x85, { name: "ControlDTCSetting", subFunction: true, echo: 1 }],
  [0x86, { name: "ResponseOnEvent", subFunction: true, echo: 1 }],
  [0x87, { name: "LinkControl", subFunction: true, echo: 1 }],
]);

/** The service's name in the standard, or `service 0xBA` for one it does not name. */
export function serviceName(sid: number): string {
  return shapes.get(sid)?.name ?? `service ${hex(sid, 2)}`;
}

/** Whether the service's second byte is a sub-function. Services that the standard does not name have none here. */
export function hasSubFunction(sid: number): boolean {
  return shapes.get(sid)?.subFunction ?? false;
}

/** How many bytes after the SID a positive response repeats from its request. */
export function echoLength(sid: number): number {
  return shapes.get(sid)?.echo ?? 0;
}

/** `0x` and at least `digits` upper-case hexadecimal digits. */
export function hex(value: number, digits: number): string {
  return `0x${value.toString(16).toUpperCase().padStart(digits, "0")}`;
}
