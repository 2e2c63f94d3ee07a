// Messages of the input/output control and the routine functional units, ISO 14229-1:2020 clauses 13 and 14.
import { Sid } from "../services.ts";
import { serviceCodec, suppressed, type Suppressible } from "./codec.ts";

/** inputOutputControlParameter, Annex E.1. */
export const IoControl = {
  returnControlToEcu: 0x00,
  resetToDefault: 0x01,
  freezeCurrentState: 0x02,
  shortTermAdjustment: 0x03,
} as const;

/** 13.2 */
export interface IoControlRequest {
  readonly did: number;
  /** One of {@link IoControl}. */
  readonly control: number;
  /** controlState, then controlEnableMask: where the one ends is the identifier's to say. */
  readonly record: Uint8Array;
}

export interface IoControlResponse {
  readonly did: number;
  readonly control: number;
  /** The state in force. */
  readonly state: Uint8Array;
}

export const inputOutputControlByIdentifier = serviceCodec<IoControlRequest, IoControlResponse>(
  Sid.inputOutputControlByIdentifier,
  {
    writeRequest: (writer, { did, control, record }) =>
      writer.u16(did, "data identifier").u8(control, "input output control parameter").bytes(record),
    readRequest: (reader) => ({
      did: reader.u16("data identifier"),
      control: reader.u8("input output control parameter"),
      record: reader.rest(),
    }),
    writeResponse: (writer, { did, control, state }) =>
      writer.u16(did, "data identifier").u8(control, "input output control parameter").bytes(state),
    readResponse: (reader) => ({
      did: reader.u16("data identifier"),
      control: reader.u8("input output control parameter"),
      state: reader.rest(),
    }),
  },
);

/** 14.2 */
export interface RoutineRequest extends Suppressible {
  /** One of `RoutineControl`. */
  readonly control: number;
  readonly routine: number;
  /** routineControlOptionRecord. */
  readonly option: Uint8Array;
}

export interface RoutineResponse {
  readonly control: number;
  readonly routine: number;
  /** routineInfo and routineStatusRecord, may be empty. */
  readonly status: Uint8Array;
}

export const routineControl = serviceCodec<RoutineRequest, RoutineResponse>(Sid.routineControl, {
  writeRequest: (writer, { control, suppress, routine, option }) =>
    writer.subFunction(control, suppress, "routine control type").u16(routine, "routine identifier")
      .bytes(option),
  readRequest: (reader) => {
    const { value, suppress } = reader.subFunction("routine control type");
    const routine = reader.u16("routine identifier");
    return { control: value, routine, option: reader.rest(), ...suppressed(suppress) };
  },
  writeResponse: (writer, { control, routine, status }) =>
    writer.subFunction(control, false, "routine control type").u16(routine, "routine identifier").bytes(
      status,
    ),
  readResponse: (reader) => ({
    control: reader.echo("routine control type"),
    routine: reader.u16("routine identifier"),
    status: reader.rest(),
  }),
});
