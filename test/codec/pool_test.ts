import assert from "node:assert/strict";
import { compressImage } from "../../src/codec/compress_image.ts";
import { CodecBusyError } from "../../src/codec/errors.ts";
import { CodecPool } from "../../src/codec/pool.ts";
import { CodecJobError } from "../../src/codec/protocol.ts";
import { noise } from "./support.ts";

async function withInput(run: (directory: string, input: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await Deno.writeFile(`${directory}/in`, noise(3_000_000, 1));
    await run(directory, `${directory}/in`);
    assert.deepEqual([...Deno.readDirSync(directory)].filter(({ name }) => name.endsWith(".tmp")), []);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("a pool does many jobs in few threads and tells how far each is", async () => {
  await withInput(async (directory, input) => {
    await using pool = new CodecPool({ size: 2 });
    const results = await Promise.all(Array.from({ length: 6 }, async (_, job) => {
      let bytes = 0;
      const result = await compressImage(input, `${directory}/${job}`, {
        pool,
        onProgress: (more) => bytes += more,
      });
      assert.equal(bytes, 3_000_000);
      return result.sha256;
    }));
    assert.equal(new Set(results).size, 1);
  });
});

Deno.test("a pool refuses more jobs than its queue holds", async () => {
  await withInput(async (directory, input) => {
    await using pool = new CodecPool({ maxQueued: 1 });
    const job = (name: string) => compressImage(input, `${directory}/${name}`, { pool });
    const first = job("1");
    const second = job("2");
    await assert.rejects(job("3"), CodecBusyError);
    await Promise.all([first, second]);
  });
});

Deno.test("a job is called off while it runs and while it waits; the pool goes on", async () => {
  await withInput(async (directory, input) => {
    await using pool = new CodecPool();
    const running = new AbortController();
    const waiting = new AbortController();
    const first = compressImage(input, `${directory}/1`, {
      pool,
      level: 12,
      signal: running.signal,
      onProgress: () => running.abort(new Error("first")),
    });
    const second = compressImage(input, `${directory}/2`, { pool, signal: waiting.signal });
    const third = compressImage(input, `${directory}/3`, { pool });
    waiting.abort(new Error("second"));
    // Either may be the first to end.
    await Promise.all([assert.rejects(second, /second/), assert.rejects(first, /first/)]);
    assert.equal((await third).inputSize, 3_000_000);
    await assert.rejects(
      compressImage(input, `${directory}/4`, { pool, signal: AbortSignal.abort(new Error("early")) }),
      /early/,
    );
    assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name).sort(), ["3", "in"]);
  });
});

Deno.test("a job's failure comes back with the system's code", async () => {
  await withInput(async (directory, input) => {
    await using pool = new CodecPool();
    await assert.rejects(compressImage(`${directory}/absent`, `${directory}/out`, { pool }), (error) => {
      assert.ok(error instanceof CodecJobError);
      assert.equal(error.code, "ENOENT");
      return true;
    });
    await assert.rejects(compressImage(input, `${directory}/no/such/folder`, { pool }), CodecJobError);
    await assert.rejects(compressImage(input, `${directory}/out`, { pool, level: 23 }), RangeError);
  });
});

Deno.test("a pool that is disposed of fails its jobs and takes no more", async () => {
  await withInput(async (directory, input) => {
    const pool = new CodecPool();
    const jobs = [1, 2].map((job) => compressImage(`${input}`, `${directory}/${job}`, { pool }));
    const refused = Promise.all(jobs.map((job) => assert.rejects(job, CodecJobError)));
    await pool[Symbol.asyncDispose]();
    await refused;
    await assert.rejects(compressImage(input, `${directory}/3`, { pool }), CodecJobError);
  });
});

Deno.test("a pool's options are checked when it is made", () => {
  assert.throws(() => new CodecPool({ size: 0 }), /size must be a positive whole number, got 0/);
  assert.throws(() => new CodecPool({ maxQueued: 1.5 }), RangeError);
  assert.throws(() => new CodecPool({ stallTimeout: -1 }), RangeError);
});
