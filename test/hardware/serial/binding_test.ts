import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { SerialPortStream } from "@serialport/stream";
import { type Access, denoBinding } from "../../../hardware/serial/binding.ts";
import {
  LineSettingsError,
  PortClosedError,
  SerialError,
  UnpluggedError,
} from "../../../hardware/serial/errors.ts";
import { interopTest } from "../../support/peers.ts";
import { ptyPair, socat } from "../../support/serial_peers.ts";

for (const access of ["direct", "socat"] satisfies Access[]) {
  interopTest(`the binding keeps what its interface promises (${access})`, [socat], async () => {
    await using pair = await ptyPair();
    const left = await denoBinding.open({ path: pair.left, baudRate: 115_200, access });
    const right = await denoBinding.open({ path: pair.right, baudRate: 115_200, access });
    assert.equal(left.isOpen, true);
    assert.equal(left.access, access);
    assert.deepEqual(left.openOptions, {
      path: pair.left,
      baudRate: 115_200,
      dataBits: 8,
      stopBits: 1,
      parity: "none",
      lock: true,
      rtscts: false,
      xon: false,
      xoff: false,
      xany: false,
      hupcl: true,
    });

    // At an offset, no more than asked for, at least one.
    await left.write(Buffer.from("abcdef"));
    const buffer = Buffer.alloc(10, 0x2e);
    let got = 0;
    while (got < 3) got += (await right.read(buffer, 2 + got, 3 - got)).bytesRead;
    assert.equal(buffer.toString(), "..abc.....");
    await assert.rejects(right.read(buffer, 8, 3), RangeError);
    await left.drain();

    await left.update({ baudRate: 1_000_000 });
    assert.deepEqual(await left.getBaudRate(), { baudRate: 1_000_000 });
    await assert.rejects(left.update({ baudRate: 123_456 }), LineSettingsError);
    assert.equal(left.openOptions.baudRate, 1_000_000);

    // What there is no way to is refused.
    await left.set({ dtr: true, rts: true, brk: false });
    await assert.rejects(left.set({ dtr: false, brk: true }), /brk, dtr cannot be set/);
    await assert.rejects(left.get(), SerialError);
    await assert.rejects(left.flush(), SerialError);

    const pending = left.read(buffer, 0, 10);
    pending.catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 20));
    await left.close();
    assert.equal(left.isOpen, false);
    await assert.rejects(pending, (error) => {
      assert.ok(error instanceof PortClosedError);
      assert.equal(error.canceled, true);
      return true;
    });
    await assert.rejects(left.read(buffer, 0, 1), PortClosedError);
    await assert.rejects(left.write(buffer), PortClosedError);
    await assert.rejects(left.close(), PortClosedError);
    await right.close();
  });

  interopTest(`the serialport stream works on it, and tells a pulled plug as a disconnection (${access})`, [
    socat,
  ], async () => {
    await using pair = await ptyPair();
    const open = async (path: string) => {
      const port = new SerialPortStream({
        binding: denoBinding,
        path,
        baudRate: 115_200,
        access,
        autoOpen: false,
      });
      await new Promise<void>((resolve, reject) => port.open((error) => error ? reject(error) : resolve()));
      return port;
    };
    const left = await open(pair.left);
    const right = await open(pair.right);
    const heard = new Promise<string>((resolve) =>
      right.once("data", (data: Buffer) => resolve(data.toString()))
    );
    left.write("V1013\r");
    assert.equal(await heard, "V1013\r");
    const closed = [left, right].map((port) =>
      new Promise<Error & { disconnected?: boolean }>((resolve) => port.once("close", resolve))
    );
    left.resume();
    await pair.unplug();
    for (const error of await Promise.all(closed)) assert.equal(error.disconnected, true);
  });
}

interopTest("a device that is gone is no reason to wait", [socat], async () => {
  await using pair = await ptyPair();
  const port = await denoBinding.open({ path: pair.left, baudRate: 115_200 });
  await pair.unplug();
  await assert.rejects(port.read(Buffer.alloc(10), 0, 10), UnpluggedError);
  await port.close();
});

Deno.test("ports are listed as the interface shows them", async () => {
  for (const port of await denoBinding.list()) assert.match(port.path, /^\/dev\/tty/);
});
