import assert from "node:assert/strict";
import type { ActivationVerdict } from "../../../hardware/doip/server.ts";
import { activate, activated, bytes, connectTo, entityWith, hex, settle } from "./support.ts";

/** A diagnostic message from 0x0E00 in version 0x02. */
function diagnostic(target: string, data: string): string {
  const length = (4 + data.length / 2).toString(16).padStart(8, "0");
  return `02FD 8001 ${length} 0E00 ${target} ${data}`;
}

function response(tester: string, code: string): string {
  return `02fd000600000009${tester}1000${code}00000000`;
}

Deno.test("entity activates routing and sends 0x8002 before the ECU's answer, in one write", async () => {
  const { entity, first } = await entityWith();
  const tester = connectTo(entity);
  await tester.send(activate);
  assert.equal(await tester.received(), activated);
  await tester.send(diagnostic("1001", "22F190"));
  assert.equal(await tester.received(), "02fd80020000000510010e0000" + "02fd80010000000710010e0062f190");
  assert.deepEqual(first.contexts, [{ tester: 0x0e00, addressing: "physical" }]);
  await entity.close();
});

Deno.test("entity answers several messages of one segment in order, whatever the segmentation", async () => {
  const request = activate + diagnostic("1001", "22F190") + diagnostic("1002", "3E00") +
    diagnostic("1001", "3E00");
  const expected = activated +
    "02fd80020000000510010e0000" + "02fd80010000000710010e0062f190" +
    "02fd80020000000510020e0000" + "02fd80010000000610020e007e00" +
    "02fd80020000000510010e0000" + "02fd80010000000610010e007e00";
  const { entity } = await entityWith();
  const all = bytes(request);
  for (let at = 1; at <= all.length; at++) {
    const tester = connectTo(entity);
    await tester.send(hex(all.subarray(0, at)));
    await tester.send(hex(all.subarray(at)));
    assert.equal(await tester.received(), expected, `split at ${at}`);
    tester.close();
    await settle();
  }
  await entity.close();
});

Deno.test("entity answers in the version in which it was asked", async () => {
  const { entity } = await entityWith();
  for (const [version, type] of [["01FE", "0000"], ["02FD", "00"], ["03FC", "00"], ["04FB", "00"]]) {
    const tester = connectTo(entity);
    const length = type === "0000" ? "00000008" : "00000007";
    await tester.send(`${version} 0005 ${length} 0E00 ${type} 00000000`);
    assert.equal(await tester.received(), `${version.toLowerCase()}0006000000090e0010001000000000`);
    await tester.send(`${version} 8001 00000007 0E00 1001 22F190`);
    assert.equal(
      await tester.received(),
      `${version.toLowerCase()}80020000000510010e0000${version.toLowerCase()}80010000000710010e0062f190`,
    );
    tester.close();
    await settle();
  }
  await entity.close();
});

Deno.test("entity follows a tester that changes the version on an open connection", async () => {
  const { entity } = await entityWith();
  const tester = connectTo(entity);
  await tester.send(activate + diagnostic("1001", "22F190"));
  await tester.received();
  await tester.send("03FC 8001 00000007 0E00 1001 22F190");
  assert.equal(await tester.received(), "03fc80020000000510010e0000" + "03fc80010000000710010e0062f190");
  await entity.close();
});

Deno.test("entity sends answers that come later, several to one request, and none after the connection is gone", async () => {
  const { entity, first } = await entityWith();
  const tester = connectTo(entity);
  await tester.send(activate + diagnostic("1001", "3101FF00"));
  assert.equal(await tester.received(), activated + "02fd80020000000510010e0000");
  first.respond?.(bytes("7F3178"));
  assert.equal(await tester.received(), "02fd80010000000710010e007f3178");
  first.respond?.(bytes("7101FF00"));
  assert.equal(await tester.received(), "02fd80010000000810010e007101ff00");
  assert.deepEqual(first.gone, []);
  tester.close();
  await settle();
  assert.deepEqual(first.gone, [0x0e00]);
  first.respond?.(bytes("7101FF00"));
  await entity.close();
});

Deno.test("entity hands a functional request to every ECU of the group and acknowledges it once", async () => {
  const { entity, first, second } = await entityWith();
  const tester = connectTo(entity);
  await tester.send(activate + diagnostic("E400", "3E00"));
  assert.equal(
    await tester.received(),
    activated + "02fd800200000005e4000e0000" + "02fd80010000000610010e007e00" +
      "02fd80010000000610020e007e00",
  );
  assert.equal(first.contexts[0].addressing, "functional");
  assert.equal(second.contexts[0].addressing, "functional");
  await entity.close();
});

