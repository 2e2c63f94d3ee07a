// Firmware files that commands take: the options that say how one is read, and the reading.

import { type Command, InvalidArgumentError } from "commander";
import { parseFirmware } from "../../hardware/flash/format/parse_firmware.ts";
import { address, firmwareFormats, oneOf } from "./common.ts";
import { openFile } from "./files.ts";
import { CommandFailed } from "./output.ts";

export interface FirmwareFileOptions {
  format: typeof firmwareFormats[number];
  /** First address of a raw binary. */
  baseAddress?: number;
}

/** Adds `--format` and `--base-address`. */
export function withFirmwareFile(command: Command): Command {
  return command
    .option("--format <format>", "auto, intel-hex, s-record, vbf or binary", oneOf(firmwareFormats), "auto")
    .option("--base-address <address>", "first address of a raw binary, e.g. 0x8000", address);
}

/** Parser for an option that takes a release counter. */
export function releaseNumber(text: string): number {
  if (!/^\d{1,10}$/.test(text) || Number(text) > 0xffff_ffff) {
    throw new InvalidArgumentError("expected a whole number from 0 to 4294967295");
  }
  return Number(text);
}

/**
 * Reads a firmware file; its payload is at `output` afterwards.
 * @throws {CommandFailed} when it cannot be read, or is no firmware
 */
export async function readFirmware(
  file: string,
  output: string,
  { format, baseAddress }: FirmwareFileOptions,
  signal: AbortSignal,
): ReturnType<typeof parseFirmware> {
  const { readable } = await openFile(file, true);
  try {
    return await parseFirmware(readable, { format, baseAddress, output, signal });
  } catch (cause) {
    signal.throwIfAborted();
    throw new CommandFailed(`${file}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}
