// The tester's side of UDS: typed functions for the services of every day, each checking the whole of the answer before
// it is used. The rest stands in units of its own (client/): DTCs, data, authentication, events, files, link.
import { ask } from "./client/ask.ts";
import { AuthenticationClient } from "./client/authentication.ts";
import { DataClient } from "./client/data.ts";
import { DtcClient } from "./client/dtc.ts";
import { EventClient } from "./client/events.ts";
import { FileClient } from "./client/files.ts";
import { LinkClient } from "./client/link.ts";
import { communicationControl, controlDtcSetting } from "./codec/management.ts";
import { UdsProtocolError } from "./errors.ts";
import { Exchange, type ExchangeOptions, type RequestOptions } from "./exchange.ts";
import { encodeMemoryRange, type MemoryFormat, type MemoryRange, takeNumber } from "./memory_range.ts";
import type { SeedKey } from "./seed_key.ts";
import { CommunicationType, hex, RoutineControl, serviceName, Sid } from "./services.ts";
import type { UdsTransport } from "./transport.ts";

export type { RequestOptions } from "./exchange.ts";

/** Options of {@link UdsClient}: names, times and limits. */
export type UdsClientOptions = ExchangeOptions;

/** What a DiagnosticSessionControl answer says. Milliseconds. */
export interface SessionTiming {
  readonly session: number;
  readonly p2: number;
  readonly p2Star: number;
}

/** A download that the ECU accepted. */
export interface Download {
  /** Longest TransferData request, service byte and block counter included. */
  readonly maxBlockLength: number;
}

/**
 * Diagnoses one ECU over one path, one request at a time in the order of the calls.
 *
 * Every function rejects with `NegativeResponseError`, `UdsProtocolError` (an answer of the wrong shape),
 * `UdsTimeoutError` or `UdsTransportError`. {@link UdsClient.close} ends the background TesterPresent.
 */
export class UdsClient implements Disposable {
  /** 14, 19. */
  readonly dtc: DtcClient;
  /** 22 with several identifiers, 24, 2A, 2C, 2F, 3D. */
  readonly data: DataClient;
  /** 29. */
  readonly authentication: AuthenticationClient;
  /** 86. */
  readonly events: EventClient;
  /** 38. */
  readonly files: FileClient;
  /** 83, 87. */
  readonly link: LinkClient;
  readonly #exchange: Exchange;

