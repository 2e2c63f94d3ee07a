// The ECU's side of ResponseOnEvent (0x86, ISO 14229-1:2020 10.9): events that are set up, and what sets them off.
import type { Clock } from "../../clock.ts";
import {
  Comparison,
  encodeActivated,
  type EventDefinition,
  EventType,
  infiniteWindow,
  responseOnEvent,
} from "../codec/events.ts";
import { Nrc } from "../nrc.ts";
import {
  type InternalRequest,
  Refusal,
  type ServerRequest,
  type ServiceDefinition,
} from "../server_service.ts";
import { Session, Sid } from "../services.ts";

/** What events need of the ECU. */
export interface EventServiceOptions {
  /** Data of an identifier now; undefined: not supported. @throws {Refusal} */
  read: (did: number) => Uint8Array | undefined;
  /** Runs the service to respond to. */
  run: InternalRequest;
  clock: Clock;
  /** How often identifiers are looked at, ms. @default 100 */
  pollInterval?: number;
  /** Intervals of onTimerInterrupt's rates, ms. @default slow 1000, medium 300, fast 100 */
  timerRates?: Readonly<Record<number, number>>;
  /**
   * Milliseconds of an eventWindowTime; undefined: no window of that number.
   * @default units of 10 s, as the editions before 2020 have them; 0x02 is without end
   */
  windowTime?: (window: number) => number | undefined;
  /** Events at once. @default 8 */
  limit?: number;
  /** Sessions that allow the service. @default all */
  sessions?: readonly number[];
  /** Told when stored events change, so that they can be kept over a power cycle. */
  onStored?: (events: readonly EventDefinition[]) => void;
  /** Told of errors while an event is answered. @default nothing is said */
  log?: (message: string) => void;
}

interface ActiveEvent {
  definition: EventDefinition;
  store: boolean;
  emit: (message: Uint8Array) => void;
  tester: number;
  /** Responses so far, in this window. */
  count: number;
  running: boolean;
  /** The service to respond to is under way; events meanwhile are lost, as 10.9.1 allows. */
  busy: boolean;
  cancelPoll: () => void;
  cancelWindow: () => void;
  last: Uint8Array | undefined;
  /** onComparisonOfValues: whether the value has gone back far enough to compare again. */
  armed: boolean;
}

/** Services that may respond to an event (10.9.2.4). */
const responders: readonly number[] = [
  Sid.readDataByIdentifier,
  Sid.readDtcInformation,
  Sid.routineControl,
  Sid.inputOutputControlByIdentifier,
];

/** 0x86 with its events. */
export class ServerEvents {
  readonly #options: Required<EventServiceOptions>;
  readonly #events: ActiveEvent[] = [];

