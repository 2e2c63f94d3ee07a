// What diagnostics need of a bus: the client's path to one ECU, and the ECU's side of it.
// DoIP and ISO-TP implement these, so that the UDS client and server know nothing of the bus below them.

/** How a request was addressed (ISO 14229-2): to one ECU, or to all that listen to a functional address. */
export type Addressing = "physical" | "functional";

/** Limits of one wait. */
export interface WaitOptions {
  /** Longest wait in milliseconds. */
  timeout: number;
  /** Ends the wait early; the promise rejects with the signal's reason. */
  signal?: AbortSignal;
}

/**
 * The client's path to one ECU. One request is under way at a time: the caller keeps that rule.
 *
 * A transport never interprets what it carries; late or unasked answers are delivered like any other and
 * sorted out by the UDS client.
 */
export interface UdsTransport {
  /** Name for messages, e.g. `DoIP 127.0.10.1:13400 0x0E00→0x1101`. */
  readonly name: string;
  /** Longest request in bytes that the path carries; a longer one is refused before it is sent. */
  readonly maxRequestLength: number;
  /**
   * Hands one request to the bus. Resolves once the bus has taken it (DoIP: positive acknowledgement 0x8002).
   * The bytes may be reused by the caller after that. On ISO-TP the time-out is until the ECU's first flow control:
   * a long request may rightly take longer, and its own timers bound it from there.
   */
  send(request: Uint8Array, options: WaitOptions): Promise<void>;
  /**
   * The next message from the ECU. The bytes belong to the caller. The time-out is until the message begins: P2 ends
   * with the First Frame (ISO 14229-2), and ISO-TP's own timers bound the rest.
   * @throws {UdsTimeoutError} when nothing came in time.
   */
  receive(options: WaitOptions): Promise<Uint8Array>;
  /** Drops messages that arrived and were not received: what is left over from an earlier request. */
  discardReceived(): number;
}

/** A message with the address of the ECU that sent it. */
export interface ReceivedMessage {
  /** The ECU's address as the bus names it: DoIP its logical address, CAN its response identifier or N_SA. */
  readonly source: number;
  /** Belongs to the receiver. */
  readonly message: Uint8Array;
}

/**
 * The client's path to all ECUs that listen to one functional address. One request is under way at a time.
 *
 * On ISO-TP a functional request is a single frame (ISO 15765-2) and each ECU answers on its own identifier; on DoIP
 * it goes to an address from E400 on and the answers carry the addresses of the members.
 */
export interface FunctionalTransport {
  /** Name for messages, e.g. `CAN_BODY 0x7DF`. */
  readonly name: string;
  /** Longest request in bytes that the path carries functionally; a longer one is refused before it is sent. */
  readonly maxRequestLength: number;
  /** Hands one request to the bus. Resolves once the bus has taken it. */
  send(request: Uint8Array, options: WaitOptions): Promise<void>;
  /**
   * The next message from any of the ECUs.
   * @throws {UdsTimeoutError} when nothing came in time.
   */
  receiveFrom(options: WaitOptions): Promise<ReceivedMessage>;
  /** Drops messages that arrived and were not received. */
  discardReceived(): number;
}

/** An ECU as a bus sees it: takes requests, answers each with none, one or several messages. */
export interface DiagnosticEndpoint {
  /**
   * Handles one request.
   *
   * @param request valid until this call returns; whoever needs it longer copies it
   * @param respond sends one message back; may be called later and more than once (0x78, periodic data);
   *   the bytes may be reused as soon as it returns
   */
  handle(request: Uint8Array, context: RequestContext, respond: (response: Uint8Array) => void): void;
  /** The tester's connection is gone: what was tied to it ends. */
  disconnected?(tester: number): void;
}

/** Where a request came from. */
export interface RequestContext {
  /** The tester's source address. */
  readonly tester: number;
  readonly addressing: Addressing;
}

/** Nothing came from the ECU within the time. */
export class UdsTimeoutError extends Error {
  override readonly name = "UdsTimeoutError";
  constructor(where: string, waited: number, expected: string) {
    super(`${where}: no ${expected} within ${waited} ms`);
  }
}

/** The path to the ECU failed: connection lost, request not taken by the bus, request too long. */
export class UdsTransportError extends Error {
  override readonly name: string = "UdsTransportError";
}
