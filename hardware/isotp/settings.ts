// What a link is told about itself: options with defaults, named as in ISO 15765-2:2016, checked when it is made.

import { checkMilliseconds, type Clock, systemClock } from "../clock.ts";
import { defaultPadding, defaults, maxLength, txDataLengths } from "./constants.ts";
import { type Pacer, pacerFor } from "./pacer.ts";
import { encodeStMin } from "./pci.ts";

/** Timing, frame format and limits. Times in milliseconds. */
export interface IsoTpOptions {
  /** TX_DL: length of a full frame, 8, 12, 16, 20, 24, 32, 48 or 64 (9.5.1). @default {8} */
  txDl?: number;
  /** Whether frames go out in CAN FD format; heard are both. @default {txDl > 8} */
  fd?: boolean;
  /** Whether FD frames switch to the faster rate. @default {fd} */
  bitRateSwitch?: boolean;
  /**
   * Byte that fills frames up to 8 bytes, or `none` for frames as short as they can be (10.4.2.1). What FD frames
   * beyond 8 bytes need for the next DLC is always filled, with 0xCC when `none`. @default {0xCC}
   */
  padding?: number | "none";
  /** BS that this side asks for: consecutive frames between two flow controls; 0: all at once. @default {0} */
  blockSize?: number;
  /** STmin that this side asks for, 0 to 127 or 0.1 to 0.9. @default {0} */
  stMin?: number;
  /** N_WFTmax: flow controls with WAIT that this side sends in a row while it has no buffer (9.7). @default {10} */
  wftMax?: number;
  /** Flow controls with WAIT that this side puts up with in a row when it sends. @default {255} */
  maxWaits?: number;
  /** N_As: until the bus has taken a frame, when sending a message. @default {1000} */
  nAs?: number;
  /** N_Ar: until the bus has taken a frame, when receiving a message. @default {1000} */
  nAr?: number;
  /** N_Bs: until the next flow control. @default {1000} */
  nBs?: number;
  /** N_Br: until this side sends its next flow control while it has no buffer. @default {500} */
  nBr?: number;
  /** N_Cr: until the next consecutive frame. @default {1000} */
  nCr?: number;
  /**
   * How long a frame may still be on its way after the bus took it, added to the STmin that the receiver asks for:
   * for adapters that acknowledge a frame when they queue it. @default {0}
   */
  frameTime?: number;
  /** Whether messages that begin while this side sends one are ignored (9.8.3, half duplex). @default {false} */
  halfDuplex?: boolean;
  /** Longest message that is sent; and longest that is received: one that claims more is answered with OVFLW. @default {1048576} */
  maxMessageLength?: number;
  /** Messages that wait to be received or sent. @default {64} */
  maxQueuedMessages?: number;
  /** Their bytes. @default {4194304} */
  maxQueuedBytes?: number;
  /** Told of what goes wrong where no caller waits. @default {nothing is said} */
  log?: (message: string) => void;
  /** @default {the system's clock} */
  clock?: Clock;
  /** Keeps STmin. @default {to some microseconds on the system's clock, timers on another} */
  pacer?: Pacer;
}

/** Options with their defaults. `padding` undefined: none; `stMinByte` as it goes into a flow control. */
export interface IsoTpSettings extends Required<Omit<IsoTpOptions, "padding" | "stMin">> {
  padding: number | undefined;
  stMinByte: number;
}

/** @throws {RangeError} quoting what cannot be */
export function settingsFor(options: IsoTpOptions): IsoTpSettings {
  const clock = options.clock ?? systemClock;
  const txDl = options.txDl ?? 8;
  const fd = options.fd ?? txDl > 8;
  const padding = options.padding ?? defaultPadding;
  if (!txDataLengths.includes(txDl)) {
    throw new RangeError(`txDl: expected one of ${txDataLengths.join(", ")}, got ${txDl}`);
  }
  if (txDl > 8 && !fd) throw new RangeError(`txDl: ${txDl} bytes need fd`);
  if (options.bitRateSwitch && !fd) throw new RangeError("bitRateSwitch: only FD frames have one");
  const settings: IsoTpSettings = {
    txDl,
    fd,
    bitRateSwitch: options.bitRateSwitch ?? fd,
    padding: padding === "none" ? undefined : checkInteger(padding, 0, 0xff, "padding"),
    blockSize: checkInteger(options.blockSize ?? 0, 0, 0xff, "blockSize"),
    stMinByte: encodeStMin(options.stMin ?? 0),
    wftMax: checkInteger(options.wftMax ?? defaults.wftMax, 0, 0xffff, "wftMax"),
    maxWaits: checkInteger(options.maxWaits ?? defaults.maxWaits, 0, 0xffff, "maxWaits"),
    nAs: options.nAs ?? defaults.nAs,
    nAr: options.nAr ?? defaults.nAr,
    nBs: options.nBs ?? defaults.nBs,
    nBr: options.nBr ?? defaults.nBr,
    nCr: options.nCr ?? defaults.nCr,
    frameTime: options.frameTime ?? 0,
    halfDuplex: options.halfDuplex ?? false,
    maxMessageLength: checkInteger(
      options.maxMessageLength ?? defaults.maxMessageLength,
      1,
      maxLength,
      "maxMessageLength",
    ),
    maxQueuedMessages: checkInteger(
      options.maxQueuedMessages ?? defaults.maxQueuedMessages,
      1,
      Number.MAX_SAFE_INTEGER,
      "maxQueuedMessages",
    ),
    maxQueuedBytes: checkInteger(
      options.maxQueuedBytes ?? defaults.maxQueuedBytes,
      1,
      Number.MAX_SAFE_INTEGER,
      "maxQueuedBytes",
    ),
    log: options.log ?? (() => {}),
    clock,
    pacer: options.pacer ?? pacerFor(clock),
  };
  for (const name of ["nAs", "nAr", "nBs", "nBr", "nCr", "frameTime"] as const) {
    checkMilliseconds(settings[name], name);
  }
  return settings;
}

/** @throws {RangeError} quoting a value that is no integer from `least` to `most` */
export function checkInteger(value: number, least: number, most: number, what: string): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`${what}: expected ${least} to ${most}, got ${value}`);
  }
  return value;
}
