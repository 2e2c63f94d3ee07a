// Where an interrupted download can go on. UDS has no question for that; boot loaders that can do it answer an identifier
// or a routine of their own. What they answer is laid down here and configured by the number alone.
//
// Record: address of the next byte that the ECU expects, then the bytes that are still missing up to the end of that
// download, in the widths that RequestDownload uses; a routine's answer has its status byte before. Nothing missing: that
// download is complete, the next segment follows. A refusal says that there is nothing to go on with.
import type { RequestOptions, UdsClient } from "../uds/client.ts";
import { NegativeResponseError } from "../uds/errors.ts";
import { type MemoryFormat, takeNumber } from "../uds/memory_range.ts";
import { hex } from "../uds/services.ts";
import type { Segment } from "./image.ts";

/** How the ECU is asked where a download can go on: by an identifier or a routine. */
export type ResumeQuestion = { did: number } | { routine: number };

/** Where a flash goes on. */
export interface ResumePoint {
  /** Index of the segment. That behind the last one: everything was transferred. */
  readonly segment: number;
  /** Bytes of that segment that the ECU has. */
  readonly done: number;
}

/**
 * Asks the ECU, and holds its answer against the image and against what was sent.
 *
 * @param reached segment that was under way when the connection was lost, and the bytes of it that were handed to the bus
 * @returns where to go on, or why that cannot be
 */
export async function askResumePoint(
  client: UdsClient,
  question: ResumeQuestion,
  segments: readonly Segment[],
  reached: { segment: number; sent: number },
  format: Required<MemoryFormat>,
  routineOk: number,
  request: RequestOptions,
): Promise<ResumePoint | string> {
  let record: Uint8Array;
  try {
    if ("did" in question) record = await client.readDataByIdentifier(question.did, request);
    else {
      const answer = await client.startRoutine(question.routine, undefined, request);
      if (answer[0] !== routineOk) return `the ECU's status is ${hex(answer[0] ?? 0, 2)}`;
      record = answer.subarray(1);
    }
  } catch (error) {
    // A refusal is the ECU's way to say that it has nothing to go on with.
    if (error instanceof NegativeResponseError) return error.message;
    throw error;
  }
  const { addressBytes, sizeBytes } = format;
  if (record.length !== addressBytes + sizeBytes) {
    return `expected a record of ${addressBytes + sizeBytes} bytes, got ${record.length}`;
  }
  const address = takeNumber(record, 0, addressBytes);
  const missing = takeNumber(record, addressBytes, sizeBytes);
  const segment = segments.findIndex((it) => {
    const end = it.address + it.length;
    return missing > 0
      ? address >= it.address && address < end && address + missing === end
      : address === end;
  });
  const said = `${missing} bytes missing from ${hex(address, 8)} on`;
  if (segment < 0) return `no segment has ${said}`;
  const done = segments[segment].length - missing;
  // More than was sent cannot have come from this flash.
  if (segment > reached.segment || segment === reached.segment && done > reached.sent) {
    return `expected at most what was sent, got ${said}`;
  }
  return missing === 0 ? { segment: segment + 1, done: 0 } : { segment, done };
}
