import assert from "node:assert/strict";
import type { ByteStream } from "../../../hardware/byte_stream.ts";
import { SerialLine } from "../../../hardware/sim/serial_line.ts";
import { settle, TestClock } from "../uds/test_clock.ts";

/** What a host sent, at most so many bytes a read, and what it was sent. */
function wire(toAdapter: Uint8Array, chunk = Infinity): { stream: ByteStream; toHost: number[] } {
  const toHost: number[] = [];
  let left = toAdapter;
  return {
    toHost,
    stream: {
      read(into) {
        if (left.length === 0) return Promise.resolve(null);
        const count = Math.min(left.length, into.length, chunk);
        into.set(left.subarray(0, count));
        left = left.subarray(count);
        return Promise.resolve(count);
      },
      write(bytes) {
        toHost.push(...bytes);
        return Promise.resolve(bytes.length);
      },
      close() {},
    },
  };
}

/** 10,000 baud: a byte of ten bits takes a millisecond. */
const baudRate = 10_000;

Deno.test("each byte from the host takes the time of ten bits", async () => {
  const clock = new TestClock();
  const line = new SerialLine(wire(Uint8Array.of(1, 2, 3)).stream, { baudRate, clock });
  const came: [number, number][] = [];
  const reading = (async () => {
    const into = new Uint8Array(16);
    for (let count = await line.read(into); count !== null; count = await line.read(into)) {
      for (const byte of into.subarray(0, count)) came.push([clock.now(), byte]);
    }
  })();
  await clock.advance(0.9);
  assert.deepEqual(came, []);
  await clock.advance(10);
  await reading;
  assert.deepEqual(came, [[1, 1], [2, 2], [3, 3]]);
});

Deno.test("the line carries what the host has ready while the adapter is busy with what came before", async () => {
  const clock = new TestClock();
  const line = new SerialLine(wire(Uint8Array.of(1, 2, 3, 4), 2).stream, { baudRate, clock });
  const into = new Uint8Array(16);
  const read = async (): Promise<number[]> => [...into.subarray(0, await line.read(into) ?? 0)];
  const first = read();
  await clock.advance(1);
  assert.deepEqual(await first, [1]);
  await clock.advance(1);
  assert.deepEqual(await read(), [2]);
  // Busy until 4 ms: both bytes of the next chunk have come by then.
  await clock.advance(2);
  assert.deepEqual(await read(), [3, 4]);
  assert.equal(await line.read(into), null);
});

Deno.test("each byte to the host takes the time of ten bits, and the writer waits for it", async () => {
  const clock = new TestClock();
  const { stream, toHost } = wire(new Uint8Array(0));
  const line = new SerialLine(stream, { baudRate, clock });
  let written = 0;
  const writing = (async () => {
    for (let at = 0; at < 3;) at += await line.write(Uint8Array.of(1, 2, 3).subarray(at));
    written = clock.now();
  })();
  await clock.advance(2.5);
  assert.deepEqual(toHost, [1, 2]);
  await clock.advance(1);
  await writing;
  assert.deepEqual(toHost, [1, 2, 3]);
  assert.equal(written, 3);
});

Deno.test("a line that is unplugged ends the read and fails the write that wait for it", async () => {
  const clock = new TestClock();
  const line = new SerialLine(wire(Uint8Array.of(1)).stream, { baudRate, clock });
  const reading = line.read(new Uint8Array(1));
  const writing = assert.rejects(line.write(Uint8Array.of(1)), /the adapter was unplugged/);
  await settle();
  line.close();
  assert.equal(await reading, null);
  await writing;
});