  constructor(options: EventServiceOptions) {
    this.#options = {
      pollInterval: 100,
      timerRates: { 0x01: 1_000, 0x02: 300, 0x03: 100 },
      windowTime: (window) => window === 0 ? undefined : window * 10_000,
      limit: 8,
      sessions: [Session.default, Session.programming, Session.extended],
      onStored: () => {},
      log: () => {},
      ...options,
    };
  }

  /** A DTC's status changed. @param set status bits that came to be set */
  dtcStatusChanged(set: number): void {
    for (const event of this.#events) {
      const { trigger } = event.definition;
      if (trigger.event === EventType.onDtcStatusChange && (trigger.statusMask & set) !== 0) {
        this.#fire(event);
      }
    }
  }

  /** Takes over events that were stored before the power went. They start with the next startResponseOnEvent. */
  restore(events: readonly EventDefinition[]): void {
    for (const definition of events) this.#events.push(makeEvent(definition, true, 0, () => {}));
  }

  /** 0x86 */
  service(): ServiceDefinition {
    const subFunctions = new Map(
      Object.values(EventType).flatMap((type) =>
        [type, type | 0x40].map((value): [number, { minLength: number }] => [value, { minLength: 3 }])
      ),
    );
    return {
      sessions: this.#options.sessions,
      subFunctions,
      handle: (request) => this.#handle(request),
      sessionBegan: (session) => {
        // Events belong to the session that they were started in; stored ones stay set up (10.9.1).
        if (session === Session.default) this.#end((event) => !event.store);
      },
      disconnected: (tester) => this.#end((event) => event.tester === tester && !event.store),
      reset: () => this.#end((event) => !event.store),
    };
  }

  #handle({ bytes, context, emit }: ServerRequest): Uint8Array {
    const request = responseOnEvent.request.decode(bytes);
    const { store = false, window } = request;
    const bit = store ? { store } : {};
    if ("trigger" in request) {
      this.#define(
        { trigger: request.trigger, window, service: request.service },
        store,
        context.tester,
        emit,
      );
      const { trigger, service } = request;
      return responseOnEvent.response.encode({ trigger, service, window, count: 0, ...bit });
    }
    switch (request.control) {
      case EventType.start:
        if (this.#events.length === 0) throw new Refusal(Nrc.requestSequenceError);
        this.#checkWindow(window);
        for (const event of this.#events) this.#start(event, context.tester, emit);
        break;
      case EventType.stop:
        for (const event of this.#events) stop(event);
        break;
      case EventType.clear:
        this.#end(() => true);
        this.#stored();
        break;
      case EventType.reportActivatedEvents: {
        const active = this.#events.filter(({ running }) => running);
        const events = active.flatMap(({ definition, store }) => [...encodeActivated(definition, store)]);
        const control = request.control;
        return responseOnEvent.response.encode({
          control,
          count: active.length,
          events: Uint8Array.from(events),
          ...bit,
        });
      }
    }
    return responseOnEvent.response.encode({ control: request.control, window, count: 0, ...bit });
  }

  #define(
    definition: EventDefinition,
    store: boolean,
    tester: number,
    emit: (message: Uint8Array) => void,
  ): void {
    const { trigger, window, service } = definition;
    this.#checkWindow(window);
    if (!responders.includes(service[0])) throw new Refusal(Nrc.requestOutOfRange);
    if (trigger.event === EventType.onTimerInterrupt && !(trigger.rate in this.#options.timerRates)) {
      throw new Refusal(Nrc.requestOutOfRange);
    }
    if ("did" in trigger && this.#options.read(trigger.did) === undefined) {
      throw new Refusal(Nrc.requestOutOfRange);
    }
    if (trigger.event === EventType.onComparisonOfValues) {
      if (
        !Object.values(Comparison).some((logic) => logic === trigger.comparison) || trigger.hysteresis > 100
      ) {
        throw new Refusal(Nrc.requestOutOfRange);
      }
      if (valueOf(this.#options.read(trigger.did), trigger.localization) === undefined) {
        throw new Refusal(Nrc.requestOutOfRange);
      }
    }
    // The same trigger set up again takes the place of the old one.
    const twin = this.#events.findIndex((event) => sameTrigger(event.definition, definition));
    if (twin >= 0) stop(this.#events.splice(twin, 1)[0]);
    if (this.#events.length >= this.#options.limit) throw new Refusal(Nrc.requestOutOfRange);
    this.#events.push(makeEvent(definition, store, tester, emit));
    this.#stored();
  }

  #checkWindow(window: number): void {
    if (window !== infiniteWindow && this.#options.windowTime(window) === undefined) {
      throw new Refusal(Nrc.requestOutOfRange);
    }
  }

  #start(event: ActiveEvent, tester: number, emit: (message: Uint8Array) => void): void {
    stop(event);
    event.running = true;
    event.count = 0;
    event.tester = tester;
    event.emit = emit;
    event.armed = true;
    const { clock, pollInterval, timerRates } = this.#options;
    const { trigger, window } = event.definition;
    if (trigger.event === EventType.onTimerInterrupt) {
      this.#every(event, timerRates[trigger.rate], () => this.#fire(event));
    } else if (trigger.event !== EventType.onDtcStatusChange) {
      event.last = this.#readQuietly(trigger.did);
      this.#every(event, pollInterval, () => this.#look(event));
    }
    const length = window === infiniteWindow ? undefined : this.#options.windowTime(window);
    if (length !== undefined) event.cancelWindow = clock.after(length, () => this.#windowOver(event));
  }

  #every(event: ActiveEvent, interval: number, run: () => void): void {
    const tick = () => {
      event.cancelPoll = this.#options.clock.after(interval, tick);
      run();
    };
    event.cancelPoll = this.#options.clock.after(interval, tick);
  }

  /** Looks whether an identifier's data changed, or compares as was asked for. */
  #look(event: ActiveEvent): void {
    const { trigger } = event.definition;
    if (!("did" in trigger)) return;
    const now = this.#readQuietly(trigger.did);
    if (now === undefined) return;
    if (trigger.event === EventType.onChangeOfDataIdentifier) {
      const { last } = event;
      event.last = now.slice();
      if (last !== undefined && (last.length !== now.length || last.some((byte, at) => byte !== now[at]))) {
        this.#fire(event);
      }
      return;
    }
    const value = valueOf(now, trigger.localization);
    if (value === undefined) return;
    const reference = trigger.localization.signed ? trigger.reference | 0 : trigger.reference;
    if (holds(trigger.comparison, value, reference)) {
      if (event.armed) this.#fire(event);
      event.armed = false;
      return;
    }
    // Annex B.2: hysteresis is a share of the reference in per cent.
    const margin = Math.abs(reference) * trigger.hysteresis / 100;
    if (Math.abs(value - reference) >= margin) event.armed = true;
  }

  #readQuietly(did: number): Uint8Array | undefined {
    try {
      return this.#options.read(did)?.slice();
    } catch (error) {
      // It cannot be read just now: no change is seen until it can.
      if (error instanceof Refusal) return undefined;
      throw error;
    }
  }

  async #fire(event: ActiveEvent): Promise<void> {
    if (!event.running || event.busy) return;
    event.busy = true;
    try {
      const response = await this.#options.run(event.definition.service);
      if (!event.running) return;
      if (event.count < 0xff) event.count++;
      event.emit(response);
    } catch (error) {
      this.#options.log(`event: ${error instanceof Error ? error.message : error}`);
    } finally {
      event.busy = false;
    }
  }

  /** 10.9.1: a finite window ends with a final answer that says how many events there were. */
  #windowOver(event: ActiveEvent): void {
    stop(event);
    const { definition, count, store, emit } = event;
    emit(responseOnEvent.response.encode({ ...definition, count, ...(store ? { store } : {}) }));
  }

  #end(which: (event: ActiveEvent) => boolean): void {
    for (const event of this.#events) stop(event);
    const kept = this.#events.filter((event) => !which(event));
    this.#events.splice(0, this.#events.length, ...kept);
  }

  #stored(): void {
    this.#options.onStored(this.#events.filter(({ store }) => store).map(({ definition }) => definition));
  }
}

