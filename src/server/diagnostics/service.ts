// Remote diagnosis: a request is stored, sent, and answered once, late or never.

import { z } from "zod";
import type {
  DiagnosticAnswer,
  DiagnosticBroadcast,
  DiagnosticRequest,
  DiagnosticResult,
  DiagnosticSend,
} from "../../contract/diagnostics.ts";
import { diagnosticRequest } from "../../contract/diagnostics.ts";
import type { Logger } from "../../log.ts";
import type { Events } from "../events.ts";
import type { Outbox, OutgoingMessage } from "../outbox.ts";
import { NotFoundError } from "../store/errors.ts";
import type { Diagnostic, DiagnosticStatus, Repositories, Store, Vehicle } from "../store/mod.ts";
import { decodeAnswer, decodeNrc } from "./decode.ts";

export interface DiagnosticsServiceOptions {
  store: Store;
  outbox: Outbox;
  events: Events;
  log: Logger;
  /** How long an answer is waited for, in milliseconds. @default 30000 */
  timeout?: number;
}

/** The vehicle's last report names no ECU behind that gateway. */
export class NoEcuKnown extends Error {
  override readonly name = "NoEcuKnown";
}

/** What an answer did; `mismatch`: it is for another ECU or service than the request. */
export type AnswerResult = "answered" | "late" | "duplicate" | "unknown" | "mismatch";

export class DiagnosticsService {
  readonly #options: DiagnosticsServiceOptions;
  readonly #store: Store;
  readonly #timeout: number;

