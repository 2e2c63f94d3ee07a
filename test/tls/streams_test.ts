// The streams of both engines: what the rest of the product relies on is the same on either.

import assert from "node:assert/strict";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { ConnectionFailed, TlsError } from "../../src/tls/errors.ts";
import { readText, withBench } from "./bench.ts";

/** Writes as fast as the stream takes it; says how much it took. */
function flood(stream: Duplex, total: number): { taken: number } {
  const progress = { taken: 0 };
  const piece = new Uint8Array(65_536).fill(0x5a);
  const pump = () => {
    while (progress.taken < total) {
      progress.taken += piece.length;
      if (!stream.write(piece)) {
        stream.once("drain", pump);
        return;
      }
    }
    stream.end();
  };
  pump();
  return progress;
}

/** Waits until a number has stopped to grow. */
async function settled(read: () => number): Promise<number> {
  for (let before = -1, still = 0;;) {
    const now = read();
    still = now === before ? still + 1 : 0;
    if (still === 10) return now;
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const total = 64 * 1024 * 1024;
const ends = [
  { name: "wasm", engine: "wasm", from: undefined },
  { name: "native", engine: "native", from: undefined },
  { name: "wasm from a given address", engine: "wasm", from: "127.0.79.9" },
] as const;
for (const { name, engine, from } of ends) {
  Deno.test(`${name}: a stream carries the other direction on after one end is done: server first`, async () => {
    await withBench({ engine, from }, async ({ connections, dial }) => {
      const client = await dial();
      const accepted = await connections.next();
      accepted.stream.end("from the server");
      assert.equal(await readText(client.stream), "from the server");
      client.stream.end("from the client, later");
      assert.equal(await readText(accepted.stream), "from the client, later");
    });
  });

  Deno.test(`${name}: a stream carries the other direction on after one end is done: client first`, async () => {
    await withBench({ engine, from }, async ({ connections, dial }) => {
      const client = await dial();
      const accepted = await connections.next();
      client.stream.end("from the client");
      assert.equal(await readText(accepted.stream), "from the client");
      accepted.stream.end("from the server, later");
      assert.equal(await readText(client.stream), "from the server, later");
    });
  });

  Deno.test(`${name}: a stream is closed on both sides once both ends are done`, async () => {
    await withBench({ engine, from }, async ({ connections, dial }) => {
      const client = await dial();
      const accepted = await connections.next();
      const closed = Promise.all([once(client.stream, "close"), once(accepted.stream, "close")]);
      client.stream.resume().end();
      accepted.stream.resume().end();
      await closed;
    });
  });

  Deno.test(`${name}: an empty write does not stop the stream`, async () => {
    await withBench({ engine, from }, async ({ connections, dial }) => {
      const client = await dial();
      const accepted = await connections.next();
      accepted.stream.write("");
      accepted.stream.end("after nothing");
      assert.equal(await readText(client.stream), "after nothing");
    });
  });

  Deno.test(`${name}: setTimeout() tells of a stream on which nothing moves, and may be taken back`, async () => {
    await withBench({ engine, from }, async ({ connections, dial }) => {
      const client = await dial();
      const accepted = await connections.next();
      assert.ok("setTimeout" in accepted.stream && typeof accepted.stream.setTimeout === "function");
      let withdrawn = 0;
      const count = () => withdrawn++;
      accepted.stream.setTimeout(1, count);
      accepted.stream.setTimeout(0, count);
      await new Promise<void>((resolve) =>
        Reflect.get(accepted.stream, "setTimeout").call(accepted.stream, 30, resolve)
      );
      assert.equal(withdrawn, 0);
      client.stream.end();
    });
  });

  for (const sender of ["server", "client"] as const) {
    Deno.test(`${name}: a ${sender} that sends 64 MiB to a reader that waits is held, and nothing is lost`, async () => {
      await withBench({ engine, from }, async ({ connections, dial }) => {
        const client = await dial();
        const accepted = await connections.next();
        const [source, sink] = sender === "server"
          ? [accepted.stream, client.stream]
          : [client.stream, accepted.stream];
        const progress = flood(source, total);
        const taken = await settled(() => progress.taken);
        // What was taken lies in the kernel's socket buffers, which loopback lets grow to some megabytes.
        assert.ok(taken < total / 2, `${taken} bytes were taken while nobody read`);
        assert.ok(sink.readableLength <= 512 * 1024, `${sink.readableLength} bytes wait in the stream`);
        let received = 0;
        let wrong = 0;
        for await (const part of sink.iterator({ destroyOnReturn: false })) {
          received += part.length;
          if (part[0] !== 0x5a || part[part.length - 1] !== 0x5a) wrong++;
        }
        assert.equal(received, total);
        assert.equal(wrong, 0);
      });
    });
  }

  Deno.test(`${name}: what has arrived can be read after the peer has closed`, async () => {
    await withBench({ engine, from }, async ({ connections, dial }) => {
      const client = await dial();
      const accepted = await connections.next();
      client.stream.end();
      accepted.stream.resume().end("x".repeat(200_000));
      await once(accepted.stream, "close");
      assert.equal((await readText(client.stream)).length, 200_000);
    });
  });

  Deno.test(`${name}: destroying a stream closes the other end`, async () => {
    await withBench({ engine, from }, async ({ connections, dial }) => {
      const client = await dial();
      const accepted = await connections.next();
      const closed = once(accepted.stream, "close").catch((error: unknown) =>
        assert.ok(error instanceof TlsError)
      );
      accepted.stream.resume();
      accepted.stream.on("end", () => accepted.stream.end());
      client.stream.destroy();
      await closed;
    });
  });

  Deno.test(`${name}: writing to a connection that the peer has dropped fails with an error of the tree`, async () => {
    await withBench({ engine, from }, async ({ connections, dial }) => {
      const client = await dial();
      const accepted = await connections.next();
      accepted.stream.destroy();
      const failed = new Promise<Error>((resolve) => client.stream.once("error", resolve));
      client.stream.resume();
      const writing = setInterval(
        () => client.stream.destroyed || client.stream.write("x".repeat(10_000)),
        5,
      );
      try {
        const error = await failed;
        assert.ok(error instanceof ConnectionFailed, String(error));
      } finally {
        clearInterval(writing);
      }
    });
  });
}
