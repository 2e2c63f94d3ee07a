import assert from "node:assert/strict";
import { DoipConnection, type DoipConnectOptions } from "../../../hardware/doip/client.ts";
import {
  DiagnosticNackError,
  DoipConnectionError,
  HeaderNackError,
  RoutingActivationError,
} from "../../../hardware/doip/errors.ts";
import { UdsTimeoutError, UdsTransportError } from "../../../hardware/uds/transport.ts";
import { activate, bytes, hex, ManualClock, pipe, type PipeEnd, settle } from "./support.ts";

const activateBytes = activate.replaceAll(" ", "").toLowerCase();
const response = "02FD 0006 00000009 0E00 1000 10 00000000";
const ack = "02FD 8002 00000005 1001 0E00 00";
const answer = "02FD 8001 00000007 1001 0E00 62F190";
const request = "02fd8001000000070e00100122f190";
const limit = { timeout: 1_000 };

interface Connected {
  connection: DoipConnection;
  entity: PipeEnd;
  clock: ManualClock;
  warnings: string[];
}

/** A connection whose other end is played by the test. */
async function connected(options: Partial<DoipConnectOptions> = {}, capacity = Infinity): Promise<Connected> {
  const clock = new ManualClock();
  const warnings: string[] = [];
  const [entity, ours] = pipe(capacity);
  const connecting = DoipConnection.connect({
    hostname: "gateway",
    clock,
    warn: (message) => warnings.push(message),
    open: () => Promise.resolve(ours),
    ...options,
  });
  await entity.received();
  await entity.send(response);
  return { connection: await connecting, entity, clock, warnings };
}

/** A connection attempt whose other end is played by the test. */
function connecting(options: Partial<DoipConnectOptions> = {}) {
  const clock = new ManualClock();
  const [entity, ours] = pipe();
  const attempt = DoipConnection.connect({
    hostname: "gateway",
    clock,
    warn: () => {},
    open: () => Promise.resolve(ours),
    ...options,
  });
  return { attempt, entity, clock };
}

/** What a promise came to, without waiting for it to settle later. */
function outcome<T>(promise: Promise<T>): { settled: boolean } {
  const state = { settled: false };
  promise.then(() => state.settled = true, () => state.settled = true);
  return state;
}

// ---- Connecting and routing activation

Deno.test("connect() sends a routing activation request and takes the gateway's address from the response", async () => {
  const { attempt, entity, clock } = connecting();
  assert.equal(await entity.received(), activateBytes);
  await entity.send(response);
  const connection = await attempt;
  assert.equal(connection.entityAddress, 0x1000);
  assert.equal(connection.name, "DoIP gateway:13400");
  await connection.close();
  assert.equal(await connection.closed, undefined);
  assert.equal(clock.pending, 0);
});

Deno.test("connect() sends version, address, type and OEM field as told", async () => {
  const { attempt, entity } = connecting({
    protocolVersion: 3,
    sourceAddress: 0x0e80,
    activationType: 0xe0,
    activationOem: 0x01020304,
  });
  assert.equal(await entity.received(), "03fc00050000000b0e80e00000000001020304");
  await entity.send("03FC 0006 00000009 0E80 1000 10 00000000");
  await (await attempt).close();
});

Deno.test("connect() fails with code and meaning for every denial", async () => {
  const denials: [code: string, meaning: string][] = [
    ["00", "unknown source address"],
    ["01", "all supported TCP sockets are registered and active"],
    ["02", "source address differs from the one registered on this socket"],
    ["03", "source address is registered and active on another socket"],
    ["04", "missing authentication"],
    ["05", "confirmation rejected"],
    ["06", "unsupported routing activation type"],
    ["07", "activation type requires TLS"],
    ["E5", "reserved"],
  ];
  for (const [code, meaning] of denials) {
    const { attempt, entity } = connecting();
    const rejected = assert.rejects(attempt, (error) => {
      assert.ok(error instanceof RoutingActivationError && error instanceof UdsTransportError);
      assert.equal(error.code, parseInt(code, 16));
      assert.equal(error.meaning, meaning);
      assert.equal(
        error.message,
        `DoIP gateway:13400: routing activation denied, code 0x${code} (${meaning})`,
      );
      return true;
    });
    await entity.send(`02FD 0006 00000009 0E00 1000 ${code} 00000000`);
    await rejected;
    assert.ok(await entity.ended() || (await entity.received()) === activateBytes);
  }
});

