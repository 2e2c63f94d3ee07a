// The ECU's side of AccessTimingParameter (0x83, ISO 14229-1:2013 9.7) and LinkControl (0x87, 2020 10.10).
import {
  accessTimingParameter,
  fixedBitRates,
  LinkControl,
  linkControl,
  TimingAccess,
  type TimingParameters,
} from "../codec/management.ts";
import { Nrc } from "../nrc.ts";
import { Refusal, type ServiceDefinition } from "../server_service.ts";
import { Session } from "../services.ts";

/** What 0x83 works on. */
export interface TimingServiceOptions {
  /** Timing in force. */
  active: () => TimingParameters;
  /** Replaces it; undefined: the session's own. */
  set: (timing: TimingParameters | undefined) => void;
  /** Shortest timing that the ECU keeps; nothing below is taken. */
  shortest: TimingParameters;
  /** Sessions that allow the service. @default all */
  sessions?: readonly number[];
}

/** 0x83 */
export function timingService({ active, set, shortest, sessions }: TimingServiceOptions): ServiceDefinition {
  return {
    sessions,
    subFunctions: new Map([
      [TimingAccess.readExtended, { maxLength: 2 }],
      [TimingAccess.setToDefault, { maxLength: 2 }],
      [TimingAccess.readActive, { maxLength: 2 }],
      [TimingAccess.setToGiven, { minLength: 6, maxLength: 6 }],
    ]),
    handle: ({ bytes, afterAnswer }) => {
      const { access, timing } = accessTimingParameter.request.decode(bytes);
      switch (access) {
        case TimingAccess.readExtended:
          return accessTimingParameter.response.encode({ access, timing: shortest });
        case TimingAccess.readActive:
          return accessTimingParameter.response.encode({ access, timing: active() });
        case TimingAccess.setToGiven:
          if (timing === undefined || timing.p2 < shortest.p2 || timing.p2Star < shortest.p2Star) {
            throw new Refusal(Nrc.requestOutOfRange);
          }
      }
      // 9.7.1: the new timing holds after the answer, which still keeps the old one.
      afterAnswer(() => set(timing));
      return accessTimingParameter.response.encode({ access });
    },
  };
}

/** What 0x87 works on. */
export interface LinkServiceOptions {
  /** Whether the link can go to a bit rate. */
  supports: (bitRate: number) => boolean;
  /** Goes there, once the answer is on its way. */
  transition: (bitRate: number) => void;
  /** Sessions that allow the service. @default all but the default one */
  sessions?: readonly number[];
}

/** 0x87 */
export function linkService({ supports, transition, sessions }: LinkServiceOptions): ServiceDefinition {
  let verified: number | undefined;
  return {
    sessions: sessions ?? [Session.programming, Session.extended],
    subFunctions: new Map([
      [LinkControl.verifyFixed, { minLength: 3, maxLength: 3 }],
      [LinkControl.verifySpecific, { minLength: 5, maxLength: 5 }],
      [LinkControl.transition, { maxLength: 2 }],
    ]),
    handle: ({ bytes, afterAnswer }) => {
      const request = linkControl.request.decode(bytes);
      if (request.control === LinkControl.transition) {
        // 10.10.4: a transition without its verification is out of sequence.
        if (verified === undefined) throw new Refusal(Nrc.requestSequenceError);
        const bitRate = verified;
        verified = undefined;
        afterAnswer(() => transition(bitRate));
      } else {
        verified = undefined;
        const bitRate = request.control === LinkControl.verifyFixed
          ? fixedBitRates.get(request.mode)
          : request.bitRate;
        if (bitRate === undefined || !supports(bitRate)) throw new Refusal(Nrc.requestOutOfRange);
        verified = bitRate;
      }
      return linkControl.response.encode({ control: request.control });
    },
    sessionBegan: () => verified = undefined,
    reset: () => verified = undefined,
  };
}
