// Blocks of a pcapng file (draft-ietf-opsawg-pcapng), little-endian: section, interfaces, secrets, packets, statistics.

/** Block types (section 10.1 of the draft). */
const blockTypes = {
  section: 0x0a0d0d0a,
  interfaceDescription: 0x0000_0001,
  interfaceStatistics: 0x0000_0005,
  enhancedPacket: 0x0000_0006,
  decryptionSecrets: 0x0000_000a,
} as const;

const byteOrderMagic = 0x1a2b3c4d;
/** Secrets type "TLS Key Log" (section 4.7). */
const tlsKeyLog = 0x544c534b;

/** Option codes (sections 4.1 to 4.6). */
const options = {
  end: 0,
  userApplication: 4,
  interfaceName: 2,
  timeResolution: 9,
  packetFlags: 2,
  received: 4,
  dropped: 5,
} as const;

/** Link types (the registry of tcpdump.org). */
export const linkTypes = { ethernet: 1, socketCan: 227 } as const;

/** Time stamps count microseconds. */
const microseconds = 6;
const none = new Uint8Array(0);

/** Section header; begins every file. */
export function sectionHeader(application: string): Uint8Array {
  const body = new Uint8Array(16);
  const view = new DataView(body.buffer);
  view.setUint32(0, byteOrderMagic, true);
  view.setUint16(4, 1, true);
  // The section's length is not known beforehand.
  view.setBigInt64(8, -1n, true);
  return block(blockTypes.section, [body, option(options.userApplication, text(application)), endOfOptions]);
}

/** Interface description. Interfaces are numbered in the order of these blocks, from 0 on. */
export function interfaceDescription(linkType: number, name: string): Uint8Array {
  const body = new Uint8Array(8);
  new DataView(body.buffer).setUint16(0, linkType, true);
  return block(blockTypes.interfaceDescription, [
    body,
    option(options.interfaceName, text(name)),
    option(options.timeResolution, Uint8Array.of(microseconds)),
    endOfOptions,
  ]);
}

/** TLS secrets: lines of an NSS key log. They hold for the packets that come after them. */
export function decryptionSecrets(keyLog: Uint8Array): Uint8Array {
  const head = new Uint8Array(8);
  const view = new DataView(head.buffer);
  view.setUint32(0, tlsKeyLog, true);
  view.setUint32(4, keyLog.length, true);
  return block(blockTypes.decryptionSecrets, [head, padded(keyLog)]);
}

/** Interface statistics: how many packets were kept and how many could not be. */
export function interfaceStatistics(
  id: number,
  time: number,
  counts: { received: number; dropped: number },
): Uint8Array {
  const body = new Uint8Array(12);
  const view = new DataView(body.buffer);
  view.setUint32(0, id, true);
  writeTime(view, 4, time);
  const count = (value: number) => {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
    return bytes;
  };
  return block(blockTypes.interfaceStatistics, [
    body,
    option(options.received, count(counts.received)),
    option(options.dropped, count(counts.dropped)),
    endOfOptions,
  ]);
}

/** Bytes of an enhanced packet block around a packet, without the packet and its padding. */
const packetHead = 28;
/** Flags option, end of options, total length again. */
const packetTail = 16;

/** Bytes of an enhanced packet block. */
export function packetBlockLength(packetLength: number): number {
  return packetHead + aligned(packetLength) + packetTail;
}

/**
 * Writes an enhanced packet block around a packet that the caller writes; everything but the packet.
 *
 * @param time microseconds since 1970
 * @returns where the packet's first byte goes
 */
export function writePacketBlock(
  into: Uint8Array,
  at: number,
  packet: { interfaceId: number; time: number; length: number; inbound: boolean },
): number {
  const { interfaceId, time, length, inbound } = packet;
  const total = packetBlockLength(length);
  const view = new DataView(into.buffer, into.byteOffset + at, total);
  view.setUint32(0, blockTypes.enhancedPacket, true);
  view.setUint32(4, total, true);
  view.setUint32(8, interfaceId, true);
  writeTime(view, 12, time);
  view.setUint32(20, length, true);
  view.setUint32(24, length, true);
  into.fill(0, at + packetHead + length, at + packetHead + aligned(length));
  const tail = packetHead + aligned(length);
  view.setUint16(tail, options.packetFlags, true);
  view.setUint16(tail + 2, 4, true);
  // Bits 0 and 1 (section 4.3.1): 01 inbound, 10 outbound.
  view.setUint32(tail + 4, inbound ? 1 : 2, true);
  view.setUint32(tail + 8, 0, true);
  view.setUint32(tail + 12, total, true);
  return at + packetHead;
}

function writeTime(view: DataView, at: number, time: number): void {
  view.setUint32(at, Math.floor(time / 0x1_0000_0000), true);
  view.setUint32(at + 4, time % 0x1_0000_0000, true);
}

function block(type: number, parts: readonly Uint8Array[]): Uint8Array {
  const length = 12 + parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, length, true);
  let at = 8;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  view.setUint32(at, length, true);
  return bytes;
}

function option(code: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + aligned(value.length));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, code, true);
  view.setUint16(2, value.length, true);
  bytes.set(value, 4);
  return bytes;
}

const endOfOptions = option(options.end, none);

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

function padded(bytes: Uint8Array): Uint8Array {
  const result = new Uint8Array(aligned(bytes.length));
  result.set(bytes);
  return result;
}

/** Rounded up to 32 bits. */
function aligned(length: number): number {
  return (length + 3) & ~3;
}
