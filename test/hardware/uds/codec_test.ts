// Requests and responses of every service against bytes written by hand from ISO 14229-1's message definitions.
import assert from "node:assert/strict";
import type { Codec, ServiceCodec } from "../../../hardware/uds/codec/codec.ts";
import { decodeUdsMessage, serviceCodecs } from "../../../hardware/uds/codec/all.ts";
import { authentication } from "../../../hardware/uds/codec/authentication.ts";
import * as data from "../../../hardware/uds/codec/data.ts";
import * as dtc from "../../../hardware/uds/codec/dtc.ts";
import { responseOnEvent } from "../../../hardware/uds/codec/events.ts";
import * as io from "../../../hardware/uds/codec/io.ts";
import * as management from "../../../hardware/uds/codec/management.ts";
import { securedDataTransmission } from "../../../hardware/uds/codec/secured.ts";
import * as transfer from "../../../hardware/uds/codec/transfer.ts";
import { UdsFormatError } from "../../../hardware/uds/errors.ts";
import { bytes, text } from "./loopback.ts";

const covered = new Map<number, Set<string>>();

/** One test a message: the object gives the bytes, the bytes give the object. */
function message<T>(sid: number, side: string, codec: Codec<T>, name: string, hex: string, value: T): void {
  covered.set(sid, (covered.get(sid) ?? new Set()).add(side));
  Deno.test(`0x${sid.toString(16)} ${side}: ${name}`, () => {
    assert.equal(text(codec.encode(value)), hex);
    assert.deepEqual(codec.decode(bytes(hex)), value);
  });
}

function request<Q, A>(codec: ServiceCodec<Q, A>, name: string, hex: string, value: Q): void {
  message(codec.sid, "request", codec.request, name, hex, value);
}

function response<Q, A>(codec: ServiceCodec<Q, A>, name: string, hex: string, value: A): void {
  message(codec.sid, "response", codec.response, name, hex, value);
}

// 10.2
request(management.diagnosticSessionControl, "programming", "10 02", { session: 2 });
request(management.diagnosticSessionControl, "suppressed", "10 83", { session: 3, suppress: true });
response(management.diagnosticSessionControl, "50 ms and 5 s", "50 02 00 32 01 F4", {
  session: 2,
  p2: 50,
  p2Star: 5_000,
});
response(management.diagnosticSessionControl, "2006 edition", "50 01", { session: 1 });
// 10.3
request(management.ecuReset, "hard", "11 01", { type: 1 });
response(management.ecuReset, "hard", "51 01", { type: 1 });
response(management.ecuReset, "power-down time", "51 04 0F", { type: 4, powerDownTime: 15 });
// 10.4, the example of 10.4.5
request(management.securityAccess, "seed", "27 01", { subFunction: 1, data: bytes("") });
response(management.securityAccess, "seed", "67 01 36 57", { subFunction: 1, seed: bytes("36 57") });
request(management.securityAccess, "key", "27 02 C9 A9", { subFunction: 2, data: bytes("C9 A9") });
response(management.securityAccess, "key", "67 02", { subFunction: 2, seed: bytes("") });
// 10.5
request(management.communicationControl, "disable transmission", "28 01 02", {
  control: 1,
  communicationType: 2,
});
request(management.communicationControl, "with a node", "28 04 01 00 0A", {
  control: 4,
  communicationType: 1,
  node: 10,
});
response(management.communicationControl, "disable transmission", "68 01", { control: 1 });
// 10.7
request(management.testerPresent, "answered", "3E 00", {});
request(management.testerPresent, "suppressed", "3E 80", { suppress: true });
response(management.testerPresent, "answered", "7E 00", {});
// 10.8
request(management.controlDtcSetting, "off", "85 02", { setting: 2, option: bytes("") });
request(management.controlDtcSetting, "off for a group", "85 02 FF FF FF", {
  setting: 2,
  option: bytes("FF FF FF"),
});
response(management.controlDtcSetting, "off", "C5 02", { setting: 2 });
// 2013 edition, 9.7
request(management.accessTimingParameter, "read", "83 03", { access: 3 });
response(management.accessTimingParameter, "read", "C3 03 00 32 01 F4", {
  access: 3,
  timing: { p2: 50, p2Star: 5_000 },
});
request(management.accessTimingParameter, "set", "83 04 00 64 00 C8", {
  access: 4,
  timing: { p2: 100, p2Star: 2_000 },
});
response(management.accessTimingParameter, "set", "C3 04", { access: 4 });
// 10.10, the example of 10.10.5: 115,200 bit/s fixed, 150,000 bit/s specific
request(management.linkControl, "fixed", "87 01 05", { control: 1, mode: 5 });
request(management.linkControl, "specific", "87 02 02 49 F0", { control: 2, bitRate: 150_000 });
request(management.linkControl, "transition", "87 83", { control: 3, suppress: true });
response(management.linkControl, "verified", "C7 01", { control: 1 });

