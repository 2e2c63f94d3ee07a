// The ECU's side of UDS: sessions, security and the general checks of ISO 14229-1:2020 8.7 before a service sees a
// request, and the rules of ISO 14229-2 for what is sent back and when.
import { type Clock, systemClock } from "../clock.ts";
import { UdsFormatError } from "./errors.ts";
import { Nrc, silentWhenFunctional } from "./nrc.ts";
import { type SecurityLevelOptions, ServerSecurity } from "./server_security.ts";
import {
  Refusal,
  type ServerRequest,
  type ServiceConditions,
  type ServiceDefinition,
} from "./server_service.ts";
import {
  hasSubFunction,
  negativeResponse,
  positiveOffset,
  serviceName,
  Session,
  Sid,
  suppressPositiveResponse,
} from "./services.ts";
import type { DiagnosticEndpoint, RequestContext } from "./transport.ts";

export { Refusal, type ServerRequest, type ServiceConditions, type ServiceDefinition };

/** A session with the timing that its positive answer announces, in milliseconds. */
export interface SessionDefinition {
  id: number;
  /** @default 50 */
  p2?: number;
  /** Told in units of 10 ms. @default 5000 */
  p2Star?: number;
  /** Sessions from which it can be entered. @default all */
  from?: readonly number[];
}

/** What a server is told when it is made. */
export interface UdsServerOptions {
  /** Names the ECU in messages. */
  name: string;
  /** @default default, programming and extended with 50 ms and 5,000 ms */
  sessions?: readonly SessionDefinition[];
  /** Services by their identifier. 0x10, 0x27 and 0x3E are the server's own. */
  services: ReadonlyMap<number, ServiceDefinition>;
  /** Security levels. @default none, and no service 0x27 */
  security?: SecurityLevelOptions[];
  /** Time without a request after which a session ends (S3, ISO 14229-2 7.5). @default 5000 */
  s3?: number;
  /** Whether the tester has authenticated itself (0x29); asked where conditions need it. @default never */
  isAuthenticated?: () => boolean;
  /** Longest answer, bytes; a longer one is refused with 0x14. @default any */
  maxResponseLength?: number;
  /** Asked before a session is entered; a negative response code refuses it. @default always */
  allowSession?: (session: number) => number | undefined;
  /** Told when a session begins, also when the same one begins anew. */
  onSession?: (session: number) => void;
  /** Told of errors in a service. @default nothing is said */
  log?: (message: string) => void;
  /** @default the system's clock */
  clock?: Clock;
  /** @default the system's random numbers */
  random?: (length: number) => Uint8Array;
}

type Respond = (response: Uint8Array) => void;

interface UnderWay {
  tester: number;
  cancelTimer: () => void;
  /** False once nobody waits for the answer any more. */
  wanted: boolean;
}

// 0x78 goes out well before P2 and P2* end, so that the way through a gateway is covered.
const pendingShare = 0.6;

const defaultSessions: readonly SessionDefinition[] = [
  { id: Session.default },
  { id: Session.programming },
  { id: Session.extended },
];

/** Answers requests as an ECU. */
export class UdsServer implements DiagnosticEndpoint {
  readonly security: ServerSecurity;
  readonly #options: UdsServerOptions;
  readonly #clock: Clock;
  readonly #s3: number;
  readonly #sessions = new Map<
    number,
    Required<Omit<SessionDefinition, "from">> & { from?: readonly number[] }
  >();
  readonly #services = new Map<number, ServiceDefinition>();
  readonly #negative = Uint8Array.of(negativeResponse, 0, 0);
  #session: number = Session.default;
  #underWay: UnderWay | undefined;
  #generation = 0;
  #lastRequest = 0;
  #cancelS3: (() => void) | undefined;
  #afterAnswer: (() => void) | undefined;
  // Testers that are there, by how often they came; what is sent by itself to one that left finds nobody.
  readonly #connections = new Map<number, object>();
  #timingOverride: { p2: number; p2Star: number } | undefined;

