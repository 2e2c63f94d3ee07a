import assert from "node:assert/strict";
import { createServer } from "node:http";
import { request } from "undici";
import { NameMismatch, UnknownIssuer } from "../../src/tls/errors.ts";
import { httpsAgent, type HttpsAgentOptions } from "../../src/tls/https_agent.ts";
import type { TlsConnection } from "../../src/tls/types.ts";
import { foreignAuthority, trust, vehicle, withBench } from "./bench.ts";

const http = createServer(async (incoming, response) => {
  let length = 0;
  for await (const part of incoming) length += part.length;
  response.end(`${incoming.method} ${incoming.url} ${length}`);
});

// node:http closes a connection after its answer when its server does not listen: this one is handed its connections.
Object.defineProperty(http, "listening", { value: true });

async function withAgent(
  differs: Partial<HttpsAgentOptions>,
  run: (agent: ReturnType<typeof httpsAgent>, origin: string, connected: TlsConnection[]) => Promise<void>,
): Promise<void> {
  const connected: TlsConnection[] = [];
  await withBench(
    { onConnection: ({ stream }) => void http.emit("connection", stream) },
    async ({ listener }) => {
      const agent = httpsAgent({
        credentials: vehicle,
        trust,
        onConnected: (connection) => connected.push(connection),
        ...differs,
      });
      try {
        await run(agent, `https://127.0.0.1:${listener.port}`, connected);
      } finally {
        await agent.destroy();
        http.closeAllConnections();
      }
    },
  );
}

Deno.test("httpsAgent() carries requests over connections that it tells of, and keeps them", async () => {
  await withAgent({ connections: 1 }, async (dispatcher, origin, connected) => {
    const get = await request(`${origin}/a`, { dispatcher });
    assert.equal(await get.body.text(), "GET /a 0");
    const post = await request(`${origin}/b`, { dispatcher, method: "POST", body: "x".repeat(500_000) });
    assert.equal(await post.body.text(), "POST /b 500000");
    assert.deepEqual(connected.map(({ peer }) => peer.commonName), ["server"]);
  });
});

Deno.test("httpsAgent() asks for the address to leave from at each connection", async () => {
  const addresses = ["127.0.79.21", "127.0.79.22"];
  await withAgent({ localAddress: () => addresses.shift() }, async (agent, origin, connected) => {
    for (let turn = 0; turn < 2; turn++) {
      await (await request(origin, { dispatcher: agent })).body.dump();
      agent.renew(new Error("moved"));
    }
    assert.deepEqual(connected.map(({ localAddress }) => localAddress), ["127.0.79.21", "127.0.79.22"]);
  });
});

Deno.test("httpsAgent() verifies the server's name and issuer", async () => {
  await withAgent({ serverName: "other.example" }, async (dispatcher, origin, connected) => {
    await assert.rejects(request(origin, { dispatcher }), NameMismatch);
    assert.deepEqual(connected, []);
  });
  await withAgent({ trust: foreignAuthority.trust }, async (dispatcher, origin) => {
    await assert.rejects(request(origin, { dispatcher }), UnknownIssuer);
  });
});

Deno.test("httpsAgent() refuses a URL without TLS", async () => {
  await withAgent({}, async (dispatcher, origin) => {
    await assert.rejects(request(origin.replace("https", "http"), { dispatcher }), /expected an https URL/);
  });
});
