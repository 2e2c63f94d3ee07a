// Network packets around bytes that were seen above the network: Ethernet, IPv4 or IPv6, TCP or UDP, with the lengths,
// sequence numbers and checksums that the real ones would have had, so that a protocol analyser reassembles the streams.
// MAC addresses are invented (locally administered, from the IP address); window and segment sizes are not the network's.

import type { NetworkEnd } from "./tap.ts";

/** Most payload in one packet: an IPv4 packet holds 65,535 bytes with its headers (RFC 791 section 3.1). */
export const maxSegment = 60_000;

const ethernetLength = 14;
const etherTypes = { ipv4: 0x0800, ipv6: 0x86dd } as const;
/** IP protocol numbers (IANA). */
const protocols = { tcp: 6, udp: 17 } as const;
const hopLimit = 64;

/** TCP header flags (RFC 9293 section 3.1). */
export const tcpFlags = { fin: 0x01, syn: 0x02, psh: 0x08, ack: 0x10 } as const;

const tcpLength = 20;
const udpLength = 8;
/** NOP and window scale (RFC 7323 section 2.2): with it a window of 16 MiB can be said, so that none looks full. */
const synOptions = [0x01, 0x03, 0x03, 0x08] as const;

/** The two ends of packets in one direction, as bytes. */
export interface Route {
  readonly from: Uint8Array;
  readonly fromPort: number;
  readonly to: Uint8Array;
  readonly toPort: number;
  /** Of an IPv4 or IPv6 header together with Ethernet's. */
  readonly headerLength: number;
}

/**
 * Both directions between two ends. What is no numeric address, or an own address of another family than the peer's, is
 * shown as unspecified.
 */
export function routesBetween(local: NetworkEnd, remote: NetworkEnd): { out: Route; back: Route } {
  const there = addressBytes(remote.hostname) ?? new Uint8Array(4);
  const own = addressBytes(local.hostname);
  const here = own?.length === there.length ? own : new Uint8Array(there.length);
  const headerLength = ethernetLength + (there.length === 4 ? 20 : 40);
  return {
    out: { from: here, fromPort: local.port, to: there, toPort: remote.port, headerLength },
    back: { from: there, fromPort: remote.port, to: here, toPort: local.port, headerLength },
  };
}

/** Bytes of a TCP packet. */
export function tcpPacketLength(route: Route, flags: number, payload: number): number {
  return route.headerLength + tcpLength + (flags & tcpFlags.syn ? synOptions.length : 0) + payload;
}

/** Bytes of a UDP packet. */
export function udpPacketLength(route: Route, payload: number): number {
  return route.headerLength + udpLength + payload;
}

/** Writes a TCP packet at `at`. */
export function writeTcp(
  into: Uint8Array,
  at: number,
  route: Route,
  segment: { sequence: number; acknowledged: number; flags: number; payload: Uint8Array },
): void {
  const { sequence, acknowledged, flags, payload } = segment;
  const options = flags & tcpFlags.syn ? synOptions : [];
  const length = tcpLength + options.length + payload.length;
  const start = writeIp(into, at, route, protocols.tcp, length);
  u16(into, start, route.fromPort);
  u16(into, start + 2, route.toPort);
  u32(into, start + 4, sequence);
  u32(into, start + 8, acknowledged);
  into[start + 12] = (tcpLength + options.length) << 2;
  into[start + 13] = flags;
  u16(into, start + 14, 0xffff);
  u16(into, start + 16, 0);
  u16(into, start + 18, 0);
  into.set(options, start + tcpLength);
  into.set(payload, start + tcpLength + options.length);
  u16(into, start + 16, transportChecksum(into, start, length, route, protocols.tcp));
}

/** Writes a UDP packet at `at`. */
export function writeUdp(into: Uint8Array, at: number, route: Route, payload: Uint8Array): void {
  const length = udpLength + payload.length;
  const start = writeIp(into, at, route, protocols.udp, length);
  u16(into, start, route.fromPort);
  u16(into, start + 2, route.toPort);
  u16(into, start + 4, length);
  u16(into, start + 6, 0);
  into.set(payload, start + udpLength);
  // RFC 768: a sum of zero is sent as all ones, zero means that there is none.
  u16(into, start + 6, transportChecksum(into, start, length, route, protocols.udp) || 0xffff);
}

