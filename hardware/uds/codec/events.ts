// Messages of ResponseOnEvent (0x86), ISO 14229-1:2020 10.9.
import type { MessageReader, MessageWriter } from "../bytes.ts";
import { hex, Sid } from "../services.ts";
import { serviceCodec, suppressed, type Suppressible } from "./codec.ts";

/** eventType without its storage bit, 10.9.2.2. 02 is that of the 2013 edition. */
export const EventType = {
  stop: 0x00,
  onDtcStatusChange: 0x01,
  onTimerInterrupt: 0x02,
  onChangeOfDataIdentifier: 0x03,
  reportActivatedEvents: 0x04,
  start: 0x05,
  clear: 0x06,
  onComparisonOfValues: 0x07,
} as const;

/** eventWindowTime, Annex B.2: without end. */
export const infiniteWindow = 0x02;

/** Comparison logic of onComparisonOfValues, in the event type record of 10.9.2. */
export const Comparison = { less: 0x01, greater: 0x02, equal: 0x03, notEqual: 0x04 } as const;

/** What sets an event off. */
export type EventTrigger =
  /** A status bit of the mask of any DTC comes to be set. */
  | { readonly event: typeof EventType.onDtcStatusChange; readonly statusMask: number }
  /** 01 slow, 02 medium, 03 fast; the times are the ECU's. */
  | { readonly event: typeof EventType.onTimerInterrupt; readonly rate: number }
  | { readonly event: typeof EventType.onChangeOfDataIdentifier; readonly did: number }
  | {
    readonly event: typeof EventType.onComparisonOfValues;
    readonly did: number;
    /** One of {@link Comparison}. */
    readonly comparison: number;
    /** Compared with the measured value, 32 bits. */
    readonly reference: number;
    /** Per cent of the reference by which the value must go back before the event can come again. */
    readonly hysteresis: number;
    /** Where the value stands in the data: offset and length in bits. */
    readonly localization: { readonly signed: boolean; readonly offset: number; readonly length: number };
  };

/** One event that is set up. */
export interface EventDefinition {
  readonly trigger: EventTrigger;
  /** eventWindowTime; {@link infiniteWindow}: without end. */
  readonly window: number;
  /** serviceToRespondToRecord: the request that the ECU answers when the event comes. */
  readonly service: Uint8Array;
}

/** Bit 6 of the event type: the event outlives a power cycle. */
const storageState = 0x40;

/** 10.9.2 */
export type EventRequest =
  & Suppressible
  & { readonly store?: boolean }
  & (
    | EventDefinition
    | {
      readonly control:
        | typeof EventType.stop
        | typeof EventType.start
        | typeof EventType.clear
        | typeof EventType.reportActivatedEvents;
      readonly window: number;
    }
  );

/** 10.9.3. `count` is the number of identified events, of activated ones in the answer to 04. */
export type EventResponse =
  & { readonly store?: boolean; readonly count: number }
  & (
    | EventDefinition
    | {
      readonly control: typeof EventType.stop | typeof EventType.start | typeof EventType.clear;
      readonly window: number;
    }
    | {
      readonly control: typeof EventType.reportActivatedEvents;
      /** What follows the count; for one event it is a definition: type, window, type record, service. */
      readonly events: Uint8Array;
    }
  );

