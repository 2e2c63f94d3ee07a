// Traffic secrets for a trace: given to the host that asked, the same at both ends, and to nobody else.

import assert from "node:assert/strict";
import { client, handshake, server, settle } from "./support.ts";

const labels = [
  "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
  "CLIENT_TRAFFIC_SECRET_0",
  "SERVER_HANDSHAKE_TRAFFIC_SECRET",
  "SERVER_TRAFFIC_SECRET_0",
];

function sortedLines(keyLog: Uint8Array): string[] {
  return new TextDecoder().decode(keyLog).trimEnd().split("\n").sort();
}

Deno.test("both ends of a connection log the same four secrets, with the ClientHello's random", async () => {
  const near = (await client(2)).connect("localhost");
  const far = (await server(2)).accept();
  near.logKeys();
  far.logKeys();
  const hello = near.take();
  assert.ok(hello !== undefined);
  // Record header 5, message header 4, version 2.
  const random = hello.subarray(11, 43).toHex();
  far.feed(hello);
  settle(near, far);
  assert.ok(near.established && far.established);
  const lines = sortedLines(near.loggedKeys());
  assert.deepEqual(sortedLines(far.loggedKeys()), lines);
  assert.deepEqual(lines.map((line) => line.split(" ")[0]), labels);
  for (const line of lines) {
    // Suites with SHA-256 here: 32 bytes each.
    assert.match(line, new RegExp(`^[A-Z_0]+ ${random} [0-9a-f]{64}$`));
  }
  assert.equal(new Set(lines.map((line) => line.split(" ")[2])).size, 4);
  assert.equal(near.loggedKeys().length, 0);
  near.free();
  far.free();
});

Deno.test("an end that was not asked to log keeps no secrets, whatever the other one does", async () => {
  const engineClient = await client(2);
  const engineServer = await server(2);
  const { near, far } = handshake(engineClient, engineServer);
  assert.equal(near.loggedKeys().length, 0);
  assert.equal(far.loggedKeys().length, 0);
  const logging = engineClient.connect("localhost");
  const silent = engineServer.accept();
  logging.logKeys();
  settle(logging, silent);
  assert.ok(logging.loggedKeys().length > 0);
  assert.equal(silent.loggedKeys().length, 0);
  for (const end of [near, far, logging, silent]) end.free();
});
