import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { DoipConnectionError, HeaderNackError } from "../../../hardware/doip/errors.ts";
import { readEntityStatus, readPowerMode } from "../../../hardware/doip/entity_query.ts";
import { bytes, entityWith, ManualClock, settle } from "./support.ts";

const hostname = "127.0.31.5";

/** An entity that answers each datagram with what the test says. */
async function peer(answers: readonly string[]) {
  const socket = createSocket("udp4");
  const asked: string[] = [];
  socket.bind(0, hostname);
  await once(socket, "listening");
  socket.on("message", (request, from) => {
    asked.push(request.toString("hex"));
    for (const answer of answers) socket.send(bytes(answer), from.port, from.address);
  });
  return {
    asked,
    port: socket.address().port,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => socket.close(() => resolve())),
  };
}

Deno.test("readEntityStatus() and readPowerMode() read what an entity says of itself", async () => {
  const { entity } = await entityWith({ hostname, udpPort: undefined, maxTcpConnections: 7, powerMode: 0 });
  await using _ = entity;
  const target = { hostname, port: entity.port };
  assert.deepEqual(await readEntityStatus(target), {
    nodeType: 0,
    maxSockets: 7,
    openSockets: 0,
    maxDataSize: 1_048_576,
  });
  assert.equal(await readPowerMode({ ...target, protocolVersion: 3 }), 0);
});

Deno.test("readEntityStatus() passes over what is no answer and takes one without the largest message", async () => {
  await using entity = await peer([
    "00",
    "02FD 4002 00000002 0001",
    "02FC 4002 00000003 000101",
    "02FD 0004 00000000",
    "03FC 4002 00000003 01 20 02",
  ]);
  assert.deepEqual(await readEntityStatus({ hostname, port: entity.port, protocolVersion: 3 }), {
    nodeType: 1,
    maxSockets: 32,
    openSockets: 2,
  });
  assert.deepEqual(entity.asked, ["03fc400100000000"]);
});

Deno.test("readPowerMode() fails with the code of a header NACK", async () => {
  await using entity = await peer(["02FD 0000 00000001 01"]);
  await assert.rejects(
    readPowerMode({ hostname, port: entity.port }),
    (error) => error instanceof HeaderNackError && error.code === 1,
  );
  assert.deepEqual(entity.asked, ["02fd400300000000"]);
});

Deno.test("readPowerMode() gives up after A_DoIP_Ctrl and with the signal's reason", async () => {
  await using entity = await peer([]);
  const clock = new ManualClock();
  const asking = assert.rejects(
    readPowerMode({ hostname, port: entity.port, clock }),
    (error) => error instanceof DoipConnectionError && error.message.includes("2000 ms"),
  );
  await settle();
  await clock.advance(2_000);
  await asking;
  const reason = new Error("operator went home");
  const controller = new AbortController();
  const ended = assert.rejects(
    readPowerMode({ hostname, port: entity.port, clock, signal: controller.signal }),
    reason,
  );
  await settle();
  controller.abort(reason);
  await ended;
  assert.equal(clock.pending, 0);
});
