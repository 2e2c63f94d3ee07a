// The watch over this side's address, with a network and a clock of the test's own.

import assert from "node:assert/strict";
import fakeTimers from "@sinonjs/fake-timers";
import { AddressWatch } from "../../../src/vmg/link/address_watch.ts";

/** A machine whose addresses and route the test moves. */
class Machine {
  own = new Set(["127.0.0.1", "10.1.1.100"]);
  source: string | null | undefined = "10.1.1.100";
  addresses = () => this.own;
  sourceFor = () => this.source;
}

function withWatch(
  run: (parts: {
    machine: Machine;
    watch: AddressWatch;
    clock: ReturnType<typeof fakeTimers.install>;
    moves: [string, string | null][];
  }) => void,
): void {
  const clock = fakeTimers.install({ toFake: ["setInterval", "clearInterval"] });
  const machine = new Machine();
  const watch = new AddressWatch({ network: machine, interval: 10_000, glance: 500 });
  const moves: [string, string | null][] = [];
  try {
    watch.start();
    watch.watch({
      localAddress: "::ffff:10.1.1.100",
      remoteAddress: "10.0.0.1",
      onMoved: (was, now) => moves.push([was, now]),
    });
    run({ machine, watch, clock, moves });
    watch.stop();
    assert.equal(clock.countTimers(), 0);
  } finally {
    clock.uninstall();
  }
}

Deno.test("an address that is gone is noticed at the next glance, with the new one", () => {
  withWatch(({ machine, clock, moves }) => {
    clock.tick(30_000);
    assert.deepEqual(moves, []);
    machine.own = new Set(["127.0.0.1", "10.2.5.200"]);
    machine.source = "10.2.5.200";
    clock.tick(499);
    assert.deepEqual(moves, []);
    clock.tick(1);
    assert.deepEqual(moves, [["10.1.1.100", "10.2.5.200"]]);
    clock.tick(60_000);
    assert.equal(moves.length, 1, "each move is told once");
  });
});

Deno.test("an address that is gone without another one is told as such", () => {
  withWatch(({ machine, clock, moves }) => {
    machine.own = new Set(["127.0.0.1"]);
    machine.source = null;
    clock.tick(500);
    assert.deepEqual(moves, [["10.1.1.100", null]]);
  });
});

Deno.test("a route that leads elsewhere is noticed at the full look, or at once when something failed", () => {
  withWatch(({ machine, clock, moves, watch }) => {
    machine.own = new Set(["127.0.0.1", "10.1.1.100", "10.2.5.200"]);
    clock.tick(500);
    assert.deepEqual(moves, [], "a further address alone changes nothing");
    machine.source = "10.2.5.200";
    clock.tick(9_000);
    assert.deepEqual(moves, []);
    watch.look();
    assert.deepEqual(moves, [["10.1.1.100", "10.2.5.200"]]);
  });
  withWatch(({ machine, clock, moves }) => {
    machine.own.add("10.2.5.200");
    machine.source = "10.2.5.200";
    clock.tick(10_000);
    assert.deepEqual(moves, [["10.1.1.100", "10.2.5.200"]]);
  });
});

Deno.test("no way to the server, with the address still there, is no move: the connection may live on", () => {
  withWatch(({ machine, clock, moves }) => {
    machine.source = null;
    clock.tick(20_000);
    machine.source = undefined;
    clock.tick(20_000);
    assert.deepEqual(moves, []);
  });
});

Deno.test("a change of addresses wakes those that wait for one", () => {
  withWatch(({ machine, clock, watch }) => {
    let woken = 0;
    const end = watch.onChange(() => woken++);
    clock.tick(5_000);
    assert.equal(woken, 0);
    machine.own.add("10.3.9.150");
    clock.tick(500);
    assert.equal(woken, 1);
    end();
    machine.own.delete("10.3.9.150");
    clock.tick(500);
    assert.equal(woken, 1);
  });
});
