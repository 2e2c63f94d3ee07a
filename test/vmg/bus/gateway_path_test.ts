import assert from "node:assert/strict";
import { DoipConnectionError } from "../../../hardware/doip/errors.ts";
import { createLogger } from "../../../src/log.ts";
import { GatewayPath, type GatewayPathOptions } from "../../../src/vmg/bus/gateway_path.ts";
import { GatewayUnreachableError } from "../../../src/vmg/errors.ts";
import type { ZonalGateway } from "../../../src/vmg/vehicle.ts";
import { entityWith, ManualClock, pipe, type PipeEnd, settle } from "../../hardware/doip/support.ts";

/** A gateway that can be there or not, reached without a network. */
async function away(differs: Partial<GatewayPathOptions> = {}) {
  const { entity } = await entityWith();
  const clock = new ManualClock();
  const tries: number[] = [];
  const streams: PipeEnd[] = [];
  const state = { there: false };
  const gateway: ZonalGateway = {
    zonalGatewayId: "ZG_TEST",
    hostname: "192.0.2.1",
    port: 13_400,
    logicalAddress: 0x1000,
    openStream: () => {
      tries.push(clock.now());
      if (!state.there) return Promise.reject(new DoipConnectionError("no route to it"));
      const [near, far] = pipe();
      entity.accept(far, { name: "path in a test", secure: false });
      streams.push(near);
      return Promise.resolve(near);
    },
  };
  const path = new GatewayPath(gateway, {
    sourceAddress: 0x0ef0,
    connectTimeout: 2_000,
    connectAttempts: 2,
    retryDelay: 250,
    reconnect: { from: 1_000, to: 30_000 },
    log: createLogger({ format: "text", level: "error" }),
    clock,
    random: () => 1,
    ...differs,
  });
  return {
    path,
    clock,
    tries,
    streams,
    state,
    async [Symbol.asyncDispose]() {
      await path.close();
      await entity.close();
    },
  };
}

