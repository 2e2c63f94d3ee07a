// What a DoIP entity says of itself over UDP: its status (0x4001 and 0x4002) and its diagnostic power mode (0x4003 and
// 0x4004).

import { doipPort, headerLength, payloadTypes, protocolVersions, timing } from "./constants.ts";
import { DoipConnectionError, DoipError, HeaderNackError } from "./errors.ts";
import {
  checkUint,
  decodeMessage,
  type DoipMessage,
  encodeMessage,
  type EntityStatus,
  isLengthAllowed,
  readHeader,
} from "./message.ts";
import { bindUdp } from "./udp.ts";
import { checkMilliseconds, type Clock, systemClock } from "../clock.ts";
import type { NetworkTap } from "../trace/tap.ts";

/** Whom to ask, and how long to wait. */
export interface EntityQueryOptions {
  /** Numeric address of the entity. */
  hostname: string;
  /** @default {13400} */
  port?: number;
  /** Longest wait for the answer, milliseconds (A_DoIP_Ctrl). @default {2000} */
  timeout?: number;
  /** Version of the request. @default {0x02} */
  protocolVersion?: number;
  /** Records request and answer. @default nothing is recorded */
  tap?: NetworkTap;
  signal?: AbortSignal;
  /** @default the machine's time */
  clock?: Clock;
}

/**
 * Asks for node type, sockets and largest message (ISO 13400-2:2019, Tables 10 and 11).
 *
 * @throws {HeaderNackError} when the entity does not know the request
 * @throws {DoipConnectionError} when no answer comes in time
 */
export async function readEntityStatus(options: EntityQueryOptions): Promise<EntityStatus> {
  const answer = await ask(options, { type: payloadTypes.entityStatusRequest }, "entity status response");
  if (answer.type !== payloadTypes.entityStatusResponse) throw unexpected(options, answer);
  const { type: _, ...status } = answer;
  return status;
}

/**
 * Asks for the diagnostic power mode (Tables 8 and 9): 0 not ready, 1 ready, 2 not supported.
 *
 * @throws {HeaderNackError} when the entity does not know the request
 * @throws {DoipConnectionError} when no answer comes in time
 */
export async function readPowerMode(options: EntityQueryOptions): Promise<number> {
  const answer = await ask(options, { type: payloadTypes.powerModeRequest }, "power mode response");
  if (answer.type !== payloadTypes.powerModeResponse) throw unexpected(options, answer);
  return answer.mode;
}

/** What may answer; anything else that comes to the port is passed over. */
const answers: ReadonlySet<number> = new Set([
  payloadTypes.headerNack,
  payloadTypes.entityStatusResponse,
  payloadTypes.powerModeResponse,
]);

async function ask(
  options: EntityQueryOptions,
  request: DoipMessage,
  expected: string,
): Promise<DoipMessage> {
  const { hostname, port = doipPort, timeout = timing.control, tap, signal, clock = systemClock } = options;
  const { protocolVersion = protocolVersions.iso2012 } = options;
  checkUint(port, 0xffff, "port");
  checkMilliseconds(timeout, "timeout");
  const bytes = encodeMessage(protocolVersion, request);
  signal?.throwIfAborted();
  const where = whereOf(options);
  const { promise, resolve, reject } = Promise.withResolvers<DoipMessage>();
  // It may reject while the socket is still being opened; whoever awaits it below gets the reason then.
  promise.catch(() => {});
  const failed = (cause: Error) => reject(new DoipConnectionError(`${where}: ${cause.message}`, { cause }));
  const aborted = () => reject(signal?.reason);
  signal?.addEventListener("abort", aborted);
  const cancelTimer = clock.after(
    timeout,
    () => reject(new DoipConnectionError(`${where}: no ${expected} within ${timeout} ms`)),
  );
  try {
    const any = hostname.includes(":") ? "::" : "0.0.0.0";
    const socket = await bindUdp(
      any,
      0,
      (datagram, from) => {
        if (from.hostname !== hostname || from.port !== port) return;
        const answer = readAnswer(datagram);
        if (answer === undefined) return;
        if (answer.type === payloadTypes.headerNack) reject(new HeaderNackError(where, answer.code));
        else resolve(answer);
      },
      failed,
      tap,
    );
    try {
      socket.send(bytes, hostname, port, failed);
      return await promise;
    } finally {
      await socket.close();
    }
  } finally {
    cancelTimer();
    signal?.removeEventListener("abort", aborted);
  }
}

function readAnswer(datagram: Uint8Array): DoipMessage | undefined {
  if (datagram.length < headerLength) return undefined;
  const { version, inverseVersion, payloadType, payloadLength } = readHeader(datagram);
  if ((version ^ 0xff) !== inverseVersion || !answers.has(payloadType)) return undefined;
  if (payloadLength !== datagram.length - headerLength) return undefined;
  if (!isLengthAllowed(version, payloadType, payloadLength)) return undefined;
  return decodeMessage({ version, payloadType, payload: datagram.subarray(headerLength) });
}

function whereOf({ hostname, port = doipPort }: EntityQueryOptions): string {
  return `DoIP UDP ${hostname}:${port}`;
}

function unexpected(options: EntityQueryOptions, { type }: DoipMessage): DoipError {
  return new DoipError(`${whereOf(options)}: answered another question, payload type ${type}`);
}