Deno.test("entity goes on when an ECU fails, and says which", async () => {
  const { entity, first, warnings } = await entityWith();
  first.handle = () => {
    throw new Error("flash controller on fire");
  };
  const tester = connectTo(entity);
  await tester.send(activate + diagnostic("1001", "22F190") + diagnostic("1002", "3E00"));
  assert.equal(
    await tester.received(),
    activated + "02fd80020000000510010e0000" + "02fd80020000000510020e0000" + "02fd80010000000610020e007e00",
  );
  assert.deepEqual(warnings, ["tester in a test: the ECU at 0x1001 failed: flash controller on fire"]);
  await entity.close();
});

// ---- Generic header NACKs (ISO 13400-2:2019, Table 19)

Deno.test("entity answers a broken pattern with header NACK 00 in its own version and closes", async () => {
  for (
    const header of ["02FE 0005 00000007", "07F8 0005 00000007", "FF00 0005 00000007", "4745 5420 2F204854"]
  ) {
    const { entity } = await entityWith({ protocolVersion: 0x03 });
    const tester = connectTo(entity);
    await tester.send(`${header} 0E00 00 00000000`);
    // A version that the entity does not speak is no version to answer in.
    const version = header.startsWith("02FE") ? "02fd" : "03fc";
    assert.equal(await tester.received(), `${version}00000000000100`, header);
    assert.ok(await tester.ended());
    await entity.close();
  }
});

Deno.test("entity answers an unknown payload type with header NACK 01 and goes on", async () => {
  const { entity } = await entityWith();
  const tester = connectTo(entity);
  await tester.send("02FD 4321 00000003 AABBCC" + activate);
  assert.equal(await tester.received(), "02fd00000000000101" + activated);
  // Known, but not over TCP or not from a tester.
  await tester.send("02FD 0001 00000000" + "02FD 0006 00000009 0E001000 10 00000000" + "02FD 4001 00000000");
  assert.equal(await tester.received(), "02fd00000000000101".repeat(3));
  await entity.close();
});

Deno.test("entity answers a message too large with header NACK 02, skips its bytes and goes on", async () => {
  const { entity } = await entityWith({ maxDataSize: 16 });
  const tester = connectTo(entity);
  await tester.send(activate + "02FD 8001 00000011 0E00 1001" + "36".repeat(13) + diagnostic("1001", "3E00"));
  assert.equal(
    await tester.received(),
    activated + "02fd00000000000102" + "02fd80020000000510010e0000" + "02fd80010000000610010e007e00",
  );
  await entity.close();
});

Deno.test("entity answers an impossible length with header NACK 04 and closes", async () => {
  const { entity } = await entityWith();
  const tester = connectTo(entity);
  await tester.send(activate + "02FD 8001 00000004 0E00 1001");
  assert.equal(await tester.received(), activated + "02fd00000000000104");
  assert.ok(await tester.ended());
  await entity.close();
});

Deno.test("entity does not answer a header NACK", async () => {
  const { entity } = await entityWith();
  const tester = connectTo(entity);
  await tester.send("02FD 0000 00000001 02" + activate);
  assert.equal(await tester.received(), activated);
  await entity.close();
});

// ---- Routing activation (Tables 46 to 49)

Deno.test("entity denies an unknown source address with 00 and closes", async () => {
  const { entity } = await entityWith();
  const tester = connectTo(entity);
  await tester.send("02FD 0005 00000007 1234 00 00000000");
  assert.equal(await tester.received(), response("1234", "00"));
  assert.ok(await tester.ended());
  await entity.close();
});

Deno.test("entity denies another source address on an activated socket with 02 and closes", async () => {
  const { entity, first } = await entityWith();
  const tester = connectTo(entity);
  await tester.send(activate + diagnostic("1001", "3E80") + "02FD 0005 00000007 0E01 00 00000000");
  assert.equal(await tester.received(), activated + "02fd80020000000510010e0000" + response("0e01", "02"));
  assert.ok(await tester.ended());
  assert.deepEqual(first.gone, [0x0e00]);
  await entity.close();
});

Deno.test("entity confirms the same source address on an activated socket again", async () => {
  const { entity } = await entityWith();
  const tester = connectTo(entity);
  await tester.send(activate + activate);
  assert.equal(await tester.received(), activated + activated);
  await entity.close();
});

Deno.test("entity denies a source address of another living socket with 03 after an alive check", async () => {
  const { entity } = await entityWith();
  const holder = connectTo(entity);
  await holder.send(activate);
  assert.equal(await holder.received(), activated);
  const newcomer = connectTo(entity);
  await newcomer.send(activate);
  assert.equal(await newcomer.received(), "");
  assert.equal(await holder.received(), "02fd000700000000");
  await holder.send("02FD 0008 00000002 0E00");
  assert.equal(await newcomer.received(), response("0e00", "03"));
  assert.ok(await newcomer.ended());
  await holder.send(diagnostic("1001", "3E00"));
  assert.equal(await holder.received(), "02fd80020000000510010e0000" + "02fd80010000000610010e007e00");
  await entity.close();
});

