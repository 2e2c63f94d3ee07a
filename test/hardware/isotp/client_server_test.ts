import assert from "node:assert/strict";
import { IsoTpClient } from "../../../hardware/isotp/client.ts";
import { IsoTpServer } from "../../../hardware/isotp/server.ts";
import { MemoryBus } from "./support/memory_bus.ts";

const wait = { timeout: 2_000 };

Deno.test("a request and its answer go both ways over one address pair, in one frame and in many", async () => {
  const bus = new MemoryBus();
  const client = new IsoTpClient(bus.node("tester"));
  const server = new IsoTpServer(bus.node("ECU"));
  const contexts: unknown[] = [];
  server.attach({
    handle(request, context, respond) {
      contexts.push(context);
      respond(request.map((byte) => byte ^ 0xff));
    },
  }, { physical: { format: "normal", requestId: 0x7e0, responseId: 0x7e8 } });
  const ecu = client.transport({ format: "normal", requestId: 0x7e0, responseId: 0x7e8 });
  for (const length of [1, 7, 8, 100, 4_095, 4_096, 70_000]) {
    const request = Uint8Array.from({ length }, (_, at) => at * 7 + (at >> 8));
    await ecu.send(request, wait);
    assert.deepEqual(await ecu.receive(wait), request.map((byte) => byte ^ 0xff), `${length} bytes`);
  }
  assert.deepEqual(contexts[0], { tester: 0xf1, addressing: "physical" });
  client.close();
  server.close();
});