// 10.6
const algorithm = bytes("06 08 2A 86 48 CE 3D 04 03 02 00 00 00 00 00 00");
request(authentication, "deAuthenticate", "29 00", { task: 0 });
response(authentication, "deAuthenticate", "69 00 10", { task: 0, result: 0x10 });
request(authentication, "certificate one way", "29 01 00 00 02 AA BB 00 00", {
  task: 1,
  communicationConfiguration: 0,
  certificate: bytes("AA BB"),
  challenge: bytes(""),
});
response(authentication, "certificate one way", "69 01 11 00 02 01 02 00 00", {
  task: 1,
  result: 0x11,
  challenge: bytes("01 02"),
  ephemeralPublicKey: bytes(""),
});
request(authentication, "certificate both ways", "29 02 00 00 01 AA 00 02 03 04", {
  task: 2,
  communicationConfiguration: 0,
  certificate: bytes("AA"),
  challenge: bytes("03 04"),
});
response(authentication, "certificate both ways", "69 02 11 00 01 01 00 01 BB 00 02 05 06 00 00", {
  task: 2,
  result: 0x11,
  challenge: bytes("01"),
  certificate: bytes("BB"),
  proof: bytes("05 06"),
  ephemeralPublicKey: bytes(""),
});
request(authentication, "proof", "29 03 00 02 05 06 00 00", {
  task: 3,
  proof: bytes("05 06"),
  ephemeralPublicKey: bytes(""),
});
response(authentication, "proof", "69 03 12 00 00", { task: 3, result: 0x12, sessionKeyInfo: bytes("") });
request(authentication, "certificate to keep", "29 04 00 01 00 01 AA", {
  task: 4,
  evaluationId: 1,
  certificate: bytes("AA"),
});
response(authentication, "certificate to keep", "69 04 13", { task: 4, result: 0x13 });
request(authentication, "challenge", `29 05 00 ${text(algorithm)}`, {
  task: 5,
  communicationConfiguration: 0,
  algorithm,
});
response(authentication, "challenge", `69 05 00 ${text(algorithm)} 00 01 07 00 00`, {
  task: 5,
  result: 0,
  algorithm,
  challenge: bytes("07"),
  neededAdditionalParameter: bytes(""),
});
request(authentication, "response", `29 06 ${text(algorithm)} 00 01 08 00 00 00 00`, {
  task: 6,
  algorithm,
  proof: bytes("08"),
  challenge: bytes(""),
  additionalParameter: bytes(""),
});
response(authentication, "response", `69 06 12 ${text(algorithm)} 00 00`, {
  task: 6,
  result: 0x12,
  algorithm,
  sessionKeyInfo: bytes(""),
});
response(authentication, "response both ways", `69 07 12 ${text(algorithm)} 00 01 09 00 00`, {
  task: 7,
  result: 0x12,
  algorithm,
  proof: bytes("09"),
  sessionKeyInfo: bytes(""),
});
request(authentication, "configuration", "29 08", { task: 8 });
response(authentication, "configuration", "69 08 02", { task: 8, result: 2 });

