import assert from "node:assert/strict";
import { activate, activated, bytes, connectTo, entityWith, settle } from "./support.ts";

const read3e = "02FD 8001 00000006 0E00 1001 3E00";
const answer3e = "02fd80020000000510010e0000" + "02fd80010000000610010e007e00";

Deno.test("entity closes a socket without routing activation after T_TCP_Initial_Inactivity", async () => {
  const { entity, clock } = await entityWith();
  const tester = connectTo(entity);
  await clock.advance(1_999);
  assert.ok(!await tester.ended());
  await clock.advance(1);
  assert.ok(await tester.ended());
  await entity.close();
  assert.equal(clock.pending, 0);
});

Deno.test("entity gives no more time to a socket that was denied for missing authentication", async () => {
  const { entity, clock } = await entityWith({ activation: { authorize: () => ({ code: 0x04 }) } });
  const tester = connectTo(entity);
  await clock.advance(1_500);
  await tester.send(activate);
  assert.equal(await tester.received(), "02fd0006000000090e0010000400000000");
  await clock.advance(500);
  assert.ok(await tester.ended());
  await entity.close();
});

Deno.test("entity closes an activated socket T_TCP_General_Inactivity after the last message received", async () => {
  const { entity, clock, first } = await entityWith();
  const tester = connectTo(entity);
  await tester.send(activate);
  await clock.advance(200_000);
  await tester.send(read3e);
  assert.equal(await tester.received(), activated + answer3e);
  await clock.advance(299_999);
  assert.ok(!await tester.ended());
  await clock.advance(1);
  assert.ok(await tester.ended());
  assert.deepEqual(first.gone, [0x0e00]);
  await entity.close();
  assert.equal(clock.pending, 0);
});

Deno.test("entity counts what it sends as activity", async () => {
  const { entity, clock, first } = await entityWith();
  const tester = connectTo(entity);
  await tester.send(activate + read3e);
  await clock.advance(200_000);
  first.respond?.(bytes("6A01"));
  await clock.advance(299_999);
  assert.equal(await tester.received(), activated + answer3e + "02fd80010000000610010e006a01");
  assert.ok(!await tester.ended());
  await clock.advance(1);
  assert.ok(await tester.ended());
  await entity.close();
});

Deno.test("entity reads no further requests of a peer that does not read, then closes it", async () => {
  const { entity, clock, first, warnings } = await entityWith({ maxPendingBytes: 4_000 });
  first.handle = (_request, _context, respond) => respond(new Uint8Array(500));
  const tester = connectTo(entity, 1_000);
  await tester.send(activate);
  const requests = tester.send(read3e.repeat(500)).catch((error) => error);
  await settle();
  const handled = tester.unread;
  assert.ok(handled <= 1_000);
  await clock.advance(9_999);
  assert.ok(!await tester.ended());
  assert.equal(warnings.length, 0);
  await clock.advance(1);
  assert.match(warnings[0], /^tester in a test: closed, \d+ bytes are waiting and the peer does not read$/);
  // Never more than a quarter of the limit and one answer with its acknowledgement.
  const waiting = Number(warnings[0].match(/\d+/)?.[0]);
  assert.ok(waiting <= 1_000 + 525, `${waiting} bytes were waiting`);
  assert.ok(await requests instanceof Deno.errors.BrokenPipe);
  await entity.close();
});

Deno.test("entity goes on with a slow peer that reads in time, and loses nothing", async () => {
  const { entity, first } = await entityWith({ maxPendingBytes: 4_000 });
  first.handle = (request, _context, respond) => respond(new Uint8Array(500).fill(request[1]));
  const tester = connectTo(entity, 1_000);
  const all = Array.from(
    { length: 60 },
    (_, index) => `02FD 8001 00000006 0E00 1001 36 ${index.toString(16).padStart(2, "0")}`,
  ).join("");
  const requests = tester.send(activate + all);
  let received = "";
  while (received.length < activated.length + 60 * 2 * (13 + 512)) {
    const more = await tester.received();
    assert.ok(!await tester.ended());
    received += more;
  }
  await requests;
  const expected = Array.from(
    { length: 60 },
    (_, index) =>
      "02fd80020000000510010e0000" + "02fd8001000001f810010e00" +
      index.toString(16).padStart(2, "0").repeat(500),
  ).join("");
  assert.equal(received, activated + expected);
  await entity.close();
});

