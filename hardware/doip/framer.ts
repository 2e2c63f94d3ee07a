// Cuts a TCP byte stream into DoIP messages, whatever the segments were, and checks each header on the way in the
// order of the generic header handler (ISO 13400-2:2019, Table 19): pattern, type, size, memory, length.

import { headerLength, headerNackCodes, protocolVersions } from "./constants.ts";
import { checkUint, type DoipFrame, isLengthAllowed, readU16, readU32 } from "./message.ts";

/** A header that must be answered with a generic header NACK. */
export interface DoipViolation {
  /** NACK code (Table 19). After 0x00 and 0x04 the stream is out of step: nothing more comes from the framer. */
  nack: number;
  /** Version of the offending header; with code 0x00 it may be any byte. */
  version: number;
  payloadType: number;
  payloadLength: number;
}

/** What {@link DoipFramer.next} gives: a message (`nack` undefined) or a violation. */
export type FramerItem = (DoipFrame & { nack: undefined }) | DoipViolation;

/** What a framer takes. */
export interface DoipFramerOptions {
  /** Payload types that are meant for this side; the others are skipped with NACK 0x01. */
  accepts: ReadonlySet<number>;
  /** Longest payload in bytes; a longer one is skipped with NACK 0x02, never buffered. */
  maxPayloadLength: number;
  /**
   * Protocol versions understood; another is an incorrect pattern.
   * @default {0x01, 0x02, 0x03, 0x04}
   */
  versions?: ReadonlySet<number>;
  /** Bytes of memory that there are at the moment; a longer payload is skipped with NACK 0x03. @default no limit */
  available?: () => number;
}

/** Versions that may stand in a message over TCP. 0xFF is for identification requests, which come over UDP. */
export const streamVersions: ReadonlySet<number> = new Set([
  protocolVersions.iso2010,
  protocolVersions.iso2012,
  protocolVersions.iso2019,
  protocolVersions.iso2019Amd1,
]);

const initialCapacity = 65_536;
/** A buffer that grew beyond this for one long message is given back when it is empty. */
const keptCapacity = 262_144;

/**
 * Owns the buffer that the socket reads into, so that messages are views on it and nothing is copied:
 *
 * ```ts
 * const read = await stream.read(framer.writable());
 * framer.commit(read);
 * for (let item = framer.next(); item !== null; item = framer.next()) { … }
 * ```
 *
 * A message is valid until the next call of `writable()`. The buffer grows as bytes arrive, never on the word of a
 * header alone, and never beyond one message of the largest size.
 */
export class DoipFramer {
  readonly #accepts: ReadonlySet<number>;
  readonly #versions: ReadonlySet<number>;
  readonly #maxPayloadLength: number;
  readonly #available: () => number;
  #buffer = new Uint8Array(initialCapacity);
  #start = 0;
  #end = 0;
  /** Bytes of the message at #start, as far as its header tells. */
  #need = headerLength;
  /** Bytes of a refused payload that are still to come. */
  #skip = 0;
  #outOfStep = false;

  /** Whether there is memory for the message at #start: asked once, when its header is complete. */
  #admitted = false;

  constructor(options: DoipFramerOptions) {
    const { accepts, maxPayloadLength, versions = streamVersions, available = () => Infinity } = options;
    checkUint(maxPayloadLength, 0xffff_ffff, "maxPayloadLength");
    this.#accepts = accepts;
    this.#versions = versions;
    this.#maxPayloadLength = maxPayloadLength;
    this.#available = available;
  }

  /** Whether the stream lost its place: whatever follows is dropped, the connection has to be closed. */
  get outOfStep(): boolean {
    return this.#outOfStep;
  }

  /** Drops what is buffered and whatever follows: for a connection that is only read to its end. */
  stop(): void {
    this.#outOfStep = true;
  }

  /** Bytes allocated at the moment. */
  get capacity(): number {
    return this.#buffer.length;
  }

  /** Room for the next read, at least one byte. Messages handed out before are overwritten. */
  writable(): Uint8Array<ArrayBuffer> {
    if (this.#start === this.#end || this.#outOfStep) {
      this.#start = this.#end = 0;
      if (this.#buffer.length > keptCapacity) this.#buffer = new Uint8Array(initialCapacity);
    } else if (this.#start + this.#need > this.#buffer.length) {
      // The rest of the message does not fit behind its beginning: move the beginning to the front.
      this.#buffer.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
      if (this.#end === this.#buffer.length) {
        const grown = new Uint8Array(
          Math.min(2 * this.#buffer.length, this.#maxPayloadLength + headerLength),
        );
        grown.set(this.#buffer);
        this.#buffer = grown;
      }
    }
    return this.#buffer.subarray(this.#end);
  }

  /** Takes over what was read into {@link writable}. */
  commit(read: number): void {
    checkUint(read, this.#buffer.length - this.#end, "bytes read");
    this.#end += read;
  }

  /** The next message or violation, null when more bytes are needed. */
  next(): FramerItem | null {
    if (this.#outOfStep) return null;
    if (this.#skip > 0) {
      const skipped = Math.min(this.#skip, this.#end - this.#start);
      this.#start += skipped;
      this.#skip -= skipped;
      if (this.#skip > 0) return null;
    }
    const buffer = this.#buffer;
    const start = this.#start;
    const available = this.#end - start;
    if (available < headerLength) {
      this.#need = headerLength;
      return null;
    }
    const version = buffer[start];
    const payloadType = readU16(buffer, start + 2);
    const payloadLength = readU32(buffer, start + 4);
    if ((version ^ 0xff) !== buffer[start + 1] || !this.#versions.has(version)) {
      this.#outOfStep = true;
      return { nack: headerNackCodes.incorrectPattern, version, payloadType, payloadLength };
    }
    if (!this.#accepts.has(payloadType)) {
      return this.#refuse(headerNackCodes.unknownPayloadType, version, payloadType, payloadLength);
    }
    if (payloadLength > this.#maxPayloadLength) {
      return this.#refuse(headerNackCodes.messageTooLarge, version, payloadType, payloadLength);
    }
    if (!this.#admitted && payloadLength > this.#available()) {
      return this.#refuse(headerNackCodes.outOfMemory, version, payloadType, payloadLength);
    }
    if (!isLengthAllowed(version, payloadType, payloadLength)) {
      this.#outOfStep = true;
      return { nack: headerNackCodes.invalidPayloadLength, version, payloadType, payloadLength };
    }
    const end = start + headerLength + payloadLength;
    if (end > this.#end) {
      this.#need = headerLength + payloadLength;
      this.#admitted = true;
      return null;
    }
    this.#admitted = false;
    this.#start = end;
    return { nack: undefined, version, payloadType, payload: buffer.subarray(start + headerLength, end) };
  }

  #refuse(nack: number, version: number, payloadType: number, payloadLength: number): DoipViolation {
    this.#start += headerLength;
    this.#skip = payloadLength;
    return { nack, version, payloadType, payloadLength };
  }
}
