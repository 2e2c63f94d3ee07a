// Diagnostic requests over the wire: to the ECU and back, once each.

import assert from "node:assert/strict";
import { StateDatabase } from "../../../src/vmg/state/database.ts";
import { CommandLog } from "../../../src/vmg/state/command_log.ts";
import { serveFile } from "../support/counterpart.ts";
import { TestBench, vin, vmgId } from "../support/vehicle.ts";

interface Ask {
  ecu_id?: string;
  service_id?: string;
  data?: string;
  zonal_gateway_id?: string;
}

function request(ask: Ask = {}) {
  return {
    message_id: crypto.randomUUID(),
    request_id: crypto.randomUUID(),
    ecu_id: "ECU_001",
    service_id: "0x22",
    data: "F190",
    ...ask,
  };
}

/** Answers on the topic: requests stand there as well. */
function answers(bench: TestBench): Record<string, unknown>[] {
  return bench.server.messages("diagnostics");
}

async function ask(bench: TestBench, what: Ask = {}): Promise<Record<string, unknown>> {
  const sent = request(what);
  await bench.server.send(`vehicle/${vmgId}/diagnostics`, sent);
  return await bench.server.until(
    `an answer for ${sent.ecu_id}`,
    () => answers(bench).find(({ request_id }) => request_id === sent.request_id),
  );
}

Deno.test("a diagnostic request reaches the ECU, and each kind of answer comes back", async (test) => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();

  await test.step("the ECU's answer, with its service id", async () => {
    const { response_data, ecu_id, service_id } = await ask(bench);
    // 62 F1 90 and the VIN in ASCII.
    assert.equal(response_data, "62F1904B4D485A5A38314B424D55303030303336");
    assert.equal(ecu_id, "ECU_001");
    assert.equal(service_id, "0x22");
  });
  await test.step("a refusal by its code", async () => {
    const { nrc, response_data, error } = await ask(bench, { data: "0042" });
    assert.deepEqual({ nrc, response_data, error }, {
      nrc: "0x31",
      response_data: undefined,
      error: undefined,
    });
  });
  await test.step("nothing, where the request suppresses the positive answer", async () => {
    assert.equal((await ask(bench, { service_id: "0x3E", data: "80" })).response_data, "");
  });
  await test.step("a session holds from one request to the next", async () => {
    assert.equal(
      (await ask(bench, { service_id: "0x10", data: "03" })).response_data?.toString().slice(0, 4),
      "5003",
    );
    assert.equal(bench.bench.ecu("ECU_001").session, 3);
    assert.equal((await ask(bench)).response_data?.toString().slice(0, 6), "62F190");
    assert.equal(bench.bench.ecu("ECU_001").session, 3);
  });
  await test.step("an ECU that this vehicle does not have", async () => {
    assert.match(
      String((await ask(bench, { ecu_id: "ECU_999" })).error),
      /ECU_999: this vehicle has no such ECU/,
    );
  });
  await test.step("an ECU behind another gateway", async () => {
    const { error } = await ask(bench, { zonal_gateway_id: "ZG_CHASSIS" });
    assert.match(String(error), /ECU_001: it stands behind ZG_BODY, not behind ZG_CHASSIS/);
  });
  await test.step("an ECU without power", async () => {
    bench.bench.ecu("ECU_003").powerOff();
    assert.match(String((await ask(bench, { ecu_id: "ECU_003" })).error), /ECU_003/);
  });
});

Deno.test("a request that comes again, over either name or with another message id, is run once", async () => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();
  const sent = request({ service_id: "0x3E", data: "00" });
  for (const again of [sent, sent, { ...sent, message_id: "other" }]) {
    await bench.server.send(`vehicle/${vmgId}/diagnostics`, again);
    await bench.server.send(`vehicle/${vin}/diagnostics`, again);
  }
  // One more behind them: when it is answered, they were heard.
  await ask(bench);
  assert.equal(answers(bench).filter(({ request_id }) => request_id === sent.request_id).length, 1);
  assert.equal(bench.lines.filter((line) => line.includes("it was taken before")).length, 5);
});

