// What the machine's network says of itself: its addresses, and the one from which it would reach another machine. The
// routing table is read from /proc, where there is one (Linux); elsewhere the addresses alone count.

import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";

/** The network as the address watch sees it. */
export interface Network {
  /** Addresses of the interfaces that are up. */
  addresses(): ReadonlySet<string>;
  /** The address from which packets to `remote` leave; null when there is no way, undefined when that cannot be told. */
  sourceFor(remote: string): string | null | undefined;
}

/** The network of this machine, or of the network namespace that the program runs in. */
export const systemNetwork: Network = {
  addresses() {
    return new Set(
      Object.values(networkInterfaces()).flatMap((list) => list ?? []).map(({ address }) => address),
    );
  },
  sourceFor(remote) {
    // The table that is read holds IPv4 routes; what never leaves the machine stands in another one.
    if (isIP(remote) !== 4 || this.addresses().has(remote) || remote.startsWith("127.")) return undefined;
    let table: string;
    try {
      table = readFileSync("/proc/net/route", "utf8");
    } catch {
      // No Linux, or no permission: the addresses alone have to do.
      return undefined;
    }
    const name = routeTo(remote, table);
    if (name === undefined) return null;
    const own = networkInterfaces()[name]?.find(({ family }) => family === "IPv4");
    return own?.address ?? null;
  },
};

/** Flags of a route that is up (RTF_UP) and of one that forbids (RTF_REJECT), linux/route.h. */
const up = 0x1;
const reject = 0x200;

/**
 * The interface by which an IPv4 address is reached: longest prefix first, then lowest metric.
 * @param table /proc/net/route: Iface Destination Gateway Flags RefCnt Use Metric Mask …, numbers in host byte order
 */
export function routeTo(address: string, table: string): string | undefined {
  const target = fromHost(address.split(".").map(Number));
  let best: { name: string; mask: number; metric: number } | undefined;
  for (const line of table.split("\n").slice(1)) {
    const [name, destination, , flags, , , metric, mask] = line.split(/\s+/);
    if (mask === undefined) continue;
    const route = {
      name,
      destination: littleEndian(destination),
      flags: parseInt(flags, 16),
      metric: Number(metric),
      mask: littleEndian(mask),
    };
    if ((route.flags & up) === 0 || (route.flags & reject) !== 0) continue;
    if (((target & route.mask) >>> 0) !== route.destination) continue;
    if (
      best === undefined || route.mask > best.mask ||
      (route.mask === best.mask && route.metric < best.metric)
    ) best = route;
  }
  return best?.name;
}

function fromHost([a, b, c, d]: number[]): number {
  return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
}

/** Eight hexadecimal digits of a number whose first byte stands last, as on every machine that this runs on. */
function littleEndian(digits: string): number {
  const bytes = digits.match(/../g)?.map((pair) => parseInt(pair, 16)) ?? [];
  return fromHost(bytes.reverse());
}
