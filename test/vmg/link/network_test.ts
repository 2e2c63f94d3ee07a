// What the machine says of its routes, by iproute2's `ip`.

import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";
import { sourceIn, SystemNetwork } from "../../../src/vmg/link/network.ts";
import { interopTest } from "../../support/peers.ts";

const iproute2 = { command: "ip", probe: ["-V"], install: "apt-get install iproute2" };
const { signal } = new AbortController();

// As printed by `ip -json route get 8.8.8.8` of iproute2 6.1.
const answer = `[{"dst":"8.8.8.8","gateway":"192.0.2.1","dev":"eth0","prefsrc":"192.0.2.2",` +
  `"flags":[],"uid":0,"cache":[]}]`;

Deno.test("the source address stands in what iproute2 answers; other answers tell nothing", () => {
  assert.equal(sourceIn(answer), "192.0.2.2");
  assert.equal(sourceIn(`[{"dst":"8.8.8.8","dev":"eth0","flags":[]}]`), undefined);
  for (const text of ["", "[]", "{}", "8.8.8.8 via 192.0.2.1 dev eth0 src 192.0.2.2"]) {
    assert.equal(sourceIn(text), undefined, text);
  }
});

Deno.test("what never leaves the machine takes no route, and no program is asked", async () => {
  const network = new SystemNetwork("/nonexistent/ip");
  const [own] = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  for (const remote of ["127.0.0.1", "::1", "fe80::1", own.address]) {
    assert.equal(await network.sourceFor(remote, signal), undefined, remote);
  }
});

Deno.test("without iproute2 nothing is told of routes", async () => {
  assert.equal(await new SystemNetwork("/nonexistent/ip").sourceFor("192.0.2.77", signal), undefined);
});

Deno.test("a question that is ended tells nothing", async () => {
  const ended = AbortSignal.abort();
  assert.equal(await new SystemNetwork().sourceFor("192.0.2.77", ended), undefined);
});

interopTest("iproute2 tells an address of this machine, or that there is no way", [iproute2], async () => {
  const network = new SystemNetwork();
  const source = await network.sourceFor("192.0.2.77", signal);
  assert.ok(source === null || (source !== undefined && network.addresses().has(source)), String(source));
});