  constructor(options: UdsServerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#s3 = options.s3 ?? 5_000;
    if (!(this.#s3 > 0)) throw new RangeError(`s3: expected more than 0 ms, got ${this.#s3}`);
    for (const session of options.sessions ?? defaultSessions) {
      const { id, p2 = 50, p2Star = 5_000 } = session;
      if (!Number.isInteger(p2) || p2 < 1 || p2 > 0xffff) {
        throw new RangeError(`p2 of session ${id}: expected 1 … 65535 ms, got ${p2}`);
      }
      if (!Number.isInteger(p2Star / 10) || p2Star < 10 || p2Star > 0xffff * 10) {
        throw new RangeError(`p2Star of session ${id}: expected 10 … 655350 ms in tens, got ${p2Star}`);
      }
      this.#sessions.set(id, { id, p2, p2Star, from: session.from });
    }
    if (!this.#sessions.has(Session.default)) throw new RangeError("sessions: expected 0x01 among them");
    const random = options.random ?? ((length) => crypto.getRandomValues(new Uint8Array(length)));
    this.security = new ServerSecurity(options.security ?? [], this.#clock, random);
    for (const [sid, service] of options.services) this.#services.set(sid, service);
    this.#services.set(Sid.diagnosticSessionControl, this.#sessionService());
    this.#services.set(Sid.testerPresent, {
      subFunctions: new Map([[0, { maxLength: 2 }]]),
      handle: () => Uint8Array.of(Sid.testerPresent + positiveOffset, 0),
    });
    if (options.security !== undefined && options.security.length > 0) {
      this.#services.set(Sid.securityAccess, this.#securityService(options.security));
    }
  }

  /** The session that is active. */
  get session(): number {
    return this.#session;
  }

  /** Ends whatever is under way without an answer and returns to the default session, as a reset does. */
  reset(): void {
    this.#generation++;
    this.#underWay?.cancelTimer();
    this.#underWay = undefined;
    this.#afterAnswer = undefined;
    this.#cancelS3?.();
    this.#cancelS3 = undefined;
    this.#session = Session.default;
    this.#timingOverride = undefined;
    this.security.lock();
    for (const service of this.#services.values()) service.reset?.();
  }

  /** P2 and P2* that the server keeps in the active session, ms. */
  get timing(): { p2: number; p2Star: number } {
    const { p2, p2Star } = this.#timing();
    return { p2, p2Star };
  }

  /** Replaces the timing of the active session until the next one begins (0x83). @param timing undefined: its own again */
  setTiming(timing: { p2: number; p2Star: number } | undefined): void {
    this.#timingOverride = timing;
  }

  /**
   * Runs a request of the server's own, such as the service that responds to an event: through the same checks, without
   * a tester. S3 is not started anew.
   */
  async internalRequest(request: Uint8Array): Promise<Uint8Array> {
    const sid = request[0];
    try {
      const context: RequestContext = { tester: 0, addressing: "physical" };
      return (await this.#dispatch(request, context, () => {}, () => {})).slice();
    } catch (error) {
      return Uint8Array.of(negativeResponse, sid, this.#nrcOf(error, sid));
    }
  }

  /** A request under way goes on, as in an ECU that knows nothing of sockets; its answer is dropped. */
  disconnected(tester: number): void {
    if (this.#underWay?.tester === tester) this.#underWay.wanted = false;
    this.#connections.delete(tester);
    for (const service of this.#services.values()) service.disconnected?.(tester);
  }

  handle(request: Uint8Array, context: RequestContext, respond: Respond): void {
    if (request.length === 0) return;
    const sid = request[0];
    if (this.#underWay !== undefined) {
      // TesterPresent of a tester that holds the session is no second request (ISO 14229-2 7.5).
      if (sid === Sid.testerPresent && request.length === 2 && request[1] === suppressPositiveResponse) {
        return;
      }
      this.#refuse(sid, Nrc.busyRepeatRequest, context, false, respond);
      return;
    }
    const generation = this.#generation;
    const suppress = request.length > 1 && (request[1] & suppressPositiveResponse) !== 0 &&
      hasSubFunction(sid);
    let result: Uint8Array | Promise<Uint8Array>;
    try {
      result = this.#dispatch(request, context, this.#emitter(context, respond), (run) => {
        this.#afterAnswer = run;
      });
      if (result instanceof Uint8Array) this.#checkResponse(result);
    } catch (error) {
      this.#afterAnswer = undefined;
      if (generation !== this.#generation) return;
      this.#refuse(sid, this.#nrcOf(error, sid), context, false, respond);
      this.#touch();
      return;
    }
    if (generation !== this.#generation) {
      // The request itself ended in a reset or a power cut: there is nobody left who could answer.
      if (result instanceof Promise) result.catch(() => {});
      return;
    }
    if (result instanceof Promise) {
      this.#await(result, sid, suppress, context, respond);
      return;
    }
    this.#touch();
    if (!suppress) respond(result);
    this.#finish();
  }

  /**
   * Steps of 8.7, in its order: service, its session, security and authentication; then the same for the sub-function;
   * then the length. What is left is the service's own.
   */
  #dispatch(
    request: Uint8Array,
    context: RequestContext,
    emit: (message: Uint8Array) => void,
    afterAnswer: (run: () => void) => void,
  ): Uint8Array | Promise<Uint8Array> {
    const sid = request[0];
    const service = this.#services.get(sid);
    if (service === undefined) throw new Refusal(Nrc.serviceNotSupported);
    if (service.sessions !== undefined && !service.sessions.includes(this.#session)) {
      throw new Refusal(Nrc.serviceNotSupportedInActiveSession);
    }
    this.#checkAccess(service);
    let subFunction = 0;
    if (service.subFunctions !== undefined) {
      if (request.length < 2) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
      subFunction = request[1] & ~suppressPositiveResponse;
      const conditions = service.subFunctions.get(subFunction);
      if (conditions === undefined) throw new Refusal(Nrc.subFunctionNotSupported);
      if (conditions.sessions !== undefined && !conditions.sessions.includes(this.#session)) {
        throw new Refusal(Nrc.subFunctionNotSupportedInActiveSession);
      }
      this.#checkAccess(conditions);
      checkLength(request, conditions);
    }
    checkLength(request, service);
    return service.handle({
      bytes: request,
      subFunction,
      context,
      afterAnswer,
      emit,
    });
  }

  #await(
    result: Promise<Uint8Array>,
    sid: number,
    suppress: boolean,
    context: RequestContext,
    respond: Respond,
  ): void {
    const generation = this.#generation;
    const { p2, p2Star } = this.#timing();
    let pendingSent = false;
    const pending = () => {
      pendingSent = true;
      if (underWay.wanted) {
        this.#refuse(sid, Nrc.requestCorrectlyReceivedResponsePending, context, true, respond);
      }
      underWay.cancelTimer = this.#clock.after(p2Star * pendingShare, pending);
    };
    const underWay: UnderWay = {
      tester: context.tester,
      cancelTimer: this.#clock.after(p2 * pendingShare, pending),
      wanted: true,
    };
    this.#underWay = underWay;
    // S3 stands still while a request is under way (ISO 14229-2 7.5).
    this.#cancelS3?.();
    this.#cancelS3 = undefined;
    const settle = (send: () => void) => {
      if (generation !== this.#generation) return;
      underWay.cancelTimer();
      this.#underWay = undefined;
      this.#touch();
      if (underWay.wanted) send();
      this.#finish();
    };
    result.then(
      // After 0x78 the final answer is sent even if it was to be suppressed (8.2.2).
      (answer) =>
        settle(() => {
          try {
            this.#checkResponse(answer);
          } catch (error) {
            return this.#refuse(sid, this.#nrcOf(error, sid), context, pendingSent, respond);
          }
          if (!suppress || pendingSent) respond(answer);
        }),
      (error) =>
        settle(() => {
          this.#afterAnswer = undefined;
          this.#refuse(sid, this.#nrcOf(error, sid), context, pendingSent, respond);
        }),
    );
  }

  #finish(): void {
    const run = this.#afterAnswer;
    if (run === undefined) return;
    this.#afterAnswer = undefined;
    run();
  }

  #refuse(sid: number, nrc: number, context: RequestContext, always: boolean, respond: Respond): void {
    if (!always && context.addressing === "functional" && silentWhenFunctional.has(nrc)) return;
    this.#negative[1] = sid;
    this.#negative[2] = nrc;
    respond(this.#negative);
  }

  #nrcOf(error: unknown, sid: number): number {
    if (error instanceof Refusal) return error.nrc;
    if (error instanceof UdsFormatError) return Nrc.incorrectMessageLengthOrInvalidFormat;
    this.#options.log?.(
      `${this.#options.name}: ${serviceName(sid)}: ${
        error instanceof Error ? error.stack ?? error.message : error
      }`,
    );
    return Nrc.generalReject;
  }

  #checkAccess(conditions: ServiceConditions): void {
    if (conditions.securityLevel !== undefined && this.security.unlocked !== conditions.securityLevel) {
      throw new Refusal(Nrc.securityAccessDenied);
    }
    if (conditions.authentication === true && this.#options.isAuthenticated?.() !== true) {
      throw new Refusal(Nrc.authenticationRequired);
    }
  }

  #checkResponse(response: Uint8Array): void {
    const { maxResponseLength } = this.#options;
    if (maxResponseLength !== undefined && response.length > maxResponseLength) {
      throw new Refusal(Nrc.responseTooLong);
    }
  }

  /** Sends unasked messages the way that a request came, as long as its tester stays. */
  #emitter({ tester }: RequestContext, respond: Respond): (message: Uint8Array) => void {
    let connection = this.#connections.get(tester);
    if (connection === undefined) this.#connections.set(tester, connection = {});
    return (message) => {
      if (this.#connections.get(tester) === connection) respond(message);
    };
  }

  #timing(): { p2: number; p2Star: number } {
    if (this.#timingOverride !== undefined) return this.#timingOverride;
    const session = this.#sessions.get(this.#session);
    if (session === undefined) {
      throw new Error(`${this.#options.name}: session ${this.#session} is not in the table`);
    }
    return session;
  }

  /** Starts S3 anew. The timer is armed once and looks at the time of the last request when it fires. */
  #touch(): void {
    if (this.#session === Session.default) return;
    this.#lastRequest = this.#clock.now();
    this.#cancelS3 ??= this.#clock.after(this.#s3, () => this.#s3Expired());
  }

  #s3Expired(): void {
    this.#cancelS3 = undefined;
    if (this.#session === Session.default || this.#underWay !== undefined) return;
    const left = this.#lastRequest + this.#s3 - this.#clock.now();
    if (left > 0) this.#cancelS3 = this.#clock.after(left, () => this.#s3Expired());
    else this.#enter(Session.default);
  }

  #enter(session: number): void {
    this.#session = session;
    // Every session change locks (10.4.1), also one to the session that is active.
    this.security.lock();
    this.#timingOverride = undefined;
    for (const service of this.#services.values()) service.sessionBegan?.(session);
    this.#options.onSession?.(session);
  }

  #sessionService(): ServiceDefinition {
    const subFunctions = new Map<number, ServiceConditions>();
    for (const session of this.#sessions.values()) {
      subFunctions.set(session.id, { sessions: session.from, maxLength: 2 });
    }
    return {
      subFunctions,
      handle: ({ subFunction }) => {
        const nrc = this.#options.allowSession?.(subFunction);
        if (nrc !== undefined) throw new Refusal(nrc);
        this.#enter(subFunction);
        const { p2, p2Star } = this.#timing();
        const units = p2Star / 10;
        return Uint8Array.of(
          Sid.diagnosticSessionControl + positiveOffset,
          subFunction,
          p2 >> 8,
          p2 & 0xff,
          units >> 8,
          units & 0xff,
        );
      },
    };
  }

  #securityService(levels: SecurityLevelOptions[]): ServiceDefinition {
    const subFunctions = new Map<number, ServiceConditions>();
    for (const { level } of levels) {
      subFunctions.set(level, {});
      subFunctions.set(level + 1, {});
    }
    const sessions = [...this.#sessions.keys()].filter((session) => session !== Session.default);
    // 0x27 belongs to the non-default sessions (10.2.1, services allowed per session).
    return {
      sessions,
      subFunctions,
      handle: ({ bytes, subFunction }) => this.security.answer(bytes, subFunction),
    };
  }
}

function checkLength(request: Uint8Array, { minLength = 1, maxLength = Infinity }: ServiceConditions): void {
  if (request.length < minLength || request.length > maxLength) {
    throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
  }
}
