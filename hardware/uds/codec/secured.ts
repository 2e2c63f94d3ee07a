// Messages of SecuredDataTransmission (0x84) in the form of ISO 14229-1:2020 clause 16: an Administrative Parameter
// (APAR) says what was done to the message inside. The 2013 container is another format and is not read.
import type { MessageReader, MessageWriter } from "../bytes.ts";
import { Sid } from "../services.ts";
import { serviceCodec } from "./codec.ts";

/** Bits of the Administrative Parameter, Table 464. */
export const SecuredMessage = {
  request: 0x8000,
  preEstablishedKey: 0x1000,
  encrypted: 0x0800,
  signed: 0x0400,
  signedResponseRequested: 0x0200,
} as const;

/** Both ways alike. */
export interface SecuredData {
  /** Bits of {@link SecuredMessage}. */
  readonly administrative: number;
  /** signatureEncryptionCalculation: which algorithms, by agreement. */
  readonly calculation: number;
  readonly antiReplayCounter: number;
  /** The internal message, encrypted where its bit says so: service identifier and its data. */
  readonly message: Uint8Array;
  /** Signature or MAC; empty without its bit. */
  readonly signature: Uint8Array;
}

const fields = {
  write: (
    writer: MessageWriter,
    { administrative, calculation, antiReplayCounter, message, signature }: SecuredData,
  ) =>
    void writer.u16(administrative, "administrative parameter").u8(calculation, "calculation")
      .u16(signature.length, "signature length").u16(antiReplayCounter, "anti-replay counter")
      .bytes(message).bytes(signature),
  read: (reader: MessageReader): SecuredData => {
    const administrative = reader.u16("administrative parameter");
    const calculation = reader.u8("signature/encryption calculation");
    const signatureLength = reader.u16("signature length");
    const antiReplayCounter = reader.u16("anti-replay counter");
    if (reader.left < signatureLength + 1) {
      reader.fail(`a message and a signature of ${signatureLength} bytes`, `${reader.left}`);
    }
    const message = reader.bytes(reader.left - signatureLength, "internal message");
    return { administrative, calculation, antiReplayCounter, message, signature: reader.rest() };
  },
};

export const securedDataTransmission = serviceCodec<SecuredData, SecuredData>(Sid.securedDataTransmission, {
  writeRequest: fields.write,
  readRequest: fields.read,
  writeResponse: fields.write,
  readResponse: fields.read,
});