Deno.test("connect() waits for the final response while a confirmation is pending", async () => {
  const { attempt, entity } = connecting();
  const state = outcome(attempt);
  await entity.send("02FD 0006 00000009 0E00 1000 11 00000000");
  assert.equal(state.settled, false);
  await entity.send(response);
  await (await attempt).close();
});

Deno.test("connect() gives up after activationTimeout and closes", async () => {
  const { attempt, entity, clock } = connecting({ activationTimeout: 700 });
  const rejected = assert.rejects(attempt, {
    name: "DoipConnectionError",
    message: "DoIP gateway:13400: no routing activation response within 700 ms",
  });
  const state = outcome(attempt);
  await clock.advance(699);
  assert.equal(state.settled, false);
  await clock.advance(1);
  await rejected;
  await entity.received();
  assert.ok(await entity.ended());
  assert.equal(clock.pending, 0);
});

Deno.test("connect() gives up after connectTimeout and closes a stream that opens too late", async () => {
  const opened = Promise.withResolvers<PipeEnd>();
  const { attempt, clock } = connecting({ connectTimeout: 300, open: () => opened.promise });
  const rejected = assert.rejects(attempt, { message: "DoIP gateway:13400: no connection within 300 ms" });
  await clock.advance(300);
  await rejected;
  const [other, late] = pipe();
  opened.resolve(late);
  assert.ok(await other.ended());
});

Deno.test("connect() ends with the signal's reason while it opens and while it activates", async () => {
  const reason = new Error("operator went home");
  for (const open of [() => new Promise<PipeEnd>(() => {}), undefined]) {
    const controller = new AbortController();
    const { attempt, entity } = connecting({
      signal: controller.signal,
      ...(open === undefined ? {} : { open }),
    });
    await entity.received();
    controller.abort(reason);
    await assert.rejects(attempt, reason);
  }
  await assert.rejects(
    DoipConnection.connect({ hostname: "gateway", signal: AbortSignal.abort(reason) }),
    reason,
  );
});

Deno.test("connect() keeps the cause when the connection is refused", async () => {
  await assert.rejects(DoipConnection.connect({ hostname: "127.0.31.99", port: 1 }), (error) => {
    assert.ok(error instanceof DoipConnectionError);
    assert.match(error.message, /^DoIP 127\.0\.31\.99:1: /);
    assert.ok(error.cause instanceof Deno.errors.ConnectionRefused);
    return true;
  });
});

Deno.test("connect() fails when the entity closes or refuses the header instead of answering", async () => {
  const closing = connecting();
  const closed = assert.rejects(closing.attempt, { message: "DoIP gateway:13400: closed by the entity" });
  await closing.entity.received();
  closing.entity.close();
  await closed;
  const refusing = connecting();
  const refused = assert.rejects(
    refusing.attempt,
    (error) => error instanceof HeaderNackError && error.code === 0,
  );
  await refusing.entity.send("03FC 0000 00000001 00");
  await refused;
});

Deno.test("connect() refuses options that cannot be and quotes them", async () => {
  const wrong: [Partial<DoipConnectOptions>, RegExp][] = [
    [{ port: 65_536 }, /port .* is 65536/],
    [{ sourceAddress: -1 }, /sourceAddress .* is -1/],
    [{ activationType: 256 }, /activationType .* is 256/],
    [{ activationOem: 1.5 }, /activationOem .* is 1.5/],
    [{ protocolVersion: 0xff }, /protocolVersion must be 1 to 4, is 255/],
    [{ connectTimeout: Number.NaN }, /connectTimeout .* is NaN/],
  ];
  for (const [options, message] of wrong) {
    await assert.rejects(DoipConnection.connect({ hostname: "gateway", ...options }), message);
  }
});

// ---- Requests and answers

