// Numbers of ISO 15765-2:2016 that more than one file needs, each with its clause.

/** Type of an N_PDU: the high nibble of the first N_PCI byte (9.6.1, table 9). */
export const pduTypes = { singleFrame: 0, firstFrame: 1, consecutiveFrame: 2, flowControl: 3 } as const;

/** FlowStatus of a flow control (9.6.5.1); 3 to F are reserved. */
export const flowStatus = { continueToSend: 0, wait: 1, overflow: 2 } as const;

/** Longest message whose FF_DL fits in 12 bits; longer ones need the 32-bit escape (9.6.3.1). */
export const maxShortLength = 0xfff;

/** Longest message that FF_DL can tell at all (9.6.3.1). */
export const maxLength = 0xffff_ffff;

/** Lengths that TX_DL may have (9.5.1); 8 is the only one of classic CAN. */
export const txDataLengths: readonly number[] = [8, 12, 16, 20, 24, 32, 48, 64];

/** Padding byte where none is configured: the one that causes the fewest stuff bits (10.4.2.1). */
export const defaultPadding = 0xcc;

/** Address of the external test equipment in 29-bit and extended addressing (ISO 15765-4). */
export const externalTester = 0xf1;

/** Timing and limits where none are configured. Times in milliseconds: the timeouts of 9.8.2. */
export const defaults = {
  nAs: 1_000,
  nAr: 1_000,
  nBs: 1_000,
  // 9.8.1: N_Br + N_Ar stays below 0.9 of the sender's N_Bs, with N_Ar in its usual range of a few milliseconds.
  nBr: 500,
  nCr: 1_000,
  wftMax: 10,
  maxWaits: 255,
  maxMessageLength: 1_048_576,
  maxQueuedMessages: 64,
  maxQueuedBytes: 4_194_304,
} as const;

/** `0x7E8`, for messages. */
export function hex(value: number, digits = 2): string {
  return `0x${value.toString(16).toUpperCase().padStart(digits, "0")}`;
}
