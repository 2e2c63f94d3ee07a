// One functional request over DoIP to all ECUs of a simulated gateway.
import assert from "node:assert/strict";
import { DoipConnection } from "../../../hardware/doip/client.ts";
import { SimulatedBench } from "../../../hardware/sim/bench.ts";
import { FunctionalClient } from "../../../hardware/uds/functional.ts";
import { bytes } from "../uds/loopback.ts";
import { ecuOptions, vin } from "./fixtures.ts";

Deno.test("all ECUs of a gateway answer one functional request; those that do not support it say nothing", async () => {
  await using bench = await SimulatedBench.start({
    timing: "none",
    gateways: [{
      zonalGatewayId: "ZG_TEST",
      hostname: "127.0.48.1",
      port: 0,
      logicalAddress: 0x1000,
      vin,
      ecus: [1, 2, 3].map((n) =>
        ecuOptions({
          ecuId: `ECU_00${n}`,
          logicalAddress: 0x1000 + n,
          dataIdentifiers: n === 2 ? [{ did: 0x0200, data: "07" }] : [],
        })
      ),
    }],
  });
  const [gateway] = bench.gateways;
  await using connection = await DoipConnection.connect({ hostname: gateway.hostname, port: gateway.port });
  const client = new FunctionalClient(connection.transport(0xe400));
  const all = await client.requestAll(bytes("22 F1 86"), { expected: 3, timeout: 5_000 });
  assert.deepEqual(
    all.toSorted((a, b) => a.source - b.source),
    [1, 2, 3].map((n) => ({
      source: 0x1000 + n,
      response: bytes("62 F1 86 01"),
    })),
  );
  // 31 is not sent to a functional request: one ECU has the identifier, two are silent.
  assert.deepEqual(await client.requestAll(bytes("22 02 00")), [
    { source: 0x1002, response: bytes("62 02 00 07") },
  ]);
  // 10 83: suppressed, and all of them are in the extended session.
  await client.notify(bytes("10 83"));
  const sessions = await client.requestAll(bytes("22 F1 86"), { expected: 3, timeout: 5_000 });
  assert.deepEqual(sessions.map(({ response }) => response[3]), [3, 3, 3]);
});
