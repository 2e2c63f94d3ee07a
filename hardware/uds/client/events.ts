// The tester's side of ResponseOnEvent (ISO 14229-1:2020 10.9): sets events up and reads what they bring.
import {
  type EventDefinition,
  type EventResponse,
  EventType,
  infiniteWindow,
  responseOnEvent,
} from "../codec/events.ts";
import { UdsFormatError } from "../errors.ts";
import type { Exchange, RequestOptions } from "../exchange.ts";
import { negativeResponse, positiveOffset, Sid } from "../services.ts";
import { ask } from "./ask.ts";
import { type UnaskedOptions, unaskedStream } from "./unasked.ts";

/** What an event stream gives. */
export type EventMessage =
  /** The service to respond to was answered: an event came. */
  | { readonly kind: "event"; readonly response: Uint8Array }
  /** The window is over; the ECU counted that many events. The stream ends. */
  | { readonly kind: "finished"; readonly count: number };

/** Options of setting an event up. */
export interface EventOptions extends RequestOptions {
  /** eventWindowTime. @default infinite */
  window?: number;
  /** Whether it outlives a power cycle. @default false */
  store?: boolean;
}

/** Part of {@link UdsClient}: `client.events`. */
export class EventClient {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** 0x86 01, 02, 03, 07: sets one event up. It comes only after {@link start}. */
  async define(
    trigger: EventDefinition["trigger"],
    service: Uint8Array,
    options: EventOptions = {},
  ): Promise<void> {
    const { window = infiniteWindow, store } = options;
    if (service.length === 0) throw new RangeError("service: expected a request to respond to, got none");
    await ask(this.#exchange, responseOnEvent, { trigger, window, service, store }, options);
  }

  /** 0x86 05. */
  async start(options: EventOptions = {}): Promise<void> {
    const { window = infiniteWindow, store } = options;
    await ask(this.#exchange, responseOnEvent, { control: EventType.start, window, store }, options);
  }

  /** 0x86 00: the definitions stay. */
  async stop(options: EventOptions = {}): Promise<void> {
    const { window = infiniteWindow, store } = options;
    await ask(this.#exchange, responseOnEvent, { control: EventType.stop, window, store }, options);
  }

  /** 0x86 06: the definitions go. */
  async clear(options: EventOptions = {}): Promise<void> {
    const { window = infiniteWindow, store } = options;
    await ask(this.#exchange, responseOnEvent, { control: EventType.clear, window, store }, options);
  }

  /** 0x86 04: which events are set up. @returns how many, and their definitions as bytes */
  async activated(options?: RequestOptions): Promise<{ count: number; events: Uint8Array }> {
    const request = { control: EventType.reportActivatedEvents, window: infiniteWindow };
    const answer = await ask(this.#exchange, responseOnEvent, request, options);
    return { count: answer.count, events: "events" in answer ? answer.events : new Uint8Array() };
  }

  /**
   * Sets one event up, starts it and gives what it brings, until `return()`, the signal, or the end of a finite window.
   *
   * The answers of the service to respond to carry nothing that marks them as an event's: a request of the same
   * service made meanwhile may be answered by one. The queue is bounded; while the reader is slow the oldest entry is
   * dropped and counted in `dropped`.
   */
  stream(
    trigger: EventDefinition["trigger"],
    service: Uint8Array,
    options: UnaskedOptions & { window?: number } = {},
  ): AsyncGenerator<EventMessage, void, void> & { readonly dropped: number } {
    const { window = infiniteWindow, signal } = options;
    if (service.length === 0) throw new RangeError("service: expected a request to respond to, got none");
    return unaskedStream<EventMessage>(this.#exchange, options, {
      take: (message) => takeEvent(message, service[0], trigger.event),
      isLast: ({ kind }) => kind === "finished",
      start: async () => {
        await this.define(trigger, service, { window, signal });
        await this.start({ window, signal });
      },
      stop: () => this.stop({ window }),
    });
  }
}

function takeEvent(message: Uint8Array, sid: number, event: number): EventMessage | undefined {
  if (message[0] === sid + positiveOffset || message[0] === negativeResponse && message[1] === sid) {
    return { kind: "event", response: message };
  }
  if (message[0] !== Sid.responseOnEvent + positiveOffset) return undefined;
  let final: EventResponse;
  try {
    final = responseOnEvent.response.decode(message);
  } catch (error) {
    // Not readable as a final answer: it is left to be counted as foreign.
    if (error instanceof UdsFormatError) return undefined;
    throw error;
  }
  return "trigger" in final && final.trigger.event === event
    ? { kind: "finished", count: final.count }
    : undefined;
}
