// Messages of Authentication (0x29), ISO 14229-1:2020 10.6: certificate exchange and challenge-response.
import { Sid } from "../services.ts";
import { serviceCodec, suppressed, type Suppressible } from "./codec.ts";

/** authenticationTask, 10.6.2.2. */
export const AuthenticationTask = {
  deAuthenticate: 0x00,
  verifyCertificateUnidirectional: 0x01,
  verifyCertificateBidirectional: 0x02,
  proofOfOwnership: 0x03,
  transmitCertificate: 0x04,
  requestChallenge: 0x05,
  verifyProofUnidirectional: 0x06,
  verifyProofBidirectional: 0x07,
  configuration: 0x08,
} as const;

/** authenticationReturnParameter, Annex B.5. */
export const AuthenticationReturn = {
  requestAccepted: 0x00,
  generalReject: 0x01,
  configurationApce: 0x02,
  configurationAcrAsymmetric: 0x03,
  configurationAcrSymmetric: 0x04,
  deAuthenticationSuccessful: 0x10,
  certificateVerifiedOwnershipNecessary: 0x11,
  ownershipVerifiedAuthenticationComplete: 0x12,
  certificateVerified: 0x13,
} as const;

/** Bytes of an algorithmIndicator: an object identifier in BER, filled with 00 behind (10.6.2.3). */
export const algorithmIndicatorLength = 16;

/** 10.6.2. Blocks of bytes go behind their length in two bytes; empty where there is nothing. */
export type AuthenticationRequest =
  & Suppressible
  & (
    | { readonly task: typeof AuthenticationTask.deAuthenticate | typeof AuthenticationTask.configuration }
    | {
      readonly task:
        | typeof AuthenticationTask.verifyCertificateUnidirectional
        | typeof AuthenticationTask.verifyCertificateBidirectional;
      readonly communicationConfiguration: number;
      readonly certificate: Uint8Array;
      /** Empty with the unidirectional task, unless the ECU wants one. */
      readonly challenge: Uint8Array;
    }
    | {
      readonly task: typeof AuthenticationTask.proofOfOwnership;
      readonly proof: Uint8Array;
      readonly ephemeralPublicKey: Uint8Array;
    }
    | {
      readonly task: typeof AuthenticationTask.transmitCertificate;
      readonly evaluationId: number;
      readonly certificate: Uint8Array;
    }
    | {
      readonly task: typeof AuthenticationTask.requestChallenge;
      readonly communicationConfiguration: number;
      /** {@link algorithmIndicatorLength} bytes. */
      readonly algorithm: Uint8Array;
    }
    | {
      readonly task:
        | typeof AuthenticationTask.verifyProofUnidirectional
        | typeof AuthenticationTask.verifyProofBidirectional;
      readonly algorithm: Uint8Array;
      readonly proof: Uint8Array;
      /** Empty with the unidirectional task. */
      readonly challenge: Uint8Array;
      readonly additionalParameter: Uint8Array;
    }
  );

/** 10.6.3. `result` is one of {@link AuthenticationReturn}, or the manufacturer's. */
export type AuthenticationResponse =
  & { readonly result: number }
  & (
    | {
      readonly task:
        | typeof AuthenticationTask.deAuthenticate
        | typeof AuthenticationTask.transmitCertificate
        | typeof AuthenticationTask.configuration;
    }
    | {
      readonly task: typeof AuthenticationTask.verifyCertificateUnidirectional;
      readonly challenge: Uint8Array;
      readonly ephemeralPublicKey: Uint8Array;
    }
    | {
      readonly task: typeof AuthenticationTask.verifyCertificateBidirectional;
      readonly challenge: Uint8Array;
      readonly certificate: Uint8Array;
      readonly proof: Uint8Array;
      readonly ephemeralPublicKey: Uint8Array;
    }
    | { readonly task: typeof AuthenticationTask.proofOfOwnership; readonly sessionKeyInfo: Uint8Array }
    | {
      readonly task: typeof AuthenticationTask.requestChallenge;
      readonly algorithm: Uint8Array;
      readonly challenge: Uint8Array;
      readonly neededAdditionalParameter: Uint8Array;
    }
    | {
      readonly task: typeof AuthenticationTask.verifyProofUnidirectional;
      readonly algorithm: Uint8Array;
      readonly sessionKeyInfo: Uint8Array;
    }
    | {
      readonly task: typeof AuthenticationTask.verifyProofBidirectional;
      readonly algorithm: Uint8Array;
      readonly proof: Uint8Array;
      readonly sessionKeyInfo: Uint8Array;
    }
  );

