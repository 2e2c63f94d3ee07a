// What the bit rates of a CAN bus and of the serial line to its adapter allow at most for messages over ISO-TP.
import { type CanFrame, fdLengthFor } from "../../hardware/can/frame.ts";
import { type BitRates, frameTime } from "../../hardware/can/wire_bits.ts";
import { requestId, responseId } from "./can_adapters.ts";

/** What a message carries: as UDS does with blocks of 4,093 bytes, the longest that needs no 32-bit length. */
const blockLength = 4_095;

/** So many bytes in blocks that are never twice the same. */
export function* blocksOf(bytes: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes; at += blockLength) {
    yield Uint8Array.from(
      { length: Math.min(blockLength, bytes - at) },
      (_, n) => (n * 7 + (n >> 8) * 13 + at) & 0xff,
    );
  }
}

/** Milliseconds that bus and serial line need at least, whichever of them needs longer, without any pause. */
export function leastTime(adapter: BitRates & { serialBaudRate: number }, bytes: number): number {
  let onBus = 0;
  let toAdapter = 0;
  for (const block of blocksOf(bytes)) {
    for (const { frame, fromHost } of framesOf(block, adapter.dataBitRate !== undefined)) {
      onBus += frameTime(frame, adapter);
      // Type, three digits of identifier, one of length, the data, a carriage return; ten bits a byte.
      if (fromHost) toAdapter += (6 + 2 * frame.data.length) * 10_000 / adapter.serialBaudRate;
    }
  }
  return Math.max(onBus, toAdapter);
}

/** The frames of a message, its flow control and the answer, written out as ISO 15765-2 has them. */
function* framesOf(message: Uint8Array, fd: boolean): Generator<{ frame: CanFrame; fromHost: boolean }> {
  const full = fd ? 64 : 8;
  const frame = (id: number, ...bytes: number[]): CanFrame => {
    const data = new Uint8Array(Math.max(8, fd ? fdLengthFor(bytes.length) : bytes.length)).fill(0xcc);
    data.set(bytes);
    return { id, extended: false, data, ...fd ? { fd: true, bitRateSwitch: true } : {} };
  };
  yield {
    frame: frame(
      requestId,
      0x10 | message.length >> 8,
      message.length & 0xff,
      ...message.subarray(0, full - 2),
    ),
    fromHost: true,
  };
  yield { frame: frame(responseId, 0x30, 0, 0), fromHost: false };
  for (let at = full - 2, n = 1; at < message.length; at += full - 1, n++) {
    yield { frame: frame(requestId, 0x20 | n & 15, ...message.subarray(at, at + full - 1)), fromHost: true };
  }
  yield { frame: frame(responseId, 0x01, 0x7e), fromHost: false };
}
