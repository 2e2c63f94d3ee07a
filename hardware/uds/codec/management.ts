// Messages of the diagnostic and communication management functional unit, ISO 14229-1:2020 clause 10, without
// Authentication, SecuredDataTransmission and ResponseOnEvent, which have files of their own.
import { Sid } from "../services.ts";
import { serviceCodec, suppressed, type Suppressible } from "./codec.ts";

/** 10.2 */
export interface SessionRequest extends Suppressible {
  readonly session: number;
}

/** Timing in milliseconds; absent in answers of the 2006 edition. */
export interface SessionResponse {
  readonly session: number;
  readonly p2?: number;
  /** In steps of 10 ms. */
  readonly p2Star?: number;
}

export const diagnosticSessionControl = serviceCodec<SessionRequest, SessionResponse>(
  Sid.diagnosticSessionControl,
  {
    writeRequest: (writer, { session, suppress }) => writer.subFunction(session, suppress, "session"),
    readRequest: (reader) => {
      const { value, suppress } = reader.subFunction("session");
      return { session: value, ...suppressed(suppress) };
    },
    writeResponse: (writer, { session, p2, p2Star }) => {
      writer.subFunction(session, false, "session");
      // 10.2.3.2: P2 in 1 ms, P2* in 10 ms.
      if (p2 !== undefined && p2Star !== undefined) writer.u16(p2, "P2").u16(p2Star / 10, "P2* in 10 ms");
    },
    readResponse: (reader) => {
      const session = reader.echo("session");
      return reader.left === 0
        ? { session }
        : { session, p2: reader.u16("P2"), p2Star: reader.u16("P2*") * 10 };
    },
  },
);

/** 10.3 */
export interface ResetRequest extends Suppressible {
  readonly type: number;
}

export interface ResetResponse {
  readonly type: number;
  /** Seconds until the ECU can be powered down; 255: not known. Only of reset type 04. */
  readonly powerDownTime?: number;
}

export const ecuReset = serviceCodec<ResetRequest, ResetResponse>(Sid.ecuReset, {
  writeRequest: (writer, { type, suppress }) => writer.subFunction(type, suppress, "reset type"),
  readRequest: (reader) => {
    const { value, suppress } = reader.subFunction("reset type");
    return { type: value, ...suppressed(suppress) };
  },
  writeResponse: (writer, { type, powerDownTime }) => {
    writer.subFunction(type, false, "reset type");
    if (powerDownTime !== undefined) writer.u8(powerDownTime, "power down time");
  },
  readResponse: (reader) => {
    const type = reader.echo("reset type");
    return reader.left === 0 ? { type } : { type, powerDownTime: reader.u8("power down time") };
  },
});

/** 10.4: odd sub-functions ask for a seed, even ones send the key. */
export interface SecurityAccessRequest extends Suppressible {
  readonly subFunction: number;
  /** securityAccessDataRecord beside a seed's request, or the key. */
  readonly data: Uint8Array;
}

export interface SecurityAccessResponse {
  readonly subFunction: number;
  /** Empty in the answer to a key. */
  readonly seed: Uint8Array;
}

export const securityAccess = serviceCodec<SecurityAccessRequest, SecurityAccessResponse>(
  Sid.securityAccess,
  {
    writeRequest: (writer, { subFunction, suppress, data }) =>
      writer.subFunction(subFunction, suppress, "security access type").bytes(data),
    readRequest: (reader) => {
      const { value, suppress } = reader.subFunction("security access type");
      return { subFunction: value, data: reader.rest(), ...suppressed(suppress) };
    },
    writeResponse: (writer, { subFunction, seed }) =>
      writer.subFunction(subFunction, false, "security access type").bytes(seed),
    readResponse: (reader) => ({ subFunction: reader.echo("security access type"), seed: reader.rest() }),
  },
);

/** 10.5 */
export interface CommunicationControlRequest extends Suppressible {
  readonly control: number;
  /** Annex B.1. */
  readonly communicationType: number;
  /** nodeIdentificationNumber, with control types 04 and 05 only. */
  readonly node?: number;
}

/** Control types with enhanced address information (10.5.2.2): a node number stands behind the type. */
const withNode = [0x04, 0x05];

export const communicationControl = serviceCodec<CommunicationControlRequest, { control: number }>(
  Sid.communicationControl,
  {
    writeRequest: (writer, { control, suppress, communicationType, node }) => {
      writer.subFunction(control, suppress, "control type").u8(communicationType, "communication type");
      if (withNode.includes(control) !== (node !== undefined)) {
        throw new RangeError(
          `node: expected one with control types 0x04 and 0x05 only, got ${node} with ${control}`,
        );
      }
      if (node !== undefined) writer.u16(node, "node");
    },
    readRequest: (reader) => {
      const { value, suppress } = reader.subFunction("control type");
      const communicationType = reader.u8("communication type");
      const node = withNode.includes(value) ? { node: reader.u16("node") } : {};
      return { control: value, communicationType, ...node, ...suppressed(suppress) };
    },
    writeResponse: (writer, { control }) => writer.subFunction(control, false, "control type"),
    readResponse: (reader) => ({ control: reader.echo("control type") }),
  },
);

