// What is on a serial line: asks as gently as SLCAN lets, and tells an adapter from silence and from something else.
import type { ByteStream } from "../byte_stream.ts";
import { type Clock, systemClock } from "../clock.ts";
import { SlcanLink } from "./slcan_link.ts";
import { newStatistics } from "./slcan_unanswered.ts";

/** What a line answered. */
export interface ProbeResult {
  /** An SLCAN adapter told its version or serial number; something else answered; nothing did. */
  found: "slcan" | "something else" | "nothing";
  version?: string;
  serialNumber?: string;
  /** Whether commands were acknowledged, which tells what `acknowledgement` must be: "none" if not. */
  acknowledges: boolean;
}

export interface ProbeOptions {
  /** Longest wait for each answer, ms. @default 1000 */
  timeout?: number;
  /** How long the answers to the first lines are collected, ms. @default 300 */
  purgeTime?: number;
  /** @default the system's */
  clock?: Clock;
}

/** USB adapters that speak SLCAN by vendor and product. What is sent to them does no harm. */
export const knownAdapters: ReadonlyMap<string, string> = new Map([
  ["16d0:117e", "CANable"],
  ["ad50:60c4", "CANtact"],
  ["0403:ffa8", "LAWICEL CANUSB"],
]);

/** Name of an adapter that is known to speak SLCAN. */
export function knownAdapter(
  port: { vendorId?: string; productId?: string; product?: string },
): string | undefined {
  const known = knownAdapters.get(`${port.vendorId}:${port.productId}`.toLowerCase());
  // Many more are sold under these names, with numbers of their own.
  return known ?? /\b(?:canable|cantact|canusb|usbtin|slcan)\b/i.exec(port.product ?? "")?.[0];
}

/**
 * Asks what is on a line, with `\r\r\r`, `C\r`, `V\r` and `N\r`: an open channel is closed by it. Closes the stream.
 * To a device that speaks something else these bytes may mean anything: whoever owns the line decides.
 */
export async function probe(stream: ByteStream, options: ProbeOptions = {}): Promise<ProbeResult> {
  const { timeout = 1_000, purgeTime = 300, clock = systemClock } = options;
  let strayLines = 0;
  const statistics = newStatistics();
  let failure: Error | undefined;
  const link = new SlcanLink(stream, {
    name: "probe",
    acknowledgement: "none",
    window: 1,
    clock,
    statistics,
    log: () => strayLines++,
    received: () => {},
    state: () => {},
    lost: (error) => failure = error,
  });
  const ask = async (what: "version" | "serialNumber", command: string): Promise<string | undefined> => {
    try {
      const answer = await link.command(command, what, timeout);
      if (answer?.kind !== "version" && answer?.kind !== "serialNumber") return undefined;
      return answer.text === "" ? undefined : answer.text;
    } catch (error) {
      // No answer, or refused: either is an answer to the question what is there. A line that is gone is none.
      if (failure !== undefined) throw error;
      return undefined;
    }
  };
  try {
    const acknowledges = await link.purge(purgeTime);
    const version = await ask("version", "V\r");
    const serialNumber = await ask("serialNumber", "N\r");
    const answered = acknowledges || strayLines > 0 ||
      Object.values(statistics).some((count) => count > 0);
    const found = version !== undefined || serialNumber !== undefined
      ? "slcan"
      : answered
      ? "something else"
      : "nothing";
    return { found, version, serialNumber, acknowledges };
  } finally {
    await link.close(new Error("the probe is over"), 0);
  }
}