Deno.test("a gateway that is away is tried again after 1, 2, 4 … 30 s, while requests fail at once with the reason", async () => {
  await using test = await away();
  const { path, clock, tries, state } = test;
  const first = assert.rejects(
    path.open(),
    /ZG_TEST at 192.0.2.1:13400 is unreachable after 2 tries: no route to it/,
  );
  await settle();
  await clock.advance(250);
  await first;
  const before = tries.length;
  await assert.rejects(path.open(), GatewayUnreachableError);
  assert.equal(tries.length, before);
  for (const wait of [1, 2, 4, 8, 16, 30, 30]) await clock.advance(wait * 1_000);
  const gaps = tries.slice(1).map((time, index) => time - tries[index]);
  assert.deepEqual(gaps, [250, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  state.there = true;
  await assert.rejects(path.open(), GatewayUnreachableError);
  await clock.advance(30_000);
  assert.ok(await path.open());
});

Deno.test("the waits between tries are random between half of the bound and all of it", async () => {
  await using test = await away({ connectAttempts: 1, random: () => 0 });
  const { path, clock, tries } = test;
  await assert.rejects(path.open());
  for (const wait of [500, 1_000, 2_000]) await clock.advance(wait);
  assert.deepEqual(tries, [0, 500, 1_500, 3_500]);
});

Deno.test("a lost connection is opened again without being asked for, and the waits begin anew", async () => {
  await using test = await away({ connectAttempts: 1 });
  const { path, clock, tries, streams, state } = test;
  await assert.rejects(path.open());
  await clock.advance(1_000);
  await clock.advance(2_000);
  state.there = true;
  await clock.advance(4_000);
  const link = await path.open();
  state.there = false;
  const lostAt = clock.now();
  streams[0].close();
  await settle();
  await clock.advance(0);
  assert.equal(tries.at(-1), lostAt);
  await assert.rejects(path.open(), GatewayUnreachableError);
  state.there = true;
  await clock.advance(1_000);
  assert.equal(tries.at(-1), lostAt + 1_000);
  assert.notEqual(await path.open(), link);
});

Deno.test("a connection that its gateway ends for inactivity is opened again without a warning, any other loss is told", async () => {
  const lines: string[] = [];
  const log = createLogger({ level: "info", write: (line) => lines.push(line) });
  await using test = await away({ log });
  const { path, clock, streams, state } = test;
  const lose = async () => {
    streams.at(-1)?.close();
    await settle();
    await clock.advance(0);
  };
  state.there = true;
  assert.ok(await path.open());
  const told = () => lines.splice(0).map((line) => line.replace(/^.*ZG_TEST at 192\.0\.2\.1:13400: /, ""));
  assert.deepEqual(told(), ["connected"]);
  await clock.advance(300_000);
  await lose();
  assert.ok(await path.open());
  assert.deepEqual(told(), []);
  await clock.advance(200_000);
  await lose();
  assert.ok(await path.open());
  const [loss, again] = told();
  assert.match(loss, /^connection lost: .*closed by the entity/);
  assert.equal(again, "connected");

  // A gateway that says nothing for an hour and is gone then has not ended it for inactivity.
  await clock.advance(3_600_000);
  await lose();
  assert.ok(await path.open());
  assert.match(told()[0], /^connection lost/);

  // One that is not back at once is told of, and so is its return.
  await clock.advance(300_000);
  state.there = false;
  await lose();
  await clock.advance(2_000);
  await assert.rejects(path.open(), GatewayUnreachableError);
  state.there = true;
  await clock.advance(30_000);
  assert.ok(await path.open());
  const [gone, back] = told();
  assert.match(gone, /is unreachable after 2 tries/);
  assert.equal(back, "connected");
});

Deno.test("a gateway that ends each connection as soon as it is made is away: it is tried after growing waits, not without end", async () => {
  await using test = await away({ connectAttempts: 1 });
  const { path, clock, tries, streams, state } = test;
  state.there = true;
  /** Ends the newest connection, and gives the gateway time for a try at once. */
  const lose = async () => {
    streams.at(-1)?.close();
    await settle();
    await clock.advance(0);
  };
  assert.ok(await path.open());
  await lose();
  assert.deepEqual(tries, [0, 0], "once it is tried at once");
  await lose();
  assert.equal(tries.length, 2);
  await assert.rejects(path.open(), /ZG_TEST at 192.0.2.1:13400 ends connections as soon as they are made/);
  await clock.advance(1_000);
  assert.deepEqual(tries, [0, 0, 1_000]);
  await lose();
  await clock.advance(2_000);
  assert.deepEqual(tries, [0, 0, 1_000, 3_000]);
  // One that lasted is opened again at once.
  assert.ok(await path.open());
  await clock.advance(1_000);
  await lose();
  assert.deepEqual(tries, [0, 0, 1_000, 3_000, 4_000]);
});

Deno.test("close() ends the tries, and later requests", async () => {
  await using test = await away({ connectAttempts: 1 });
  const { path, clock } = test;
  await assert.rejects(path.open());
  await path.close();
  assert.equal(clock.pending, 0);
  await assert.rejects(path.open(), /the gateway stops/);
});

Deno.test("a gateway without an address is looked for with each try", async () => {
  const { entity } = await entityWith({ hostname: "127.0.31.51" });
  const places: (() => Promise<{ hostname: string; port: number }>)[] = [
    () => Promise.reject(new DoipConnectionError("no DoIP entity 0x1000")),
    () => Promise.resolve({ hostname: "127.0.31.51", port: entity.port }),
  ];
  const path = new GatewayPath({
    zonalGatewayId: "ZG_TEST",
    hostname: undefined,
    logicalAddress: 0x1000,
    locate: () => places.shift()?.() ?? Promise.reject(new Error("looked for too often")),
  }, {
    sourceAddress: 0x0ef0,
    connectTimeout: 2_000,
    connectAttempts: 2,
    retryDelay: 1,
    reconnect: { from: 1_000, to: 30_000 },
    log: createLogger({ format: "text", level: "error" }),
  });
  assert.ok(await path.open());
  await path.close();
  await entity.close();
});
