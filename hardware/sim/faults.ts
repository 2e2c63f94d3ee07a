// Faults of a simulated ECU: which request, counted from the moment a fault is set, meets which, and what it does to it.
import type { Clock } from "../clock.ts";
import { negativeResponse, positiveOffset, Sid } from "../uds/services.ts";
import type { SimulatedFault } from "./options.ts";

/** A fault that a request meets; `power_cut` belongs to the flash and never comes here. */
export type RequestFault = Exclude<SimulatedFault, { kind: "power_cut" }>;

/** Counts requests and says which fault each one meets. */
export class FaultInjector {
  #pending: { fault: RequestFault; left: number }[] = [];
  #silent = false;

  /** Whether there is nothing to look for. */
  get idle(): boolean {
    return this.#pending.length === 0 && !this.#silent;
  }

  /** Sets a fault. @throws {RangeError} when its numbers cannot be */
  add(fault: RequestFault): void {
    const { occurrence } = fault;
    const service = serviceOf(fault);
    if (!Number.isInteger(service) || service < 0 || service > 0xff) {
      throw new RangeError(`fault service: expected 0x00 … 0xFF, got ${service}`);
    }
    if (!Number.isInteger(occurrence) || occurrence < 1) {
      throw new RangeError(`fault occurrence: expected 1 or more, got ${occurrence}`);
    }
    if (
      fault.kind === "negative_response" &&
      !(Number.isInteger(fault.nrc) && fault.nrc > 0 && fault.nrc <= 0xff)
    ) {
      throw new RangeError(`fault nrc: expected 0x01 … 0xFF, got ${fault.nrc}`);
    }
    if (fault.kind === "late_answer" && !(Number.isFinite(fault.delay) && fault.delay >= 0)) {
      throw new RangeError(`fault delay: expected 0 ms or more, got ${fault.delay}`);
    }
    this.#pending.push({ fault, left: occurrence });
  }

  /** The fault that a request for a service meets, if one is due. A silent ECU stays so. */
  meet(service: number): RequestFault | undefined {
    let due: RequestFault | undefined;
    for (const entry of this.#pending) {
      if (serviceOf(entry.fault) === service && --entry.left === 0) due ??= entry.fault;
    }
    this.#pending = this.#pending.filter(({ left }) => left > 0);
    if (due?.kind === "silence") this.#silent = true;
    return this.#silent ? { kind: "silence", service, occurrence: 1 } : due;
  }

  /** A silent ECU speaks again after its power was cut. */
  powerCycled(): void {
    this.#silent = false;
  }

  /** Takes all faults back. */
  clear(): void {
    this.#pending = [];
    this.#silent = false;
  }
}

function serviceOf(fault: RequestFault): number {
  return fault.kind === "wrong_block_counter" ? Sid.transferData : fault.service;
}

/** The ways that a request and its answer can go. */
export interface FaultyExchange {
  /** Carries the request out. */
  handle(answer: (response: Uint8Array) => void): void;
  /** Sends an answer. */
  respond(response: Uint8Array): void;
  closeConnection(): void;
  clock: Clock;
}

/** Lets a request to a service meet its fault. */
export function applyFault(fault: RequestFault, service: number, exchange: FaultyExchange): void {
  const { handle, respond, clock } = exchange;
  switch (fault.kind) {
    case "negative_response":
      return respond(Uint8Array.of(negativeResponse, service, fault.nrc));
    case "silence":
      return;
    case "lost_answer":
      return handle(() => {});
    case "late_answer":
      return handle((response) => {
        // The bytes are the service's own once this returns.
        const late = response.slice();
        clock.after(fault.delay, () => respond(late));
      });
    case "wrong_block_counter":
      return handle((response) => {
        const wrong = response.slice();
        if (wrong[0] === Sid.transferData + positiveOffset) wrong[1] = (wrong[1] + 1) & 0xff;
        respond(wrong);
      });
    case "close_connection":
      return exchange.closeConnection();
  }
}
