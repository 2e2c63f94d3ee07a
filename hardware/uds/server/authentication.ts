// The ECU's side of Authentication (0x29, ISO 14229-1:2020 10.6): who has proven what, by certificate exchange or by
// challenge-response. Certificates are checked and proofs verified by functions that are handed in.
import { sameBytes } from "../../same_bytes.ts";
import {
  algorithmIndicator,
  type AuthenticationIdentity,
  type CertificateCheck,
  CertificateError,
  type CertificateFault,
  proofInput,
  type VerifiedCertificate,
} from "../authentication.ts";
import {
  authentication,
  type AuthenticationRequest,
  type AuthenticationResponse,
  AuthenticationReturn,
  AuthenticationTask,
} from "../codec/authentication.ts";
import { Nrc } from "../nrc.ts";
import { Refusal, type ServiceDefinition } from "../server_service.ts";
import { Session } from "../services.ts";

/** What an ECU accepts and is. */
export interface AuthenticationServiceOptions {
  /** Checks the tester's certificate (01, 02, 04). @default certificates are not taken: challenge-response only */
  checkCertificate?: CertificateCheck;
  /** Testers known by their key, for challenge-response (05–07). @default none */
  knownClients?: readonly VerifiedCertificate[];
  /** The ECU itself, for the bidirectional tasks. @default none: 02 and 07 are not supported */
  identity?: AuthenticationIdentity;
  /** Bytes of a challenge. @default 32 */
  challengeLength?: number;
  /** communicationConfiguration values that are accepted. @default 0 alone: messages are not secured afterwards */
  communicationConfigurations?: readonly number[];
  /** @default the system's random numbers */
  random?: (length: number) => Uint8Array;
  /** Told who has authenticated, and undefined when nobody has any more. */
  onChange?: (subject: string | undefined) => void;
}

/** Negative response codes of certificate faults, Annex A.1. */
const faultCodes: Readonly<Record<CertificateFault, number>> = {
  timePeriod: Nrc.certificateVerificationFailedInvalidTimePeriod,
  signature: Nrc.certificateVerificationFailedInvalidSignature,
  chainOfTrust: Nrc.certificateVerificationFailedInvalidChainOfTrust,
  type: Nrc.certificateVerificationFailedInvalidType,
  format: Nrc.certificateVerificationFailedInvalidFormat,
  content: Nrc.certificateVerificationFailedInvalidContent,
  scope: Nrc.certificateVerificationFailedInvalidScope,
  certificate: Nrc.certificateVerificationFailedInvalidCertificate,
};

const none: Uint8Array = new Uint8Array();

/** What is out and waits for its proof. */
interface Pending {
  kind: "certificate" | "challenge";
  challengeServer: Uint8Array;
  challengeClient: Uint8Array;
  /** With a certificate: whose proof is due. */
  client?: VerifiedCertificate;
  /** With a challenge: which algorithm was asked for. */
  algorithm?: Uint8Array;
}

/** Who is authenticated, and the service by which that changes. */
export class ServerAuthentication {
  readonly #options: AuthenticationServiceOptions;
  readonly #random: (length: number) => Uint8Array;
  #pending: Pending | undefined;
  #subject: string | undefined;

  constructor(options: AuthenticationServiceOptions) {
    const { challengeLength = 32 } = options;
    if (!Number.isInteger(challengeLength) || challengeLength < 8 || challengeLength > 1_024) {
      throw new RangeError(`challengeLength: expected 8 … 1024, got ${challengeLength}`);
    }
    this.#options = options;
    this.#random = options.random ?? ((length) => crypto.getRandomValues(new Uint8Array(length)));
  }

  /** Whose proof was good, undefined when nobody's was. */
  get subject(): string | undefined {
    return this.#subject;
  }

  /** 0x29 */
  service(): ServiceDefinition {
    const { checkCertificate, knownClients = [], identity } = this.#options;
    const tasks: number[] = [AuthenticationTask.deAuthenticate, AuthenticationTask.configuration];
    if (checkCertificate !== undefined) {
      tasks.push(
        AuthenticationTask.verifyCertificateUnidirectional,
        AuthenticationTask.proofOfOwnership,
        AuthenticationTask.transmitCertificate,
      );
      if (identity !== undefined) tasks.push(AuthenticationTask.verifyCertificateBidirectional);
    }
    if (knownClients.length > 0) {
      tasks.push(AuthenticationTask.requestChallenge, AuthenticationTask.verifyProofUnidirectional);
      if (identity !== undefined) tasks.push(AuthenticationTask.verifyProofBidirectional);
    }
    return {
      subFunctions: new Map(tasks.map((task) => [task, {}])),
      handle: async ({ bytes }) => {
        const response = await this.#answer(authentication.request.decode(bytes));
        return authentication.response.encode(response);
      },
      // What was proven holds for the session and no longer (10.6.1).
      sessionBegan: (session) => {
        if (session === Session.default) this.#forget();
      },
      reset: () => this.#forget(),
    };
  }