// 11.2, the examples of 11.2.5
request(data.readDataByIdentifier, "one identifier", "22 F1 90", { dids: [0xf190] });
request(data.readDataByIdentifier, "two identifiers", "22 01 0A 01 10", { dids: [0x010a, 0x0110] });
response(data.readDataByIdentifier, "two identifiers", "62 01 0A A6 66 07 01 10 8C", {
  did: 0x010a,
  data: bytes("A6 66 07 01 10 8C"),
});
// 11.3, the example of 11.3.5.2: 259 bytes at 0x20481392
request(data.readMemoryByAddress, "four and two bytes", "23 24 20 48 13 92 01 03", {
  range: { address: 0x20481392, size: 259 },
  format: { addressBytes: 4, sizeBytes: 2 },
});
response(data.readMemoryByAddress, "data", "63 00 8C", { data: bytes("00 8C") });
// 11.4, the examples of 11.4.5: vehicle speed with its formula and unit; a bit-mapped value with its mask
request(data.readScalingDataByIdentifier, "identifier", "24 01 05", { did: 0x0105 });
response(data.readScalingDataByIdentifier, "formula and unit", "64 01 05 01 95 00 E0 4B 00 1E A1 30", {
  did: 0x0105,
  scaling: [
    { type: 0, length: 1, extension: bytes("") },
    { type: 9, length: 5, extension: bytes("00 E0 4B 00 1E") },
    { type: 10, length: 1, extension: bytes("30") },
  ],
});
response(data.readScalingDataByIdentifier, "mask", "64 09 67 22 03 43", {
  did: 0x0967,
  scaling: [{ type: 2, length: 2, extension: bytes("03 43") }],
});
// 11.5
request(data.readDataByPeriodicIdentifier, "two at medium rate", "2A 02 E3 24", {
  mode: 2,
  ids: [0xe3, 0x24],
});
request(data.readDataByPeriodicIdentifier, "stop all", "2A 04", { mode: 4, ids: [] });
response(data.readDataByPeriodicIdentifier, "accepted", "6A", {});
// 11.6, the examples of 11.6.5
request(data.dynamicallyDefineDataIdentifier, "by identifier", "2C 01 F3 01 12 34 01 02 56 78 01 01", {
  definition: 1,
  did: 0xf301,
  sources: [{ did: 0x1234, position: 1, size: 2 }, { did: 0x5678, position: 1, size: 1 }],
});
request(
  data.dynamicallyDefineDataIdentifier,
  "by memory",
  "2C 02 F3 02 14 21 09 19 69 01 21 09 19 6B 02",
  {
    definition: 2,
    did: 0xf302,
    ranges: [{ address: 0x21091969, size: 1 }, { address: 0x2109196b, size: 2 }],
    format: { addressBytes: 4, sizeBytes: 1 },
  },
);
request(data.dynamicallyDefineDataIdentifier, "clear one", "2C 03 F3 03", { definition: 3, did: 0xf303 });
request(data.dynamicallyDefineDataIdentifier, "clear all", "2C 03", { definition: 3 });
response(data.dynamicallyDefineDataIdentifier, "defined", "6C 01 F3 01", { definition: 1, did: 0xf301 });
response(data.dynamicallyDefineDataIdentifier, "all cleared", "6C 03", { definition: 3 });
// 11.7
request(data.writeDataByIdentifier, "VIN begins", "2E F1 90 57 30", { did: 0xf190, data: bytes("57 30") });
response(data.writeDataByIdentifier, "VIN", "6E F1 90", { did: 0xf190 });
// 11.8, the example of 11.8.5.2
request(data.writeMemoryByAddress, "two and one bytes", "3D 12 20 48 02 00 8C", {
  range: { address: 0x2048, size: 2 },
  format: { addressBytes: 2, sizeBytes: 1 },
  data: bytes("00 8C"),
});
response(data.writeMemoryByAddress, "two and one bytes", "7D 12 20 48 02", {
  range: { address: 0x2048, size: 2 },
  format: { addressBytes: 2, sizeBytes: 1 },
});

