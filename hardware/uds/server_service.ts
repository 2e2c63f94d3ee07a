// What a UDS server is made of: services with the conditions that the standard's general checks ask of them.
import { nrcName } from "./nrc.ts";
import { hex } from "./services.ts";
import type { RequestContext } from "./transport.ts";

/** A request as a service sees it, after the general checks. */
export interface ServerRequest {
  /** The whole request. Valid until the service returns or first awaits; copy what is needed longer. */
  readonly bytes: Uint8Array;
  /** The sub-function without its suppress bit; 0 for services that have none. */
  readonly subFunction: number;
  readonly context: RequestContext;
  /** Has `run` called once the answer is on its way, such as a reset. */
  afterAnswer(run: () => void): void;
}

/** When a service, or one sub-function of it, is to be had. */
export interface ServiceConditions {
  /** Sessions that allow it. @default all */
  sessions?: readonly number[];
  /** Security level that must be unlocked. @default none */
  securityLevel?: number;
  /** Shortest request, bytes. @default 1, or 2 with a sub-function */
  minLength?: number;
  /** Longest request, bytes. @default any */
  maxLength?: number;
}

/** One service of a server. */
export interface ServiceDefinition extends ServiceConditions {
  /** The sub-functions with their conditions; only for services that have one. */
  subFunctions?: ReadonlyMap<number, ServiceConditions>;
  /**
   * Carries the request out and gives the positive answer, at once or later; the server sends 0x78 meanwhile.
   * The answer's bytes may be reused by the service after the next request has come in.
   * @throws {Refusal} for a negative answer
   */
  handle(request: ServerRequest): Uint8Array | Promise<Uint8Array>;
}

/** Thrown by a service to answer with a negative response code. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  constructor(readonly nrc: number) {
    super(`${hex(nrc, 2)} ${nrcName(nrc)}`);
  }
}