  async #answer(request: AuthenticationRequest): Promise<AuthenticationResponse> {
    switch (request.task) {
      case AuthenticationTask.deAuthenticate:
        this.#forget();
        return { task: request.task, result: AuthenticationReturn.deAuthenticationSuccessful };
      case AuthenticationTask.configuration:
        return {
          task: request.task,
          result: this.#options.checkCertificate === undefined
            ? AuthenticationReturn.configurationAcrAsymmetric
            : AuthenticationReturn.configurationApce,
        };
      case AuthenticationTask.verifyCertificateUnidirectional:
      case AuthenticationTask.verifyCertificateBidirectional: {
        this.#pending = undefined;
        this.#checkConfiguration(request.communicationConfiguration);
        const client = await this.#check(request.certificate);
        const challengeServer = this.#challenge();
        const challengeClient = request.challenge;
        const result = AuthenticationReturn.certificateVerifiedOwnershipNecessary;
        if (request.task === AuthenticationTask.verifyCertificateUnidirectional) {
          this.#pending = { kind: "certificate", challengeServer, challengeClient, client };
          return { task: request.task, result, challenge: challengeServer, ephemeralPublicKey: none };
        }
        const { identity } = this.#options;
        if (identity === undefined) throw new Refusal(Nrc.subFunctionNotSupported);
        // Without a challenge of the tester's the ECU's proof could be an old one played again.
        if (challengeClient.length < 8) throw new Refusal(Nrc.challengeCalculationFailed);
        const proof = await identity.sign(proofInput("server", challengeServer, challengeClient));
        this.#pending = { kind: "certificate", challengeServer, challengeClient, client };
        return {
          task: request.task,
          result,
          challenge: challengeServer,
          certificate: identity.certificate,
          proof,
          ephemeralPublicKey: none,
        };
      }
      case AuthenticationTask.proofOfOwnership: {
        const pending = this.#take("certificate");
        if (pending.client === undefined) throw new Refusal(Nrc.requestSequenceError);
        const data = proofInput("client", pending.challengeServer, pending.challengeClient);
        if (!await pending.client.verify(data, request.proof)) {
          throw new Refusal(Nrc.ownershipVerificationFailed);
        }
        this.#authenticated(pending.client);
        const result = AuthenticationReturn.ownershipVerifiedAuthenticationComplete;
        return { task: request.task, result, sessionKeyInfo: none };
      }
      case AuthenticationTask.transmitCertificate:
        await this.#check(request.certificate);
        return { task: request.task, result: AuthenticationReturn.certificateVerified };
      case AuthenticationTask.requestChallenge: {
        this.#pending = undefined;
        this.#checkConfiguration(request.communicationConfiguration);
        const { algorithm } = request;
        if (this.#clientsWith(algorithm).length === 0) throw new Refusal(Nrc.requestOutOfRange);
        const challengeServer = this.#challenge();
        this.#pending = { kind: "challenge", challengeServer, challengeClient: none, algorithm };
        return {
          task: request.task,
          result: AuthenticationReturn.requestAccepted,
          algorithm,
          challenge: challengeServer,
          neededAdditionalParameter: none,
        };
      }
      case AuthenticationTask.verifyProofUnidirectional:
      case AuthenticationTask.verifyProofBidirectional: {
        const { challengeServer, algorithm } = this.#take("challenge");
        if (algorithm === undefined || !sameBytes(algorithm, request.algorithm)) {
          throw new Refusal(Nrc.requestOutOfRange);
        }
        const { challenge } = request;
        const client = await this.#whoSigned(
          algorithm,
          proofInput("client", challengeServer, challenge),
          request.proof,
        );
        if (client === undefined) throw new Refusal(Nrc.ownershipVerificationFailed);
        const result = AuthenticationReturn.ownershipVerifiedAuthenticationComplete;
        if (request.task === AuthenticationTask.verifyProofUnidirectional) {
          this.#authenticated(client);
          return { task: request.task, result, algorithm, sessionKeyInfo: none };
        }
        const { identity } = this.#options;
        if (identity === undefined) throw new Refusal(Nrc.subFunctionNotSupported);
        if (challenge.length < 8) throw new Refusal(Nrc.challengeCalculationFailed);
        const proof = await identity.sign(proofInput("server", challengeServer, challenge));
        this.#authenticated(client);
        return { task: request.task, result, algorithm, proof, sessionKeyInfo: none };
      }
    }
  }

  #checkConfiguration(value: number): void {
    if (!(this.#options.communicationConfigurations ?? [0]).includes(value)) {
      throw new Refusal(Nrc.configurationDataUsageFailed);
    }
  }

  async #check(certificate: Uint8Array): Promise<VerifiedCertificate> {
    const { checkCertificate } = this.#options;
    if (checkCertificate === undefined) throw new Refusal(Nrc.subFunctionNotSupported);
    try {
      return await checkCertificate(certificate);
    } catch (error) {
      if (error instanceof CertificateError) throw new Refusal(faultCodes[error.fault]);
      throw error;
    }
  }

  #challenge(): Uint8Array {
    return this.#random(this.#options.challengeLength ?? 32);
  }

  /** The challenge that is out. One proof each, whatever comes of it. */
  #take(kind: Pending["kind"]): Pending {
    const pending = this.#pending;
    this.#pending = undefined;
    if (pending?.kind !== kind) throw new Refusal(Nrc.requestSequenceError);
    return pending;
  }

  #clientsWith(algorithm: Uint8Array): VerifiedCertificate[] {
    const { knownClients = [] } = this.#options;
    return knownClients.filter((client) => sameBytes(algorithmIndicator(client.algorithm), algorithm));
  }

  async #whoSigned(
    algorithm: Uint8Array,
    data: Uint8Array,
    proof: Uint8Array,
  ): Promise<VerifiedCertificate | undefined> {
    for (const client of this.#clientsWith(algorithm)) if (await client.verify(data, proof)) return client;
    return undefined;
  }

  #authenticated({ subject }: VerifiedCertificate): void {
    this.#subject = subject;
    this.#options.onChange?.(subject);
  }

  #forget(): void {
    this.#pending = undefined;
    if (this.#subject === undefined) return;
    this.#subject = undefined;
    this.#options.onChange?.(undefined);
  }
}