/** Ethernet and IP headers; gives where the transport's begins. */
function writeIp(into: Uint8Array, at: number, route: Route, protocol: number, length: number): number {
  const { from, to } = route;
  writeMac(into, at, to);
  writeMac(into, at + 6, from);
  const ip = at + ethernetLength;
  if (from.length === 4) {
    u16(into, at + 12, etherTypes.ipv4);
    into[ip] = 0x45;
    into[ip + 1] = 0;
    u16(into, ip + 2, 20 + length);
    u16(into, ip + 4, 0);
    // Don't fragment: the identification needs no value then (RFC 6864 section 4.1).
    u16(into, ip + 6, 0x4000);
    into[ip + 8] = hopLimit;
    into[ip + 9] = protocol;
    u16(into, ip + 10, 0);
    into.set(from, ip + 12);
    into.set(to, ip + 16);
    u16(into, ip + 10, ~fold(sum(into, ip, 20)) & 0xffff);
    return ip + 20;
  }
  u16(into, at + 12, etherTypes.ipv6);
  u32(into, ip, 0x6000_0000);
  u16(into, ip + 4, length);
  into[ip + 6] = protocol;
  into[ip + 7] = hopLimit;
  into.set(from, ip + 8);
  into.set(to, ip + 24);
  return ip + 40;
}

/** Checksum over pseudo header, header and payload (RFC 9293 section 3.1, RFC 8200 section 8.1). */
function transportChecksum(
  bytes: Uint8Array,
  start: number,
  length: number,
  route: Route,
  protocol: number,
): number {
  const { from, to } = route;
  const pseudo = sum(from, 0, from.length) + sum(to, 0, to.length) + protocol + (length >>> 16) +
    (length & 0xffff);
  return ~fold(pseudo + sum(bytes, start, length)) & 0xffff;
}

/** Sum of the 16-bit words; at most 60,000 bytes, so that it stays far below 2^53. */
function sum(bytes: Uint8Array, start: number, length: number): number {
  const even = start + (length & ~1);
  let total = 0;
  for (let at = start; at < even; at += 2) total += (bytes[at] << 8) | bytes[at + 1];
  return length & 1 ? total + (bytes[even] << 8) : total;
}

function fold(total: number): number {
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x1_0000);
  return total;
}

function writeMac(into: Uint8Array, at: number, address: Uint8Array): void {
  if (address.every((byte) => byte === 0xff)) {
    into.fill(0xff, at, at + 6);
    return;
  }
  into[at] = 0x02;
  into[at + 1] = 0x00;
  into.set(address.subarray(-4), at + 2);
}

/**
 * A numeric address as 4 or 16 bytes; a scope (`%eth0`) is left out, and an IPv4 address in IPv6 form becomes IPv4.
 * Undefined for anything else.
 */
export function addressBytes(text: string): Uint8Array | undefined {
  const [plain] = text.split("%");
  const v4 = ipv4Bytes(plain.replace(/^::ffff:(?=\d+\.)/i, ""));
  if (v4 !== undefined) return v4;
  const halves = plain.split("::");
  const groups = halves.map((half) => half === "" ? [] : half.split(":"));
  const count = groups.reduce((total, half) => total + half.length, 0);
  const whole = halves.length === 1 ? count === 8 : halves.length === 2 && count < 8;
  if (!whole || groups.flat().some((group) => !/^[0-9a-f]{1,4}$/i.test(group))) {
    return undefined;
  }
  const [head, tail = []] = groups;
  const all = [...head, ...Array<string>(8 - count).fill("0"), ...tail].map((group) => parseInt(group, 16));
  return Uint8Array.from(all.flatMap((group) => [group >>> 8, group & 0xff]));
}

function ipv4Bytes(text: string): Uint8Array | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || parts.some((part) => !/^\d{1,3}$/.test(part) || Number(part) > 255)) {
    return undefined;
  }
  return Uint8Array.from(parts, Number);
}

function u16(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 8;
  into[at + 1] = value;
}

function u32(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 24;
  into[at + 1] = value >>> 16;
  into[at + 2] = value >>> 8;
  into[at + 3] = value;
}