Deno.test("transport sends a diagnostic message, resolves at 0x8002 and gives the answer", async () => {
  const { connection, entity } = await connected();
  const ecu = connection.transport(0x1001);
  assert.equal(ecu.name, "DoIP gateway:13400 0x0E00→0x1001");
  const sent = ecu.send(bytes("22F190"), limit);
  const state = outcome(sent);
  assert.equal(await entity.received(), request);
  assert.equal(state.settled, false);
  await entity.send(ack);
  await sent;
  const receiving = ecu.receive(limit);
  await entity.send(answer);
  assert.equal(hex(await receiving), "62f190");
  await connection.close();
});

Deno.test("transport gives the same result wherever acknowledgement and answer are split", async () => {
  const both = ack.replaceAll(" ", "") + answer.replaceAll(" ", "");
  for (let at = 2; at < both.length; at += 2) {
    const { connection, entity } = await connected();
    const ecu = connection.transport(0x1001);
    const sent = ecu.send(bytes("22F190"), limit);
    await entity.send(both.slice(0, at));
    await entity.send(both.slice(at));
    await sent;
    assert.equal(hex(await ecu.receive(limit)), "62f190", `split at ${at / 2}`);
    await connection.close();
  }
});

Deno.test("transport's request may be reused as soon as send() resolves, and the answer belongs to the caller", async () => {
  const { connection, entity } = await connected();
  const ecu = connection.transport(0x1001);
  const buffer = bytes("22F190");
  const sent = ecu.send(buffer, limit);
  await entity.send(ack + answer);
  await sent;
  buffer.fill(0);
  assert.equal(await entity.received(), request);
  const first = await ecu.receive(limit);
  await entity.send("02FD 8001 00000007 1001 0E00 62AAAA");
  await ecu.receive(limit);
  assert.equal(hex(first), "62f190");
  await connection.close();
});

Deno.test("connection tells the answers of its ECUs apart", async () => {
  const { connection, entity } = await connected();
  const first = connection.transport(0x1001);
  const second = connection.transport(0x1002);
  assert.equal(connection.transport(0x1001), first);
  const sent = [first.send(bytes("3E00"), limit), second.send(bytes("3E00"), limit)];
  await entity.send(
    "02FD 8002 00000005 1002 0E00 00" + "02FD 8001 00000006 1002 0E00 7E02" +
      "02FD 8002 00000005 1001 0E00 00" +
      "02FD 8001 00000006 1001 0E00 7E01",
  );
  await Promise.all(sent);
  assert.equal(hex(await first.receive(limit)), "7e01");
  assert.equal(hex(await second.receive(limit)), "7e02");
  await connection.close();
});

Deno.test("transport to a functional address receives the answers of all who answer", async () => {
  const { connection, entity } = await connected();
  const all = connection.transport(0xe400);
  const known = connection.transport(0x1002);
  const sent = all.send(bytes("3E00"), limit);
  assert.equal(await entity.received(), "02fd8001000000060e00e4003e00");
  await entity.send("02FD 8002 00000005 E400 0E00 00");
  await sent;
  const receiving = all.receiveFrom(limit);
  await entity.send("02FD 8001 00000006 1001 0E00 7E00");
  const { source, message } = await receiving;
  assert.deepEqual([source, hex(message)], [0x1001, "7e00"]);
  // An ECU with a transport of its own answers the group, too, unless somebody waits for it physically.
  const again = all.receiveFrom(limit);
  await entity.send("02FD 8001 00000006 1002 0E00 7E00");
  assert.equal((await again).source, 0x1002);
  const physical = known.receive(limit);
  await entity.send("02FD 8001 00000006 1002 0E00 7E01");
  assert.equal(hex(await physical), "7e01");
  await connection.close();
});

