import assert from "node:assert/strict";
import zlib from "node:zlib";
import { ZstdInstance } from "../../src/codec/zstd_instance.ts";
import { type ZstdBase, ZstdCompressor, ZstdDecompressor } from "../../src/codec/zstd_stream.ts";
import { sampleBytes } from "../support/firmware_files.ts";
import { noise, sha256 } from "./support.ts";

function* pieces(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

function joined(parts: Iterable<Uint8Array>): Uint8Array<ArrayBuffer> {
  const copies = [...function* () {
    for (const part of parts) yield part.slice();
  }()];
  const bytes = new Uint8Array(copies.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const copy of copies) {
    bytes.set(copy, at);
    at += copy.length;
  }
  return bytes;
}

const baseOf = (bytes: Uint8Array): ZstdBase => ({ size: bytes.length, fill: (room) => room.set(bytes) });

function compress(bytes: Uint8Array, level = 3, base?: Uint8Array, size = 100_000): Uint8Array<ArrayBuffer> {
  using zstd = new ZstdCompressor({ level, size: bytes.length, base: base && baseOf(base) });
  return joined(function* () {
    for (const piece of pieces(bytes, size)) yield* zstd.push(piece);
    yield* zstd.finish();
  }());
}

interface Limits {
  maxOutput?: number;
  maxWindow?: number;
  base?: Uint8Array;
  size?: number;
}

function decompress(
  bytes: Uint8Array,
  { maxOutput = 2 ** 26, maxWindow = 2 ** 27, base, size = 100_000 }: Limits = {},
) {
  using zstd = new ZstdDecompressor({ maxOutput, maxWindow, base: base && baseOf(base) });
  return joined(function* () {
    for (const piece of pieces(bytes, size)) yield* zstd.push(piece);
    zstd.finish();
  }());
}

Deno.test("frames hold what went in, for every size around the buffers, and node:zlib reads them", () => {
  for (const length of [0, 1, 131_072, 262_143, 262_144, 262_145, 524_288, 1_000_000]) {
    for (const bytes of [noise(length, length + 1), new Uint8Array(length)]) {
      for (const size of [Math.max(1, length), 262_144, 77_777]) {
        const frame = compress(bytes, 3, undefined, size);
        assert.equal(sha256(zlib.zstdDecompressSync(frame)), sha256(bytes));
        assert.equal(sha256(decompress(frame, { size })), sha256(bytes));
      }
    }
  }
});

Deno.test("frames of node:zlib are read, whatever the pieces they come in", () => {
  const bytes = sampleBytes(300_000, 5);
  // Room for all at once: where its output's chunk is full at the end, node:zlib appends an empty frame.
  const frame = zlib.zstdCompressSync(bytes, { chunkSize: 2 ** 20 });
  for (const size of [1, 2, 3, 17, 18, 19, 1000, frame.length]) {
    assert.equal(sha256(decompress(frame, { size })), sha256(bytes), `pieces of ${size}`);
  }
});

Deno.test("a delta holds what its target has beyond its base, and gives it back on that base alone", () => {
  const base = noise(3_000_000, 1);
  const target = Uint8Array.from([...noise(1000, 2), ...base.subarray(500), ...noise(1000, 3)]);
  for (const level of [1, 3, 12]) {
    const delta = compress(target, level, base);
    assert.ok(delta.length < 4000, `level ${level}: ${delta.length} bytes`);
    assert.equal(sha256(decompress(delta, { base })), sha256(target));
    for (const other of [undefined, noise(3_000_000, 4), base.subarray(0, -1)]) {
      assert.throws(() => decompress(delta, { base: other }), { name: "ZstdError", code: "bad_data" });
    }
  }
});

Deno.test("a base reaches to the target's end, where long-distance matching finds it too", () => {
  // 6 MB at level 1, whose own search reaches over 512 KiB: the moved half is found only by the long search.
  const base = noise(6_000_000, 7);
  const target = Uint8Array.from([...base.subarray(3_000_000), ...base.subarray(0, 3_000_000)]);
  const delta = compress(target, 1, base);
  assert.ok(delta.length < 20_000, `${delta.length} bytes`);
  assert.equal(sha256(decompress(delta, { base })), sha256(target));
});

Deno.test("a base may be as small as one byte, a target as well", () => {
  for (const [base, target] of [[1, 1], [1, 5000], [5000, 1]]) {
    const delta = compress(noise(target, 1), 19, noise(base, 2));
    assert.equal(sha256(decompress(delta, { base: noise(base, 2) })), sha256(noise(target, 1)));
  }
});

Deno.test("output ends at its limit, whether the header says how much comes or not", () => {
  const bytes = new Uint8Array(1_000_000);
  const silent = zlib.zstdCompressSync(bytes, { params: { [zlib.constants.ZSTD_c_contentSizeFlag]: 0 } });
  for (const frame of [compress(bytes), silent]) {
    // With a base all of the output has its place, and no more room.
    for (const base of [undefined, noise(10, 1)]) {
      for (const size of [frame.length, 7]) {
        assert.equal(decompress(frame, { maxOutput: 1_000_000, base, size }).length, 1_000_000);
        assert.throws(() => decompress(frame, { maxOutput: 999_999, base, size }), { code: "output_limit" });
      }
    }
  }
  // With the size in the header nothing comes out before.
  using zstd = new ZstdDecompressor({ maxOutput: 999_999, maxWindow: 2 ** 20 });
  assert.throws(() => zstd.push(compress(bytes)).next(), { code: "output_limit", message: /says 1000000$/ });
});

Deno.test("a window beyond the limit is refused before it costs memory", () => {
  // 128 MiB of window for a raw block of one byte.
  const frame = Uint8Array.fromHex("28b52ffd 0088 090000 41".replaceAll(" ", ""));
  assert.equal(decompress(frame, { maxWindow: 2 ** 27 }).length, 1);
  assert.throws(() => decompress(frame, { maxWindow: 2 ** 27 - 1 }), { code: "window_limit" });
});

Deno.test("damage is found: a bit anywhere, an end too early, bytes behind the end", () => {
  const bytes = sampleBytes(2000, 9);
  const frame = compress(bytes);
  for (let at = 0; at < frame.length; at++) {
    const damaged = frame.slice();
    // Not bit 4 of byte 4, the one bit without a meaning.
    damaged[at] ^= 1 << at % 8 % 4;
    assert.throws(() => decompress(damaged), { name: "ZstdError" }, `a bit in byte ${at}`);
    assert.throws(() => decompress(frame.subarray(0, at)), { code: "truncated" });
  }
  for (const behind of [Uint8Array.of(0), frame, Uint8Array.fromHex("502a4d1800000000")]) {
    for (const size of [frame.length, 7, 10_000]) {
      const longer = Uint8Array.from([...frame, ...behind]);
      assert.throws(() => decompress(longer, { size }), { code: "bad_data", message: /end of the frame/ });
    }
  }
});

Deno.test("an error says what is wrong and where", () => {
  const frame = compress(noise(400_000, 3));
  frame.fill(0xff, 300_000, 300_010);
  assert.throws(() => decompress(frame), { code: "bad_data", message: /near byte \d+ of the input$/ });
});

Deno.test("a compressor refuses more or less than it was told", () => {
  using less = new ZstdCompressor({ level: 3, size: 11 });
  assert.throws(() => joined([...less.push(new Uint8Array(10)), ...less.finish()]), { code: "bad_data" });
  using more = new ZstdCompressor({ level: 3, size: 9 });
  assert.throws(() => joined([...more.push(new Uint8Array(10)), ...more.finish()]), { code: "bad_data" });
});

Deno.test("options out of range are refused", () => {
  const base = (size: number) => ({ size, fill: () => assert.fail("a base that is refused is not read") });
  for (const level of [0, 23, 1.5, NaN]) {
    assert.throws(() => new ZstdCompressor({ level, size: 1 }), {
      name: "RangeError",
      message: new RegExp(`${level}$`),
    });
  }
  for (const size of [-1, 0.5, NaN, 2 ** 53]) {
    assert.throws(() => new ZstdCompressor({ level: 1, size }), RangeError);
  }
  for (const size of [0, 2 ** 28 + 1, -1]) {
    assert.throws(() => new ZstdCompressor({ level: 1, size: 1, base: base(size) }), RangeError);
    assert.throws(
      () => new ZstdDecompressor({ maxWindow: 1024, maxOutput: 1, base: base(size) }),
      RangeError,
    );
    assert.throws(
      () => new ZstdDecompressor({ maxWindow: 1024, maxOutput: size, base: base(1) }),
      RangeError,
    );
  }
  assert.throws(() => new ZstdCompressor({ level: 1, size: 2 ** 28 + 1, base: base(1) }), RangeError);
  for (const windowLog of [9, 31, 10.5, NaN]) {
    assert.throws(() => new ZstdCompressor({ level: 1, size: 1, windowLog }), RangeError);
  }
  for (const maxWindow of [1023, 2 ** 30 + 1, NaN]) {
    assert.throws(() => new ZstdDecompressor({ maxWindow, maxOutput: 1 }), RangeError);
  }
  assert.throws(() => new ZstdDecompressor({ maxWindow: 1024, maxOutput: -1 }), RangeError);
});

Deno.test("a stream that was disposed of does nothing more", () => {
  const zstd = new ZstdDecompressor({ maxWindow: 1024, maxOutput: 1 });
  zstd[Symbol.dispose]();
  zstd[Symbol.dispose]();
  assert.throws(() => zstd.push(compress(Uint8Array.of(1))).next(), TypeError);
});

Deno.test("a base that cannot be read fails the stream and leaves the instance to the next", () => {
  const fill = () => {
    throw new Error("unreadable");
  };
  assert.throws(
    () => new ZstdDecompressor({ maxWindow: 1024, maxOutput: 1, base: { size: 9, fill } }),
    /unreadable/,
  );
  assert.equal(decompress(compress(noise(10, 1))).length, 10);
});

Deno.test("small instances are used again, large ones and those that trapped are not", () => {
  const small = ZstdInstance.take();
  small.release();
  const again = ZstdInstance.take();
  assert.equal(again, small);
  again.putPrefix(2 ** 26, () => {});
  assert.ok(again.memorySize > 2 ** 26);
  again.release();
  const other = ZstdInstance.take();
  assert.notEqual(other, again);
  // Memory that never was given out, beyond the end of all.
  assert.throws(() => other.call("release", 0xfffffff0), {
    name: "ZstdError",
    code: "trap",
    message: /in release/,
  });
  assert.throws(() => other.call("input_size"), { code: "trap", message: /in release/ });
  other.release();
  const last = ZstdInstance.take();
  assert.notEqual(last, other);
  last.release();
});

Deno.test("a base that memory has no room for is refused", () => {
  const instance = ZstdInstance.take();
  assert.throws(() => instance.putPrefix(2 ** 31, () => {}), { code: "no_memory" });
  assert.throws(() => instance.putPrefix(1, () => {}, 2 ** 31), { code: "no_memory" });
  instance.release();
});
