// Protocol control information: the first bytes of each frame (ISO 15765-2:2016, 9.6). Pure functions over bytes.
// `offset` is 1 where an address byte (N_TA, N_AE) stands before the N_PCI, else 0.

import { type flowStatus, maxLength, maxShortLength, pduTypes } from "./constants.ts";

/** What a frame says. `start` is where its data begins. */
export type Pdu =
  | { readonly type: "single_frame"; readonly start: number; readonly length: number }
  | {
    readonly type: "first_frame";
    readonly start: number;
    /** FF_DL: bytes of the whole message. */
    readonly length: number;
    /** RX_DL: the sender's TX_DL, read off the frame's own length (9.5.4). */
    readonly rxDl: number;
  }
  | { readonly type: "consecutive_frame"; readonly start: number; readonly sequenceNumber: number }
  | {
    readonly type: "flow_control";
    /** 0 continue to send, 1 wait, 2 overflow; 3 to 15 are reserved and end the transmission (9.6.5.2). */
    readonly flowStatus: number;
    /** Consecutive frames until the next flow control; 0: no further one. */
    readonly blockSize: number;
    /** STmin in milliseconds. */
    readonly stMin: number;
  }
  | {
    readonly type: "ignored";
    /** Why, with the clause. */
    readonly why: string;
  };

function ignored(why: string): Pdu {
  return { type: "ignored", why };
}

/**
 * Reads one frame. What the standard tells a receiver to ignore comes as `ignored`, with the clause.
 *
 * @param data payload of a CAN frame; its length is CAN_DL
 */
export function decodePdu(data: Uint8Array, offset: number): Pdu {
  if (data.length <= offset) return ignored(`CAN_DL ${data.length} has no room for an N_PCI (10.4.3)`);
  switch (data[offset] >> 4) {
    case pduTypes.singleFrame:
      return decodeSingleFrame(data, offset);
    case pduTypes.firstFrame:
      return decodeFirstFrame(data, offset);
    case pduTypes.consecutiveFrame:
      if (data.length < offset + 2) return ignored(`CF of CAN_DL ${data.length} carries no data (10.4.3)`);
      return { type: "consecutive_frame", start: offset + 1, sequenceNumber: data[offset] & 0x0f };
    case pduTypes.flowControl:
      if (data.length < offset + 3) return ignored(`FC of CAN_DL ${data.length} is too short (10.4.3)`);
      return {
        type: "flow_control",
        flowStatus: data[offset] & 0x0f,
        blockSize: data[offset + 1],
        stMin: decodeStMin(data[offset + 2]),
      };
    default:
      return ignored(`N_PCI type ${data[offset] >> 4} is reserved (9.6.1, 9.8.3)`);
  }
}

function decodeSingleFrame(data: Uint8Array, offset: number): Pdu {
  const canDl = data.length;
  const short = data[offset] & 0x0f;
  if (canDl <= 8) {
    if (short === 0) return ignored("SF_DL is 0 (9.6.2.2)");
    if (short > canDl - 1 - offset) {
      return ignored(`SF_DL ${short} does not fit in CAN_DL ${canDl} (9.6.2.2)`);
    }
    return { type: "single_frame", start: offset + 1, length: short };
  }
  if (short !== 0) return ignored(`SF of CAN_DL ${canDl} without the escape 0000b (9.6.2.1)`);
  const length = data[offset + 1];
  if (length <= 7 - offset) {
    return ignored(`SF_DL ${length} must not be escaped, CAN_DL 8 holds it (9.6.2.2)`);
  }
  if (length > canDl - 2 - offset) {
    return ignored(`SF_DL ${length} does not fit in CAN_DL ${canDl} (9.6.2.2)`);
  }
  return { type: "single_frame", start: offset + 2, length };
}

