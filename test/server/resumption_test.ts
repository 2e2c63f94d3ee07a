// server.tls.resumption reaches both listeners.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "../../src/tls/connect.ts";
import { startTestServer } from "./running_server.ts";

Deno.test("with resumption off, neither HTTPS nor MQTT goes on from a session", async () => {
  await using server = await startTestServer("127.0.34.41", { resumption: false });
  const { trust, ...credentials } = server.operator.credentials;
  for (const { hostname, port } of [server.server.https, server.server.mqtt]) {
    const shown: boolean[] = [];
    for (let round = 0; round < 2; round++) {
      const { stream, negotiated } = await connect({ hostname, port, credentials, trust });
      shown.push(negotiated.resumed);
      // The server answers what it cannot make sense of, or hangs up: tickets, were there any, have come before.
      stream.resume().end("nonsense\r\n\r\n");
      await once(stream, "close");
    }
    assert.deepEqual(shown, [false, false], `port ${port}`);
  }
});
