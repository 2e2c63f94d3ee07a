import assert from "node:assert/strict";
import { activate, activated, connectTo, entityWith } from "./support.ts";

Deno.test("disconnect() closes the connection of that tester alone, and the entity takes it again", async () => {
  const { entity, first } = await entityWith();
  const one = connectTo(entity);
  const other = connectTo(entity);
  await one.send(activate);
  await other.send(activate.replace("0E00", "0E01"));
  await one.send("02FD 8001 00000006 0E00 1001 3E00");
  assert.equal(entity.disconnect(0x0e77), false);
  assert.equal(entity.disconnect(0x0e00), true);
  await one.received();
  assert.ok(await one.ended());
  assert.deepEqual(first.gone, [0x0e00]);
  assert.equal(await other.ended(), false);
  assert.equal(entity.disconnect(0x0e00), false);
  const again = connectTo(entity);
  await again.send(activate);
  assert.equal(await again.received(), activated);
  await entity.close();
});

Deno.test("entity answers a message for which it has no memory with header NACK 03, skips its bytes and goes on", async () => {
  let available = 8;
  const { entity } = await entityWith({ availableMemory: () => available });
  const tester = connectTo(entity);
  await tester.send(activate);
  await tester.send("02FD 8001 00000009 0E00 1001 22 F190 F191");
  assert.equal(await tester.received(), activated + "02fd00000000000103");
  // Asked when the header is complete: a message that was let in is not thrown away halfway.
  await tester.send("02FD 8001 00000006 0E00");
  available = 0;
  await tester.send("1001 3E00");
  assert.equal(
    await tester.received(),
    "02fd80020000000510010e0000" + "02fd80010000000610010e007e00",
  );
  await entity.close();
});
