// Reads an ECU's memory back with ReadMemoryByAddress (0x23), chunk by chunk.
import type { RequestOptions, UdsClient } from "../uds/client.ts";
import type { MemoryFormat } from "../uds/memory_range.ts";
import type { Segment } from "./image.ts";

/** A piece of memory that was read. */
export interface MemoryChunk {
  /** Address of the first byte. */
  readonly address: number;
  /** The bytes; they belong to the caller. */
  readonly data: Uint8Array;
}

/** Options of {@link readMemory}. */
export interface ReadMemoryOptions extends RequestOptions {
  /** Bytes asked for at once, 1 … 65535. @default 4094, what fits an answer of 4,095 bytes */
  chunkSize?: number;
  /** Widths of address and size. @default four bytes each */
  format?: MemoryFormat;
}

/** Reads the segments in their order. The chunks of one segment follow each other without a gap. */
export async function* readMemory(
  client: UdsClient,
  segments: Iterable<Segment>,
  options: ReadMemoryOptions = {},
): AsyncGenerator<MemoryChunk, void, undefined> {
  const { chunkSize = 4_094, ...rest } = options;
  if (!Number.isInteger(chunkSize) || chunkSize < 1 || chunkSize > 0xffff) {
    throw new RangeError(`chunkSize: expected 1 … 65535, got ${chunkSize}`);
  }
  for (const segment of segments) {
    for (let done = 0; done < segment.length;) {
      const address = segment.address + done;
      const size = Math.min(chunkSize, segment.length - done);
      yield { address, data: await client.readMemoryByAddress({ address, size }, rest) };
      done += size;
    }
  }
}
