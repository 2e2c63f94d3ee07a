// The routing table as Linux shows it in /proc/net/route.

import assert from "node:assert/strict";
import { routeTo } from "../../../src/vmg/link/network.ts";

// Written by hand after `ip route`: default via 10.1.1.1 dev tower_a metric 100; default via 10.2.5.1 dev tower_b metric 200;
// 10.2.5.0/24 dev tower_b; 10.9.0.0/16 dev down (not up); 10.8.0.0/16 unreachable; 10.2.5.7/32 dev tower_a.
const table = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
tower_b\t00000000\t0105020A\t0003\t0\t0\t200\t00000000\t0\t0\t0
tower_a\t00000000\t0101010A\t0003\t0\t0\t100\t00000000\t0\t0\t0
tower_b\t0005020A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
down\t0000090A\t00000000\t0000\t0\t0\t0\t0000FFFF\t0\t0\t0
*\t0000080A\t00000000\t0201\t0\t0\t0\t0000FFFF\t0\t0\t0
tower_a\t0705020A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0
`;

Deno.test("the longest prefix decides, then the lowest metric; what is down or forbids does not count", () => {
  assert.equal(routeTo("192.0.2.1", table), "tower_a");
  assert.equal(routeTo("10.2.5.200", table), "tower_b");
  assert.equal(routeTo("10.2.5.7", table), "tower_a");
  assert.equal(routeTo("10.9.1.1", table), "tower_a");
  assert.equal(routeTo("10.8.1.1", table), "tower_a");
});

Deno.test("without a route there is no interface", () => {
  assert.equal(routeTo("192.0.2.1", table.split("\n").slice(0, 1).join("\n")), undefined);
  assert.equal(
    routeTo("192.0.2.1", table.split("\n").filter((line) => !line.includes("\t00000000\t0")).join("\n")),
    undefined,
  );
});