function makeEvent(
  definition: EventDefinition,
  store: boolean,
  tester: number,
  emit: (message: Uint8Array) => void,
): ActiveEvent {
  const nothing = () => {};
  return {
    definition,
    store,
    tester,
    emit,
    count: 0,
    running: false,
    busy: false,
    cancelPoll: nothing,
    cancelWindow: nothing,
    last: undefined,
    armed: true,
  };
}

function stop(event: ActiveEvent): void {
  event.running = false;
  event.cancelPoll();
  event.cancelWindow();
}

function sameTrigger(a: EventDefinition, b: EventDefinition): boolean {
  return JSON.stringify(a.trigger) === JSON.stringify(b.trigger);
}

/** The number that the localization names: bits counted from the lowest of the last byte; length 0 is 32. */
function valueOf(
  data: Uint8Array | undefined,
  { signed, offset, length }: { signed: boolean; offset: number; length: number },
): number | undefined {
  const bits = length === 0 ? 32 : length;
  if (data === undefined || offset + bits > data.length * 8) return undefined;
  let value = 0;
  for (let bit = bits - 1; bit >= 0; bit--) {
    const at = offset + bit;
    value = value * 2 + (data[data.length - 1 - (at >> 3)] >> (at & 7) & 1);
  }
  return signed && value >= 2 ** (bits - 1) ? value - 2 ** bits : value;
}

function holds(comparison: number, value: number, reference: number): boolean {
  switch (comparison) {
    case Comparison.less:
      return value < reference;
    case Comparison.greater:
      return value > reference;
    case Comparison.equal:
      return value === reference;
    default:
      return value !== reference;
  }
}
