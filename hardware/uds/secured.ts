// SecuredDataTransmission (0x84, ISO 14229-1:2020 clause 16) for both sides: requests and answers inside a protected
// message. What protects them is handed in; this file keeps the form and the anti-replay counter.
import { type SecuredData, securedDataTransmission, SecuredMessage } from "./codec/secured.ts";
import { UdsProtocolError } from "./errors.ts";
import { Nrc } from "./nrc.ts";
import { type InternalRequest, Refusal, type ServiceDefinition } from "./server_service.ts";
import { negativeResponse, positiveOffset, Sid } from "./services.ts";
import type { UdsTransport, WaitOptions } from "./transport.ts";

/** Encrypts, signs, decrypts and verifies. Keys and algorithms are its own affair. */
export interface SecuritySublayer {
  /** @param context request or response, and the counter, which a signature must cover */
  protect(
    message: Uint8Array,
    context: { request: boolean; antiReplayCounter: number },
  ): Promise<Pick<SecuredData, "administrative" | "calculation" | "message" | "signature">>;
  /** @returns the message inside, undefined when it is not genuine */
  open(data: SecuredData): Promise<Uint8Array | undefined>;
}

const lastCounter = 0xffff;

async function wrap(
  sublayer: SecuritySublayer,
  message: Uint8Array,
  request: boolean,
  antiReplayCounter: number,
): Promise<SecuredData> {
  const data = await sublayer.protect(message, { request, antiReplayCounter });
  const administrative = request
    ? data.administrative | SecuredMessage.request
    : data.administrative & ~SecuredMessage.request;
  return { ...data, administrative, antiReplayCounter };
}

/** A client's path on which everything goes inside 0x84: an `UdsClient` on top knows nothing of it. */
export class SecuredTransport implements UdsTransport {
  readonly name: string;
  readonly #inner: UdsTransport;
  readonly #sublayer: SecuritySublayer;
  #counter: number;
  /** Service of the request under way, for refusals of 0x84 itself. */
  #sid = 0;

  /** @param counter the first anti-replay counter. @default 1 */
  constructor(inner: UdsTransport, sublayer: SecuritySublayer, counter = 1) {
    this.#inner = inner;
    this.#sublayer = sublayer;
    this.#counter = counter;
    this.name = `${inner.name} secured`;
  }

  /** Half of what the path carries: how much a signature adds is the sublayer's affair. */
  get maxRequestLength(): number {
    return Math.floor(this.#inner.maxRequestLength / 2);
  }

  async send(request: Uint8Array, options: WaitOptions): Promise<void> {
    if (this.#counter > lastCounter) {
      throw new UdsProtocolError(`${this.name}: the anti-replay counter is used up: a new key is needed`);
    }
    this.#sid = request[0];
    const data = await wrap(this.#sublayer, request, true, this.#counter++);
    await this.#inner.send(securedDataTransmission.request.encode(data), options);
  }

  async receive(options: WaitOptions): Promise<Uint8Array> {
    const message = await this.#inner.receive(options);
    // 84 itself refused or pending: the request inside is what waits for it.
    if (
      message[0] === negativeResponse && message[1] === Sid.securedDataTransmission && message.length === 3
    ) {
      return Uint8Array.of(negativeResponse, this.#sid, message[2]);
    }
    if (message[0] !== Sid.securedDataTransmission + positiveOffset) return message;
    const data = securedDataTransmission.response.decode(message);
    const opened = await this.#sublayer.open(data);
    if (opened === undefined || (data.administrative & SecuredMessage.request) !== 0) {
      throw new UdsProtocolError(`${this.name}: a secured answer is not genuine`);
    }
    return opened;
  }

  discardReceived(): number {
    return this.#inner.discardReceived();
  }
}

/**
 * 0x84 on the server: opens, runs what is inside, and protects what comes of it, refusals included.
 * @param run the server's own `internalRequest`
 * @param allowed whether a service may come this way; others are refused with 0x39. @default all
 */
export function securedService(
  sublayer: SecuritySublayer,
  run: InternalRequest,
  allowed: (sid: number) => boolean = () => true,
): ServiceDefinition {
  let last = 0;
  return {
    minLength: 9,
    handle: async ({ bytes }) => {
      const data = securedDataTransmission.request.decode(bytes);
      if ((data.administrative & SecuredMessage.request) === 0) throw new Refusal(Nrc.requestOutOfRange);
      const opened = await sublayer.open(data);
      // A counter that was met already is a message played again, however genuine it is.
      if (opened === undefined || opened.length === 0 || data.antiReplayCounter <= last) {
        throw new Refusal(Nrc.secureDataVerificationFailed);
      }
      last = data.antiReplayCounter;
      if (!allowed(opened[0]) || opened[0] === Sid.securedDataTransmission) {
        throw new Refusal(Nrc.secureDataTransmissionNotAllowed);
      }
      const answer = await run(opened);
      return securedDataTransmission.response.encode(
        await wrap(sublayer, answer, false, data.antiReplayCounter),
      );
    },
  };
}
