// The hot path of a flash: TransferData (0x36) for one download, block after block, with the image read ahead.
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
  /** Called with the bytes that the ECU has taken, after each block. */
  onBlock?: (bytes: number) => void;
}

// How much is read at once. A file answers a read of this size about as fast as one of a block's.
const readAhead = 1 << 20;

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
  const ahead = new Lookahead(image, options.offset, length);
  // One buffer for all blocks: the transport is done with it when send() resolves, and an answer follows later still.
  const request = new Uint8Array(2 + size);
  const whole = request.subarray(2);
  request[0] = Sid.transferData;
  let counter = 0;
  let blocks = 0;
  for (let done = 0; done < length;) {
    if (signal?.aborted) throw signal.reason;
    const block = Math.min(size, length - done);
    await ahead.next(block === size ? whole : request.subarray(2, 2 + block));
    // 1 first, 0 after 255 (15.4.2.2).
    counter = (counter + 1) & 0xff;
    request[1] = counter;
    const bytes = block === size ? request : request.subarray(0, 2 + block);
    for (let repeats = 0;; repeats++) {
      try {
        await exchange.request(bytes, requestOptions);
        break;
      } catch (error) {
        // The same counter again: an ECU that had taken the block acknowledges it without writing twice (15.4.2.1).
        if (error instanceof UdsTimeoutError && repeats < options.blockRepeats) continue;
        throw withCounter(error, counter, options.offset + done);
      }
    }
    blocks++;
    done += block;
    options.onBlock?.(done);
  }
  return blocks;
}

/** Keeps the refusal and says at which block it came. */
function withCounter(error: unknown, counter: number, offset: number): unknown {
  if (!(error instanceof NegativeResponseError)) return error;
  const step = `${error.step}, block ${hex(counter, 2)} at payload offset ${offset}`;
  return new NegativeResponseError(error.ecu, error.sid, error.nrc, error.response, step);
}

/** Gives a payload's bytes in order, reading the next piece while the one before is being sent. */
class Lookahead {
  readonly #image: ImageReader;
  readonly #end: number;
  #current: Uint8Array;
  #ahead: Uint8Array;
  #at = 0;
  #filled = 0;
  #readTo: number;
  #reading: Promise<number> | undefined;

  constructor(image: ImageReader, offset: number, length: number) {
    this.#image = image;
    this.#end = offset + length;
    this.#readTo = offset;
    const size = Math.min(readAhead, length);
    this.#current = new Uint8Array(size);
    this.#ahead = new Uint8Array(length > size ? size : 0);
    this.#reading = this.#read(this.#current);
  }

  /** Fills `into` with the bytes that follow. Returns a promise only when it has to wait for a read. */
  next(into: Uint8Array): void | Promise<void> {
    if (this.#filled - this.#at < into.length) return this.#across(into);
    into.set(this.#current.subarray(this.#at, this.#at + into.length));
    this.#at += into.length;
  }

  async #across(into: Uint8Array): Promise<void> {
    for (let done = 0; done < into.length;) {
      if (this.#at === this.#filled) await this.#turn();
      const length = Math.min(this.#filled - this.#at, into.length - done);
      into.set(this.#current.subarray(this.#at, this.#at + length), done);
      this.#at += length;
      done += length;
    }
  }

  /** Makes the piece that was read ahead the current one, and begins the next. */
  async #turn(): Promise<void> {
    const reading = this.#reading;
    if (reading === undefined) throw new RangeError("read past the end of the download");
    const first = this.#filled === 0;
    this.#filled = await reading;
    this.#at = 0;
    if (!first) [this.#current, this.#ahead] = [this.#ahead, this.#current];
    this.#reading = this.#readTo < this.#end ? this.#read(this.#ahead) : undefined;
  }

  #read(into: Uint8Array): Promise<number> {
    const length = Math.min(into.length, this.#end - this.#readTo);
    const offset = this.#readTo;
    this.#readTo += length;
    const reading = this.#image.read(offset, into.subarray(0, length)).then(() => length);
    // A failure is met where the bytes are needed; until then nobody waits for this promise.
    reading.catch(() => {});
    return reading;
  }
}