  constructor(options: DiagnosticsServiceOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#timeout = options.timeout ?? 30_000;
    if (!(this.#timeout > 0)) {
      throw new RangeError(`diagnostics: timeout must be above 0 ms, got ${this.#timeout}`);
    }
  }

  /** Sends a request to one ECU and gives its id. */
  async send(vehicle: Vehicle, request: DiagnosticSend): Promise<string> {
    const { ecu_id, service_id, data, zonal_gateway_id } = request;
    const [id] = await this.#enter(vehicle, service_id, data, [{ ecu_id, zonal_gateway_id }]);
    return id;
  }

  /**
   * Sends the same request to every ECU that the vehicle's last report names behind a zonal gateway.
   * @throws {NoEcuKnown}
   */
  async broadcast(
    vehicle: Vehicle,
    request: DiagnosticBroadcast,
  ): Promise<{ ecu_id: string; request_id: string }[]> {
    const { zonal_gateway_id, service_id, data } = request;
    const ecus = (await this.#store.vci.ecus(vehicle.vin)).filter((ecu) =>
      ecu.zonalGatewayId === zonal_gateway_id
    );
    if (ecus.length === 0) {
      throw new NoEcuKnown(`the last report of ${vehicle.vin} names no ECU behind ${zonal_gateway_id}`);
    }
    const targets = ecus.map((ecu) => ({ ecu_id: ecu.ecuId, zonal_gateway_id }));
    const ids = await this.#enter(vehicle, service_id, data, targets);
    return targets.map(({ ecu_id }, index) => ({ ecu_id, request_id: ids[index] }));
  }

  /**
   * Takes a vehicle's answer.
   * @param repositories those of a transaction that it shall be part of; call {@link afterAnswer} then
   */
  async answer(
    vin: string,
    answer: DiagnosticAnswer,
    repositories: Repositories = this.#store,
  ): Promise<AnswerResult> {
    const request = await repositories.diagnostics.find(answer.request_id);
    if (!request || request.vin !== vin) return "unknown";
    if (request.ecuId !== answer.ecu_id || request.serviceId !== answer.service_id) return "mismatch";
    return await repositories.diagnostics.answer(vin, answer.request_id, {
      responseData: answer.response_data,
      nrc: answer.nrc,
      error: answer.error,
      decoded: decode(answer),
    });
  }

  /** What follows a stored answer: log and event. */
  async afterAnswer(requestId: string, result: AnswerResult): Promise<void> {
    if (result !== "answered" && result !== "late") return;
    const request = await this.#store.diagnostics.find(requestId);
    if (!request) return;
    const text = `Diagnostic ${request.serviceId} ${request.data} of ${request.ecuId} (${request.vin})`;
    if (result === "late") this.#options.log.warn(`${text}: the answer came after the time-out`);
    else this.#options.log.info(`${text}: ${request.status}`, { nrc: request.nrc ?? undefined });
    this.#tell(request);
  }

  async get(requestId: string): Promise<DiagnosticResult> {
    const request = await this.#store.diagnostics.find(requestId);
    if (!request) throw new NotFoundError("diagnostic request", requestId);
    return toResult(request);
  }

  async list(
    filter: { limit: number; offset: number; vin?: string; ecu_id?: string; status?: DiagnosticStatus },
  ) {
    const { limit, offset, status, ecu_id: ecuId } = filter;
    const vin = filter.vin === undefined ? undefined : (await this.#store.vehicles.get(filter.vin)).vin;
    const { items, total } = await this.#store.diagnostics.list({ limit, offset, status, ecuId, vin });
    return { results: items.map(toResult), total };
  }

  /** Ends requests that nobody answered in time. */
  async sweepTimedOut(): Promise<number> {
    const expired = await this.#store.diagnostics.expire();
    for (const request of expired) {
      this.#options.log.warn(
        `Diagnostic ${request.serviceId} ${request.data} of ${request.ecuId} (${request.vin}): no answer in time`,
      );
      this.#tell(request);
    }
    return expired.length;
  }

  async #enter(
    vehicle: Vehicle,
    serviceId: string,
    data: string,
    targets: readonly { ecu_id: string; zonal_gateway_id?: string }[],
  ): Promise<string[]> {
    const timeout = this.#timeout;
    const ids = await this.#store.transaction(async (tx) => {
      const entered: string[] = [];
      for (const { ecu_id, zonal_gateway_id } of targets) {
        const { requestId } = await tx.diagnostics.create({
          vin: vehicle.vin,
          zonalGatewayId: zonal_gateway_id,
          ecuId: ecu_id,
          serviceId,
          data,
          timeout,
        });
        const payload: DiagnosticRequest = diagnosticRequest.parse({
          message_id: this.#options.outbox.newId(),
          request_id: requestId,
          zonal_gateway_id,
          ecu_id,
          service_id: serviceId,
          data,
        });
        const message: OutgoingMessage = {
          vehicle,
          channel: "diagnostics",
          command: "DIAGNOSTIC",
          payload,
          lifetime: timeout,
        };
        await this.#options.outbox.enter(message, tx);
        entered.push(requestId);
      }
      return entered;
    });
    this.#options.outbox.flush(vehicle.vin);
    return ids;
  }

  #tell(request: Diagnostic): void {
    this.#options.events.emit({
      type: "diagnostic",
      vin: request.vin,
      request_id: request.requestId,
      ecu_id: request.ecuId,
      service_id: request.serviceId,
      status: request.status,
      response_data: request.responseData,
    });
  }
}

function decode(answer: DiagnosticAnswer) {
  if (answer.nrc !== undefined) return decodeNrc(Number(answer.nrc));
  if (answer.response_data === undefined) return null;
  return decodeAnswer(Number(answer.service_id), Uint8Array.fromHex(answer.response_data));
}

function toResult(request: Diagnostic): DiagnosticResult {
  return {
    request_id: request.requestId,
    vin: request.vin,
    zonal_gateway_id: request.zonalGatewayId,
    ecu_id: request.ecuId,
    service_id: request.serviceId,
    data: request.data,
    status: request.status,
    response_data: request.responseData,
    ...(request.nrc === null ? {} : { nrc: request.nrc }),
    ...(request.error === null ? {} : { error: request.error }),
    decoded: z.json().parse(request.decoded),
    created: request.created.toISOString(),
    answered: request.answered?.toISOString() ?? null,
  };
}
