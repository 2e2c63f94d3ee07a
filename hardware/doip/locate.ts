// Finds one DoIP entity by who it is, not by where it is: asks by broadcast or at given addresses, again and again, and
// hears announcements of entities that come up meanwhile.

import { doipPort, hex, timing } from "./constants.ts";
import { discover, type DiscoveredEntity, readAnswer } from "./discover.ts";
import { DoipConnectionError } from "./errors.ts";
import { checkUint, checkVin } from "./message.ts";
import { bindUdp, type UdpSocket } from "./udp.ts";
import { checkMilliseconds, type Clock, systemClock } from "../clock.ts";
import type { NetworkTap } from "../trace/tap.ts";

/** Whom to find. */
export interface WantedEntity {
  /** VIN of the vehicle that it belongs to; an entity that has not learnt it yet does not match. */
  readonly vin: string;
  readonly logicalAddress: number;
  /** 6 bytes; without it VIN and logical address are enough. */
  readonly eid?: Uint8Array;
}

/** Where to look, and how long. */
export interface LocateOptions {
  /** Unicast or broadcast addresses to ask. */
  targets: readonly { hostname: string; port: number }[];
  /**
   * Own address of the interface towards the vehicle.
   * @default the system chooses
   */
  localAddress?: string;
  /**
   * Port on which announcements are heard; false hears none. Where it is taken, requests alone have to do.
   * @default {13400}
   */
  announcementPort?: number | false;
  /** Longest search, milliseconds (A_Vehicle_Discovery_Timer). @default {5000} */
  timeout?: number;
  /** Time between two requests, milliseconds (A_DoIP_Ctrl). @default {2000} */
  interval?: number;
  /** Records what is sent and received. @default nothing is recorded */
  tap?: NetworkTap;
  signal?: AbortSignal;
  /** @default the machine's time */
  clock?: Clock;
}

/** Whether an entity is the one. */
export function isWanted(wanted: WantedEntity, entity: DiscoveredEntity): boolean {
  return entity.vin === wanted.vin && entity.logicalAddress === wanted.logicalAddress &&
    (wanted.eid === undefined || wanted.eid.every((byte, index) => byte === entity.eid[index]));
}

/**
 * Finds an entity.
 *
 * @throws {RangeError} when an option is out of range
 * @throws {DoipConnectionError} when it does not answer or announce itself in time; says who else did
 */
export async function locate(wanted: WantedEntity, options: LocateOptions): Promise<DiscoveredEntity> {
  const { targets, localAddress, announcementPort = doipPort, tap, signal, clock = systemClock } = options;
  const { timeout = timing.vehicleDiscovery, interval = timing.control } = options;
  checkVin(wanted.vin);
  checkUint(wanted.logicalAddress, 0xffff, "logicalAddress");
  if (wanted.eid !== undefined && wanted.eid.length !== 6) {
    throw new RangeError(`eid must have 6 bytes, has ${wanted.eid.length}`);
  }
  checkMilliseconds(timeout, "timeout");
  checkMilliseconds(interval, "interval");
  signal?.throwIfAborted();

  const searching = new AbortController();
  const { promise: found, resolve } = Promise.withResolvers<DiscoveredEntity>();
  const others = new Set<string>();
  const seen = (entity: DiscoveredEntity): void => {
    if (isWanted(wanted, entity)) resolve(entity);
    else if (others.size < maxOthers) others.add(`${entity.vin || "no VIN"} ${hex(entity.logicalAddress)}`);
  };
  const { promise: over, resolve: finish, reject } = Promise.withResolvers<undefined>();
  over.catch(() => {});
  const aborted = () => reject(signal?.reason);
  signal?.addEventListener("abort", aborted);
  const cancelTimer = clock.after(timeout, () => finish(undefined));
  let listener: UdpSocket | undefined;
  let lastError: unknown;
  try {
    if (announcementPort !== false) {
      try {
        listener = await bindUdp(
          "0.0.0.0",
          announcementPort,
          (bytes, { hostname, port }) => {
            const entity = readAnswer(bytes, hostname, port);
            if (entity !== undefined) seen(entity);
          },
          (error) => lastError = error,
          tap,
          true,
        );
      } catch (error) {
        // Another program on this machine hears them; asking works all the same.
        lastError = error;
      }
    }
    const asking = async (): Promise<void> => {
      while (targets.length > 0 && !searching.signal.aborted) {
        try {
          await discover({
            targets,
            timeout: interval,
            localAddress,
            found: seen,
            tap,
            signal: searching.signal,
            clock,
          });
        } catch (error) {
          // No route yet, say: an interface that is down may come up before the time is over.
          lastError = error;
          if (!searching.signal.aborted) await pause(clock, interval, searching.signal);
        }
      }
    };
    const asked = asking();
    const entity = await Promise.race([found, over]).finally(() => searching.abort());
    await asked;
    if (entity !== undefined) return entity;
  } finally {
    searching.abort();
    cancelTimer();
    signal?.removeEventListener("abort", aborted);
    await listener?.close();
  }
  const who = others.size === 0 ? "nobody answered" : `there were ${[...others].join(", ")}`;
  throw new DoipConnectionError(
    `no DoIP entity ${hex(wanted.logicalAddress)} of ${wanted.vin} within ${timeout} ms; ${who}`,
    { cause: lastError },
  );
}

/** Most other entities that the error names. */
const maxOthers = 8;

/** Waits, at most until the signal; never rejects. */
function pause(clock: Clock, milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const cancel = clock.after(milliseconds, resolve);
    signal.addEventListener("abort", () => {
      cancel();
      resolve();
    }, { once: true });
  });
}