// 12.2
request(dtc.clearDiagnosticInformation, "all", "14 FF FF FF", { group: 0xffffff });
request(dtc.clearDiagnosticInformation, "emissions in memory 1", "14 FF FF 33 01", {
  group: 0xffff33,
  memory: 1,
});
response(dtc.clearDiagnosticInformation, "cleared", "54", {});
// 12.3, the examples of 12.3.5
const report = dtc.readDtcInformation;
request(report, "01", "19 01 08", { report: 1, statusMask: 8 });
response(report, "01", "59 01 2F 01 00 01", {
  report: 1,
  kind: "count",
  availability: 0x2f,
  format: 1,
  count: 1,
});
request(report, "02", "19 02 84", { report: 2, statusMask: 0x84 });
response(report, "02", "59 02 7F 0A 9B 17 24 08 05 11 2F", {
  report: 2,
  kind: "list",
  availability: 0x7f,
  dtcs: [{ code: 0x0a9b17, status: 0x24 }, { code: 0x080511, status: 0x2f }],
});
request(report, "03", "19 03", { report: 3 });
response(report, "03", "59 03 12 34 56 01 12 34 56 02", {
  report: 3,
  kind: "snapshots",
  snapshots: [{ dtc: 0x123456, record: 1 }, { dtc: 0x123456, record: 2 }],
});
request(report, "04", "19 04 12 34 56 02", { report: 4, dtc: 0x123456, record: 2 });
response(report, "04", "59 04 12 34 56 24 02 01 47 11 A6", {
  report: 4,
  kind: "records",
  code: 0x123456,
  status: 0x24,
  records: bytes("02 01 47 11 A6"),
});
request(report, "05", "19 05 02", { report: 5, record: 2 });
response(report, "05", "59 05 02 12 34 56 24 01 47 11 A6", {
  report: 5,
  kind: "stored",
  record: 2,
  data: bytes("12 34 56 24 01 47 11 A6"),
});
request(report, "06", "19 06 12 34 56 05", { report: 6, dtc: 0x123456, record: 5 });
response(report, "06", "59 06 12 34 56 24 05 17 79", {
  report: 6,
  kind: "records",
  code: 0x123456,
  status: 0x24,
  records: bytes("05 17 79"),
});
request(report, "07", "19 07 C0 01", { report: 7, severityMask: 0xc0, statusMask: 1 });
request(report, "08", "19 08 C0 01", { report: 8, severityMask: 0xc0, statusMask: 1 });
response(report, "08", "59 08 7F 40 10 08 05 11 2F", {
  report: 8,
  kind: "severities",
  availability: 0x7f,
  dtcs: [{ severity: 0x40, functionalUnit: 0x10, code: 0x080511, status: 0x2f }],
});
request(report, "09", "19 09 08 05 11", { report: 9, dtc: 0x080511 });
for (const value of [0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x14, 0x15]) {
  const hex = value.toString(16).toUpperCase().padStart(2, "0");
  request(report, hex, `19 ${hex}`, { report: value });
}
response(report, "0B", "59 0B 7F 12 34 56 26", {
  report: 0x0b,
  kind: "list",
  availability: 0x7f,
  dtcs: [{ code: 0x123456, status: 0x26 }],
});
response(report, "14", "59 14 12 34 56 60 12 34 57 80", {
  report: 0x14,
  kind: "counters",
  counters: [{ dtc: 0x123456, counter: 96 }, { dtc: 0x123457, counter: -128 }],
});
request(report, "16", "19 16 05", { report: 0x16, record: 5 });
request(report, "17", "19 17 84 18", { report: 0x17, statusMask: 0x84, memory: 0x18 });
response(report, "17", "59 17 18 7F 08 05 11 2F", {
  report: 0x17,
  kind: "list",
  memory: 0x18,
  availability: 0x7f,
  dtcs: [{ code: 0x080511, status: 0x2f }],
});
request(report, "18", "19 18 12 34 56 06 18", { report: 0x18, dtc: 0x123456, record: 6, memory: 0x18 });
response(report, "19", "59 19 18 12 34 56 24 05 17", {
  report: 0x19,
  kind: "records",
  memory: 0x18,
  code: 0x123456,
  status: 0x24,
  records: bytes("05 17"),
});
request(report, "1A", "19 1A 10", { report: 0x1a, record: 0x10 });
response(report, "1A", "59 1A 7F 10 12 34 56 24", {
  report: 0x1a,
  kind: "with_record",
  availability: 0x7f,
  record: 0x10,
  dtcs: [{ code: 0x123456, status: 0x24 }],
});
request(report, "42", "19 42 33 08 FF", {
  report: 0x42,
  functionalGroup: 0x33,
  statusMask: 8,
  severityMask: 0xff,
});
response(report, "42", "59 42 33 FF FF 04 20 25 22 1F AF", {
  report: 0x42,
  kind: "wwh_obd",
  functionalGroup: 0x33,
  availability: 0xff,
  severityAvailability: 0xff,
  format: 4,
  dtcs: [{ severity: 0x20, code: 0x25221f, status: 0xaf }],
});
request(report, "55", "19 55 33", { report: 0x55, functionalGroup: 0x33 });
response(report, "55", "59 55 33 FF 04 12 34 56 24", {
  report: 0x55,
  kind: "group",
  functionalGroup: 0x33,
  availability: 0xff,
  format: 4,
  dtcs: [{ code: 0x123456, status: 0x24 }],
});
request(report, "56", "19 56 33 01", { report: 0x56, functionalGroup: 0x33, readinessGroup: 1 });
response(report, "56", "59 56 33 FF 04 01", {
  report: 0x56,
  kind: "group",
  functionalGroup: 0x33,
  availability: 0xff,
  format: 4,
  readinessGroup: 1,
  dtcs: [],
});

