// What a codec of a service is: request and response as objects, to bytes and back, the same for client and server.
import { MessageReader, MessageWriter } from "../bytes.ts";
import { positiveOffset, serviceName } from "../services.ts";

/** One message as an object and as bytes. */
export interface Codec<T> {
  /** @throws {RangeError} when a number does not fit its field; the message quotes it */
  encode(value: T): Uint8Array;
  /** @throws {UdsFormatError} when the bytes are not such a message */
  decode(bytes: Uint8Array): T;
}

/** Request and positive response of a service. */
export interface ServiceCodec<Request, Response> {
  readonly sid: number;
  readonly request: Codec<Request>;
  readonly response: Codec<Response>;
}

/** What most requests with a sub-function share. */
export interface Suppressible {
  /** suppressPosRspMsgIndicationBit, 8.2.2. @default false */
  readonly suppress?: boolean;
}

/** The bit as decoders give it: present when it is set. */
export function suppressed(suppress: boolean): Suppressible {
  return suppress ? { suppress } : {};
}

/** Puts a service's four functions together; each gets its writer or reader past the service identifier. */
export function serviceCodec<Request, Response>(
  sid: number,
  functions: {
    writeRequest(writer: MessageWriter, value: Request): void;
    readRequest(reader: MessageReader): Request;
    writeResponse(writer: MessageWriter, value: Response): void;
    readResponse(reader: MessageReader): Response;
  },
): ServiceCodec<Request, Response> {
  const name = serviceName(sid);
  return {
    sid,
    request: codec(sid, `request of ${name}`, functions.writeRequest, functions.readRequest),
    response: codec(
      sid + positiveOffset,
      `response of ${name}`,
      functions.writeResponse,
      functions.readResponse,
    ),
  };
}

function codec<T>(
  sid: number,
  name: string,
  write: (writer: MessageWriter, value: T) => void,
  read: (reader: MessageReader) => T,
): Codec<T> {
  return {
    encode(value) {
      const writer = new MessageWriter(sid);
      write(writer, value);
      return writer.end();
    },
    decode(bytes) {
      const reader = new MessageReader(bytes, name, sid);
      const value = read(reader);
      reader.end();
      return value;
    },
  };
}
