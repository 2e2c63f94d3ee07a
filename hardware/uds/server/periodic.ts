// The ECU's side of ReadDataByPeriodicIdentifier (0x2A, ISO 14229-1:2020 11.5): a schedule that sends by itself.
import type { Clock } from "../../clock.ts";
import {
  encodePeriodicData,
  type PeriodicForm,
  readDataByPeriodicIdentifier,
  TransmissionMode,
} from "../codec/data.ts";
import { Nrc } from "../nrc.ts";
import { Refusal, type ServiceConditions, type ServiceDefinition } from "../server_service.ts";
import { Session } from "../services.ts";

/** What a schedule is made of. */
export interface PeriodicServiceOptions extends ServiceConditions {
  /** Data of an identifier F200–F2FF now. @throws {Refusal} when it cannot be given; undefined: not supported */
  read: (did: number) => Uint8Array | undefined;
  clock: Clock;
  /** Interval of the slow rate, ms. @default 1000 */
  slow?: number;
  /** @default 200 */
  medium?: number;
  /** @default 50 */
  fast?: number;
  /** Identifiers that are sent at once at most; more are refused with 0x31. @default 16 */
  limit?: number;
  /** @default "with_sid" */
  form?: PeriodicForm;
}

interface Scheduled {
  tester: number;
  cancel: () => void;
}

/** 0x2A. The schedule ends with the session, with a reset, and with the tester's connection. */
export function periodicService(options: PeriodicServiceOptions): ServiceDefinition {
  const { read, clock, limit = 16, form = "with_sid", slow = 1_000, medium = 200, fast = 50, ...conditions } =
    options;
  const intervals = new Map<number, number>([
    [TransmissionMode.slow, slow],
    [TransmissionMode.medium, medium],
    [TransmissionMode.fast, fast],
  ]);
  for (const interval of intervals.values()) {
    if (!(interval >= 1)) throw new RangeError(`periodic interval: expected 1 ms or more, got ${interval}`);
  }
  const scheduled = new Map<number, Scheduled>();

  function stop(ids: Iterable<number>): void {
    for (const id of [...ids]) {
      scheduled.get(id)?.cancel();
      scheduled.delete(id);
    }
  }

  return {
    minLength: 2,
    ...conditions,
    handle: ({ bytes, context, emit }) => {
      const { mode, ids } = readDataByPeriodicIdentifier.request.decode(bytes);
      const answer = readDataByPeriodicIdentifier.response.encode({});
      if (mode === TransmissionMode.stop) {
        // 11.5.2.1: without identifiers, all of them.
        stop(ids.length === 0 ? scheduled.keys() : ids);
        return answer;
      }
      const interval = intervals.get(mode);
      // The identifiers that the ECU has are scheduled; only when it has none of them is the request refused (11.5.4).
      const known = [...new Set(ids)].filter((id) => read(0xf200 | id) !== undefined);
      if (interval === undefined || known.length === 0) throw new Refusal(Nrc.requestOutOfRange);
      if (new Set([...scheduled.keys(), ...known]).size > limit) throw new Refusal(Nrc.requestOutOfRange);
      stop(known);
      for (const id of known) {
        const entry: Scheduled = { tester: context.tester, cancel: () => {} };
        const send = () => {
          entry.cancel = clock.after(interval, send);
          let data: Uint8Array | undefined;
          try {
            data = read(0xf200 | id);
          } catch (error) {
            // Not to be had just now: this transmission is left out, the next may have it.
            if (!(error instanceof Refusal)) throw error;
          }
          if (data !== undefined) emit(encodePeriodicData({ id, data }, form));
        };
        entry.cancel = clock.after(interval, send);
        scheduled.set(id, entry);
      }
      return answer;
    },
    sessionBegan: (session) => {
      if (session === Session.default) stop(scheduled.keys());
    },
    disconnected: (tester) =>
      stop([...scheduled].filter(([, entry]) => entry.tester === tester).map(([id]) => id)),
    reset: () => stop(scheduled.keys()),
  };
}
