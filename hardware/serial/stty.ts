// Sets a serial line up with `stty`: there is no other way to a line's settings without native code.
import { errorOfSystem, LineSettingsError, MissingToolError, SerialError } from "./errors.ts";

/** How characters cross the line. */
export interface LineSettings {
  /** bit/s */
  baudRate: number;
  /** @default 8 */
  dataBits?: 5 | 6 | 7 | 8;
  /** 1.5 is not among what `stty` can set. @default 1 */
  stopBits?: 1 | 1.5 | 2;
  /** none, even, odd, mark or space. @default "none" */
  parity?: string;
  /** Hardware handshake. @default false */
  rtscts?: boolean;
  /** Obeys XOFF and XON. @default false */
  xon?: boolean;
  /** Sends XOFF and XON. @default false */
  xoff?: boolean;
  /** Any character takes the place of XON. @default false */
  xany?: boolean;
  /** Drops DTR when the port is closed. @default true */
  hupcl?: boolean;
}

const parities: Readonly<Record<string, readonly string[]>> = {
  none: ["-parenb", "-cmspar"],
  even: ["parenb", "-parodd", "-cmspar"],
  odd: ["parenb", "parodd", "-cmspar"],
  mark: ["parenb", "parodd", "cmspar"],
  space: ["parenb", "-parodd", "cmspar"],
};

/** Longest wait for `stty`, ms. It waits itself for what was written to leave the line. */
const limit = 10_000;

/** Arguments of `stty` for raw bytes. @throws {LineSettingsError} for what it cannot set */
export function sttyArguments(port: string, settings: LineSettings): string[] {
  const { baudRate, dataBits = 8, stopBits = 1, parity = "none" } = settings;
  if (!Number.isInteger(baudRate) || baudRate < 1) {
    throw new LineSettingsError(port, `baud rate: expected a whole number above 0, got ${baudRate}`);
  }
  if (![5, 6, 7, 8].includes(dataBits)) {
    throw new LineSettingsError(port, `data bits: expected 5 to 8, got ${dataBits}`);
  }
  if (stopBits !== 1 && stopBits !== 2) {
    throw new LineSettingsError(port, `stop bits: expected 1 or 2, got ${stopBits}`);
  }
  if (!Object.hasOwn(parities, parity)) {
    throw new LineSettingsError(
      port,
      `parity: expected one of ${Object.keys(parities).join(", ")}, got ${parity}`,
    );
  }
  const flag = (on: boolean | undefined, name: string) => on ? name : `-${name}`;
  return [
    "raw",
    "-echo",
    "-echonl",
    "-iexten",
    "clocal",
    "cread",
    `cs${dataBits}`,
    flag(stopBits === 2, "cstopb"),
    ...parities[parity],
    flag(settings.rtscts, "crtscts"),
    flag(settings.xon, "ixon"),
    flag(settings.xoff, "ixoff"),
    flag(settings.xany, "ixany"),
    flag(settings.hupcl ?? true, "hupcl"),
    String(baudRate),
  ];
}

/** Runs `stty` on a port. @throws {SerialError} for what it refuses @returns what it prints */
export async function stty(port: string, args: readonly string[]): Promise<string> {
  // A path that begins with a dash is a path all the same.
  const command = new Deno.Command("stty", {
    args: [`--file=${port}`, ...args],
    env: { LC_ALL: "C" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(limit),
  });
  let output: Deno.CommandOutput;
  try {
    output = await command.output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new MissingToolError(port, "stty is not installed; it sets the line up (Debian: coreutils)", {
      cause: error,
    });
  }
  const decoder = new TextDecoder();
  const told = decoder.decode(output.stderr).split("\n")[0];
  if (output.success) return decoder.decode(output.stdout);
  if (output.signal !== null) {
    throw new SerialError(port, `stty did not end within ${limit} ms; does the adapter react?`);
  }
  const invalid = /invalid argument (.+)$/.exec(told)?.[1].replaceAll(/[‘’'"]/g, "");
  if (invalid !== undefined || /unable to perform all requested operations/.test(told)) {
    throw new LineSettingsError(
      port,
      invalid === undefined
        ? `the driver does not take these settings: ${args.join(" ")}`
        : `stty does not know "${invalid}"; a baud rate must be one of its own, e.g. 115200, 1000000, 2000000`,
    );
  }
  throw errorOfSystem(port, told);
}

/** The line's bit rate as the operating system has it. */
export async function readBaudRate(port: string): Promise<number> {
  const text = (await stty(port, ["speed"])).trim();
  const baudRate = Number(text);
  if (!Number.isInteger(baudRate)) throw new SerialError(port, `stty told no speed: ${JSON.stringify(text)}`);
  return baudRate;
}
