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
  /**
   * Sends a message to this tester that answers no request: periodic data, events. May be called later and often; does
   * nothing once the tester is gone. The bytes may be reused as soon as it returns.
   */
  readonly emit: (message: Uint8Array) => void;
}

/** When a service, or one sub-function of it, is to be had. */
export interface ServiceConditions {
  /** Sessions that allow it. @default all */
  sessions?: readonly number[];
  /** Security level that must be unlocked. @default none */
  securityLevel?: number;
  /** Whether the tester must have authenticated itself (0x29). @default false */
  authentication?: boolean;
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
  /** Told when a session begins, also when the same one begins anew. */
  sessionBegan?(session: number): void;
  /** Told when a tester's connection is gone: what is sent to it by itself ends. */
  disconnected?(tester: number): void;
  /** Told of a reset or the loss of power: everything ends at once. */
  reset?(): void;
}

/** Runs a request inside the server as if a tester had sent it, and gives the positive or negative response. */
export type InternalRequest = (request: Uint8Array) => Promise<Uint8Array>;

/** Thrown by a service to answer with a negative response code. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  constructor(readonly nrc: number) {
    super(`${hex(nrc, 2)} ${nrcName(nrc)}`);
  }
}