Deno.test("transport.receive() times out with UdsTimeoutError and the next wait starts anew", async () => {
  const { connection, entity, clock } = await connected();
  const ecu = connection.transport(0x1001);
  const late = ecu.receive({ timeout: 50 });
  const state = outcome(late);
  const rejected = assert.rejects(late, (error) => {
    assert.ok(error instanceof UdsTimeoutError);
    assert.equal(error.message, "DoIP gateway:13400 0x0E00→0x1001: no message within 50 ms");
    return true;
  });
  await clock.advance(49);
  assert.equal(state.settled, false);
  await clock.advance(1);
  await rejected;
  const receiving = ecu.receive({ timeout: 5_000 });
  await clock.advance(4_999);
  await entity.send(answer);
  assert.equal(hex(await receiving), "62f190");
  await connection.close();
  assert.equal(clock.pending, 0);
});

Deno.test("one timer serves waits of several transports, the earliest first", async () => {
  const { connection, clock } = await connected();
  const ends: string[] = [];
  const waits = [[0x1001, 500], [0x1002, 50], [0x1003, 200]].map(([address, timeout]) =>
    connection.transport(address).receive({ timeout }).catch(() => ends.push(`${timeout}@${clock.now()}`))
  );
  assert.equal(clock.pending, 1);
  await clock.advance(1_000);
  await Promise.all(waits);
  assert.deepEqual(ends, ["50@50", "200@200", "500@500"]);
  assert.equal(clock.pending, 0);
  await connection.close();
});

Deno.test("transport's waits end with the signal's reason, and a signal used again still works", async () => {
  const { connection, entity } = await connected();
  const ecu = connection.transport(0x1001);
  const controller = new AbortController();
  const options = { timeout: 1_000, signal: controller.signal };
  const sent = ecu.send(bytes("22F190"), options);
  await entity.send(ack + answer);
  await sent;
  await ecu.receive(options);
  const waiting = ecu.receive(options);
  const reason = new Error("stop");
  controller.abort(reason);
  await assert.rejects(waiting, reason);
  await assert.rejects(ecu.send(bytes("22F190"), options), reason);
  await assert.rejects(ecu.receive(options), reason);
  // Another signal, or none, is not touched by it.
  const next = ecu.receive(limit);
  await entity.send(answer);
  assert.equal(hex(await next), "62f190");
  await connection.close();
});

Deno.test("transport's wait is not ended by the signal of an earlier wait", async () => {
  const { connection, entity } = await connected();
  const ecu = connection.transport(0x1001);
  const [earlier, current] = [new AbortController(), new AbortController()];
  const first = ecu.receive({ timeout: 1_000, signal: earlier.signal });
  await entity.send(answer);
  await first;
  const waiting = ecu.receive({ timeout: 1_000, signal: current.signal });
  const state = outcome(waiting);
  earlier.abort();
  await settle();
  assert.equal(state.settled, false);
  await entity.send(answer);
  assert.equal(hex(await waiting), "62f190");
  await connection.close();
});

Deno.test("transport.send() fails with the code of a diagnostic NACK", async () => {
  for (const code of [2, 3, 4, 5, 6, 7, 8]) {
    const { connection, entity } = await connected();
    const sent = connection.transport(0x1001).send(bytes("22F190"), limit);
    const rejected = assert.rejects(
      sent,
      (error) =>
        error instanceof DiagnosticNackError && error instanceof UdsTransportError && error.code === code,
    );
    await entity.send(`02FD 8003 00000005 1001 0E00 0${code}`);
    await rejected;
    await connection.close();
  }
});

Deno.test("transport.send() fails with the code of a header NACK, and the connection goes on", async () => {
  const { connection, entity } = await connected();
  const ecu = connection.transport(0x1001);
  const sent = ecu.send(bytes("22F190"), limit);
  const rejected = assert.rejects(sent, (error) => error instanceof HeaderNackError && error.code === 2);
  await entity.send("02FD 0000 00000001 02");
  await rejected;
  const again = ecu.send(bytes("3E00"), limit);
  await entity.send(ack);
  await again;
  await connection.close();
});

