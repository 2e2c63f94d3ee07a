// What happens to connections on a network that cuts, changes and drops, and that the listener serves on.

import assert from "node:assert/strict";
import { BadRecord, PeerAlert, Truncated } from "../../src/tls/engine/failures.ts";
import { currentInstance } from "../../src/tls/engine/instance.ts";
import { type Bench, readText, withBench } from "./bench.ts";

/** A way to the listener that changes or cuts what the client sends, from a byte on, counted once it is armed. */
async function damaging(
  target: number,
  run: (way: { port: number; arm(damage: "flip" | "cut"): void }) => Promise<void>,
): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let damage: "flip" | "cut" | undefined;
  const open: Deno.TcpConn[] = [];
  const serving = (async () => {
    const near = await listener.accept();
    const far = await Deno.connect({ hostname: "127.0.0.1", port: target });
    open.push(near, far);
    const carry = async (from: Deno.TcpConn, to: Deno.TcpConn, outward: boolean) => {
      const buffer = new Uint8Array(65_536);
      try {
        for (let length = await from.read(buffer); length !== null; length = await from.read(buffer)) {
          if (outward && damage === "cut") break;
          if (outward && damage === "flip") buffer[length - 1] ^= 1;
          for (let sent = 0; sent < length;) sent += await to.write(buffer.subarray(sent, length));
        }
        await to.closeWrite();
      } catch {
        // Closed at the test's end.
      }
    };
    await Promise.all([carry(near, far, true), carry(far, near, false)]);
  })();
  try {
    await run({ port: listener.addr.port, arm: (kind) => damage = kind });
  } finally {
    listener.close();
    for (const conn of open) conn.close();
    await serving;
  }
}

async function servesOn({ connections, dial }: Bench): Promise<void> {
  const client = await dial();
  const accepted = await connections.next();
  accepted.stream.end("served");
  assert.equal(await readText(client.stream), "served");
  client.stream.end();
}

Deno.test("a flipped bit in a record ends the connection with bad_record_mac on both sides", async () => {
  await withBench({}, async (bench) => {
    await damaging(bench.listener.port, async ({ port, arm }) => {
      const client = await bench.dial({ port });
      const accepted = await bench.connections.next();
      arm("flip");
      client.stream.write("changed on its way");
      const server = readText(accepted.stream);
      await assert.rejects(server, (error) => error instanceof BadRecord && error.alert === "bad_record_mac");
      await assert.rejects(
        readText(client.stream),
        (error) => error instanceof PeerAlert && error.alert === "bad_record_mac",
      );
    });
    await servesOn(bench);
  });
});

Deno.test("a stream that the network cuts is an error, not an end", async () => {
  await withBench({}, async (bench) => {
    await damaging(bench.listener.port, async ({ port, arm }) => {
      const client = await bench.dial({ port });
      const accepted = await bench.connections.next();
      client.stream.write("the first half");
      const [first] = await Array.fromAsync(take(accepted.stream, 1));
      assert.equal(new TextDecoder().decode(first), "the first half");
      arm("cut");
      client.stream.write("the second half");
      await assert.rejects(
        readText(accepted.stream),
        (error) => error instanceof Truncated && error.message.startsWith("TLS connection from 127.0.0.1:"),
      );
    });
    await servesOn(bench);
  });
});

/** The first parts of a stream, which stays open. */
async function* take(
  stream: Awaited<ReturnType<Bench["dial"]>>["stream"],
  count: number,
): AsyncGenerator<Uint8Array> {
  let taken = 0;
  for await (const part of stream.iterator({ destroyOnReturn: false })) {
    yield part;
    if (++taken === count) return;
  }
}

/** Connections that are opened and dropped, one in twenty of them after its handshake; the more, the longer. */
const dropped = Number(Deno.env.get("TLS_DROP_COUNT") ?? 10_000);

Deno.test(`${dropped} connections that are dropped at any point leave no memory behind`, async () => {
  await withBench(
    { onRefused: () => {}, onConnection: ({ stream }) => void stream.resume() },
    async (bench) => {
      const round = async (count: number) => {
        for (let done = 0; done < count; done += 20) {
          await Promise.all(Array.from({ length: 20 }, async (_, index) => {
            if (index === 0) return (await bench.dial()).stream.destroy();
            // Dropped in the middle of the handshake, or before a byte of it.
            const socket = await Deno.connect({ hostname: "127.0.0.1", port: bench.listener.port });
            if (index % 2 === 0) await socket.write(Uint8Array.of(0x16, 0x03, 0x01, 0x02, 0x00));
            socket.close();
          }));
        }
      };
      await round(1_000);
      const before = currentInstance().memorySize;
      await round(dropped);
      const grown = currentInstance().memorySize - before;
      // A connection holds tens of KiB; sessions are bounded (4,096 a profile).
      assert.ok(grown <= 8 * 1024 * 1024, `the engine's memory has grown by ${grown} bytes`);
    },
  );
  await withBench({}, servesOn);
});