export const responseOnEvent = serviceCodec<EventRequest, EventResponse>(Sid.responseOnEvent, {
  writeRequest: (writer, request) => {
    const type = "trigger" in request ? request.trigger.event : request.control;
    writer.subFunction(request.store === true ? type | storageState : type, request.suppress, "event type");
    writer.u8(request.window, "event window time");
    if ("trigger" in request) writeTrigger(writer, request.trigger).bytes(request.service);
  },
  readRequest: (reader) => {
    const { value, suppress } = reader.subFunction("event type");
    const type = value & ~storageState;
    const bits = { ...stored(value), ...suppressed(suppress) };
    const window = reader.u8("event window time");
    switch (type) {
      case EventType.stop:
      case EventType.start:
      case EventType.clear:
      case EventType.reportActivatedEvents:
        return { control: type, window, ...bits };
    }
    const trigger = readTrigger(reader, type);
    if (reader.left === 0) reader.fail("a service to respond to", "none");
    return { trigger, window, service: reader.rest(), ...bits };
  },
  writeResponse: (writer, response) => {
    const type = "trigger" in response ? response.trigger.event : response.control;
    writer.subFunction(response.store === true ? type | storageState : type, false, "event type");
    writer.u8(response.count, "number of events");
    if ("events" in response) {
      writer.bytes(response.events);
      return;
    }
    writer.u8(response.window, "event window time");
    if ("trigger" in response) writeTrigger(writer, response.trigger).bytes(response.service);
  },
  readResponse: (reader) => {
    const value = reader.echo("event type");
    const type = value & ~storageState;
    const count = reader.u8("number of events");
    const head = { count, ...stored(value) };
    if (type === EventType.reportActivatedEvents) return { control: type, events: reader.rest(), ...head };
    const window = reader.u8("event window time");
    switch (type) {
      case EventType.stop:
      case EventType.start:
      case EventType.clear:
        // Some ECUs repeat the record of the event here; it says nothing more.
        reader.rest();
        return { control: type, window, ...head };
    }
    return { trigger: readTrigger(reader, type), window, service: reader.rest(), ...head };
  },
});

/** The definition as reportActivatedEvents lists it. */
export function encodeActivated(definition: EventDefinition, store: boolean): Uint8Array {
  // The same fields in the same order as in a request, without its service identifier.
  return responseOnEvent.request.encode({ ...definition, store }).subarray(1);
}

function stored(value: number): { store?: boolean } {
  return (value & storageState) === 0 ? {} : { store: true };
}

function writeTrigger(writer: MessageWriter, trigger: EventTrigger): MessageWriter {
  switch (trigger.event) {
    case EventType.onDtcStatusChange:
      return writer.u8(trigger.statusMask, "status mask");
    case EventType.onTimerInterrupt:
      return writer.u8(trigger.rate, "timer rate");
    case EventType.onChangeOfDataIdentifier:
      return writer.u16(trigger.did, "data identifier");
    case EventType.onComparisonOfValues: {
      const { signed, offset, length } = trigger.localization;
      if (offset > 0x3ff || length > 0x1f) {
        throw new RangeError(
          `localization: expected offset below 1024 and length below 32, got ${offset}, ${length}`,
        );
      }
      // Annex B.2: bit 15 the sign, bits 14–10 the length (0: 32), bits 9–0 the offset.
      const localization = (signed ? 0x8000 : 0) | length << 10 | offset;
      return writer.u16(trigger.did, "data identifier").u8(trigger.comparison, "comparison logic")
        .uint(trigger.reference, 4, "reference value").u8(trigger.hysteresis, "hysteresis")
        .u16(localization, "localization");
    }
  }
}

function readTrigger(reader: MessageReader, type: number): EventTrigger {
  switch (type) {
    case EventType.onDtcStatusChange:
      return { event: type, statusMask: reader.u8("status mask") };
    case EventType.onTimerInterrupt:
      return { event: type, rate: reader.u8("timer rate") };
    case EventType.onChangeOfDataIdentifier:
      return { event: type, did: reader.u16("data identifier") };
    case EventType.onComparisonOfValues: {
      const did = reader.u16("data identifier");
      const comparison = reader.u8("comparison logic");
      const reference = reader.uint(4, "reference value");
      const hysteresis = reader.u8("hysteresis");
      const word = reader.u16("localization");
      const localization = {
        signed: (word & 0x8000) !== 0,
        offset: word & 0x3ff,
        length: word >> 10 & 0x1f,
      };
      return { event: type, did, comparison, reference, hysteresis, localization };
    }
  }
  return reader.fail("an event type of the standard", hex(type, 2));
}
