// The watch over this side's address, with a network and a clock of the test's own.

import assert from "node:assert/strict";
import fakeTimers from "@sinonjs/fake-timers";
import { silentLogger } from "../../../src/log.ts";
import { AddressWatch } from "../../../src/vmg/link/address_watch.ts";

/** A machine whose addresses and route the test moves. */
class Machine {
  own = new Set(["127.0.0.1", "10.1.1.100"]);
  source: string | null | undefined = "10.1.1.100";
  addresses = () => this.own;
  sourceFor = () => Promise.resolve(this.source);
}

async function withWatch(
  run: (parts: {
    machine: Machine;
    watch: AddressWatch;
    clock: ReturnType<typeof fakeTimers.install>;
    moves: [string, string | null][];
    watchIt: (localAddress: string) => void;
  }) => Promise<void>,
): Promise<void> {
  const clock = fakeTimers.install({ toFake: ["setInterval", "clearInterval"] });
  const machine = new Machine();
  const watch = new AddressWatch({ network: machine, interval: 10_000, glance: 500, log: silentLogger });
  const moves: [string, string | null][] = [];
  const watchIt = (localAddress: string) => {
    watch.watch({
      localAddress,
      remoteAddress: "10.0.0.1",
      onMoved: (was, now) => moves.push([was, now]),
    });
  };
  try {
    watch.start();
    watchIt("::ffff:10.1.1.100");
    await run({ machine, watch, clock, moves, watchIt });
    await watch.stop();
    assert.equal(clock.countTimers(), 0);
  } finally {
    clock.uninstall();
  }
}

Deno.test("an address that is gone is noticed at the next glance, with the new one", async () => {
  await withWatch(async ({ machine, clock, moves }) => {
    await clock.tickAsync(30_000);
    assert.deepEqual(moves, []);
    machine.own = new Set(["127.0.0.1", "10.2.5.200"]);
    machine.source = "10.2.5.200";
    await clock.tickAsync(499);
    assert.deepEqual(moves, []);
    await clock.tickAsync(1);
    assert.deepEqual(moves, [["10.1.1.100", "10.2.5.200"]]);
    await clock.tickAsync(60_000);
    assert.equal(moves.length, 1, "each move is told once");
  });
});

Deno.test("an address that is gone without another one is told as such", async () => {
  await withWatch(async ({ machine, clock, moves }) => {
    machine.own = new Set(["127.0.0.1"]);
    machine.source = null;
    await clock.tickAsync(500);
    assert.deepEqual(moves, [["10.1.1.100", null]]);
  });
});

Deno.test("a route that leads elsewhere is noticed at the full look, or at once when something failed", async () => {
  await withWatch(async ({ machine, clock, moves, watch }) => {
    machine.own = new Set(["127.0.0.1", "10.1.1.100", "10.2.5.200"]);
    await clock.tickAsync(500);
    assert.deepEqual(moves, [], "a further address alone changes nothing");
    machine.source = "10.2.5.200";
    await clock.tickAsync(9_000);
    assert.deepEqual(moves, []);
    watch.look();
    await clock.tickAsync(0);
    assert.deepEqual(moves, [["10.1.1.100", "10.2.5.200"]]);
  });
  await withWatch(async ({ machine, clock, moves }) => {
    machine.own.add("10.2.5.200");
    machine.source = "10.2.5.200";
    await clock.tickAsync(10_000);
    assert.deepEqual(moves, [["10.1.1.100", "10.2.5.200"]]);
  });
});

Deno.test("no way to the server, with the address still there, is no move: the connection may live on", async () => {
  await withWatch(async ({ machine, clock, moves }) => {
    machine.source = null;
    await clock.tickAsync(20_000);
    machine.source = undefined;
    await clock.tickAsync(20_000);
    assert.deepEqual(moves, []);
  });
});

Deno.test("addresses that cannot be told are taken for those that were known", async () => {
  await withWatch(async ({ machine, watch, clock }) => {
    let changes = 0;
    watch.onChange(() => changes++);
    const { addresses } = machine;
    machine.addresses = () => {
      throw new Error("too many open files");
    };
    clock.tick(2_000);
    assert.equal(changes, 0);
    machine.addresses = addresses;
    machine.own = new Set(["127.0.0.1", "10.2.2.100"]);
    clock.tick(500);
    assert.equal(changes, 1);
    await Promise.resolve();
  });
});

Deno.test("a change of addresses wakes those that wait for one", async () => {
  await withWatch(async ({ machine, clock, watch }) => {
    let woken = 0;
    const end = watch.onChange(() => woken++);
    await clock.tickAsync(5_000);
    assert.equal(woken, 0);
    machine.own.add("10.3.9.150");
    await clock.tickAsync(500);
    assert.equal(woken, 1);
    end();
    machine.own.delete("10.3.9.150");
    await clock.tickAsync(500);
    assert.equal(woken, 1);
  });
});

Deno.test("a route that the next connection does not bear out is not followed again, until the addresses change", async () => {
  await withWatch(async ({ machine, clock, moves, watchIt }) => {
    machine.own.add("10.2.5.200");
    machine.source = "10.2.5.200";
    await clock.tickAsync(10_000);
    assert.equal(moves.length, 1);
    watchIt("10.1.1.100");
    await clock.tickAsync(60_000);
    assert.equal(moves.length, 1, "the connection left from its old address again, and stays");
    machine.own.add("10.3.9.150");
    await clock.tickAsync(500);
    assert.equal(moves.length, 2, "new addresses, new trust");
  });
});

Deno.test("a route that cannot be asked leaves the addresses alone to count", async () => {
  await withWatch(async ({ machine, clock, moves }) => {
    machine.sourceFor = () => Promise.reject(new Error("no answer"));
    await clock.tickAsync(20_000);
    assert.deepEqual(moves, []);
    machine.own = new Set(["127.0.0.1"]);
    await clock.tickAsync(500);
    assert.deepEqual(moves, [["10.1.1.100", null]]);
  });
});
