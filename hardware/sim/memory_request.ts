// Address and size as a simulated ECU takes them, with the negative response code for each way to get them wrong, and gives
// them.
import {
  decodeMemoryRange,
  encodeMemoryRange,
  type MemoryFormat,
  type MemoryRange,
} from "../uds/memory_range.ts";
import { Nrc } from "../uds/nrc.ts";
import { Refusal } from "../uds/server_service.ts";
import type { BootLoader } from "./boot_loader.ts";

/** Where a download that was cut off goes on, and what it lacks, without a format byte. @throws {Refusal} 22 when there is none */
export function resumeRecord(boot: BootLoader, format: MemoryFormat): Uint8Array {
  return encodeMemoryRange(boot.resumePoint(), format).slice(1);
}

/** Address and size at `at`, with nothing behind them. @throws {Refusal} 13, 31 */
export function memoryRange(bytes: Uint8Array, at: number): MemoryRange {
  const decoded = decodeMemoryRange(bytes, at);
  if (decoded === undefined) {
    // Widths that cannot be are out of range; bytes that are missing are a wrong length.
    const widths = at < bytes.length ? [bytes[at] & 0x0f, bytes[at] >> 4] : [];
    throw new Refusal(
      widths.some((width) => width < 1 || width > 5)
        ? Nrc.requestOutOfRange
        : Nrc.incorrectMessageLengthOrInvalidFormat,
    );
  }
  if (at + decoded.length !== bytes.length) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
  return decoded.range;
}
