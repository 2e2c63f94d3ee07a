// How long a frame is on the wire: every bit of it with its stuff bits, classic and FD, and the time that takes.
// Needed by whoever paces frames or says what a bus can carry at most.
import { type CanFrame, dlcOf } from "./frame.ts";

/** Bits of one frame from start of frame to the end of the intermission, by the rate that they have. */
export interface WireBits {
  /** Bits of the arbitration phase's rate. */
  readonly nominal: number;
  /** Bits of the data phase's rate: none unless the frame switches. */
  readonly data: number;
}

/** Bit rates of a bus, bit/s. */
export interface BitRates {
  readonly bitRate: number;
  /** Rate of the data phase of frames that switch. @default bitRate */
  readonly dataBitRate?: number;
}

// ISO 11898-1:2015. Nothing of this is stuffed: delimiter of the CRC, ACK slot and delimiter, end of frame
// (10.4.2.6 to 10.4.2.8), intermission (10.4.6.2).
const crcDelimiter = 1;
const acknowledgement = 2;
const endOfFrame = 7;
const intermission = 3;
/** Equal bits after which a complementary one is inserted (10.5). */
const stuffAfter = 5;
/** CRC-15: x15 + x14 + x10 + x8 + x7 + x4 + x3 + 1 (10.4.2.6). */
const crc15Polynomial = 0x4599;
/** Stuff count in Gray code with its parity (10.4.2.6). */
const stuffCount = 4;
// FD frames of up to 16 bytes carry CRC-17, longer ones CRC-21 (table 6). A fixed stuff bit stands before the stuff
// count and after each fourth bit of the CRC field (10.5).
const shortCrc = { bits: 17, fixedStuffBits: 6, upTo: 16 };
const longCrc = { bits: 21, fixedStuffBits: 7 };

/** Counts bits with the stuff bits that they cause, and their CRC-15. */
class BitCounter {
  count = 0;
  crc = 0;
  #last = -1;
  #run = 0;
  #stuffDue = false;

  /** Takes the lowest `width` bits of a value, most significant first. */
  put(value: number, width: number): void {
    for (let at = width - 1; at >= 0; at--) {
      const bit = (value >>> at) & 1;
      this.crc = ((this.crc >>> 14) & 1) !== bit
        ? ((this.crc << 1) ^ crc15Polynomial) & 0x7fff
        : (this.crc << 1) & 0x7fff;
      this.#step(bit);
    }
  }

  putBytes(bytes: Uint8Array): void {
    for (const byte of bytes) this.put(byte, 8);
  }

  /** Counts the stuff bit that the last bit has caused, where the stuffed part of a frame ends with it. */
  endStuffed(): void {
    if (this.#stuffDue) this.count++;
    this.#stuffDue = false;
  }

  #step(bit: number): void {
    if (this.#stuffDue) {
      // The stuff bit is the complement of the five before it, and begins a run of its own.
      this.count++;
      this.#last ^= 1;
      this.#run = 1;
      this.#stuffDue = false;
    }
    this.#run = bit === this.#last ? this.#run + 1 : 1;
    this.#last = bit;
    this.count++;
    this.#stuffDue = this.#run === stuffAfter;
  }
}

/** The bits of a frame; the frame is one that `checkFrame` lets pass. */
export function wireBits(frame: CanFrame): WireBits {
  return frame.fd ? fdBits(frame) : classicBits(frame);
}

/** Milliseconds that a frame takes on a bus, interframe space included. */
export function frameTime(frame: CanFrame, { bitRate, dataBitRate = bitRate }: BitRates): number {
  const { nominal, data } = wireBits(frame);
  return 1_000 * (nominal / bitRate + data / dataBitRate);
}

/** Classic frames (ISO 11898-1 10.4.2): all is stuffed from the start of frame to the last bit of the CRC. */
function classicBits({ id, extended, data, remote = false, remoteLength = 0 }: CanFrame): WireBits {
  const bits = new BitCounter();
  const rtr = remote ? 1 : 0;
  bits.put(0, 1); // SOF
  if (extended) {
    bits.put(id >>> 18, 11);
    bits.put(0b11, 2); // SRR, IDE
    bits.put(id & 0x3_ffff, 18);
    bits.put(rtr, 1);
    bits.put(0b00, 2); // FDF, r0
  } else {
    bits.put(id, 11);
    bits.put(rtr, 1);
    bits.put(0b00, 2); // IDE, FDF
  }
  bits.put(remote ? remoteLength : data.length, 4);
  bits.putBytes(data);
  bits.put(bits.crc, 15);
  bits.endStuffed();
  return { nominal: bits.count + crcDelimiter + acknowledgement + endOfFrame + intermission, data: 0 };
}

/**
 * FD frames (ISO 11898-1 10.4.3). Dynamic stuffing ends with the data field; the CRC field has fixed stuff bits, of which
 * the first takes the place of a stuff bit that would be due there. The rate changes at the sample points of BRS and of
 * the CRC delimiter: with the sample point at the same part of both bit times, BRS counts as a whole bit of the one rate and the
 * delimiter as a whole bit of the other.
 */
function fdBits({ id, extended, data, bitRateSwitch = false }: CanFrame): WireBits {
  const bits = new BitCounter();
  bits.put(0, 1); // SOF
  if (extended) {
    bits.put(id >>> 18, 11);
    bits.put(0b11, 2); // SRR, IDE
    bits.put(id & 0x3_ffff, 18);
    bits.put(0, 1); // RRS
  } else {
    bits.put(id, 11);
    bits.put(0b00, 2); // RRS, IDE
  }
  bits.put(0b10, 2); // FDF, res
  bits.put(bitRateSwitch ? 1 : 0, 1);
  const arbitration = bits.count;
  bits.put(0, 1); // ESI: an error active node
  bits.put(dlcOf(data.length), 4);
  bits.putBytes(data);
  const crc = data.length <= shortCrc.upTo ? shortCrc : longCrc;
  const rest = bits.count - arbitration + stuffCount + crc.bits + crc.fixedStuffBits + crcDelimiter;
  const nominal = arbitration + acknowledgement + endOfFrame + intermission;
  return bitRateSwitch ? { nominal, data: rest } : { nominal: nominal + rest, data: 0 };
}
