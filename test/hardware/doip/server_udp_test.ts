import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { bytes, connectTo, entityWith, hex, settle } from "./support.ts";

const identity = "5744423132333435363746383930313233" + "1000" + "020000000001" + "020000000002" + "00" +
  "00";

/** An entity on a free UDP port and a socket that asks it. */
async function setUp(options: Parameters<typeof entityWith>[0] = {}) {
  const made = await entityWith({ hostname: "127.0.31.2", udpPort: 0, random: () => 0, ...options });
  const port = made.entity.udpPort;
  assert.ok(port !== undefined);
  const socket = createSocket("udp4");
  const received: string[] = [];
  socket.on("message", (message) => received.push(hex(message)));
  socket.bind(0, "127.0.31.3");
  await once(socket, "listening");
  return {
    ...made,
    received,
    port: socket.address().port,
    /** Sends a datagram and waits for the answer to a power mode request behind it: then everything has arrived. */
    async ask(request: string): Promise<string[]> {
      received.length = 0;
      socket.send(bytes(request), port, "127.0.31.2");
      socket.send(bytes("02FD 4003 00000000"), port, "127.0.31.2");
      while (!received.includes("02fd40040000000101")) await once(socket, "message");
      return received.filter((message) => message !== "02fd40040000000101");
    },
    async [Symbol.asyncDispose]() {
      await made.entity.close();
      await new Promise<void>((resolve) => socket.close(() => resolve()));
    },
  };
}

Deno.test("entity answers identification requests plain, by its EID and by its VIN", async () => {
  await using test = await setUp();
  const answer = "02fd000400000021" + identity;
  assert.deepEqual(await test.ask("02FD 0001 00000000"), [answer]);
  assert.deepEqual(await test.ask("02FD 0002 00000006 020000000001"), [answer]);
  assert.deepEqual(await test.ask("02FD 0003 00000011 5744423132333435363746383930313233"), [answer]);
});

Deno.test("entity does not answer identification requests for another EID or VIN", async () => {
  await using test = await setUp();
  assert.deepEqual(await test.ask("02FD 0002 00000006 020000000099"), []);
  assert.deepEqual(await test.ask("02FD 0003 00000011 5744423132333435363746383930313234"), []);
});

Deno.test("entity answers over UDP in the version in which it was asked, and 0xFF in its own", async () => {
  await using test = await setUp({ protocolVersion: 0x03 });
  for (const [asked, answered] of [["01FE", "01fe"], ["02FD", "02fd"], ["04FB", "04fb"], ["FF00", "03fc"]]) {
    assert.deepEqual(await test.ask(`${asked} 0001 00000000`), [`${answered}000400000021${identity}`]);
  }
});

Deno.test("entity without synchronization status sends 32 bytes", async () => {
  await using test = await setUp({ syncStatus: "absent", furtherAction: 0x10 });
  assert.deepEqual(await test.ask("02FD 0001 00000000"), ["02fd000400000020" + identity.slice(0, -4) + "10"]);
});

Deno.test("entity tells its status: type, most and open sockets, largest message", async () => {
  await using test = await setUp({ nodeType: 1, maxTcpConnections: 5, maxDataSize: 0x12345 });
  assert.deepEqual(await test.ask("02FD 4001 00000000"), ["02fd4002000000070105" + "00" + "00012345"]);
  connectTo(test.entity);
  await settle();
  assert.deepEqual(await test.ask("02FD 4001 00000000"), ["02fd4002000000070105" + "01" + "00012345"]);
});

Deno.test("entity answers header NACKs over UDP", async () => {
  await using test = await setUp({ maxDataSize: 64 });
  const cases: [request: string, answer: string, why: string][] = [
    ["02FE 0001 00000000", "02fd00000000000100", "pattern"],
    ["09F6 0001 00000000", "02fd00000000000100", "version unknown"],
    ["FF00 4001 00000000", "02fd00000000000100", "0xFF is for identification requests"],
    ["02FD", "02fd00000000000100", "no header"],
    ["02FD 0009 00000000", "02fd00000000000101", "type unknown"],
    ["03FC 0005 00000007 0E000000000000", "03fc00000000000101", "type of TCP"],
    ["02FD 0001 00000041", "02fd00000000000102", "too large"],
    ["02FD 0002 00000005 0200000000", "02fd00000000000104", "length wrong for the type"],
    ["02FD 0001 00000001", "02fd00000000000104", "length of the header not that of the datagram"],
    ["02FD 0001 00000000 00", "02fd00000000000104", "bytes behind the message"],
  ];
  for (const [request, answer, why] of cases) assert.deepEqual(await test.ask(request), [answer], why);
});

Deno.test("entity answers header NACK 03 over UDP when it has no memory", async () => {
  await using test = await setUp({ availableMemory: () => 5 });
  assert.deepEqual(await test.ask("02FD 0002 00000006 020000000001"), ["02fd00000000000103"]);
});

Deno.test("entity does not answer other entities' messages", async () => {
  await using test = await setUp();
  for (
    const message of [
      "02FD 0000 00000001 00",
      "02FD 0004 00000021" + identity,
      "02FD 4002 00000003 000100",
      "02FD 4004 00000001 01",
    ]
  ) assert.deepEqual(await test.ask(message), []);
});

Deno.test("entity waits a random part of A_DoIP_Announce_Wait before it identifies itself", async () => {
  await using test = await setUp({ random: () => 0.5 });
  assert.deepEqual(await test.ask("02FD 0001 00000000"), []);
  await test.clock.advance(249);
  assert.deepEqual(await test.ask("02FD 4003 00000000"), []);
  await test.clock.advance(1);
  assert.deepEqual(await test.ask("02FD 4003 00000000"), ["02fd000400000021" + identity]);
});

Deno.test("entity announces itself three times, A_DoIP_Announce_Interval apart", async () => {
  const socket = createSocket("udp4");
  const received: string[] = [];
  socket.on("message", (message) => received.push(hex(message)));
  socket.bind(0, "127.0.31.3");
  await once(socket, "listening");
  const { entity, clock } = await entityWith({
    hostname: "127.0.31.2",
    udpPort: 0,
    random: () => 0.2,
    announce: { destinations: [{ hostname: "127.0.31.3", port: socket.address().port }] },
  });
  const announced = async (count: number): Promise<void> => {
    while (received.length < count) await once(socket, "message");
  };
  await clock.advance(99);
  await clock.advance(1);
  await announced(1);
  await clock.advance(500);
  await announced(2);
  await clock.advance(500);
  await announced(3);
  await clock.advance(5_000);
  assert.equal(clock.pending, 0);
  assert.deepEqual(received, Array(3).fill("02fd000400000021" + identity));
  await entity.close();
  await new Promise<void>((resolve) => socket.close(() => resolve()));
});