Deno.test("entity closes a peer that does not read as soon as unasked answers pass the limit", async () => {
  const { entity, first, warnings } = await entityWith({ maxPendingBytes: 4_000 });
  const tester = connectTo(entity, 100);
  await tester.send(activate + read3e);
  for (let i = 0; i < 100; i++) first.respond?.(new Uint8Array(100));
  assert.equal(warnings.length, 1);
  assert.deepEqual(first.gone, [0x0e00]);
  await entity.close();
});

Deno.test("entity carries one answer that is longer than the limit", async () => {
  const { entity, first } = await entityWith({ maxPendingBytes: 4_000, maxDataSize: 100 });
  const tester = connectTo(entity);
  await tester.send(activate + read3e);
  await tester.received();
  first.respond?.(new Uint8Array(10_000));
  assert.equal((await tester.received()).length, 2 * (12 + 10_000));
  await entity.close();
});

Deno.test("entity closes a refused socket that the tester keeps open after the linger time", async () => {
  const { entity, clock } = await entityWith();
  const tester = connectTo(entity);
  await tester.send("02FD 0005 00000007 1234 00 00000000");
  await clock.advance(999);
  assert.equal(entity.openConnections, 1);
  await tester.send(read3e.repeat(3));
  await clock.advance(1);
  assert.equal(entity.openConnections, 0);
  assert.equal(await tester.received(), "02fd000600000009123410000000000000");
  await entity.close();
  assert.equal(clock.pending, 0);
});

Deno.test("entity's refusal reaches a TCP tester that goes on sending", async () => {
  const { entity } = await entityWith();
  using connection = await Deno.connect({ hostname: entity.hostname, port: entity.port });
  await connection.write(bytes("02FE 0005 00000007" + "00".repeat(40_000)));
  const into = new Uint8Array(64);
  const read = await connection.read(into);
  assert.deepEqual(into.subarray(0, read ?? 0), bytes("02FD 0000 00000001 00"));
  assert.equal(await connection.read(into), null);
  await entity.close();
});

Deno.test("entity ends open connections, pending alive checks and timers with close()", async () => {
  const { entity, clock, first } = await entityWith();
  const holder = connectTo(entity);
  await holder.send(activate + read3e);
  const newcomer = connectTo(entity);
  await newcomer.send(activate);
  await entity.close();
  assert.ok(await newcomer.ended());
  assert.deepEqual(first.gone, [0x0e00]);
  assert.equal(clock.pending, 0);
  assert.equal(entity.openConnections, 0);
  await entity.close();
});

Deno.test("entity refuses options that cannot be and quotes them", async () => {
  const wrong: [Parameters<typeof entityWith>[0], RegExp][] = [
    [{ vin: "TOO-SHORT" }, /"TOO-SHORT"/],
    [{ logicalAddress: 0x10000 }, /logicalAddress .* 65536/],
    [{ eid: bytes("01") }, /eid must have 6 bytes, has 1/],
    [{ maxTcpConnections: 0 }, /maxTcpConnections must be 1 to 254, is 0/],
    [{ functional: new Map([[0xe400, [0x1999]]]) }, /names node 6553, which does not exist/],
    [{ functional: new Map([[0x1001, [0x1002]]]) }, /functional address 4097 is a node's as well/],
    [{ protocolVersion: 5 }, /must be 1 to 4, is 5/],
    [{ timers: { aliveCheck: -1 } }, /timers.aliveCheck .* -1/],
  ];
  for (const [options, message] of wrong) await assert.rejects(entityWith(options), message);
});