/** 10.7 */
export const testerPresent = serviceCodec<Suppressible, Record<never, never>>(Sid.testerPresent, {
  writeRequest: (writer, { suppress }) => writer.subFunction(0, suppress, "zero sub-function"),
  readRequest: (reader) => {
    const { value, suppress } = reader.subFunction("zero sub-function");
    if (value !== 0) reader.fail("sub-function 0x00", `${value}`);
    return suppressed(suppress);
  },
  writeResponse: (writer) => writer.subFunction(0, false, "zero sub-function"),
  readResponse: (reader) => {
    if (reader.u8("zero sub-function") !== 0) reader.fail("sub-function 0x00", "another");
    return {};
  },
});

/** 10.8 */
export interface DtcSettingRequest extends Suppressible {
  readonly setting: number;
  /** DTCSettingControlOptionRecord, the manufacturer's. */
  readonly option: Uint8Array;
}

export const controlDtcSetting = serviceCodec<DtcSettingRequest, { setting: number }>(Sid.controlDtcSetting, {
  writeRequest: (writer, { setting, suppress, option }) =>
    writer.subFunction(setting, suppress, "DTC setting type").bytes(option),
  readRequest: (reader) => {
    const { value, suppress } = reader.subFunction("DTC setting type");
    return { setting: value, option: reader.rest(), ...suppressed(suppress) };
  },
  writeResponse: (writer, { setting }) => writer.subFunction(setting, false, "DTC setting type"),
  readResponse: (reader) => ({ setting: reader.echo("DTC setting type") }),
});

/** Access types of AccessTimingParameter, ISO 14229-1:2013 9.7. */
export const TimingAccess = {
  readExtended: 0x01,
  setToDefault: 0x02,
  readActive: 0x03,
  setToGiven: 0x04,
} as const;

/** P2 and P2* in milliseconds, P2* in steps of 10. */
export interface TimingParameters {
  readonly p2: number;
  readonly p2Star: number;
}

/** ISO 14229-1:2013 9.7; `timing` with setToGiven only. */
export interface AccessTimingRequest extends Suppressible {
  readonly access: number;
  readonly timing?: TimingParameters;
}

/** `timing` with readExtended and readActive only. */
export interface AccessTimingResponse {
  readonly access: number;
  readonly timing?: TimingParameters;
}

// The record depends on the data link; this is its form of the session answer: P2 in 1 ms, P2* in 10 ms.
export const accessTimingParameter = serviceCodec<AccessTimingRequest, AccessTimingResponse>(
  Sid.accessTimingParameter,
  {
    writeRequest: (writer, { access, suppress, timing }) => {
      writer.subFunction(access, suppress, "timing parameter access type");
      if (timing !== undefined) writer.u16(timing.p2, "P2").u16(timing.p2Star / 10, "P2* in 10 ms");
    },
    readRequest: (reader) => {
      const { value, suppress } = reader.subFunction("timing parameter access type");
      const timing = reader.left === 0
        ? {}
        : { timing: { p2: reader.u16("P2"), p2Star: reader.u16("P2*") * 10 } };
      return { access: value, ...timing, ...suppressed(suppress) };
    },
    writeResponse: (writer, { access, timing }) => {
      writer.subFunction(access, false, "timing parameter access type");
      if (timing !== undefined) writer.u16(timing.p2, "P2").u16(timing.p2Star / 10, "P2* in 10 ms");
    },
    readResponse: (reader) => {
      const access = reader.echo("timing parameter access type");
      if (reader.left === 0) return { access };
      return { access, timing: { p2: reader.u16("P2"), p2Star: reader.u16("P2*") * 10 } };
    },
  },
);

/** Link control types, 10.10. */
export const LinkControl = { verifyFixed: 0x01, verifySpecific: 0x02, transition: 0x03 } as const;

/** linkControlModeIdentifiers with a fixed bit rate, Annex B.3, to bit/s. */
export const fixedBitRates: ReadonlyMap<number, number> = new Map([
  [0x01, 9_600],
  [0x02, 19_200],
  [0x03, 38_400],
  [0x04, 57_600],
  [0x05, 115_200],
  [0x10, 125_000],
  [0x11, 250_000],
  [0x12, 500_000],
  [0x13, 1_000_000],
]);

/** 10.10 */
export type LinkControlRequest =
  & Suppressible
  & (
    /** One of {@link fixedBitRates}, or the manufacturer's. */
    | { readonly control: typeof LinkControl.verifyFixed; readonly mode: number }
    /** Bit rate in bit/s, three bytes. */
    | { readonly control: typeof LinkControl.verifySpecific; readonly bitRate: number }
    | { readonly control: typeof LinkControl.transition }
  );

export const linkControl = serviceCodec<LinkControlRequest, { control: number }>(Sid.linkControl, {
  writeRequest: (writer, request) => {
    writer.subFunction(request.control, request.suppress, "link control type");
    if (request.control === LinkControl.verifyFixed) writer.u8(request.mode, "link control mode identifier");
    if (request.control === LinkControl.verifySpecific) writer.u24(request.bitRate, "bit rate");
  },
  readRequest: (reader) => {
    const { value, suppress } = reader.subFunction("link control type");
    switch (value) {
      case LinkControl.verifyFixed:
        return { control: value, mode: reader.u8("link control mode identifier"), ...suppressed(suppress) };
      case LinkControl.verifySpecific:
        return { control: value, bitRate: reader.u24("link record"), ...suppressed(suppress) };
      case LinkControl.transition:
        return { control: value, ...suppressed(suppress) };
    }
    return reader.fail("link control type 0x01 … 0x03", `${value}`);
  },
  writeResponse: (writer, { control }) => writer.subFunction(control, false, "link control type"),
  readResponse: (reader) => ({ control: reader.echo("link control type") }),
});