Deno.test("entity gives the address of a socket that fails the alive check to the newcomer", async () => {
  const { entity, clock, first } = await entityWith();
  const holder = connectTo(entity);
  await holder.send(activate + diagnostic("1001", "3E80"));
  await holder.received();
  const newcomer = connectTo(entity);
  await newcomer.send(activate);
  await clock.advance(499);
  assert.equal(await newcomer.received(), "");
  await clock.advance(1);
  assert.equal(await newcomer.received(), activated);
  assert.equal(await holder.received(), "02fd000700000000");
  assert.ok(await holder.ended());
  assert.deepEqual(first.gone, [0x0e00]);
  await newcomer.send(diagnostic("1001", "3E00"));
  assert.equal(await newcomer.received(), "02fd80020000000510010e0000" + "02fd80010000000610010e007e00");
  await entity.close();
});

Deno.test("entity closes a socket whose alive check response carries another address", async () => {
  const { entity } = await entityWith();
  const holder = connectTo(entity);
  await holder.send(activate);
  await holder.received();
  const newcomer = connectTo(entity);
  await newcomer.send(activate);
  await holder.send("02FD 0008 00000002 0E55");
  assert.equal(await newcomer.received(), activated);
  await entity.close();
});

Deno.test("entity denies with 01 when all sockets are in use and alive", async () => {
  const { entity, clock } = await entityWith({ maxTcpConnections: 2 });
  const testers = [connectTo(entity), connectTo(entity)];
  for (const [index, tester] of testers.entries()) {
    await tester.send(`02FD 0005 00000007 0E0${index} 00 00000000`);
    assert.equal(await tester.received(), response(`0e0${index}`, "10"));
  }
  const denied = connectTo(entity);
  await denied.send("02FD 0005 00000007 0E09 00 00000000");
  for (const [index, tester] of testers.entries()) {
    assert.equal(await tester.received(), "02fd000700000000");
    await tester.send(`02FD 0008 00000002 0E0${index}`);
  }
  assert.equal(await denied.received(), response("0e09", "01"));
  assert.ok(await denied.ended());
  denied.close();
  await settle();

  // One of them falls silent: its socket goes to the next who asks.
  const next = connectTo(entity);
  await next.send("02FD 0005 00000007 0E09 00 00000000");
  await testers[1].send("02FD 0008 00000002 0E01");
  await clock.advance(500);
  assert.equal(await next.received(), response("0e09", "10"));
  assert.equal(await testers[0].received(), "02fd000700000000");
  assert.ok(await testers[0].ended());
  await entity.close();
});

Deno.test("entity opens one socket more than it activates and turns the next away", async () => {
  const { entity } = await entityWith({ maxTcpConnections: 1 });
  connectTo(entity);
  connectTo(entity);
  const third = connectTo(entity);
  assert.ok(await third.ended());
  assert.equal(entity.openConnections, 2);
  await entity.close();
  assert.equal(entity.openConnections, 0);
});

Deno.test("entity denies missing authentication with 04 and keeps the socket", async () => {
  let verdict: ActivationVerdict = { code: 0x04 };
  const asked: unknown[] = [];
  const { entity } = await entityWith({
    activation: {
      authorize: (request) => {
        asked.push(request);
        return verdict;
      },
    },
  });
  const tester = connectTo(entity);
  await tester.send("02FD 0005 0000000B 0E00 01 00000000 00C0FFEE");
  assert.equal(await tester.received(), response("0e00", "04"));
  assert.deepEqual(asked, [{ sourceAddress: 0x0e00, activationType: 1, oem: 0x00c0ffee, secure: false }]);
  assert.ok(!await tester.ended());
  verdict = { code: 0x10 };
  await tester.send(activate);
  assert.equal(await tester.received(), activated);
  await entity.close();
});

Deno.test("entity denies a rejected confirmation with 05 and closes", async () => {
  const { entity } = await entityWith({ activation: { authorize: () => ({ code: 0x05 }) } });
  const tester = connectTo(entity);
  await tester.send(activate);
  assert.equal(await tester.received(), response("0e00", "05"));
  assert.ok(await tester.ended());
  await entity.close();
});

Deno.test("entity denies an activation type that is not configured with 06 and closes", async () => {
  const { entity } = await entityWith({ activation: { types: [0x00, 0xe1] } });
  const configured = connectTo(entity);
  await configured.send("02FD 0005 00000007 0E01 E1 00000000");
  assert.equal(await configured.received(), response("0e01", "10"));
  const tester = connectTo(entity);
  await tester.send("02FD 0005 00000007 0E00 E0 00000000");
  assert.equal(await tester.received(), response("0e00", "06"));
  assert.ok(await tester.ended());
  await entity.close();
});

