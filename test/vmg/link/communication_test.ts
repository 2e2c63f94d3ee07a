// MQTT blocked and HTTPS open: messages and commands take the other way, and come back.

import assert from "node:assert/strict";
import { holdCommands } from "../support/held_commands.ts";
import { TestBench, vin } from "../support/vehicle.ts";
import type { Counterpart } from "../support/counterpart.ts";

interface Message {
  message_id: string;
  topic: string;
  payload: Record<string, unknown>;
}

const quick = { fallbackAfter: 60, pollInterval: 80, batchInterval: 20, holdTime: 60, telemetryInterval: 15 };
const nobody = { hostname: "127.0.0.1", port: 1 };

const source = () => ({
  name: "a counting test source",
  count: 0,
  read() {
    return { count: this.count++ };
  },
});

/** Messages that came over HTTPS, in the order in which the server took them. */
function taken(server: Counterpart): Message[] {
  return server.calls.filter(({ path }) => path === `/api/v1/vehicles/${vin}/messages`)
    .flatMap(({ body }) => (body as { messages: Message[] }).messages);
}

Deno.test("with MQTT away, what waits goes over HTTPS in order, and commands are asked for and acted on once", async () => {
  await using bench = await TestBench.start({ vmg: { telemetry: source(), link: quick, mqtt: nobody } });
  const acknowledged = holdCommands(bench.server, [
    { message_id: "m-1", command: "REPORT_VCI" },
    { message_id: "m-2", command: "REPORT_VCI" },
  ]);
  const vmg = await bench.vmg();
  await bench.server.until("telemetry over HTTPS", () => taken(bench.server).length >= 10);
  await bench.server.until("both acknowledgements", () => acknowledged.length >= 2);
  assert.equal(vmg.mode, "https");
  const counts = taken(bench.server).map(({ payload }) => payload.count);
  assert.deepEqual(counts, counts.map((_, index) => index), "each once, in order");
  assert.deepEqual(acknowledged, ["m-1", "m-2"]);
  const received = bench.lines.filter((line) => /\[HTTPS\] Received REPORT_VCI on/.test(line));
  assert.equal(received.length, 2);
  assert(
    bench.lines.some((line) =>
      line.includes("[CommMgr] MQTT disconnected for 0 s. Switching to HTTPS fallback")
    ),
  );
});

Deno.test("a command that was polled and whose acknowledgement was lost is not acted on again", async () => {
  await using bench = await TestBench.start({ vmg: { link: quick, mqtt: nobody } });
  const acknowledged = holdCommands(bench.server, [{ message_id: "m-1", command: "REPORT_VCI" }]);
  let refusals = 0;
  bench.server.on("POST", `/api/v1/vehicles/${vin}/pending-messages/m-1/ack`, () => {
    if (refusals++ < 2) return { status: 500, body: {} };
    acknowledged.push("m-1");
    return { status: 200, body: { status: "acknowledged" } };
  });
  await bench.vmg();
  await bench.server.until("the acknowledgement", () => acknowledged.length > 0);
  assert.equal(bench.lines.filter((line) => /Received REPORT_VCI on/.test(line)).length, 1);
  assert(bench.lines.some((line) => line.includes("Received REPORT_VCI m-1 again: it was acted on before")));
});

Deno.test("when MQTT is back and holds, it is used again, and nothing goes twice", async () => {
  const telemetry = source();
  await using bench = await TestBench.start({
    vmg: { telemetry, link: quick },
    counterpart: { mqtt: false },
  });
  const vmg = await bench.vmg({ mqtt: nobody });
  await bench.server.until("telemetry over HTTPS", () => taken(bench.server).length >= 5);
  await bench.stop();
  assert.equal(vmg.mode, "https");

  await using other = await TestBench.start({ vmg: { telemetry, link: quick } });
  const again = await other.vmg();
  await other.server.until("telemetry over MQTT", () => other.server.messages("telemetry").length >= 5);
  await other.server.until("MQTT alone", () => again.mode === "mqtt");
  const listener = other.server;
  other.server.cut();
  listener.refuse(true);
  await other.server.until("the other way", () => again.mode === "https");
  await other.server.until("telemetry over HTTPS", () => taken(other.server).length >= 5);
  listener.refuse(false);
  await other.server.until("MQTT again", () => again.mode === "mqtt");
  const before = other.server.messages("telemetry").length;
  await other.server.until(
    "telemetry over MQTT",
    () => other.server.messages("telemetry").length >= before + 5,
  );
  const ids = [
    ...other.server.messages("telemetry").map(({ message_id }) => message_id),
    ...taken(other.server).map(({ message_id }) => message_id),
  ];
  // What was under way when the way changed may come twice, with the same id; the server stores it once.
  const twice = ids.length - new Set(ids).size;
  assert.ok(twice <= 20, `${twice} messages came twice`);
  const counts = [...other.server.messages("telemetry"), ...taken(other.server).map(({ payload }) => payload)]
    .map(({ count }) => Number(count));
  const seen = [...new Set(counts)].sort((a, b) => a - b);
  assert.deepEqual(seen, Array.from(seen, (_, index) => seen[0] + index), "none is missing");
});