// 13.2, the examples of 13.2.5: air inlet door to 60 %
request(io.inputOutputControlByIdentifier, "adjust", "2F 9B 00 03 3C", {
  did: 0x9b00,
  control: 3,
  record: bytes("3C"),
});
response(io.inputOutputControlByIdentifier, "adjust", "6F 9B 00 03 0C", {
  did: 0x9b00,
  control: 3,
  state: bytes("0C"),
});
// 14.2, the example of 14.2.5
request(io.routineControl, "start", "31 01 02 01 06 01", {
  control: 1,
  routine: 0x0201,
  option: bytes("06 01"),
});
response(io.routineControl, "results", "71 03 02 01 30 33 8F", {
  control: 3,
  routine: 0x0201,
  status: bytes("30 33 8F"),
});

// 15.2, the example of 15.5.4.2: 65,535 bytes at 0x602000, blocks of 129
request(transfer.requestDownload, "compressed and encrypted", "34 11 33 60 20 00 00 FF FF", {
  dataFormat: 0x11,
  range: { address: 0x602000, size: 0xffff },
  format: { addressBytes: 3, sizeBytes: 3 },
});
response(transfer.requestDownload, "one byte", "74 10 81", { maxBlockLength: 129 });
response(transfer.requestDownload, "two bytes", "74 20 0F FF", { maxBlockLength: 4_095 });
request(transfer.requestUpload, "plain", "35 00 33 20 10 00 00 01 FF", {
  dataFormat: 0,
  range: { address: 0x201000, size: 511 },
  format: { addressBytes: 3, sizeBytes: 3 },
});
response(transfer.requestUpload, "one byte", "75 10 81", { maxBlockLength: 129 });
request(transfer.transferData, "block", "36 01 DE AD", { counter: 1, data: bytes("DE AD") });
response(transfer.transferData, "block", "76 01", { counter: 1, data: bytes("") });
request(transfer.requestTransferExit, "exit", "37", { data: bytes("") });
response(transfer.requestTransferExit, "with a checksum", "77 CA FE", { data: bytes("CA FE") });
// 15.6, the example of 15.6.5: D:\mapdata\europe\germany1.yxz with 100,000 and 50,000 bytes
const path = "D:\\mapdata\\europe\\germany1.yxz";
const pathHex = "44 3A 5C 6D 61 70 64 61 74 61 5C 65 75 72 6F 70 65 5C 67 65 72 6D 61 6E 79 31 2E 79 78 7A";
request(transfer.requestFileTransfer, "add", `38 01 00 1E ${pathHex} 11 03 01 86 A0 00 C3 50`, {
  mode: 1,
  path,
  dataFormat: 0x11,
  size: 100_000,
  compressedSize: 50_000,
});
response(transfer.requestFileTransfer, "add", "78 01 02 C3 50 11", {
  mode: 1,
  maxBlockLength: 0xc350,
  dataFormat: 0x11,
});
request(transfer.requestFileTransfer, "delete", `38 02 00 1E ${pathHex}`, { mode: 2, path });
response(transfer.requestFileTransfer, "delete", "78 02", { mode: 2 });
request(transfer.requestFileTransfer, "read", `38 04 00 1E ${pathHex} 11`, {
  mode: 4,
  path,
  dataFormat: 0x11,
});
response(transfer.requestFileTransfer, "read", "78 04 02 C3 50 11 00 03 01 86 A0 00 C3 50", {
  mode: 4,
  maxBlockLength: 0xc350,
  dataFormat: 0x11,
  size: 100_000,
  compressedSize: 50_000,
});
request(transfer.requestFileTransfer, "directory", "38 05 00 01 2F", { mode: 5, path: "/" });
response(transfer.requestFileTransfer, "directory", "78 05 01 82 00 00 01 10", {
  mode: 5,
  maxBlockLength: 0x82,
  dataFormat: 0,
  size: 16,
});
response(transfer.requestFileTransfer, "resume", "78 06 01 82 00 00 00 00 00 00 01 02 03", {
  mode: 6,
  maxBlockLength: 0x82,
  dataFormat: 0,
  position: 0x010203,
});

