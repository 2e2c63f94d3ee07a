// Instances: what a trap does, what is freed, and that memory comes back into use.

import assert from "node:assert/strict";
import { EngineTrap } from "../../../src/tls/engine/failures.ts";
import { EngineServer } from "../../../src/tls/engine/endpoint.ts";
import { Instance } from "../../../src/tls/engine/instance.ts";
import { client, handshake, offer, pki, profiles, server } from "./support.ts";

Deno.test("an instance that fails takes its connections with it, and the next connection gets a new one", async () => {
  let broken = false;
  const made: Instance[] = [];
  const source = () => {
    if (made.at(-1) === undefined || made.at(-1)?.trap !== undefined) {
      made.push(
        new Instance({
          random(bytes) {
            if (broken) throw new Error("no randomness today");
            crypto.getRandomValues(bytes);
          },
          now: Date.now,
        }),
      );
    }
    return made[made.length - 1];
  };
  const { trust, server: shown } = await pki("ECDSA P-256");
  const engineServer = new EngineServer({ offers: [offer(profiles[2], shown)], trust }, source);
  const bystander = handshake(await client(2), engineServer).far;
  assert.equal(bystander.established, true);

  const hit = engineServer.accept();
  const hello = (await client(2)).connect("localhost").take() ?? new Uint8Array();
  broken = true;
  assert.throws(() => hit.feed(hello), (error: unknown) => {
    assert.ok(error instanceof EngineTrap);
    assert.match(error.message, /connection_process.*no randomness today/);
    return true;
  });
  assert.throws(() => bystander.write(Uint8Array.of(1)), EngineTrap);
  hit.free(); // Gives nothing back, and does not throw.

  broken = false;
  const { near, far } = handshake(await client(2), engineServer);
  assert.equal(near.established && far.established, true);
  assert.equal(made.length, 2);
});

Deno.test("what was freed cannot be used", async () => {
  const engineServer = await server(2);
  const connection = engineServer.accept();
  connection.free();
  connection.free();
  assert.throws(() => connection.feed(Uint8Array.of(1)), /was freed/);
  engineServer.free();
  assert.throws(() => engineServer.accept(), /was freed/);
});

Deno.test("memory comes back into use: 2,000 connections, opened and dropped at every stage, leave it as it was", async () => {
  const instance = new Instance();
  const { trust, server: shown } = await pki("ECDSA P-256");
  const engineServer = new EngineServer(
    { offers: [offer(profiles[2], shown)], trust, sessions: 64 },
    () => instance,
  );
  const engineClient = await client(2);
  const round = (count: number) => {
    for (let index = 0; index < count; index++) {
      const far = engineServer.accept();
      const near = engineClient.connect("localhost");
      const hello = near.take() ?? new Uint8Array();
      far.feed(hello.subarray(0, index % 3 === 0 ? 100 : hello.length));
      far.take();
      far.free();
      near.free();
    }
  };
  round(200);
  const before = instance.memorySize;
  round(1_800);
  assert.equal(instance.memorySize, before);
});
