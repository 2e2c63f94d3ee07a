// An adapter on a real line that is pulled and plugged in again under an open bus.

import assert from "node:assert/strict";
import { type CanFrame, showFrame } from "../../../hardware/can/frame.ts";
import { SlcanBus } from "../../../hardware/can/slcan_bus.ts";
import { SlcanDevice } from "../../../hardware/can/slcan_device.ts";
import type { Access } from "../../../hardware/serial/binding.ts";
import { openPort } from "../../../hardware/serial/open_port.ts";
import { interopTest } from "../../support/peers.ts";
import { ptyPair, socat } from "../../support/serial_peers.ts";
import { MemoryWire } from "./memory_bus.ts";

const frame = (id: number): CanFrame => ({ id, extended: false, data: new Uint8Array([1, 2, 3]) });

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries++) {
    if (tries === 1000) throw new Error(`${what}: not within 10 s`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

for (const access of ["direct", "socat"] satisfies Access[]) {
  interopTest(`a bus comes back with its adapter (${access})`, [socat], async () => {
    await using pair = await ptyPair();
    const wire = new MemoryWire();
    const other = wire.join("other");
    const adapter = async () =>
      new SlcanDevice(await openPort(pair.right, { access }), { join: () => wire.join("adapter") });
    let device = await adapter();
    const bus = await SlcanBus.open(() => openPort(pair.left, { access }), {
      name: "CAN_TEST",
      bitRate: 500_000,
      acknowledgement: "z",
      // A machine that does much else at the same time takes its time.
      commandTimeout: 20_000,
      versionTimeout: 20_000,
      reconnect: { from: 20, to: 100 },
    });
    const heard: string[] = [];
    bus.listen(({ frame }) => heard.push(showFrame(frame)));
    try {
      await bus.send(frame(1));
      await other.send(frame(2));
      await until("the first frame", () => heard.length === 1);

      await pair.unplug();
      await until("the loss", () => !bus.available);
      await assert.rejects(bus.send(frame(3)), /CAN_TEST: the adapter is away/);
      await device.done;

      await pair.plugIn();
      device = await adapter();
      await until("the return", () => bus.available);
      await bus.send(frame(4));
      await other.send(frame(5));
      await until("the second frame", () => heard.length === 2);
      assert.deepEqual(heard, ["002#010203", "005#010203"]);
      assert.deepEqual(wire.frames.map((it) => it.id), [1, 2, 4, 5]);
      assert.equal(bus.statistics.reconnects, 1);
    } finally {
      await bus.close();
      await device.close();
    }
  });

  interopTest(`without reconnecting a pulled plug is the bus' end (${access})`, [socat], async () => {
    await using pair = await ptyPair();
    const device = new SlcanDevice(await openPort(pair.right, { access }), {
      join: () => new MemoryWire().join(),
    });
    const bus = await SlcanBus.open(() => openPort(pair.left, { access }), {
      name: "CAN_TEST",
      bitRate: 500_000,
    });
    await pair.unplug();
    const reason = await bus.closed;
    assert.match(reason?.message ?? "", /CAN_TEST: the line failed: .*unplugged\?/);
    await bus.close();
    await device.close();
  });
}