  constructor(transport: UdsTransport, options: UdsClientOptions = {}) {
    this.#exchange = new Exchange(transport, options);
    this.dtc = new DtcClient(this.#exchange);
    this.data = new DataClient(this.#exchange);
    this.authentication = new AuthenticationClient(this.#exchange);
    this.events = new EventClient(this.#exchange);
    this.files = new FileClient(this.#exchange);
    this.link = new LinkClient(this.#exchange);
  }

  /** How messages name the ECU. */
  get ecu(): string {
    return this.#exchange.ecu;
  }

  /** The session that the ECU is in as far as this client made it enter one. */
  get session(): number {
    return this.#exchange.session;
  }

  /** P2 and P2* in force, in milliseconds. */
  get timing(): { p2: number; p2Star: number } {
    return this.#exchange.timing;
  }

  /** The engine below, for helpers that make many requests (see flash/transfer.ts). */
  get exchange(): Exchange {
    return this.#exchange;
  }

  /**
   * Sends any request and returns the positive answer, or undefined when the request suppressed it and none came.
   * Only service, and what the answer repeats of the request, are checked.
   */
  raw(request: Uint8Array, options?: RequestOptions): Promise<Uint8Array | undefined> {
    return this.#exchange.request(request, options);
  }

  /** 0x10, 10.2. The client keeps to the timing that the answer gives and holds the session by TesterPresent. */
  async diagnosticSessionControl(session: number, options?: RequestOptions): Promise<SessionTiming> {
    const request = Uint8Array.of(Sid.diagnosticSessionControl, subFunction(session));
    const answer = await this.#ask(request, options);
    // The 2006 edition answers without timing.
    if (answer.length !== 6 && answer.length !== 2) throw this.#shape(answer, "6 bytes");
    return { session, ...this.#exchange.timing };
  }

  /** 0x11, 10.3. @returns seconds until power-down if the ECU says so (reset type 04 only) */
  async ecuReset(type: number, options?: RequestOptions): Promise<{ powerDownTime?: number }> {
    const answer = await this.#ask(Uint8Array.of(Sid.ecuReset, subFunction(type)), options);
    if (answer.length !== 2 && answer.length !== 3) throw this.#shape(answer, "2 or 3 bytes");
    return answer.length === 3 && answer[2] !== 0xff ? { powerDownTime: answer[2] } : {};
  }

  /** 0x22, 11.2. @returns the identifier's data record */
  async readDataByIdentifier(did: number, options?: RequestOptions): Promise<Uint8Array> {
    const answer = await this.#ask(
      Uint8Array.of(Sid.readDataByIdentifier, ...twoBytes(did, "data identifier")),
      options,
    );
    if (answer.length < 4) throw this.#shape(answer, "at least 1 byte of data");
    return answer.subarray(3);
  }

  /** 0x23, 11.3. @returns exactly `range.size` bytes */
  async readMemoryByAddress(
    range: MemoryRange,
    options?: RequestOptions & { format?: MemoryFormat },
  ): Promise<Uint8Array> {
    const request = concat([Sid.readMemoryByAddress], encodeMemoryRange(range, options?.format));
    return this.#exact(await this.#ask(request, options), 1 + range.size).subarray(1);
  }

  /** 0x27 requestSeed, 10.4. @param level odd. @returns the seed; all zero when the level is unlocked already */
  async requestSeed(level: number, options?: RequestOptions): Promise<Uint8Array> {
    const answer = await this.#ask(Uint8Array.of(Sid.securityAccess, oddLevel(level)), options);
    if (answer.length < 3) throw this.#shape(answer, "a seed of at least 1 byte");
    return answer.subarray(2);
  }

  /** 0x27 sendKey, 10.4. @param level the odd level that the seed was asked with */
  async sendKey(level: number, key: Uint8Array, options?: RequestOptions): Promise<void> {
    this.#exact(await this.#ask(concat([Sid.securityAccess, oddLevel(level) + 1], key), options), 2);
  }

  /** 0x27: seed, key, unlocked. Sends no key when the ECU says by an all-zero seed that it is unlocked. */
  async unlock(level: number, seedKey: SeedKey, options?: RequestOptions): Promise<void> {
    const seed = await this.requestSeed(level, options);
    if (seed.every((byte) => byte === 0)) return;
    await this.sendKey(level, await seedKey(seed, level), options);
  }

  /**
   * 0x28, 10.5.
   * @param communicationType @default normal and network management
   * @param options.node nodeIdentificationNumber, with control types 04 and 05
   */
  async communicationControl(
    control: number,
    communicationType: number = CommunicationType.both,
    options: RequestOptions & { node?: number } = {},
  ): Promise<void> {
    await ask(
      this.#exchange,
      communicationControl,
      { control, communicationType, node: options.node },
      options,
    );
  }

  /** 0x2E, 11.7. */
  async writeDataByIdentifier(did: number, data: Uint8Array, options?: RequestOptions): Promise<void> {
    const request = concat([Sid.writeDataByIdentifier, ...twoBytes(did, "data identifier")], data);
    this.#exact(await this.#ask(request, options), 3);
  }

  /**
   * 0x31, 14.2.
   * @param control one of {@link RoutineControl}
   * @returns what the answer carries behind the routine identifier: routine info and status record, may be empty
   */
  async routineControl(
    control: number,
    routine: number,
    option: Uint8Array = new Uint8Array(),
    options?: RequestOptions,
  ): Promise<Uint8Array> {
    const request = concat(
      [Sid.routineControl, subFunction(control), ...twoBytes(routine, "routine identifier")],
      option,
    );
    return (await this.#ask(request, options)).subarray(4);
  }

  /** 0x31 01, 14.2. */
  startRoutine(routine: number, option?: Uint8Array, options?: RequestOptions): Promise<Uint8Array> {
    return this.routineControl(RoutineControl.start, routine, option, options);
  }

  /** 0x34, 15.2. @param options.dataFormat compression in the high nibble, encryption in the low. @default 0 */
  requestDownload(
    range: MemoryRange,
    options?: RequestOptions & { dataFormat?: number; format?: MemoryFormat },
  ): Promise<Download> {
    return this.#requestTransfer(Sid.requestDownload, range, options);
  }

  /** 0x35, 15.3. @param options.dataFormat as in {@link requestDownload}. @default 0 */
  requestUpload(
    range: MemoryRange,
    options?: RequestOptions & { dataFormat?: number; format?: MemoryFormat },
  ): Promise<Download> {
    return this.#requestTransfer(Sid.requestUpload, range, options);
  }

  /**
   * 0x36, 15.4.
   * @param blockSequenceCounter 0x01 first, 0x00 after 0xFF
   * @returns the answer's transferResponseParameterRecord, the data of an upload
   */
  async transferData(
    blockSequenceCounter: number,
    data: Uint8Array,
    options?: RequestOptions,
  ): Promise<Uint8Array> {
    const request = concat([Sid.transferData, byte(blockSequenceCounter, "block sequence counter")], data);
    return (await this.#ask(request, options)).subarray(2);
  }

  /** 0x37, 15.5. @returns the answer's transferResponseParameterRecord, may be empty */
  async requestTransferExit(
    parameter: Uint8Array = new Uint8Array(),
    options?: RequestOptions,
  ): Promise<Uint8Array> {
    return (await this.#ask(concat([Sid.requestTransferExit], parameter), options)).subarray(1);
  }

  /** 0x3E 00, 10.7, answered: tells whether the ECU is there. */
  async testerPresent(options?: RequestOptions): Promise<void> {
    this.#exact(await this.#ask(Uint8Array.of(Sid.testerPresent, 0), options), 2);
  }

  /** 0x85, 10.8. @param setting one of `DtcSetting` @param options.record the manufacturer's option record */
  async controlDtcSetting(
    setting: number,
    options: RequestOptions & { record?: Uint8Array } = {},
  ): Promise<void> {
    const option = options.record ?? new Uint8Array();
    await ask(this.#exchange, controlDtcSetting, { setting, option }, options);
  }

  /** Ends TesterPresent and refuses further requests. The transport stays the caller's. */
  close(): void {
    this.#exchange.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #ask(request: Uint8Array, options: RequestOptions | undefined): Promise<Uint8Array> {
    const answer = await this.#exchange.request(request, options);
    // The typed functions never set the suppress bit, so silence ends in a timeout before it gets here.
    if (answer === undefined) {
      throw new UdsProtocolError(`${this.ecu}: ${serviceName(request[0])}: no answer`);
    }
    return answer;
  }

  async #requestTransfer(
    sid: number,
    range: MemoryRange,
    options: RequestOptions & { dataFormat?: number; format?: MemoryFormat } = {},
  ): Promise<Download> {
    const request = concat(
      [sid, byte(options.dataFormat ?? 0, "data format identifier")],
      encodeMemoryRange(range, options.format),
    );
    const answer = await this.#ask(request, options);
    // lengthFormatIdentifier: the width of maxNumberOfBlockLength in its high nibble (15.2.3.2).
    const width = answer.length > 1 ? answer[1] >> 4 : 0;
    if (width < 1 || width > 6 || answer.length !== 2 + width) throw this.#shape(answer, "a block length");
    const maxBlockLength = takeNumber(answer, 2, width);
    if (maxBlockLength < 3) throw this.#shape(answer, "a block length of at least 3");
    return { maxBlockLength };
  }

  #exact(answer: Uint8Array, length: number): Uint8Array {
    if (answer.length !== length) throw this.#shape(answer, `${length} bytes`);
    return answer;
  }

  #shape(answer: Uint8Array, expected: string): UdsProtocolError {
    const sid = answer[0] - 0x40;
    return new UdsProtocolError(
      `${this.ecu}: answer to ${serviceName(sid)}: expected ${expected}, got ${answer.length} bytes: ` +
        Array.from(answer.subarray(0, 8), (value) => hex(value, 2).slice(2)).join(" "),
    );
  }
}

function concat(head: number[], tail: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(head.length + tail.length);
  bytes.set(head);
  bytes.set(tail, head.length);
  return bytes;
}

function byte(value: number, what: string): number {
  return checked(value, 0xff, what);
}

function subFunction(value: number): number {
  return checked(value, 0x7f, "sub-function");
}

function oddLevel(level: number): number {
  if (checked(level, 0x7d, "security level") % 2 === 0) {
    throw new RangeError(`security level: expected an odd number, got ${level}`);
  }
  return level;
}

function twoBytes(value: number, what: string): [number, number] {
  checked(value, 0xffff, what);
  return [value >> 8, value & 0xff];
}

function checked(value: number, max: number, what: string): number {
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new RangeError(`${what}: expected 0 … ${hex(max, 2)}, got ${value}`);
  }
  return value;
}
