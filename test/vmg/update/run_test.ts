// Updates from the command to the reported end, against simulated ECUs and a server's stand-in.

import assert from "node:assert/strict";
import { serveFile } from "../support/counterpart.ts";
import { TestBench, type TestPackage, vin, vmgId } from "../support/vehicle.ts";

function offer(bench: TestBench, made: TestPackage) {
  const file = serveFile({ bytes: made.bytes, etag: () => made.etag });
  bench.server.on("GET", `/api/v1/ota/package/${made.packageId}`, file.handler);
  return file.log;
}

function entered(bench: TestBench): string[] {
  return bench.bench.ecus.filter(({ flashOperations }) => flashOperations > 0).map(({ ecuId }) => ecuId);
}

Deno.test("an update goes from the command to the version read back, each ECU told", async () => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();
  const made = await bench.package(["ECU_001", "ECU_002", "ECU_003"]);
  offer(bench, made);
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  const end = await bench.server.ended(command.update_id);
  assert.equal(end.status, "completed", JSON.stringify(end));
  assert.equal(end.progress, 100);
  assert.deepEqual(
    (end.ecus as { ecu_id: string; status: string; progress: number }[]).map((
      e,
    ) => [e.ecu_id, e.status, e.progress]),
    [["ECU_001", "completed", 100], ["ECU_002", "completed", 100], ["ECU_003", "completed", 100]],
  );
  for (const [ecuId, image] of made.images) {
    const ecu = bench.bench.ecu(ecuId);
    assert.deepEqual(ecu.readMemory(0x1000, image.length), image, ecuId);
    assert.equal(ecu.version, "1.2.3");
  }
  const seen = bench.server.messages("ota/status").map(({ status }) => status);
  const order = ["accepted", "downloading", "verifying", "installing", "completed"];
  const places = seen.map((status) => order.indexOf(String(status)));
  assert.deepEqual(places, places.toSorted((a, b) => a - b));
  await bench.server.until(
    "a VCI after the update",
    () => bench.server.calls.filter(({ path }) => path === `/api/v1/vehicles/${vin}/vci`).length === 2,
  );
  const vci = bench.server.calls.filter(({ path }) => path.endsWith("/vci")).at(-1)?.body as {
    trigger: string;
    ecus: { ecu_id: string; sw_version: string }[];
  };
  assert.equal(vci.trigger, "update");
  assert.deepEqual(vci.ecus.map(({ sw_version }) => sw_version), ["1.2.3", "1.2.3", "1.2.3"]);
  void entered;
});
