// Answers diagnostic requests of the server: raw UDS bytes to the ECU, what comes back to the server. Each request is
// run once and has one answer: the ECU's, its refusal, or why there is none.
//
// While an ECU is being flashed it is not disturbed: the request is answered at once with the error "busy".

import {
  type DiagnosticAnswer,
  type DiagnosticRequest,
  diagnosticRequest,
} from "../../contract/diagnostics.ts";
import { topicOf } from "../../contract/mqtt.ts";
import { NegativeResponseError } from "../../../hardware/uds/errors.ts";
import type { Logger } from "../../log.ts";
import type { VehicleBus } from "../bus/bus.ts";
import { explainFor } from "../errors.ts";
import type { Outbox } from "../link/outbox.ts";
import type { CommandLog } from "../state/command_log.ts";
import { orAborted } from "../../wait.ts";

/** Options of {@link DiagnosticResponder}. */
export interface DiagnosticResponderOptions {
  vmgId: string;
  bus: VehicleBus;
  commands: CommandLog;
  outbox: Outbox;
  /** Requests under way at once. */
  parallel: number;
  /** Requests that wait at most. */
  waiting: number;
  /** Longest time from a request's arrival to its answer, milliseconds. */
  timeout: number;
  log: Logger;
}

type Outcome = Pick<DiagnosticAnswer, "response_data" | "nrc" | "error">;

/** Longest error text that the contract takes. */
const maxError = 2_000;

/** Runs requests and answers them. */
export class DiagnosticResponder {
  readonly #options: DiagnosticResponderOptions;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  readonly #queue: { request: DiagnosticRequest; deadline: number }[] = [];
  readonly #underWay = new Set<Promise<void>>();

  constructor(options: DiagnosticResponderOptions) {
    for (const name of ["parallel", "waiting", "timeout"] as const) {
      if (!Number.isInteger(options[name]) || options[name] < 1) {
        throw new RangeError(`${name}: expected a whole number of at least 1, got ${options[name]}`);
      }
    }
    this.#options = options;
    this.#log = options.log.child("Diagnostics");
  }

  /**
   * Answers what an earlier run of the gateway took and did not answer. It is not run again: nobody knows whether the ECU
   * had it, and a request may change something.
   */
  start(): void {
    for (const { messageId, payload } of this.#options.commands.unfinished("diagnostics")) {
      const parsed = diagnosticRequest.safeParse(jsonOf(payload));
      if (parsed.success) {
        this.#answer(parsed.data, { error: "the gateway was restarted before the answer came" });
      } else this.#options.commands.finish(messageId);
    }
  }

  /** Takes a request over. To be called within the transaction that notes it. */
  accept(request: DiagnosticRequest): void {
    const { waiting, timeout } = this.#options;
    if (this.#queue.length >= waiting) {
      this.#answer(request, { error: `busy: ${waiting} diagnostic requests wait already` });
      return;
    }
    this.#queue.push({ request, deadline: Date.now() + timeout });
    // The work begins after the transaction around this.
    setTimeout(() => this.#next(), 0);
  }

  /** Ends what is under way; it is answered at the next start. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#queue.length = 0;
    await Promise.allSettled(this.#underWay);
  }

  #next(): void {
    while (this.#underWay.size < this.#options.parallel && !this.#stopping.signal.aborted) {
      const waiting = this.#queue.shift();
      if (waiting === undefined) return;
      const run = this.#run(waiting.request, waiting.deadline).finally(() => {
        this.#underWay.delete(run);
        this.#next();
      });
      this.#underWay.add(run);
    }
  }

  async #run(request: DiagnosticRequest, deadline: number): Promise<void> {
    const stop = this.#stopping.signal;
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), Math.max(0, deadline - Date.now()));
    const signal = AbortSignal.any([stop, late.signal]);
    let outcome: Outcome;
    try {
      // The signal reaches every wait below; this one holds also where a wait should miss it.
      outcome = await orAborted(this.#ask(request, signal), signal);
    } catch (error) {
      if (stop.aborted) return;
      outcome = late.signal.aborted
        ? { error: `${request.ecu_id}: no answer within ${this.#options.timeout} ms` }
        : negative(error) ?? { error: explainFor(request.ecu_id, error).slice(0, maxError) };
    } finally {
      clearTimeout(timer);
    }
    try {
      this.#answer(request, outcome);
    } catch (error) {
      // The request stays unfinished in the command log and is answered at the next start.
      this.#log.error(`Answer to ${request.request_id} could not be queued`, { error });
    }
  }

  async #ask(request: DiagnosticRequest, signal: AbortSignal): Promise<Outcome> {
    const { bus } = this.#options;
    const { ecu_id, zonal_gateway_id, service_id, data } = request;
    const ecu = bus.ecu(ecu_id);
    if (zonal_gateway_id !== undefined && ecu.zonalGatewayId !== zonal_gateway_id) {
      return { error: `${ecu_id}: it stands behind ${ecu.zonalGatewayId}, not behind ${zonal_gateway_id}` };
    }
    const bytes = Uint8Array.fromHex(service_id.slice(2) + data);
    const answer = await bus.use(
      ecu_id,
      { purpose: `diagnostic request ${request.request_id}`, signal },
      (client) => client.raw(bytes, { signal }),
    );
    // A request may suppress its positive answer: then nothing is what was asked for.
    return { response_data: answer === undefined ? "" : answer.toHex().toUpperCase() };
  }

  #answer(request: DiagnosticRequest, outcome: Outcome): void {
    const { commands, outbox, vmgId } = this.#options;
    const { request_id, ecu_id, service_id, message_id } = request;
    const answer = { request_id, ecu_id, service_id, ...outcome, timestamp: new Date().toISOString() };
    commands.transaction(() => {
      outbox.add({ topic: topicOf(vmgId, "diagnostics"), payload: answer, kind: "answer" });
      commands.finish(message_id);
    });
    const { response_data, nrc, error } = outcome;
    this.#log.info(
      `${ecu_id} ${service_id}: ${error ?? (nrc === undefined ? response_data?.slice(0, 64) : `NRC ${nrc}`)}`,
    );
  }
}

/** A refusal is an answer. */
function negative(error: unknown): Outcome | undefined {
  if (!(error instanceof NegativeResponseError)) return undefined;
  return { nrc: `0x${error.nrc.toString(16).toUpperCase().padStart(2, "0")}` };
}

/** What a payload says; undefined where the disk has damaged it. */
function jsonOf(payload: string): unknown {
  try {
    return JSON.parse(payload);
  } catch {
    return undefined;
  }
}
