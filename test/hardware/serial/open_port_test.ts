import assert from "node:assert/strict";
import { join } from "node:path";
import { type ByteStream, closeQuietly } from "../../../hardware/byte_stream.ts";
import type { Access } from "../../../hardware/serial/binding.ts";
import {
  LineSettingsError,
  NotSerialError,
  PortBusyError,
  PortMissingError,
  SerialError,
  UnpluggedError,
} from "../../../hardware/serial/errors.ts";
import { openPort, parseTcpTarget } from "../../../hardware/serial/open_port.ts";
import { interopTest } from "../../support/peers.ts";
import { ptyPair, socat } from "../../support/serial_peers.ts";

const accesses: Access[] = ["direct", "socat"];

async function readExactly(stream: ByteStream, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  for (let at = 0; at < count;) {
    const taken = await stream.read(bytes.subarray(at));
    assert.ok(taken !== null && taken > 0);
    at += taken;
  }
  return bytes;
}

async function writeAll(stream: ByteStream, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await stream.write(bytes.subarray(at));
}

async function opensAgain(path: string, access: Access): Promise<ByteStream> {
  // Letting go of a device takes a moment: until then it is in use.
  for (let tries = 0;; tries++) {
    try {
      return await openPort(path, { access });
    } catch (error) {
      if (!(error instanceof PortBusyError) || tries === 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

for (const access of accesses) {
  interopTest(`every byte crosses a line unchanged, both ways at once (${access})`, [socat], async () => {
    await using pair = await ptyPair();
    const left = await openPort(pair.left, { access });
    const right = await openPort(pair.right, { access });
    try {
      // Longer than all buffers on the way together, with every control character.
      const there = Uint8Array.from({ length: 300_000 }, (_, at) => (at * 7) & 0xff);
      const back = Uint8Array.from({ length: 300_000 }, (_, at) => (at * 13) & 0xff);
      // Each end reads while it writes; socat between them does not read while it waits to write.
      const read = [readExactly(right, there.length), readExactly(left, back.length)];
      await Promise.all([writeAll(left, there), writeAll(right, back)]);
      const [got, gotBack] = await Promise.all(read);
      assert.deepEqual(got, there);
      assert.deepEqual(gotBack, back);
    } finally {
      left.close();
      right.close();
    }
  });

  interopTest(`closing ends a read under way, lets go of the device, and loses no later byte (${access})`, [
    socat,
  ], async () => {
    await using pair = await ptyPair();
    const right = await openPort(pair.right, { access });
    const first = await openPort(pair.left, { access });
    const reading = first.read(new Uint8Array(100));
    reading.catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 50));
    first.close();
    first.close();
    await assert.rejects(reading, /the port was closed/);
    await assert.rejects(first.write(new Uint8Array(1)), /the port was closed/);
    const second = await opensAgain(pair.left, access);
    try {
      await writeAll(right, new TextEncoder().encode("first byte"));
      assert.equal(new TextDecoder().decode(await readExactly(second, 10)), "first byte");
    } finally {
      second.close();
      right.close();
    }
  });

  interopTest(`a port that is open is in use for all who lock (${access})`, [socat], async () => {
    await using pair = await ptyPair();
    const port = await openPort(pair.left, { access });
    try {
      for (const other of accesses) {
        await assert.rejects(openPort(pair.left, { access: other }), (error) => {
          assert.ok(error instanceof PortBusyError);
          assert.equal(error.message, `${pair.left}: in use by another program`);
          return true;
        });
      }
      const unlocked = await openPort(pair.left, { access, lock: false });
      unlocked.close();
    } finally {
      port.close();
    }
  });

  interopTest(
    `an adapter that is unplugged is told to reader and writer, and opens when it is back (${access})`,
    [
      socat,
    ],
    async () => {
      await using pair = await ptyPair();
      const port = await openPort(pair.left, { access });
      const reading = port.read(new Uint8Array(100));
      reading.catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 50));
      await pair.unplug();
      await assert.rejects(reading, UnpluggedError);
      await assert.rejects(port.write(new Uint8Array(1)), UnpluggedError);
      port.close();
      await assert.rejects(openPort(pair.left, { access }), PortMissingError);
      await pair.plugIn();
      const again = await openPort(pair.left, { access });
      const far = await openPort(pair.right, { access });
      try {
        await writeAll(far, new Uint8Array([1, 2, 3]));
        assert.deepEqual(await readExactly(again, 3), new Uint8Array([1, 2, 3]));
      } finally {
        again.close();
        far.close();
      }
    },
  );

  interopTest(`what cannot be opened is told by its reason (${access})`, [socat], async () => {
    const folder = await Deno.makeTempDir();
    try {
      const nothing = join(folder, "nothing");
      await assert.rejects(openPort(nothing, { access }), (error) => {
        assert.ok(error instanceof PortMissingError);
        assert.match(error.message, /no such port; is the adapter plugged in\? \(zonebench adapters/);
        return true;
      });
      const file = join(folder, "file");
      await Deno.writeTextFile(file, "");
      await assert.rejects(openPort(file, { access }), NotSerialError);
      await assert.rejects(openPort(folder, { access }), NotSerialError);
      await assert.rejects(openPort("/dev/null", { access }), NotSerialError);
      await using pair = await ptyPair();
      for (const baudRate of [123_456, 1.5, 0]) {
        await assert.rejects(openPort(pair.left, { access, baudRate }), LineSettingsError);
      }
      // The refused settings left nothing open.
      (await openPort(pair.left, { access })).close();
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

interopTest(
  "a path with characters that mean something to socat is a path all the same",
  [socat],
  async () => {
    await using pair = await ptyPair();
    const odd = join(pair.left, "..", "pci-0000:00:14.0,usb!1'(2)\"");
    await Deno.symlink(await Deno.readLink(pair.left), odd);
    const port = await openPort(odd, { access: "socat" });
    const far = await openPort(pair.right, { access: "socat" });
    await writeAll(far, new Uint8Array([42]));
    assert.deepEqual(await readExactly(port, 1), new Uint8Array([42]));
    port.close();
    far.close();
  },
);

Deno.test("a line over TCP is a byte stream like any other", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepting = listener.accept();
  const port = await openPort(`tcp://127.0.0.1:${listener.addr.port}`);
  using far = await accepting;
  await writeAll(far, new Uint8Array([1, 2, 3]));
  assert.deepEqual(await readExactly(port, 3), new Uint8Array([1, 2, 3]));
  closeQuietly(port);
});

Deno.test("where nobody listens, that is said", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  await assert.rejects(openPort(`tcp://127.0.0.1:${port}`), (error) => {
    assert.ok(error instanceof PortMissingError);
    assert.match(error.message, /connection refused/);
    return true;
  });
});

Deno.test("addresses are read, and others refused", () => {
  assert.deepEqual(parseTcpTarget("tcp://bench-7:2000"), { hostname: "bench-7", port: 2000 });
  assert.deepEqual(parseTcpTarget("tcp://[::1]:2000/"), { hostname: "::1", port: 2000 });
  for (
    const wrong of [
      "tcp://host",
      "tcp://:1",
      "tcp://host:0",
      "tcp://host:70000",
      "udp://host:1",
      "tcp://u@h:1",
    ]
  ) {
    assert.throws(() => parseTcpTarget(wrong), SerialError, wrong);
  }
});

Deno.test("a signal that is raised before ends the opening", async () => {
  await assert.rejects(openPort("/dev/null", { signal: AbortSignal.abort(new Error("enough")) }), /enough/);
});
