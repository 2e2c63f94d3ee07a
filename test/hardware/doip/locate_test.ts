import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { DoipConnectionError } from "../../../hardware/doip/errors.ts";
import { locate } from "../../../hardware/doip/locate.ts";
import { bytes, entityWith, ManualClock, settle } from "./support.ts";

const vin = "WDB1234567F890123";
const base = { udpPort: undefined, timers: { announceWait: 0 } };
/** A port for announcements that is nobody else's. */
const announcementPort = 23_411;

Deno.test("locate() finds the entity of that VIN and logical address among those that answer", async () => {
  const one = await entityWith({ ...base, hostname: "127.0.31.6", logicalAddress: 0x1000 });
  const two = await entityWith({ ...base, hostname: "127.0.31.7", logicalAddress: 0x2000 });
  await using _one = one.entity;
  await using _two = two.entity;
  const targets = [one.entity, two.entity].map(({ hostname, port }) => ({ hostname, port }));
  const found = await locate({ vin, logicalAddress: 0x2000 }, { targets, announcementPort: false });
  assert.equal(found.address, "127.0.31.7");
  assert.equal(found.port, two.entity.port);
  const eid = bytes("02 00 00 00 00 01");
  const byEid = await locate({ vin, logicalAddress: 0x1000, eid }, { targets, announcementPort: false });
  assert.equal(byEid.address, "127.0.31.6");
});

Deno.test("locate() says who else was there when the entity is not", async () => {
  const { entity } = await entityWith({ ...base, hostname: "127.0.31.6" });
  await using _ = entity;
  const targets = [{ hostname: "127.0.31.6", port: entity.port }];
  await assert.rejects(
    locate({ vin, logicalAddress: 0x7777 }, { targets, announcementPort: false, timeout: 200, interval: 50 }),
    (error) =>
      error instanceof DoipConnectionError &&
      /no DoIP entity 0x7777 of WDB1234567F890123 within 200 ms; there were WDB1234567F890123 0x1000/.test(
        error.message,
      ),
  );
});

Deno.test("locate() hears an entity that announces itself", async () => {
  const clock = new ManualClock();
  const searching = locate({ vin, logicalAddress: 0x1000 }, { targets: [], announcementPort, clock });
  await settle();
  const { entity, clock: itsClock } = await entityWith({
    ...base,
    hostname: "127.0.31.6",
    announce: { destinations: [{ hostname: "127.0.31.1", port: announcementPort }] },
  });
  await using _ = entity;
  await itsClock.advance(0);
  assert.equal((await searching).port, entity.udpPort);
});

Deno.test("locate() asks again every A_DoIP_Ctrl until A_Vehicle_Discovery_Timer is over", async () => {
  const clock = new ManualClock();
  const socket = createSocket("udp4");
  socket.bind(0, "127.0.31.6");
  await once(socket, "listening");
  const targets = [{ hostname: "127.0.31.6", port: socket.address().port }];
  const searching = assert.rejects(
    locate({ vin, logicalAddress: 0x1000 }, { targets, announcementPort: false, clock }),
    /nobody answered/,
  );
  for (let request = 1; request <= 3; request++) {
    await once(socket, "message");
    await clock.advance(request < 3 ? 2_000 : 999);
  }
  const stillSearching = await Promise.race([searching.then(() => false), settle().then(() => true)]);
  assert.ok(stillSearching);
  await clock.advance(1);
  await searching;
  assert.equal(clock.pending, 0);
  socket.close();
});

Deno.test("locate() ends with the signal's reason and leaves no timer", async () => {
  const clock = new ManualClock();
  const reason = new Error("operator went home");
  const controller = new AbortController();
  const searching = assert.rejects(
    locate({ vin, logicalAddress: 1 }, {
      targets: [{ hostname: "127.0.31.6", port: 9 }],
      announcementPort: false,
      clock,
      signal: controller.signal,
    }),
    reason,
  );
  await settle();
  controller.abort(reason);
  await searching;
  assert.equal(clock.pending, 0);
});
