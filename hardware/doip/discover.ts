// Finds DoIP entities: vehicle identification requests over UDP, and who answers within the time.

import { headerLength, payloadTypes, protocolVersions, timing } from "./constants.ts";
import { DoipError } from "./errors.ts";
import {
  checkUint,
  decodeMessage,
  type DoipMessage,
  encodeMessage,
  isLengthAllowed,
  readHeader,
  type VehicleAnnouncement,
} from "./message.ts";
import { checkMilliseconds, type Clock, systemClock } from "../clock.ts";
import type { NetworkTap } from "../trace/tap.ts";
import { bindUdp, type DatagramHandler, type UdpSocket } from "./udp.ts";

/** A DoIP entity that answered. */
export interface DiscoveredEntity extends VehicleAnnouncement {
  /** Where the answer came from. */
  address: string;
  /** UDP port that the answer came from; the entity's TCP port is the same unless configured otherwise. */
  port: number;
  /** Version of the answer's header: what the entity speaks. */
  protocolVersion: number;
}

/** Whom to ask and how long to listen. */
export interface DiscoverOptions {
  /** Unicast or broadcast addresses. */
  targets: readonly { hostname: string; port: number }[];
  /** Milliseconds to collect answers (A_DoIP_Ctrl). @default {2000} */
  timeout?: number;
  /** Only the entity with this EID, 6 bytes. @default any */
  eid?: Uint8Array;
  /** Only entities of the vehicle with this VIN. @default any */
  vin?: string;
  /** Ends the search when this many distinct entities have answered. @default it runs for the whole time */
  enough?: number;
  /** Told of each distinct entity as it answers. @default nobody is */
  found?: (entity: DiscoveredEntity) => void;
  /** Most entities kept; further ones are ignored. @default {1024} */
  maxEntities?: number;
  /** Version of the request; 0xFF is answered by entities of any edition. @default {0xFF} */
  protocolVersion?: number;
  /**
   * Own address that requests leave from: the interface towards the vehicle, where broadcasts must not take the default
   * route.
   * @default the system chooses
   */
  localAddress?: string;
  /** Records requests and answers. @default nothing is recorded */
  tap?: NetworkTap;
  /** Ends the search early; the promise rejects with its reason. */
  signal?: AbortSignal;
  /** @default the machine's time */
  clock?: Clock;
}

/**
 * Asks every target for its identity and gives the distinct answers, in the order in which they came. Datagrams that
 * are no identification response are ignored: on an open port anybody may send anything.
 *
 * @throws {RangeError} when an option is out of range
 * @throws {DoipError} when not a single target could be sent to
 */
export async function discover(options: DiscoverOptions): Promise<DiscoveredEntity[]> {
  const {
    targets,
    timeout = timing.control,
    eid,
    vin,
    enough = Infinity,
    found: tell = () => {},
    maxEntities = 1_024,
    protocolVersion = protocolVersions.identification,
    localAddress,
    tap,
    signal,
    clock = systemClock,
  } = options;
  checkMilliseconds(timeout, "timeout");
  for (const { port } of targets) checkUint(port, 0xffff, "port of a target");
  if (eid !== undefined && vin !== undefined) throw new RangeError("discover by eid or by vin, not by both");
  signal?.throwIfAborted();
  if (targets.length === 0) return [];
  const request = encodeMessage(protocolVersion, identificationRequest(eid, vin));

  const found = new Map<string, DiscoveredEntity>();
  const { promise: over, resolve: finish, reject } = Promise.withResolvers<void>();
  // It may reject while the sockets are still being opened; whoever awaits it below gets the reason then.
  over.catch(() => {});
  const aborted = (): void => reject(signal?.reason);
  let lastError: Error | undefined;
  const received: DatagramHandler = (bytes, { hostname, port }) => {
    const entity = readAnswer(bytes, hostname, port);
    if (entity === undefined || found.size >= maxEntities) return;
    // Unasked announcements arrive on open ports, too.
    if (vin !== undefined && entity.vin !== vin) return;
    if (eid !== undefined && !eid.every((byte, index) => byte === entity.eid[index])) return;
    const key = `${entity.address} ${entity.port} ${entity.logicalAddress} ${entity.eid}`;
    if (!found.has(key)) tell(entity);
    found.set(key, entity);
    if (found.size >= enough) finish();
  };
  let unsent = 0;
  const failed = (error: Error): void => {
    lastError = error;
    if (++unsent < targets.length) return;
    reject(new DoipError(`no identification request could be sent: ${error.message}`, { cause: error }));
  };
  const sockets = new Map<string, UdpSocket>();
  const cancelTimer = clock.after(timeout, finish);
  signal?.addEventListener("abort", aborted);
  try {
    for (const { hostname, port } of targets) {
      const any = localAddress ?? (hostname.includes(":") ? "::" : "0.0.0.0");
      let socket = sockets.get(any);
      if (socket === undefined) {
        socket = await bindUdp(any, 0, received, (error) => lastError = error, tap);
        sockets.set(any, socket);
      }
      socket.send(request, hostname, port, failed);
    }
    await over;
  } finally {
    cancelTimer();
    signal?.removeEventListener("abort", aborted);
    for (const socket of sockets.values()) await socket.close();
  }
  if (found.size === 0 && lastError !== undefined) {
    throw new DoipError(`discovery failed: ${lastError.message}`, { cause: lastError });
  }
  return [...found.values()];
}

function identificationRequest(eid: Uint8Array | undefined, vin: string | undefined): DoipMessage {
  if (eid !== undefined) return { type: payloadTypes.identificationRequestEid, eid };
  if (vin !== undefined) return { type: payloadTypes.identificationRequestVin, vin };
  return { type: payloadTypes.identificationRequest };
}

/** An identification response or announcement, if the datagram is one. */
export function readAnswer(bytes: Uint8Array, address: string, port: number): DiscoveredEntity | undefined {
  if (bytes.length < headerLength) return undefined;
  const { version, inverseVersion, payloadType, payloadLength } = readHeader(bytes);
  if ((version ^ 0xff) !== inverseVersion || payloadType !== payloadTypes.announcement) return undefined;
  if (payloadLength !== bytes.length - headerLength) return undefined;
  if (!isLengthAllowed(version, payloadType, payloadLength)) return undefined;
  const message = decodeMessage({ version, payloadType, payload: bytes.subarray(headerLength) });
  if (message.type !== payloadTypes.announcement) return undefined;
  const { type: _, ...identity } = message;
  return { address, port, protocolVersion: version, ...identity };
}
