// The tester's side of Authentication (ISO 14229-1:2020 10.6): certificate exchange and challenge-response.
import {
  algorithmIndicator,
  type AuthenticationIdentity,
  type CertificateCheck,
  CertificateError,
  proofInput,
} from "../authentication.ts";
import {
  authentication,
  type AuthenticationRequest,
  type AuthenticationResponse,
  AuthenticationReturn,
  AuthenticationTask,
} from "../codec/authentication.ts";
import { UdsError } from "../errors.ts";
import type { Exchange, RequestOptions } from "../exchange.ts";
import { hex, Sid } from "../services.ts";
import { ask, unexpected } from "./ask.ts";

/** The ECU did not prove who it is. */
export class ServerNotAuthenticError extends UdsError {
  override readonly name = "ServerNotAuthenticError";
}

/** Options of an authentication. */
export interface AuthenticateOptions extends RequestOptions {
  /** communicationConfiguration: how messages are secured afterwards; 0: not at all. @default 0 */
  communicationConfiguration?: number;
  /** Asks the ECU for its own proof as well, with this check of its certificate. @default unidirectional */
  verifyServer?: CertificateCheck;
  /** Bytes of our challenge. @default 32 */
  challengeLength?: number;
  /** @default the system's random numbers */
  random?: (length: number) => Uint8Array;
}

/** What an authentication ended with. */
export interface Authenticated {
  /** authenticationReturnParameter, e.g. 0x12. */
  readonly result: number;
  /** Empty when no session key was agreed. */
  readonly sessionKeyInfo: Uint8Array;
}

const none: Uint8Array = new Uint8Array();

