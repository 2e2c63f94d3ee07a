// Firmware files written by hand for tests: Intel HEX, S-record, each from addressed bytes.

/** Bytes at an address. */
export interface Part {
  address: number;
  bytes: Uint8Array;
}

/** Bytes that look like code and are the same in each run (xorshift32). */
export function sampleBytes(length: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let state = seed >>> 0 || 1;
  for (let at = 0; at < length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    // Runs of the same byte, so that it compresses as code does.
    bytes[at] = at % 64 < 24 ? state & 0xff : at >> 6 & 0xff;
  }
  return bytes;
}

/** Intel HEX with type 04 addresses, 16 data bytes a record. */
export function intelHex(parts: readonly Part[]): string {
  const lines: string[] = [];
  const record = (address: number, type: number, data: readonly number[]) => {
    const body = [data.length, address >> 8 & 0xff, address & 0xff, type, ...data];
    const sum = body.reduce((total, byte) => total + byte, 0);
    lines.push(`:${[...body, -sum & 0xff].map(hexByte).join("")}`);
  };
  let upper = -1;
  for (const { address, bytes } of parts) {
    for (let at = 0; at < bytes.length;) {
      const here = address + at;
      const high = Math.floor(here / 0x10000);
      if (high !== upper) {
        record(0, 4, [high >> 8, high & 0xff]);
        upper = high;
      }
      const length = Math.min(16, bytes.length - at, 0x10000 - here % 0x10000);
      record(here % 0x10000, 0, [...bytes.subarray(at, at + length)]);
      at += length;
    }
  }
  record(0, 1, []);
  return lines.join("\r\n") + "\r\n";
}

/** S-record with S0, S3 and S7. */
export function sRecord(parts: readonly Part[]): string {
  const lines: string[] = [];
  const record = (type: string, body: readonly number[]) => {
    const counted = [body.length + 1, ...body];
    const sum = counted.reduce((total, byte) => total + byte, 0);
    lines.push(`S${type}${[...counted, ~sum & 0xff].map(hexByte).join("")}`);
  };
  const address32 = (address: number) =>
    [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256);
  record("0", [0, 0, 0x5a, 0x42]);
  for (const { address, bytes } of parts) {
    for (let at = 0; at < bytes.length; at += 32) {
      record("3", [...address32(address + at), ...bytes.subarray(at, at + 32)]);
    }
  }
  record("7", [0, 0, 0, 0]);
  return lines.join("\n") + "\n";
}

function hexByte(byte: number): string {
  return byte.toString(16).toUpperCase().padStart(2, "0");
}
