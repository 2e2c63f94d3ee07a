import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { discover } from "../../../hardware/doip/discover.ts";
import { bytes, entityWith } from "./support.ts";

const vin = "WDB1234567F890123";

async function twoEntities() {
  const one = await entityWith({ hostname: "127.0.31.4", udpPort: 0, random: () => 0 });
  const two = await entityWith({
    hostname: "127.0.31.5",
    udpPort: 0,
    random: () => 0,
    vin: "",
    logicalAddress: 0x2000,
    eid: bytes("02 00 00 00 00 0A"),
    protocolVersion: 0x03,
  });
  const targets = [one, two].map(({ entity }) => ({ hostname: entity.hostname, port: entity.udpPort ?? 0 }));
  return {
    targets,
    async [Symbol.asyncDispose]() {
      await one.entity.close();
      await two.entity.close();
    },
  };
}

Deno.test("discover() finds the entities at its targets, each once", async () => {
  await using test = await twoEntities();
  const found = await discover({ targets: [...test.targets, ...test.targets], enough: 2 });
  found.sort((a, b) => a.logicalAddress - b.logicalAddress);
  assert.deepEqual(found, [
    {
      address: "127.0.31.4",
      port: test.targets[0].port,
      protocolVersion: 2,
      vin,
      logicalAddress: 0x1000,
      eid: bytes("020000000001"),
      gid: bytes("020000000002"),
      furtherAction: 0,
      syncStatus: 0,
    },
    {
      address: "127.0.31.5",
      port: test.targets[1].port,
      protocolVersion: 3,
      vin: "",
      logicalAddress: 0x2000,
      eid: bytes("02000000000A"),
      gid: bytes("020000000002"),
      furtherAction: 0,
      syncStatus: 0,
    },
  ]);
});

Deno.test("discover() finds by VIN and by EID only who has it", async () => {
  await using test = await twoEntities();
  const byVin = await discover({ targets: test.targets, vin, timeout: 200 });
  assert.deepEqual(byVin.map(({ logicalAddress }) => logicalAddress), [0x1000]);
  const byEid = await discover({ targets: test.targets, eid: bytes("02000000000A"), timeout: 200 });
  assert.deepEqual(byEid.map(({ logicalAddress }) => logicalAddress), [0x2000]);
});

Deno.test("discover() ignores datagrams that are no announcement and keeps no more than it may", async () => {
  const socket = createSocket("udp4");
  socket.bind(0, "127.0.31.6");
  await once(socket, "listening");
  socket.on("message", (_request, from) => {
    const answers = [
      "00",
      "02FD 0004 00000021 00",
      "02FC 0004 00000020" + "00".repeat(32),
      "02FD 0000 00000001 01",
      ...[1, 2, 3, 4].map((n) => "02FD 0004 00000020" + "FF".repeat(17) + `100${n}` + "00".repeat(13)),
    ];
    for (const answer of answers) socket.send(bytes(answer), from.port, from.address);
  });
  const found = await discover({
    targets: [{ hostname: "127.0.31.6", port: socket.address().port }],
    timeout: 200,
    maxEntities: 3,
  });
  assert.deepEqual(found.map(({ logicalAddress }) => logicalAddress), [0x1001, 0x1002, 0x1003]);
  // Who answers a question that was put to somebody else is not who was looked for.
  const target = { hostname: "127.0.31.6", port: socket.address().port };
  assert.deepEqual(await discover({ targets: [target], timeout: 100, vin }), []);
  assert.deepEqual(await discover({ targets: [target], timeout: 100, eid: bytes("02000000000A") }), []);
  await new Promise<void>((resolve) => socket.close(() => resolve()));
});

Deno.test("discover() gives an empty list when nobody answers", async () => {
  // A bound socket that says nothing: a closed port would answer with ICMP.
  const socket = createSocket("udp4");
  socket.bind(0, "127.0.31.6");
  await once(socket, "listening");
  const targets = [{ hostname: "127.0.31.6", port: socket.address().port }];
  assert.deepEqual(await discover({ targets, timeout: 50 }), []);
  await new Promise<void>((resolve) => socket.close(() => resolve()));
});

Deno.test("discover() ends early with the signal's reason", async () => {
  const targets = [{ hostname: "127.0.31.6", port: 13400 }];
  const controller = new AbortController();
  const searching = discover({ targets, signal: controller.signal, timeout: 60_000 });
  controller.abort(new Error("enough waited"));
  await assert.rejects(searching, /enough waited/);
  await assert.rejects(discover({ targets, signal: controller.signal }), /enough waited/);
});

Deno.test("discover() refuses options that cannot be", async () => {
  const targets = [{ hostname: "127.0.31.6", port: 13400 }];
  await assert.rejects(discover({ targets, vin, eid: bytes("000000000000") }), /not by both/);
  await assert.rejects(discover({ targets, vin: "WDB" }), /"WDB"/);
  await assert.rejects(discover({ targets: [{ hostname: "127.0.31.6", port: 70_000 }] }), /is 70000/);
});
