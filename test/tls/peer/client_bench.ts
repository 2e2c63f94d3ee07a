// Clients made by hand on connections of their own to a listener, and whether the listener serves on after them.

import assert from "node:assert/strict";
import { type Bench, readText, server, vehicle } from "../bench.ts";
import { HandClient } from "./peer.ts";
import { type Alert, assertTlsError, type ErrorClass } from "./tampering.ts";

/** Runs with a client on a connection of its own to the bench, and closes it. */
export async function withClient(
  bench: Bench,
  run: (client: HandClient) => Promise<void>,
  own = vehicle,
): Promise<void> {
  const client = await HandClient.connect(bench.listener.port, own, server);
  try {
    await run(client);
  } finally {
    client.close();
  }
}

/** A good client is served: whatever came before has not harmed the listener. */
export async function servesOn(bench: Bench): Promise<void> {
  await withClient(bench, async (client) => {
    await client.handshake();
    const { stream } = await bench.connections.next();
    stream.write("served");
    assert.equal(await client.readText(6), "served");
    await client.closeNotify();
    assert.equal(await readText(stream), "");
    stream.end();
  });
}

/** As {@link assertTlsError}, by the name that a listener gives the connection. */
export const assertError = (error: unknown, expected: ErrorClass, alert: Alert | undefined) =>
  assertTlsError(error, expected, alert, "TLS connection from 127.0.0.1:");
