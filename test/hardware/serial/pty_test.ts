import assert from "node:assert/strict";
import { join } from "node:path";
import { PortBusyError, SerialError } from "../../../hardware/serial/errors.ts";
import { openPort } from "../../../hardware/serial/open_port.ts";
import { makePty } from "../../../hardware/serial/pty.ts";
import { interopTest } from "../../support/peers.ts";
import { socat } from "../../support/serial_peers.ts";

async function withFolder(run: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(join(folder, "adapter"));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function exists(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}

interopTest(
  "a pseudo terminal carries bytes both ways, and stays when a program closes it",
  [socat],
  () =>
    withFolder(async (path) => {
      const pty = await makePty(path);
      const buffer = new Uint8Array(100);
      for (let time = 0; time < 3; time++) {
        const port = await openPort(path);
        await port.write(new Uint8Array([time, 0x0d, 0x0a, 0x03]));
        let count = 0;
        while (count < 4) count += await pty.read(buffer.subarray(count)) ?? 0;
        assert.deepEqual(buffer.subarray(0, 4), new Uint8Array([time, 0x0d, 0x0a, 0x03]));
        await pty.write(new Uint8Array([0x07, time]));
        count = 0;
        while (count < 2) count += await port.read(buffer.subarray(count)) ?? 0;
        assert.deepEqual(buffer.subarray(0, 2), new Uint8Array([0x07, time]));
        port.close();
        for (let tries = 0; tries < 100; tries++) {
          const free = await openPort(path).then((again) => (again.close(), true), (error) => {
            assert.ok(error instanceof PortBusyError);
            return false;
          });
          if (free) break;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
        await new Promise((resolve) => setTimeout(resolve, 150));
      }
      pty.close();
      await pty.ended;
      assert.equal(await exists(path), false);
    }),
);

interopTest("a signal ends it, and its link goes", [socat], () =>
  withFolder(async (path) => {
    const stop = new AbortController();
    const pty = await makePty(path, { signal: stop.signal });
    assert.equal(await exists(path), true);
    stop.abort();
    await pty.ended;
    assert.equal(await exists(path), false);
  }));

interopTest(
  "what is at its path is left alone, except a dead link to a terminal",
  [socat],
  () =>
    withFolder(async (path) => {
      await Deno.writeTextFile(path, "mine");
      await assert.rejects(makePty(path), SerialError);
      assert.equal(await Deno.readTextFile(path), "mine");
      await Deno.remove(path);
      await Deno.symlink("/etc/hostname", path);
      await assert.rejects(makePty(path), /a link to \/etc\/hostname is there/);
      await Deno.remove(path);
      await Deno.symlink("/dev/pts/987654", path);
      const pty = await makePty(path);
      await assert.rejects(makePty(path), PortBusyError);
      pty.close();
      await pty.ended;
      assert.equal(await exists(path), false);
    }),
);

interopTest("only its owner opens it unless more is asked for", [socat], () =>
  withFolder(async (path) => {
    for (const [mode, expected] of [[undefined, 0o600], [0o660, 0o660]]) {
      const pty = await makePty(path, { mode });
      assert.equal((await Deno.stat(path)).mode! & 0o777, expected);
      pty.close();
      await pty.ended;
    }
  }));