export const authentication = serviceCodec<AuthenticationRequest, AuthenticationResponse>(
  Sid.authentication,
  {
    writeRequest: (writer, request) => {
      writer.subFunction(request.task, request.suppress, "authentication task");
      switch (request.task) {
        case AuthenticationTask.verifyCertificateUnidirectional:
        case AuthenticationTask.verifyCertificateBidirectional:
          writer.u8(request.communicationConfiguration, "communication configuration")
            .block(request.certificate, "certificate").block(request.challenge, "challenge");
          return;
        case AuthenticationTask.proofOfOwnership:
          writer.block(request.proof, "proof").block(request.ephemeralPublicKey, "ephemeral public key");
          return;
        case AuthenticationTask.transmitCertificate:
          writer.u16(request.evaluationId, "certificate evaluation").block(
            request.certificate,
            "certificate",
          );
          return;
        case AuthenticationTask.requestChallenge:
          writer.u8(request.communicationConfiguration, "communication configuration")
            .bytes(indicator(request.algorithm));
          return;
        case AuthenticationTask.verifyProofUnidirectional:
        case AuthenticationTask.verifyProofBidirectional:
          writer.bytes(indicator(request.algorithm)).block(request.proof, "proof")
            .block(request.challenge, "challenge").block(request.additionalParameter, "additional parameter");
      }
    },
    readRequest: (reader) => {
      const { value: task, suppress } = reader.subFunction("authentication task");
      const bit = suppressed(suppress);
      switch (task) {
        case AuthenticationTask.deAuthenticate:
        case AuthenticationTask.configuration:
          return { task, ...bit };
        case AuthenticationTask.verifyCertificateUnidirectional:
        case AuthenticationTask.verifyCertificateBidirectional:
          return {
            task,
            communicationConfiguration: reader.u8("communication configuration"),
            certificate: reader.block("certificate"),
            challenge: reader.block("challenge"),
            ...bit,
          };
        case AuthenticationTask.proofOfOwnership:
          return {
            task,
            proof: reader.block("proof"),
            ephemeralPublicKey: reader.block("ephemeral public key"),
            ...bit,
          };
        case AuthenticationTask.transmitCertificate:
          return {
            task,
            evaluationId: reader.u16("certificate evaluation"),
            certificate: reader.block("certificate"),
            ...bit,
          };
        case AuthenticationTask.requestChallenge:
          return {
            task,
            communicationConfiguration: reader.u8("communication configuration"),
            algorithm: reader.bytes(algorithmIndicatorLength, "algorithm indicator"),
            ...bit,
          };
        case AuthenticationTask.verifyProofUnidirectional:
        case AuthenticationTask.verifyProofBidirectional:
          return {
            task,
            algorithm: reader.bytes(algorithmIndicatorLength, "algorithm indicator"),
            proof: reader.block("proof"),
            challenge: reader.block("challenge"),
            additionalParameter: reader.block("additional parameter"),
            ...bit,
          };
      }
      return reader.fail("authentication task 0x00 … 0x08", `${task}`);
    },
    writeResponse: (writer, response) => {
      writer.subFunction(response.task, false, "authentication task").u8(response.result, "return value");
      switch (response.task) {
        case AuthenticationTask.verifyCertificateUnidirectional:
          writer.block(response.challenge, "challenge").block(
            response.ephemeralPublicKey,
            "ephemeral public key",
          );
          return;
        case AuthenticationTask.verifyCertificateBidirectional:
          writer.block(response.challenge, "challenge").block(response.certificate, "certificate")
            .block(response.proof, "proof").block(response.ephemeralPublicKey, "ephemeral public key");
          return;
        case AuthenticationTask.proofOfOwnership:
          writer.block(response.sessionKeyInfo, "session key info");
          return;
        case AuthenticationTask.requestChallenge:
          writer.bytes(indicator(response.algorithm)).block(response.challenge, "challenge")
            .block(response.neededAdditionalParameter, "needed additional parameter");
          return;
        case AuthenticationTask.verifyProofUnidirectional:
          writer.bytes(indicator(response.algorithm)).block(response.sessionKeyInfo, "session key info");
          return;
        case AuthenticationTask.verifyProofBidirectional:
          writer.bytes(indicator(response.algorithm)).block(response.proof, "proof")
            .block(response.sessionKeyInfo, "session key info");
      }
    },
    readResponse: (reader) => {
      const task = reader.echo("authentication task");
      const result = reader.u8("return value");
      switch (task) {
        case AuthenticationTask.deAuthenticate:
        case AuthenticationTask.transmitCertificate:
        case AuthenticationTask.configuration:
          return { task, result };
        case AuthenticationTask.verifyCertificateUnidirectional:
          return {
            task,
            result,
            challenge: reader.block("challenge"),
            ephemeralPublicKey: reader.block("ephemeral public key"),
          };
        case AuthenticationTask.verifyCertificateBidirectional:
          return {
            task,
            result,
            challenge: reader.block("challenge"),
            certificate: reader.block("certificate"),
            proof: reader.block("proof"),
            ephemeralPublicKey: reader.block("ephemeral public key"),
          };
        case AuthenticationTask.proofOfOwnership:
          return { task, result, sessionKeyInfo: reader.block("session key info") };
        case AuthenticationTask.requestChallenge:
          return {
            task,
            result,
            algorithm: reader.bytes(algorithmIndicatorLength, "algorithm indicator"),
            challenge: reader.block("challenge"),
            neededAdditionalParameter: reader.block("needed additional parameter"),
          };
        case AuthenticationTask.verifyProofUnidirectional:
          return {
            task,
            result,
            algorithm: reader.bytes(algorithmIndicatorLength, "algorithm indicator"),
            sessionKeyInfo: reader.block("session key info"),
          };
        case AuthenticationTask.verifyProofBidirectional:
          return {
            task,
            result,
            algorithm: reader.bytes(algorithmIndicatorLength, "algorithm indicator"),
            proof: reader.block("proof"),
            sessionKeyInfo: reader.block("session key info"),
          };
      }
      return reader.fail("authentication task 0x00 … 0x08", `${task}`);
    },
  },
);

function indicator(algorithm: Uint8Array): Uint8Array {
  if (algorithm.length !== algorithmIndicatorLength) {
    throw new RangeError(`algorithm: expected ${algorithmIndicatorLength} bytes, got ${algorithm.length}`);
  }
  return algorithm;
}