/** Part of {@link UdsClient}: `client.authentication`. */
export class AuthenticationClient {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** 0x29 with any task; answers of another task are passed over. */
  request(request: AuthenticationRequest, options?: RequestOptions): Promise<AuthenticationResponse> {
    return ask(this.#exchange, authentication, request, options);
  }

  /**
   * Authentication by certificate exchange (APCE): tasks 01 and 03, or 02 and 03 when the ECU is to prove itself too.
   * @throws {NegativeResponseError} 0x50–0x58 when the ECU does not accept certificate or proof
   * @throws {ServerNotAuthenticError} when the ECU's certificate or proof is not good; the ECU gets no proof of ours then
   */
  async withCertificate(
    identity: AuthenticationIdentity,
    options: AuthenticateOptions = {},
  ): Promise<Authenticated> {
    const { communicationConfiguration = 0, verifyServer } = options;
    const { certificate } = identity;
    let challengeServer: Uint8Array;
    let challengeClient: Uint8Array = none;
    if (verifyServer === undefined) {
      const task = AuthenticationTask.verifyCertificateUnidirectional;
      const request = { task, communicationConfiguration, certificate, challenge: none };
      const answer = await this.request(request, options);
      if (answer.task !== task) throw this.#wrongTask(task, answer);
      challengeServer = answer.challenge;
    } else {
      const task = AuthenticationTask.verifyCertificateBidirectional;
      challengeClient = randomOf(options);
      const request = { task, communicationConfiguration, certificate, challenge: challengeClient };
      const answer = await this.request(request, options);
      if (answer.task !== task) throw this.#wrongTask(task, answer);
      challengeServer = answer.challenge;
      await this.#verifyServer(
        verifyServer,
        answer.certificate,
        answer.proof,
        challengeServer,
        challengeClient,
      );
    }
    if (challengeServer.length === 0) {
      throw unexpected(this.#exchange, Sid.authentication, "a challenge", "none");
    }
    const proof = await identity.sign(proofInput("client", challengeServer, challengeClient));
    const task = AuthenticationTask.proofOfOwnership;
    const answer = await this.request({ task, proof, ephemeralPublicKey: none }, options);
    if (answer.task !== task) throw this.#wrongTask(task, answer);
    return { result: answer.result, sessionKeyInfo: answer.sessionKeyInfo };
  }

  /**
   * Authentication by challenge-response (ACR) with a key that the ECU knows: tasks 05 and 06, or 05 and 07.
   * @param options.serverCertificate the ECU's, which it does not send with these tasks; needed with `verifyServer`
   */
  async withChallenge(
    identity: AuthenticationIdentity,
    options: AuthenticateOptions & { serverCertificate?: Uint8Array } = {},
  ): Promise<Authenticated> {
    const { communicationConfiguration = 0, verifyServer, serverCertificate } = options;
    if ((verifyServer === undefined) !== (serverCertificate === undefined)) {
      throw new RangeError("serverCertificate: expected together with verifyServer, or neither");
    }
    const algorithm = algorithmIndicator(identity.algorithm);
    const ask = AuthenticationTask.requestChallenge;
    const offered = await this.request({ task: ask, communicationConfiguration, algorithm }, options);
    if (offered.task !== ask) throw this.#wrongTask(ask, offered);
    const challenge = verifyServer === undefined ? none : randomOf(options);
    const proof = await identity.sign(proofInput("client", offered.challenge, challenge));
    const task = verifyServer === undefined
      ? AuthenticationTask.verifyProofUnidirectional
      : AuthenticationTask.verifyProofBidirectional;
    const answer = await this.request(
      { task, algorithm, proof, challenge, additionalParameter: none },
      options,
    );
    if (
      answer.task !== AuthenticationTask.verifyProofUnidirectional &&
      answer.task !== AuthenticationTask.verifyProofBidirectional
    ) throw this.#wrongTask(task, answer);
    if (verifyServer !== undefined && serverCertificate !== undefined) {
      const serverProof = "proof" in answer ? answer.proof : none;
      await this.#verifyServer(verifyServer, serverCertificate, serverProof, offered.challenge, challenge);
    }
    return { result: answer.result, sessionKeyInfo: answer.sessionKeyInfo };
  }

  /** 0x29 04: a certificate for the ECU to keep. @returns authenticationReturnParameter, 0x13 when it was verified */
  async transmitCertificate(
    evaluationId: number,
    certificate: Uint8Array,
    options?: RequestOptions,
  ): Promise<number> {
    const task = AuthenticationTask.transmitCertificate;
    return (await this.request({ task, evaluationId, certificate }, options)).result;
  }

  /** 0x29 00. */
  async deAuthenticate(options?: RequestOptions): Promise<void> {
    const { result } = await this.request({ task: AuthenticationTask.deAuthenticate }, options);
    if (result !== AuthenticationReturn.deAuthenticationSuccessful) {
      throw unexpected(this.#exchange, Sid.authentication, "return value 0x10", hex(result, 2));
    }
  }

  /** 0x29 08: how the ECU wants to be authenticated to. @returns 0x02 APCE, 0x03 and 0x04 ACR */
  async configuration(options?: RequestOptions): Promise<number> {
    return (await this.request({ task: AuthenticationTask.configuration }, options)).result;
  }

  async #verifyServer(
    check: CertificateCheck,
    certificate: Uint8Array,
    proof: Uint8Array,
    challengeServer: Uint8Array,
    challengeClient: Uint8Array,
  ): Promise<void> {
    const { ecu } = this.#exchange;
    let verified;
    try {
      verified = await check(certificate);
    } catch (cause) {
      if (!(cause instanceof CertificateError)) throw cause;
      throw new ServerNotAuthenticError(`${ecu}: its certificate: ${cause.message}`, { cause });
    }
    if (await verified.verify(proofInput("server", challengeServer, challengeClient), proof)) return;
    throw new ServerNotAuthenticError(`${ecu}: its proof is not by the key of ${verified.subject}`);
  }

  #wrongTask(task: number, answer: AuthenticationResponse): Error {
    return unexpected(this.#exchange, Sid.authentication, `task ${hex(task, 2)}`, hex(answer.task, 2));
  }
}

function randomOf({ challengeLength = 32, random }: AuthenticateOptions): Uint8Array {
  if (!Number.isInteger(challengeLength) || challengeLength < 8 || challengeLength > 1_024) {
    throw new RangeError(`challengeLength: expected 8 … 1024, got ${challengeLength}`);
  }
  return random?.(challengeLength) ?? crypto.getRandomValues(new Uint8Array(challengeLength));
}