function decodeFirstFrame(data: Uint8Array, offset: number): Pdu {
  const rxDl = data.length;
  if (rxDl < 8) return ignored(`FF of CAN_DL ${rxDl}, no RX_DL is below 8 (9.5.4)`);
  const short = (data[offset] & 0x0f) << 8 | data[offset + 1];
  if (short !== 0) {
    if (short < minFirstFrameLength(rxDl, offset)) {
      return ignored(`FF_DL ${short} fits in a single frame of RX_DL ${rxDl} (9.6.3.2)`);
    }
    return { type: "first_frame", start: offset + 2, length: short, rxDl };
  }
  const at = offset + 2;
  const length = (data[at] << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3]) >>> 0;
  if (length <= maxShortLength) {
    return ignored(`FF_DL ${length} must not be escaped, 12 bits hold it (9.6.3.2)`);
  }
  return { type: "first_frame", start: at + 4, length, rxDl };
}

/** Longest message of a single frame (9.6.2.1). */
export function maxSingleFrameLength(txDl: number, offset: number): number {
  return txDl === 8 ? 7 - offset : txDl - 2 - offset;
}

/** FF_DLmin: shortest message of a first frame (9.6.3.1, table 14). */
export function minFirstFrameLength(dataLength: number, offset: number): number {
  return maxSingleFrameLength(dataLength, offset) + 1;
}

/** Writes a single frame's N_PCI for a message that fits; the escape beyond CAN_DL 8. @returns where data begins */
export function encodeSingleFrame(into: Uint8Array, offset: number, length: number): number {
  if (length <= 7 - offset) {
    into[offset] = pduTypes.singleFrame << 4 | length;
    return offset + 1;
  }
  into[offset] = pduTypes.singleFrame << 4;
  into[offset + 1] = length;
  return offset + 2;
}

/** Bytes of a single frame: N_PCI and data, without padding. */
export function singleFrameLength(offset: number, length: number): number {
  return offset + (length <= 7 - offset ? 1 : 2) + length;
}

/** Writes a first frame's N_PCI; the escape beyond 4,095 bytes. @returns where data begins */
export function encodeFirstFrame(into: Uint8Array, offset: number, length: number): number {
  if (length > maxLength) throw new RangeError(`a message has at most ${maxLength} bytes, got ${length}`);
  if (length <= maxShortLength) {
    into[offset] = pduTypes.firstFrame << 4 | length >> 8;
    into[offset + 1] = length & 0xff;
    return offset + 2;
  }
  into[offset] = pduTypes.firstFrame << 4;
  into[offset + 1] = 0;
  into[offset + 2] = length >>> 24;
  into[offset + 3] = length >>> 16 & 0xff;
  into[offset + 4] = length >>> 8 & 0xff;
  into[offset + 5] = length & 0xff;
  return offset + 6;
}

/** Writes a consecutive frame's N_PCI. @returns where data begins */
export function encodeConsecutiveFrame(into: Uint8Array, offset: number, sequenceNumber: number): number {
  into[offset] = pduTypes.consecutiveFrame << 4 | sequenceNumber & 0x0f;
  return offset + 1;
}

/** Writes a flow control. @param stMin the byte, see {@link encodeStMin} @returns where it ends */
export function encodeFlowControl(
  into: Uint8Array,
  offset: number,
  status: (typeof flowStatus)[keyof typeof flowStatus],
  blockSize: number,
  stMin: number,
): number {
  into[offset] = pduTypes.flowControl << 4 | status;
  into[offset + 1] = blockSize;
  into[offset + 2] = stMin;
  return offset + 3;
}

/** STmin in milliseconds (9.6.5.4, table 20). Reserved values count as 127 ms (9.6.5.5). */
export function decodeStMin(byte: number): number {
  if (byte <= 0x7f) return byte;
  return byte >= 0xf1 && byte <= 0xf9 ? (byte - 0xf0) / 10 : 127;
}

/** The byte for an STmin of 0 to 127 ms, or of 0.1 to 0.9 ms in steps of 0.1. @throws {RangeError} for any other */
export function encodeStMin(milliseconds: number): number {
  if (Number.isInteger(milliseconds) && milliseconds >= 0 && milliseconds <= 127) return milliseconds;
  const tenths = Math.round(milliseconds * 10);
  if (tenths >= 1 && tenths <= 9 && Math.abs(tenths - milliseconds * 10) < 1e-9) return 0xf0 + tenths;
  throw new RangeError(
    `STmin: expected 0 to 127 ms in whole milliseconds, or 0.1 to 0.9 in tenths, got ${milliseconds}`,
  );
}
