// The way to an ECU through server, MQTT and vehicle gateway: one request a call, and as a path for the UDS client.

import { UdsTimeoutError, type UdsTransport, type WaitOptions } from "../../hardware/uds/transport.ts";
import type { RestClient } from "../contract/client.ts";
import { routes } from "../contract/routes.ts";
import { delay } from "../wait.ts";
import { CommandFailed } from "./output.ts";

/** Which ECU. */
export interface RemoteEcu {
  vin: string;
  ecuId: string;
}

/** What came of a request, as the server tells it. */
export interface RemoteOutcome {
  /** The whole answer, hexadecimal. */
  response?: string;
  /** `0x31` */
  nrc?: string;
}

/**
 * Sends one request and waits for its answer.
 * @param request hexadecimal, service id included
 * @throws {CommandFailed} when the vehicle gave none
 */
export async function askThroughServer(
  client: RestClient,
  { vin, ecuId }: RemoteEcu,
  request: string,
  signal: AbortSignal,
): Promise<RemoteOutcome> {
  const body = {
    vin,
    ecu_id: ecuId,
    service_id: `0x${request.slice(0, 2)}`,
    data: request.slice(2),
  };
  const { request_id } = await client.call(routes.sendDiagnostic, { body, signal });
  for (let wait = 20;; wait = Math.min(wait * 1.5, 500)) {
    const result = await client.call(routes.getDiagnostic, { path: { request_id }, signal });
    if (result.status === "completed" || result.nrc !== undefined) {
      return { response: result.response_data ?? undefined, nrc: result.nrc };
    }
    if (result.status !== "pending") {
      throw new CommandFailed(`${ecuId}: ${result.status}${result.error ? `: ${result.error}` : ""}`);
    }
    await delay(wait, signal);
  }
}

/** The same as a path: the vehicle's gateway keeps UDS timing with the ECU, here the answer comes when it comes. */
export class ServerTransport implements UdsTransport {
  readonly name: string;
  readonly maxRequestLength = 4_095;
  readonly #client: RestClient;
  readonly #ecu: RemoteEcu;
  readonly #signal: AbortSignal;
  #request = "";

  constructor(client: RestClient, ecu: RemoteEcu, signal: AbortSignal) {
    this.#client = client;
    this.#ecu = ecu;
    this.#signal = signal;
    this.name = `${ecu.ecuId} through the server`;
  }

  send(request: Uint8Array): Promise<void> {
    this.#request = request.toHex().toUpperCase();
    return Promise.resolve();
  }

  async receive({ timeout }: WaitOptions): Promise<Uint8Array> {
    const request = this.#request;
    // One answer a request: what is asked for again without a new request would not come.
    if (request === "") throw new UdsTimeoutError(this.name, timeout, "message");
    this.#request = "";
    const { response, nrc } = await askThroughServer(this.#client, this.#ecu, request, this.#signal);
    if (response !== undefined && response !== "") return Uint8Array.fromHex(response);
    if (nrc === undefined) throw new UdsTimeoutError(this.name, timeout, "message");
    return Uint8Array.of(0x7f, parseInt(request.slice(0, 2), 16), Number(nrc));
  }

  discardReceived(): number {
    return 0;
  }
}