Deno.test("one message for which the server refuses a whole batch is found and given up, and the others go", async () => {
  await using bench = await TestBench.start({ vmg: { telemetry: source(), link: quick, mqtt: nobody } });
  const stored: unknown[] = [];
  const sizes: number[] = [];
  let first: Message[] | undefined;
  bench.server.on("POST", `/api/v1/vehicles/${vin}/messages`, ({ body }) => {
    const { messages } = body as { messages: Message[] };
    // The first ones wait until there is something to halve.
    if (first === undefined && messages.length < 4) return { status: 503, body: {} };
    first ??= messages;
    sizes.push(messages.length);
    if (messages.some(({ payload }) => payload.count === 2)) {
      const problem = {
        type: "about:blank",
        title: "Unprocessable Content",
        status: 422,
        detail: "two is too many",
      };
      return { status: 422, body: problem, headers: { "content-type": "application/problem+json" } };
    }
    stored.push(...messages.map(({ payload }) => payload.count));
    return { status: 200, body: { accepted: messages.map(({ message_id }) => message_id), rejected: [] } };
  });
  const vmg = await bench.vmg();
  // A slow machine has the eighth in the first batch already: it is given up with the second.
  await bench.server.until("the eighth", () => stored.includes(8) && vmg.link.messagesDropped > 0);
  assert.deepEqual(stored.slice(0, 8), [0, 1, 3, 4, 5, 6, 7, 8]);
  assert.equal(vmg.link.messagesDropped, 1);
  const said = bench.lines.filter((line) => line.includes("two is too many"));
  assert.equal(said.length, 2, said.join("\n"));
  assert.match(said[0], /It is sent once more/);
  assert.match(
    said[1],
    /ERROR .*message \S+ on vehicle\/VMG-\S+\/telemetry alone: two is too many\. It is given up/,
  );
  assert.equal(sizes.filter((size) => size === 1).length >= 1, true, "it was sent alone");
});

Deno.test("a server that refuses every message makes the vehicle give up none", async () => {
  await using bench = await TestBench.start({ vmg: { telemetry: source(), link: quick, mqtt: nobody } });
  let broken = true;
  const stored: unknown[] = [];
  bench.server.on("POST", `/api/v1/vehicles/${vin}/messages`, ({ body }) => {
    const { messages } = body as { messages: Message[] };
    const problem = { type: "about:blank", title: "Bad Request", status: 400, detail: "nothing suits me" };
    if (broken) {
      return { status: 400, body: problem, headers: { "content-type": "application/problem+json" } };
    }
    stored.push(...messages.map(({ payload }) => payload.count));
    return { status: 200, body: { accepted: messages.map(({ message_id }) => message_id), rejected: [] } };
  });
  const vmg = await bench.vmg();
  const enough = () => taken(bench.server).length >= 30;
  await bench.server.until("it has refused again and again", enough);
  broken = false;
  // A batch that was under way may have been refused in part.
  const first = Array.from({ length: 10 }, (_, index) => index);
  await bench.server.until("the first ten", () => first.every((count) => stored.includes(count)));
  assert.equal(vmg.link.messagesDropped, 0);
});

Deno.test("a message that the server refuses does not hold up the others; one that it could not take comes again", async () => {
  await using bench = await TestBench.start({ vmg: { telemetry: source(), link: quick, mqtt: nobody } });
  let calls = 0;
  bench.server.on("POST", `/api/v1/vehicles/${vin}/messages`, ({ body }) => {
    const { messages } = body as { messages: Message[] };
    if (calls++ === 0) return { status: 503, body: {} };
    const bad = messages.filter(({ payload }) => payload.count === 0);
    const good = messages.filter(({ payload }) => payload.count !== 0);
    return {
      status: 200,
      body: {
        accepted: good.map(({ message_id }) => message_id),
        rejected: bad.map(({ message_id }) => ({ message_id, reason: "nothing is not enough" })),
      },
    };
  });
  await bench.vmg();
  await bench.server.until("the fifth", () => taken(bench.server).some(({ payload }) => payload.count === 5));
  const zero = taken(bench.server).filter(({ payload }) => payload.count === 0);
  assert.equal(zero.length, 2, "after the failure once more, after the refusal not again");
  assert.equal(zero[0].message_id, zero[1].message_id);
  assert(bench.lines.some((line) => line.includes("nothing is not enough")));
});