Deno.test("entity denies a type that needs TLS with 07 on a plain socket and takes it on a secure one", async () => {
  const { entity } = await entityWith({ activation: { tlsTypes: [0x01] } });
  const plain = connectTo(entity);
  await plain.send("02FD 0005 00000007 0E00 01 00000000");
  assert.equal(await plain.received(), response("0e00", "07"));
  assert.ok(await plain.ended());
  const secure = connectTo(entity, Infinity, true);
  await secure.send("02FD 0005 00000007 0E00 01 00000000");
  assert.equal(await secure.received(), activated);
  await entity.close();
});

Deno.test("entity answers 11 while a confirmation is pending, then 10 or 05", async () => {
  for (const [confirmed, code] of [[true, "10"], [false, "05"]] as const) {
    const pending = Promise.withResolvers<boolean>();
    const { entity } = await entityWith({
      activation: { authorize: () => ({ code: 0x11, confirmed: pending.promise }) },
    });
    const tester = connectTo(entity);
    await tester.send(activate);
    assert.equal(await tester.received(), response("0e00", "11"));
    pending.resolve(confirmed);
    assert.equal(await tester.received(), response("0e00", code));
    assert.equal(await tester.ended(), !confirmed);
    await entity.close();
  }
});

Deno.test("entity keeps the address of a living socket when the newcomer is gone before the answer", async () => {
  const { entity, clock } = await entityWith({ timers: { aliveCheck: 3_000 } });
  const holder = connectTo(entity);
  await holder.send(activate);
  await holder.received();
  const newcomer = connectTo(entity);
  await newcomer.send(activate);
  // T_TCP_Initial_Inactivity is over before the alive check is.
  await clock.advance(2_000);
  assert.ok(await newcomer.ended());
  await holder.send("02FD 0008 00000002 0E00");
  assert.equal(await holder.received(), "02fd000700000000");
  const next = connectTo(entity);
  await next.send(activate);
  assert.equal(await next.received(), "");
  await holder.send("02FD 0008 00000002 0E00");
  assert.equal(await next.received(), response("0e00", "03"));
  await entity.close();
});

// ---- Diagnostic message NACKs (Table 26)

Deno.test("entity refuses a message while the confirmation is pending with diagnostic NACK 02", async () => {
  const { entity, first } = await entityWith({
    activation: { authorize: () => ({ code: 0x11, confirmed: new Promise(() => {}) }) },
  });
  const tester = connectTo(entity);
  await tester.send(activate + diagnostic("1001", "22F190"));
  assert.equal(await tester.received(), response("0e00", "11") + "02fd80030000000510010e0002");
  assert.deepEqual(first.requests, []);
  await entity.close();
});

Deno.test("entity refuses a message before activation with diagnostic NACK 02 and closes", async () => {
  const { entity, first } = await entityWith();
  const tester = connectTo(entity);
  await tester.send(diagnostic("1001", "22F190"));
  assert.equal(await tester.received(), "02fd80030000000510010e0002");
  assert.ok(await tester.ended());
  assert.deepEqual(first.requests, []);
  await entity.close();
});

Deno.test("entity refuses a message with a source address of somebody else with diagnostic NACK 02 and closes", async () => {
  const { entity, first } = await entityWith();
  const tester = connectTo(entity);
  await tester.send(activate + "02FD 8001 00000007 0E01 1001 22F190" + diagnostic("1001", "22F190"));
  assert.equal(await tester.received(), activated + "02fd80030000000510010e0102");
  assert.ok(await tester.ended());
  assert.deepEqual(first.requests, []);
  await entity.close();
});

Deno.test("entity refuses an unknown target with diagnostic NACK 03 and goes on", async () => {
  const { entity } = await entityWith();
  const tester = connectTo(entity);
  await tester.send(activate + diagnostic("1999", "22F190") + diagnostic("1001", "22F190"));
  assert.equal(
    await tester.received(),
    activated + "02fd80030000000519990e0003" + "02fd80020000000510010e0000" +
      "02fd80010000000710010e0062f190",
  );
  await entity.close();
});

for (const code of [0x04, 0x05, 0x06, 0x07, 0x08] as const) {
  Deno.test(`entity refuses with diagnostic NACK 0${code} what the owner of the ECUs does not admit, and goes on`, async () => {
    const { entity, first } = await entityWith({
      admit: (target, request) => target === 0x1001 && request.length > 2 ? code : undefined,
    });
    const tester = connectTo(entity);
    await tester.send(activate + diagnostic("1001", "22F190") + diagnostic("1001", "3E00"));
    assert.equal(
      await tester.received(),
      activated + `02fd80030000000510010e000${code}` + "02fd80020000000510010e0000" +
        "02fd80010000000610010e007e00",
    );
    assert.deepEqual(first.requests, ["3e00"]);
    await entity.close();
  });
}