Deno.test("transport warns once when an ECU's requests are not acknowledged and goes on without", async () => {
  const { connection, entity, clock, warnings } = await connected();
  const ecu = connection.transport(0x1001);
  const sent = ecu.send(bytes("22F190"), { timeout: 5_000 });
  const state = outcome(sent);
  await clock.advance(1_999);
  assert.equal(state.settled, false);
  await clock.advance(1);
  await sent;
  await ecu.send(bytes("22F190"), { timeout: 5_000 });
  await entity.send(answer);
  assert.equal(hex(await ecu.receive(limit)), "62f190");
  assert.deepEqual(warnings, [
    "DoIP gateway:13400 0x0E00→0x1001: no acknowledgement (0x8002) of a diagnostic message; " +
    "going on without for this ECU",
  ]);
  await connection.close();
});

Deno.test("transport waits only 50 ms more for an acknowledgement that the answer has overtaken", async () => {
  const { connection, entity, clock, warnings } = await connected();
  const ecu = connection.transport(0x1001);
  const sent = ecu.send(bytes("22F190"), limit);
  await entity.send(answer);
  await clock.advance(50);
  await sent;
  assert.equal(hex(await ecu.receive(limit)), "62f190");
  assert.equal(warnings.length, 1);
  await connection.close();
});

Deno.test("transport that goes on without acknowledgements fails a receive with a NACK, and waits again once one comes", async () => {
  const { connection, entity, clock } = await connected();
  const ecu = connection.transport(0x1001);
  const first = ecu.send(bytes("22F190"), limit);
  await clock.advance(1_000);
  await first;
  await ecu.send(bytes("22F190"), limit);
  const receiving = assert.rejects(ecu.receive(limit), { name: "DiagnosticNackError", code: 6 });
  await entity.send("02FD 8003 00000005 1001 0E00 06");
  await receiving;
  await entity.send(ack);
  const next = ecu.send(bytes("22F190"), limit);
  const state = outcome(next);
  await settle();
  assert.equal(state.settled, false);
  await entity.send(ack);
  await next;
  await connection.close();
});

Deno.test("transport.send() fails when the entity takes no bytes, and does not call that a missing acknowledgement", async () => {
  const { connection, clock, warnings } = await connected({}, 64);
  const ecu = connection.transport(0x1001);
  const rejected = assert.rejects(ecu.send(new Uint8Array(500), limit), {
    name: "DoipConnectionError",
    message: "DoIP gateway:13400 0x0E00→0x1001: the entity did not take the request in time",
  });
  await clock.advance(1_000);
  await rejected;
  assert.deepEqual(warnings, []);
  await connection.close();
});

Deno.test("transport refuses a request that is empty, too long, or sent while another is on its way", async () => {
  const { connection, entity } = await connected({ maxRequestLength: 100 });
  const ecu = connection.transport(0x1001);
  assert.equal(ecu.maxRequestLength, 100);
  await assert.rejects(ecu.send(new Uint8Array(0), limit), /at least one byte/);
  await assert.rejects(ecu.send(new Uint8Array(101), limit), /request of 101 bytes, at most 100/);
  const sent = ecu.send(bytes("3E00"), limit);
  await assert.rejects(ecu.send(bytes("3E00"), limit), /being sent already/);
  await entity.send(ack);
  await sent;
  const receiving = ecu.receive(limit);
  await assert.rejects(ecu.receive(limit), /under way already/);
  await entity.send(answer);
  await receiving;
  await assert.rejects(ecu.receive({ timeout: -1 }), /is -1/);
  assert.throws(() => connection.transport(0x10000), /is 65536/);
  await connection.close();
});

Deno.test("transport keeps what nobody received, drops the oldest beyond its limits and says so once", async () => {
  const { connection, entity, warnings } = await connected({ maxQueuedMessages: 3, maxQueuedBytes: 8 });
  const ecu = connection.transport(0x1001);
  for (const data of ["6A01", "6A02", "6A03", "6A04"]) {
    await entity.send(`02FD 8001 00000006 1001 0E00 ${data}`);
  }
  assert.equal(ecu.dropped, 1);
  assert.equal(hex(await ecu.receive(limit)), "6a02");
  await entity.send("02FD 8001 0000000A 1001 0E00 6A0500000000");
  assert.equal(ecu.dropped, 2);
  assert.deepEqual(warnings.length, 1);
  assert.equal(ecu.discardReceived(), 2);
  assert.equal(ecu.discardReceived(), 0);
  await entity.send(answer);
  assert.equal(hex(await ecu.receive(limit)), "62f190");
  await connection.close();
});

