// A typed request over an exchange: encoded, sent, and the answer decoded, or the error of an answer that cannot be.
import type { ServiceCodec } from "../codec/codec.ts";
import { UdsFormatError, UdsProtocolError } from "../errors.ts";
import type { Exchange, RequestOptions } from "../exchange.ts";
import { serviceName } from "../services.ts";

/**
 * Sends a request and gives its decoded answer.
 * @throws {UdsProtocolError} when the answer is positive and not as its service says; and what `Exchange.request` throws
 */
export async function ask<Request, Response>(
  exchange: Exchange,
  codec: ServiceCodec<Request, Response>,
  request: Request,
  options?: RequestOptions,
): Promise<Response> {
  const answer = await exchange.request(codec.request.encode(request), options);
  if (answer === undefined) {
    throw new UdsProtocolError(`${exchange.ecu}: ${serviceName(codec.sid)}: no answer`);
  }
  try {
    return codec.response.decode(answer);
  } catch (error) {
    if (!(error instanceof UdsFormatError)) throw error;
    throw new UdsProtocolError(`${exchange.ecu}: ${error.message}`, { cause: error });
  }
}

/** Sends a request that suppresses its positive answer. @throws {NegativeResponseError} when the ECU refuses within P2 */
export async function tell<Request, Response>(
  exchange: Exchange,
  codec: ServiceCodec<Request, Response>,
  request: Request,
  options?: RequestOptions,
): Promise<void> {
  await exchange.request(codec.request.encode(request), options);
}

/** An answer that is whole and says something else than was asked. */
export function unexpected(
  exchange: Exchange,
  sid: number,
  expected: string,
  came: string,
): UdsProtocolError {
  return new UdsProtocolError(
    `${exchange.ecu}: answer to ${serviceName(sid)}: expected ${expected}, got ${came}`,
  );
}
