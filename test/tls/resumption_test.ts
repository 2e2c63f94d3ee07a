// listen()'s sessions: clients that come back go on from them, unless they are turned off.

import assert from "node:assert/strict";
import { connect } from "../../src/tls/connect.ts";
import { listen } from "../../src/tls/listen.ts";
import { profileById } from "../../src/pqc/profiles.ts";
import { readText, server, trust, vehicle, withBench } from "./bench.ts";

/** Connects twice with the same credentials; what each end says of the second. */
async function comeBack(resumption: boolean | undefined): Promise<boolean[]> {
  let second: boolean[] = [];
  await withBench({ profiles: [2], resumption }, async ({ dial, connections }) => {
    for (let round = 0; round < 2; round++) {
      const near = await dial();
      const far = await connections.next();
      // What the server sends after its tickets: once it is here, so are they.
      far.stream.end("tickets came before");
      assert.equal(await readText(near.stream), "tickets came before");
      near.stream.end();
      second = [near.negotiated.resumed, far.negotiated.resumed];
    }
  });
  return second;
}

Deno.test("a client that comes back goes on from its session", async () => {
  assert.deepEqual(await comeBack(undefined), [true, true]);
});

Deno.test("with resumption off, a client that comes back does a full handshake", async () => {
  assert.deepEqual(await comeBack(false), [false, false]);
});

Deno.test("a client with a ticket from before resumption was turned off does a full handshake", async () => {
  const credentials = { ...vehicle };
  const shown: boolean[] = [];
  for (const resumption of [true, false]) {
    await withBench({ profiles: [2], resumption }, async ({ listener, connections }) => {
      const { stream, negotiated } = await connect({
        hostname: "127.0.0.1",
        port: listener.port,
        credentials,
        trust,
      });
      (await connections.next()).stream.end("tickets came before");
      await readText(stream);
      stream.end();
      shown.push(negotiated.resumed);
    });
  }
  assert.deepEqual(shown, [false, false]);
});

Deno.test("resumption cannot be turned off on the runtime's own stack, and listen() says so", async () => {
  await assert.rejects(
    listen({
      hostname: "127.0.0.1",
      port: 0,
      offers: [{ profile: profileById(2), credentials: server }],
      trust,
      engine: "native",
      resumption: false,
      onConnection() {},
    }),
    /resumption: expected true with the engine "native".* got false/,
  );
});
