// A CAN frame as all parts here see it, classic (ISO 11898-1 clause 10) or FD, and the rules that make it sendable.

/** One frame on a CAN bus. */
export interface CanFrame {
  /** Identifier: 11 bits, or 29 when `extended`. */
  readonly id: number;
  /** 29-bit identifier (IDE). */
  readonly extended: boolean;
  /** Payload: up to 8 bytes, with `fd` 0…8, 12, 16, 20, 24, 32, 48 or 64. Empty in a remote frame. */
  readonly data: Uint8Array;
  /** Remote frame (RTR), classic only. @default false */
  readonly remote?: boolean;
  /** Bytes that a remote frame asks for, 0…8. @default 0 */
  readonly remoteLength?: number;
  /** CAN FD frame (FDF). @default false */
  readonly fd?: boolean;
  /** CAN FD with the faster data phase (BRS). @default false */
  readonly bitRateSwitch?: boolean;
}

/** Highest identifiers of base and extended format: 11 and 29 bits (ISO 11898-1:2015, 10.4.2). */
export const maxBaseId = 0x7ff;
export const maxExtendedId = 0x1fff_ffff;

/** Payload bytes by DLC (ISO 11898-1, table 5): 9…15 in FD frames alone; a classic DLC above 8 means 8. */
export const fdLengths: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64];

/** Length of the shortest FD frame that holds so many bytes. @throws {RangeError} over 64 */
export function fdLengthFor(bytes: number): number {
  const length = fdLengths.find((candidate) => candidate >= bytes);
  if (length === undefined || bytes < 0) {
    throw new RangeError(`a CAN FD frame holds 0 to 64 bytes, got ${bytes}`);
  }
  return length;
}

/** DLC of a payload length. @throws {RangeError} for a length that no DLC stands for */
export function dlcOf(length: number): number {
  const dlc = fdLengths.indexOf(length);
  if (dlc < 0) throw new RangeError(`no DLC stands for ${length} bytes; there are ${fdLengths.join(", ")}`);
  return dlc;
}

/** Whoever sends a frame checks it first. @throws {RangeError} quoting what cannot be */
export function checkFrame(frame: CanFrame): void {
  const { id, extended, data, remote = false, remoteLength = 0, fd = false, bitRateSwitch = false } = frame;
  const max = extended ? maxExtendedId : maxBaseId;
  if (!Number.isInteger(id) || id < 0 || id > max) {
    throw new RangeError(`identifier: expected 0 to 0x${max.toString(16).toUpperCase()}, got ${id}`);
  }
  if (bitRateSwitch && !fd) throw new RangeError("bitRateSwitch: only an FD frame has one");
  if (remote) {
    if (fd) throw new RangeError("remote: CAN FD has no remote frames");
    if (data.length > 0) throw new RangeError(`remote: expected no data, got ${data.length} bytes`);
    if (!Number.isInteger(remoteLength) || remoteLength < 0 || remoteLength > 8) {
      throw new RangeError(`remoteLength: expected 0 to 8, got ${remoteLength}`);
    }
  } else if (remoteLength !== 0) throw new RangeError("remoteLength: only a remote frame has one");
  if (fd) dlcOf(data.length);
  else if (data.length > 8) throw new RangeError(`a classic CAN frame holds 8 bytes, got ${data.length}`);
}

/** How messages show a frame, in candump's short form: `7E0#021003`, `18DA10F1##1…`, `123#R4`. */
export function showFrame(frame: CanFrame): string {
  const id = frame.id.toString(16).toUpperCase().padStart(frame.extended ? 8 : 3, "0");
  if (frame.remote) return `${id}#R${frame.remoteLength ? frame.remoteLength : ""}`;
  const data = frame.data.toHex().toUpperCase();
  return frame.fd ? `${id}##${frame.bitRateSwitch ? 1 : 0}${data}` : `${id}#${data}`;
}
