// Settings of an SLCAN adapter's host: what they are when they are not given, and which cannot be.
import { checkMilliseconds, type Clock, systemClock } from "../clock.ts";
import { bitRates, dataBitRates, encodeCommand } from "./slcan_command.ts";
import type { Acknowledgement } from "./slcan_device.ts";

/** Waits between tries, ms: `from`, doubled each time up to `to`. */
export interface Backoff {
  from: number;
  to: number;
}

/** Options of `SlcanBus`. */
export interface SlcanBusOptions {
  /** For messages. @default "SLCAN" */
  name?: string;
  /** Nominal bit rate, bit/s: one of `bitRates`, or 750,000 with `s7BitRate`. */
  bitRate: number;
  /** Command that sets the bit rate instead, for rates without a number, e.g. `s031C`. @default `S` and its number */
  bitRateCommand?: string;
  /** What `S7` means to the firmware, bit/s. @default 800_000 */
  s7BitRate?: 750_000 | 800_000;
  /** The bus carries FD frames, with this bit rate in the data phase, bit/s: one of `dataBitRates`. @default no FD */
  dataBitRate?: number;
  /** Hears, and never sends nor acknowledges on the bus. @default false */
  listenOnly?: boolean;
  /** How the firmware acknowledges. Much of it does not at all. @default "none" */
  acknowledgement?: Acknowledgement;
  /** Frames sent ahead of their acknowledgements: fewer for an adapter whose own queue holds fewer. @default 128 */
  window?: number;
  /** Times of frames from the adapter's clock instead of arrival. @default false */
  timestamps?: boolean;
  /** Further commands before the channel is opened, without `\r`, e.g. `M00000000`. @default none */
  commands?: readonly string[];
  /** Longest wait for an answer to a command, ms. @default 1000 */
  commandTimeout?: number;
  /** Longest wait for the version, which not all firmware tells, ms. @default 300 */
  versionTimeout?: number;
  /** How long what is left on the line is thrown away before the adapter is set up, ms. @default 50 */
  purgeTime?: number;
  /** How often the status flags are asked for, ms; 0 never. @default 0 */
  statusInterval?: number;
  /** Waits between tries to get back on the bus after a bus-off. @default 100 ms to 10 s */
  busOffRecovery?: Backoff;
  /** Waits between tries to reach an adapter that is gone. @default the bus is gone with the adapter */
  reconnect?: Backoff;
  /** Frames that may wait to be sent; `send` refuses more. @default 100_000 */
  queueLimit?: number;
  /** @default the system's */
  clock?: Clock;
  /** @default nothing is said */
  log?: (message: string) => void;
  /** Ends the opening, not the bus once it is open. */
  signal?: AbortSignal;
}

/** All settings, checked, with the commands that two of them come to. */
export interface SlcanSettings {
  name: string;
  bitRateCommand: string;
  dataBitRate: number | undefined;
  dataBitRateCommand: string | undefined;
  listenOnly: boolean;
  acknowledgement: Acknowledgement;
  window: number;
  timestamps: boolean;
  commands: readonly string[];
  commandTimeout: number;
  versionTimeout: number;
  purgeTime: number;
  statusInterval: number;
  busOffRecovery: Backoff;
  reconnect: Backoff | undefined;
  queueLimit: number;
  clock: Clock;
  log: (message: string) => void;
}

/** Fills in the defaults. @throws {RangeError} quoting the setting that cannot be */
export function checkSettings(options: SlcanBusOptions): SlcanSettings {
  const settings: SlcanSettings = {
    name: options.name ?? "SLCAN",
    bitRateCommand: options.bitRateCommand ?? bitRateCommand(options.bitRate, options.s7BitRate ?? 800_000),
    dataBitRate: options.dataBitRate,
    dataBitRateCommand: options.dataBitRate === undefined
      ? undefined
      : dataBitRateCommand(options.dataBitRate),
    listenOnly: options.listenOnly ?? false,
    acknowledgement: options.acknowledgement ?? "none",
    window: options.window ?? 128,
    timestamps: options.timestamps ?? false,
    commands: options.commands ?? [],
    commandTimeout: options.commandTimeout ?? 1000,
    versionTimeout: options.versionTimeout ?? 300,
    purgeTime: options.purgeTime ?? 50,
    statusInterval: options.statusInterval ?? 0,
    busOffRecovery: options.busOffRecovery ?? { from: 100, to: 10_000 },
    reconnect: options.reconnect,
    queueLimit: options.queueLimit ?? 100_000,
    clock: options.clock ?? systemClock,
    log: options.log ?? (() => {}),
  };
  for (const name of ["commandTimeout", "versionTimeout", "purgeTime", "statusInterval"] as const) {
    checkMilliseconds(settings[name], name);
  }
  for (const name of ["window", "queueLimit"] as const) {
    if (!Number.isInteger(settings[name]) || settings[name] < 1) {
      throw new RangeError(`${name}: expected a whole number above 0, got ${settings[name]}`);
    }
  }
  for (const name of ["busOffRecovery", "reconnect"] as const) {
    const backoff = settings[name];
    if (backoff === undefined) continue;
    checkMilliseconds(backoff.from, `${name}.from`);
    checkMilliseconds(backoff.to, `${name}.to`);
    if (backoff.from === 0 || backoff.to < backoff.from) {
      throw new RangeError(`${name}: expected 0 < from ≤ to, got ${backoff.from} and ${backoff.to}`);
    }
  }
  for (const command of [settings.bitRateCommand, ...settings.commands]) {
    if (!/^[\x20-\x7e]{1,64}$/.test(command)) {
      throw new RangeError(
        `commands: expected printable ASCII without its end, got ${JSON.stringify(command)}`,
      );
    }
  }
  return settings;
}

function bitRateCommand(bitRate: number, s7BitRate: number): string {
  const known = bitRates.map((rate, code) => code === 7 ? s7BitRate : rate);
  const code = known.indexOf(bitRate);
  if (code < 0) throw new RangeError(`bitRate: expected one of ${known.join(", ")}, got ${bitRate}`);
  return `S${code}`;
}

function dataBitRateCommand(bitRate: number): string {
  for (const [code, rate] of dataBitRates) {
    if (rate === bitRate) return encodeCommand({ kind: "dataBitRate", code });
  }
  throw new RangeError(
    `dataBitRate: expected one of ${[...dataBitRates.values()].join(", ")}, got ${bitRate}`,
  );
}
