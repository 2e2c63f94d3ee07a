// The hot path of a flash: TransferData (0x36) for one download, block after block, the next one read meanwhile.
import type { UdsClient } from "../uds/client.ts";
import { NegativeResponseError } from "../uds/errors.ts";
import { hex, Sid } from "../uds/services.ts";
import { UdsTimeoutError } from "../uds/transport.ts";
import type { ImageReader } from "./image.ts";

/** One download to transfer. */
export interface TransferOptions {
  /** Where the download's bytes begin in the image's payload. */
  offset: number;
  /** How many there are. */
  length: number;
  /** Longest request, service byte and counter included. */
  maxBlockLength: number;
  /** How often a block without an answer is sent again. */
  blockRepeats: number;
  /** Named in errors. */
  step: string;
  /** Looked at between blocks. */
  signal?: AbortSignal;
  /** Called with the bytes that will have been handed to the bus, before each block. */
  onSend?: (bytes: number) => void;
  /** Called with the bytes that the ECU has taken, after each block. */
  onBlock?: (bytes: number) => void;
}

/**
 * Transfers one download.
 * @returns the number of blocks
 * @throws the signal's reason between two blocks; what the request threw otherwise
 */
export async function transfer(
  client: UdsClient,
  image: ImageReader,
  options: TransferOptions,
): Promise<number> {
  const { length, signal } = options;
  const size = Math.min(options.maxBlockLength - 2, length);
  if (size < 1) throw new RangeError(`${client.ecu}: expected a block length of 3 or more, got ${size + 2}`);
  const { exchange } = client;
  const requestOptions = { step: options.step };
  // Two buffers for all blocks: one is on its way while the image is read into the other. The transport is done with
  // a request when send() resolves, and the answer follows later still.
  let current = new BlockBuffer(size);
  let ahead = new BlockBuffer(size);
  let reading = current.read(image, options.offset, size);
  let counter = 0;
  let blocks = 0;
  try {
    for (let done = 0; done < length;) {
      if (signal?.aborted) throw signal.reason;
      await reading;
      const block = Math.min(size, length - done);
      const next = done + block;
      if (next < length) {
        reading = ahead.read(image, options.offset + next, Math.min(size, length - next));
        // A failure is met where the bytes are needed; until then nobody waits for this promise.
        reading.catch(() => {});
      }
      // 1 first, 0 after 255 (15.4.2.2).
      counter = (counter + 1) & 0xff;
      const request = current.request(counter);
      options.onSend?.(next);
      for (let repeats = 0;; repeats++) {
        try {
          await exchange.request(request, requestOptions);
          break;
        } catch (error) {
          // The same counter again: an ECU that had taken the block acknowledges it without writing twice (15.4.2.1).
          if (error instanceof UdsTimeoutError && repeats < options.blockRepeats) continue;
          throw withCounter(error, counter, options.offset + done);
        }
      }
      blocks++;
      done = next;
      [current, ahead] = [ahead, current];
      options.onBlock?.(done);
    }
  } finally {
    // Whoever opened the image closes it next: a read that is under way must not meet that.
    await reading.catch(() => {});
  }
  return blocks;
}

/** Room for one TransferData request, with the views onto it that whole blocks use. */
class BlockBuffer {
  readonly #whole: Uint8Array;
  readonly #data: Uint8Array;
  #request: Uint8Array;

  constructor(size: number) {
    this.#whole = new Uint8Array(2 + size);
    this.#whole[0] = Sid.transferData;
    this.#data = this.#whole.subarray(2);
    this.#request = this.#whole;
  }

  /** Fills the block with the payload's bytes at `offset`. */
  read(image: ImageReader, offset: number, length: number): Promise<void> {
    const whole = length === this.#data.length;
    this.#request = whole ? this.#whole : this.#whole.subarray(0, 2 + length);
    return image.read(offset, whole ? this.#data : this.#data.subarray(0, length));
  }

  /** The request that carries the block. */
  request(counter: number): Uint8Array {
    this.#whole[1] = counter;
    return this.#request;
  }
}

/** Keeps the refusal and says at which block it came. */
function withCounter(error: unknown, counter: number, offset: number): unknown {
  if (!(error instanceof NegativeResponseError)) return error;
  const step = `${error.step}, block ${hex(counter, 2)} at payload offset ${offset}`;
  return new NegativeResponseError(error.ecu, error.sid, error.nrc, error.response, step);
}