// ---- The connection itself

Deno.test("connection answers alive check requests with its address", async () => {
  const { connection, entity } = await connected({ sourceAddress: 0x0e00 });
  await entity.send("02FD 0007 00000000");
  assert.equal(await entity.received(), "02fd0008000000020e00");
  await connection.close();
});

Deno.test("connection ignores what is not meant for it and says so once", async () => {
  const { connection, entity, warnings } = await connected();
  const ecu = connection.transport(0x1001);
  await entity.send(
    "02FD 8001 00000006 1001 0E99 7E00" + "02FD 8001 00000006 1777 0E00 7E00" + "02FD 4321 00000001 00" +
      answer,
  );
  assert.equal(hex(await ecu.receive(limit)), "62f190");
  assert.deepEqual(warnings, [
    "DoIP gateway:13400: ignoring a message to 0x0E99, we are 0x0E00; further ones are ignored in silence",
  ]);
  await connection.close();
});

Deno.test("connection that is lost fails all waits and later calls, after what had arrived", async () => {
  const { connection, entity } = await connected();
  const [first, second, third] = [0x1001, 0x1002, 0x1003].map((address) => connection.transport(address));
  await entity.send("02FD 8001 00000006 1003 0E00 7E00");
  const lost = { name: "DoipConnectionError", message: "DoIP gateway:13400: closed by the entity" };
  const waits = [
    assert.rejects(first.send(bytes("3E00"), limit), lost),
    assert.rejects(second.receive(limit), lost),
  ];
  entity.close();
  await Promise.all(waits);
  assert.equal((await connection.closed)?.message, lost.message);
  await assert.rejects(first.send(bytes("3E00"), limit), lost);
  assert.equal(hex(await third.receive(limit)), "7e00");
  await assert.rejects(third.receive(limit), lost);
});

Deno.test("connection closes at a broken header and at a message beyond its limit", async () => {
  const broken: [string, RegExp][] = [
    ["02FE 8001 00000006 1001 0E00 7E00", /broken header \(version 0x02, type 0x8001, length 6\)/],
    ["02FD 8002 00000004 1001 0E00", /broken header/],
    ["02FD 8001 00000065", /too large \(version 0x02, type 0x8001, length 101\)/],
  ];
  for (const [message, expected] of broken) {
    const { connection, entity } = await connected({ maxPayloadLength: 100 });
    const waiting = assert.rejects(connection.transport(0x1001).receive(limit), expected);
    await entity.send(message);
    await waiting;
    assert.match((await connection.closed)?.message ?? "", expected);
    assert.ok(await entity.ended());
  }
});

Deno.test("connection closed by us fails its waits and leaves no timer and no listener behind", async () => {
  const { connection, clock } = await connected();
  const controller = new AbortController();
  const waiting = assert.rejects(
    connection.transport(0x1001).receive({ timeout: 1_000, signal: controller.signal }),
    /closed by us/,
  );
  await connection[Symbol.asyncDispose]();
  await waiting;
  assert.equal(clock.pending, 0);
  assert.equal(await connection.closed, undefined);
  controller.abort();
  await connection.close();
});

Deno.test("transport reads what came while the program stood still before it calls an acknowledgement missing", async () => {
  let late = 0;
  const inner = new ManualClock();
  const clock = { now: () => inner.now() + late, after: inner.after.bind(inner) };
  const [near, entity] = pipe();
  const warnings: string[] = [];
  const opening = DoipConnection.connect({
    hostname: "192.0.2.1",
    open: () => Promise.resolve(near),
    warn: (message) => warnings.push(message),
    clock,
  });
  await entity.received();
  await entity.send(response);
  const connection = await opening;
  const sending = connection.transport(0x1001).send(bytes("3E00"), { timeout: 5_000 });
  late = 3_000;
  await inner.advance(2_000);
  await entity.send("02FD 8002 00000005 1001 0E00 00");
  await inner.advance(10);
  await sending;
  assert.deepEqual(warnings, []);
  await connection.close();
});