// 10.9, the examples of 10.9.5: DTC status 01 for 80 s; a comparison
request(responseOnEvent, "DTC status", "86 01 08 01 19 01 01", {
  trigger: { event: 1, statusMask: 1 },
  window: 8,
  service: bytes("19 01 01"),
});
response(responseOnEvent, "DTC status", "C6 01 00 08 01 19 01 01", {
  trigger: { event: 1, statusMask: 1 },
  window: 8,
  service: bytes("19 01 01"),
  count: 0,
});
request(responseOnEvent, "identifier, stored", "86 43 02 F1 90 22 F1 90", {
  trigger: { event: 3, did: 0xf190 },
  window: 2,
  service: bytes("22 F1 90"),
  store: true,
});
request(responseOnEvent, "comparison", "86 07 02 F2 01 02 00 00 00 64 0A C0 00 22 F2 01", {
  trigger: {
    event: 7,
    did: 0xf201,
    comparison: 2,
    reference: 100,
    hysteresis: 10,
    localization: { signed: true, offset: 0, length: 16 },
  },
  window: 2,
  service: bytes("22 F2 01"),
});
request(responseOnEvent, "start", "86 05 02", { control: 5, window: 2 });
response(responseOnEvent, "start", "C6 05 00 02", { control: 5, window: 2, count: 0 });
response(responseOnEvent, "activated", "C6 04 01 01 08 01 19 01 01", {
  control: 4,
  count: 1,
  events: bytes("01 08 01 19 01 01"),
});

// 16.2
request(securedDataTransmission, "signed", "84 86 00 01 00 02 00 07 22 F1 90 AA BB", {
  administrative: 0x8600,
  calculation: 1,
  antiReplayCounter: 7,
  message: bytes("22 F1 90"),
  signature: bytes("AA BB"),
});
response(securedDataTransmission, "signed", "C4 04 00 01 00 01 00 07 62 F1 90 41 CC", {
  administrative: 0x0400,
  calculation: 1,
  antiReplayCounter: 7,
  message: bytes("62 F1 90 41"),
  signature: bytes("CC"),
});

Deno.test("every service has a request and a response above", () => {
  for (const sid of serviceCodecs.keys()) {
    assert.deepEqual([...covered.get(sid) ?? []].sort(), ["request", "response"], `0x${sid.toString(16)}`);
  }
  assert.equal(serviceCodecs.size, 27);
});

for (
  const [what, hex] of [
    ["nothing", ""],
    ["a negative response cut short", "7F 22"],
    ["an unknown service", "BA 00"],
    ["an odd list of identifiers", "22 F1 90 F1"],
    ["an address that is not there", "23 24 20"],
    ["an address without width", "23 10 00"],
    ["a report type that is not there", "19 57"],
    ["a DTC list cut short", "59 02 FF 12 34"],
    ["a certificate longer than its message", "29 01 00 FF FF AA"],
    ["a path longer than its message", "38 02 00 10 41"],
    ["a block length of two", "74 10 02"],
    ["a signature longer than its message", "84 80 00 01 00 10 00 07 22"],
    ["a written range longer than its data", "3D 12 20 48 02 00"],
  ] as const
) {
  Deno.test(`the decoder refuses ${what} by a typed error`, () => {
    assert.throws(() => decodeUdsMessage(bytes(hex)), UdsFormatError);
  });
}

Deno.test("a negative response says service, code and whether more is to come", () => {
  assert.deepEqual(decodeUdsMessage(bytes("7F 31 78")), {
    kind: "refusal",
    sid: 0x31,
    service: "RoutineControl",
    nrc: 0x78,
    nrcName: "requestCorrectlyReceivedResponsePending",
    pending: true,
  });
});

Deno.test("numbers that do not fit their field are refused and quoted", () => {
  assert.throws(
    () => data.readDataByIdentifier.request.encode({ dids: [0x10000] }),
    /data identifier.*65536/,
  );
  assert.throws(() => management.ecuReset.request.encode({ type: 0x80 }), /reset type: .*got 128/);
  assert.throws(() => report.request.encode({ report: 2 }), /statusMask: expected one with report type 0x02/);
});

Deno.test("periodic data are told from other messages in both forms", () => {
  assert.deepEqual(data.decodePeriodicData(bytes("6A E3 01 02"), "with_sid"), {
    id: 0xe3,
    data: bytes("01 02"),
  });
  assert.deepEqual(data.decodePeriodicData(bytes("E3 01"), "without_sid"), { id: 0xe3, data: bytes("01") });
  assert.equal(data.decodePeriodicData(bytes("6A"), "with_sid"), undefined);
  assert.equal(data.decodePeriodicData(bytes("62 F1 90 41"), "with_sid"), undefined);
  assert.equal(text(data.encodePeriodicData({ id: 0xe3, data: bytes("01") }, "with_sid")), "6A E3 01");
});