Deno.test("the gateway does not take its own answers, nor what is malformed, for requests", async () => {
  await using bench = await TestBench.start();
  const vmg = await bench.vmg();
  await bench.server.connected();
  const { request_id } = request();
  const topic = `vehicle/${vmgId}/diagnostics`;
  await bench.server.send(topic, {
    request_id,
    ecu_id: "ECU_001",
    service_id: "0x22",
    response_data: "62F190",
  });
  await bench.server.send(topic, { ...request(), service_id: "22" });
  await bench.server.send(topic, { ...request(), data: "F19" });
  await bench.server.send(topic, { ...request(), more: 1 });
  await bench.server.send(`vehicle/${vmgId}/control`, { command: "FORMAT", message_id: "m" });
  await new Promise<void>((resolve) =>
    bench.server.broker.publish(
      { cmd: "publish", topic, payload: "{no json", qos: 1, retain: false, dup: false },
      () => resolve(),
    )
  );
  await ask(bench);
  assert.equal(answers(bench).length, 1);
  assert.equal(bench.lines.filter((line) => /does not fit the contract|expected JSON/.test(line)).length, 5);
  assert.equal(vmg.link.totalConnections, 1, "bad messages are acknowledged and do not break the link");
});

Deno.test("during a flash a request to that ECU is answered at once with busy, others are run", async () => {
  await using bench = await TestBench.start();
  await bench.vmg();
  await bench.server.connected();
  const made = await bench.package(["ECU_001"]);
  bench.server.on(
    "GET",
    `/api/v1/ota/package/${made.packageId}`,
    serveFile({ bytes: made.bytes, etag: () => made.etag }).handler,
  );
  for (let occurrence = 1; occurrence <= 5; occurrence++) {
    bench.bench.ecu("ECU_001").inject({ kind: "late_answer", service: 0x36, occurrence, delay: 250 });
  }
  const command = bench.start(made);
  await bench.server.send(`vehicle/${vmgId}/control`, command);
  await bench.server.until(
    "the transfer",
    () => bench.lines.some((line) => line.includes("ECU_001: transfer_data")),
  );
  const { error } = await ask(bench);
  assert.equal(error, `ECU_001 is busy: update ${command.update_id} is under way`);
  assert.match(String((await ask(bench, { ecu_id: "ECU_002" })).response_data), /^62F190/);
  assert.equal((await bench.server.ended(command.update_id)).status, "completed");
});

Deno.test("a request that a restart interrupted is answered and not run again", async () => {
  await using bench = await TestBench.start();
  const sent = request({ service_id: "0x11", data: "01" });
  {
    using state = StateDatabase.open(`${bench.directory}/${vin}`);
    new CommandLog(state).note(sent.message_id, "diagnostics", JSON.stringify(sent), sent.request_id);
  }
  await bench.vmg();
  const answer = await bench.server.until("an answer", () => answers(bench)[0]);
  assert.equal(answer.request_id, sent.request_id);
  assert.equal(answer.error, "the gateway was restarted before the answer came");
  assert.equal(bench.bench.ecu("ECU_001").state, "application");
});

Deno.test("an ECU that does not answer in time gets an error, and the link goes on", async () => {
  await using bench = await TestBench.start({ vmg: { diagnostics: { timeout: 200 } } });
  await bench.vmg();
  await bench.server.connected();
  await bench.server.until("the first VCI", () => bench.lines.some((line) => line.includes("VCI sent")));
  bench.bench.ecu("ECU_001").inject({ kind: "silence", service: 0x22, occurrence: 1 });
  assert.equal((await ask(bench)).error, "ECU_001: no answer within 200 ms");
  assert.match(String((await ask(bench, { ecu_id: "ECU_002" })).response_data), /^62F190/);
});
