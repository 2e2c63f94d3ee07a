// Connections are kept from one request to the next: a handshake for each would cost more than the requests themselves.

import assert from "node:assert/strict";
import { RestClient } from "../../../src/contract/client.ts";
import { routes } from "../../../src/contract/routes.ts";
import { httpsAgent } from "../../../src/tls/https_agent.ts";
import { startTestServer } from "../running_server.ts";

Deno.test("requests one after another share a connection", async () => {
  await using server = await startTestServer("127.0.34.33");
  const { credentials } = server.operator;
  let connections = 0;
  const dispatcher = httpsAgent({
    credentials,
    trust: credentials.trust,
    connections: 1,
    onConnected: () => connections++,
  });
  try {
    const rest = new RestClient({ origin: server.origin, dispatcher });
    for (let request = 0; request < 5; request++) {
      // A turn of the event loop between two requests: a connection that the server ends would be gone by then.
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal((await rest.call(routes.listVehicles, { query: {} })).total, 0);
    }
    assert.equal(connections, 1);
  } finally {
    await dispatcher.destroy();
  }
});
