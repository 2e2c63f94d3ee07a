// Addresses of this side as the server is told them.

import { isIP } from "node:net";

/** The address without the IPv4-mapped prefix and the zone that sockets show; `null` when it is none. */
export function bareAddress(address: string): string | null {
  const bare = address.replace(/^::ffff:(?=\d+\.)/i, "").replace(/%.*$/, "");
  return isIP(bare) === 0 ? null : bare;
}
