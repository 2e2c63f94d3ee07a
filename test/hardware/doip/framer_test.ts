import assert from "node:assert/strict";
import fc from "fast-check";
import { DoipFramer } from "../../../hardware/doip/framer.ts";
import { bytes, hex } from "./support.ts";

const accepts = new Set([0x0005, 0x0008, 0x8001]);

/** Feeds the chunks one read each; gives messages as `type:payload` and violations as `nack N`. */
function cut(
  chunks: Uint8Array[],
  maxPayloadLength = 64,
  framer = new DoipFramer({ accepts, maxPayloadLength }),
) {
  const seen: string[] = [];
  for (const chunk of chunks) {
    for (let offset = 0; offset < chunk.length;) {
      const into = framer.writable();
      assert.ok(into.length > 0, "a read needs room");
      const taken = chunk.subarray(offset, offset + into.length);
      into.set(taken);
      framer.commit(taken.length);
      offset += taken.length;
      for (let item = framer.next(); item !== null; item = framer.next()) {
        seen.push(
          item.nack === undefined
            ? `${item.payloadType.toString(16)}:${hex(item.payload)}`
            : `nack ${item.nack}`,
        );
      }
    }
  }
  return seen;
}

/** Activation, a message, one of unknown type, one too large (65 bytes), a response, a message. */
const stream = bytes(
  "02FD 0005 00000007 0E00 00 00000000" +
    "02FD 8001 00000007 0E00 1001 22F190" +
    "02FD 4321 00000003 AABBCC" +
    "02FD 8001 00000041" + "0E001001" + "36".repeat(61) +
    "03FC 0008 00000002 0E00" +
    "02FD 8001 00000006 0E00 1001 3E80",
);
const expected = [
  "5:0e000000000000",
  "8001:0e00100122f190",
  "nack 1",
  "nack 2",
  "8:0e00",
  "8001:0e0010013e80",
];

Deno.test("DoipFramer gives the same messages wherever the stream is split in two", () => {
  for (let at = 0; at <= stream.length; at++) {
    assert.deepEqual(cut([stream.subarray(0, at), stream.subarray(at)]), expected, `split at ${at}`);
  }
});

Deno.test("DoipFramer gives the same messages byte by byte and all at once", () => {
  assert.deepEqual(cut(Array.from(stream, (byte) => Uint8Array.of(byte))), expected);
  assert.deepEqual(cut([stream]), expected);
});

Deno.test("DoipFramer gives the same messages for any segmentation of any stream", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.uint8Array({ minLength: 1, maxLength: 80 }).map((data) => {
            const length = data.length + 4;
            return [0x02, 0xfd, 0x80, 0x01, 0, 0, 0, length, 0x0e, 0, 0x10, 1, ...data];
          }),
          fc.uint8Array({ maxLength: 30 }).map((data) => [...data]),
        ),
        { maxLength: 12 },
      ),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 }),
      (parts, sizes) => {
        const all = Uint8Array.from(parts.flat());
        const chunks: Uint8Array[] = [];
        for (let at = 0, turn = 0; at < all.length; turn++) {
          const size = sizes[turn % sizes.length];
          chunks.push(all.subarray(at, at + size));
          at += size;
        }
        assert.deepEqual(cut(chunks), cut([all]));
      },
    ),
    { numRuns: 300 },
  );
});

Deno.test("DoipFramer stops at a broken pattern, an unknown version and 0xFF over TCP", () => {
  for (
    const header of ["02FC 8001 00000005", "05FA 8001 00000005", "FF00 8001 00000005", "0000 8001 00000005"]
  ) {
    const framer = new DoipFramer({ accepts, maxPayloadLength: 64 });
    const after = bytes(`${header} 0E0010013E` + "02FD 0008 00000002 0E00");
    assert.deepEqual(cut([after], 64, framer), ["nack 0"], header);
    assert.ok(framer.outOfStep);
  }
});

Deno.test("DoipFramer stops at a length that the payload type cannot have", () => {
  for (
    const header of ["02FD 0008 00000003", "02FD 8001 00000004", "02FD 0005 00000008", "01FE 0005 00000007"]
  ) {
    const framer = new DoipFramer({ accepts, maxPayloadLength: 64 });
    assert.deepEqual(cut([bytes(header)], 64, framer), ["nack 4"], header);
    assert.ok(framer.outOfStep);
  }
});

Deno.test("DoipFramer takes a payload of exactly the limit and refuses one byte more", () => {
  const message = (length: number) =>
    Uint8Array.of(0x02, 0xfd, 0x80, 0x01, 0, 0, length >> 8, length & 0xff, ...new Uint8Array(length));
  assert.equal(cut([message(64)]).length, 1);
  assert.match(cut([message(64)])[0], /^8001:/);
  assert.deepEqual(cut([message(65)]), ["nack 2"]);
});

Deno.test("DoipFramer skips exactly the declared bytes of a message too large, without buffering them", () => {
  const framer = new DoipFramer({ accepts, maxPayloadLength: 64 });
  assert.deepEqual(cut([bytes("02FD 8001 00100000")], 64, framer), ["nack 2"]);
  // What is skipped looks like messages: not one byte of it may be read as one.
  const lookalike = bytes("02FD 0008 00000002 0E00 02FD 0008 00");
  for (let skipped = 0; skipped < 1_048_576; skipped += lookalike.length) {
    assert.deepEqual(cut([lookalike.subarray(0, 1_048_576 - skipped)], 64, framer), []);
  }
  assert.equal(framer.capacity, 65_536);
  assert.deepEqual(cut([bytes("02FD 0008 00000002 0E07")], 64, framer), ["8:0e07"]);
});

Deno.test("DoipFramer grows with the bytes that arrive, not with the length that is declared", () => {
  const framer = new DoipFramer({ accepts, maxPayloadLength: 16_777_216 });
  assert.deepEqual(cut([bytes("02FD 8001 01000000")], 0, framer), []);
  assert.equal(framer.capacity, 65_536);
  cut([new Uint8Array(100_000)], 0, framer);
  assert.equal(framer.capacity, 131_072);
});

Deno.test("DoipFramer carries a message larger than its first buffer and gives the memory back", () => {
  const framer = new DoipFramer({ accepts, maxPayloadLength: 1_048_576 });
  const large = new Uint8Array(8 + 1_048_576).fill(0x55);
  large.set(bytes("02FD 8001 00100000"));
  const [item] = cut([large], 0, framer);
  assert.equal(item.length, "8001:".length + 2 * 1_048_576);
  framer.writable();
  assert.equal(framer.capacity, 65_536);
});

Deno.test("DoipFramer moves the beginning of a message to the front when its rest does not fit behind", () => {
  const framer = new DoipFramer({ accepts, maxPayloadLength: 30_000 });
  const all = new Uint8Array(20 * 30_008);
  const expected: string[] = [];
  for (let n = 0; n < 20; n++) {
    all.set(bytes("02FD 8001 00007530"), n * 30_008);
    all.fill(n + 1, n * 30_008 + 8, (n + 1) * 30_008);
    expected.push("8001:" + (n + 1).toString(16).padStart(2, "0").repeat(30_000));
  }
  assert.deepEqual(cut([all], 0, framer), expected);
  assert.equal(framer.capacity, 65_536);
});

Deno.test("DoipFramer.stop() drops what is buffered and whatever follows", () => {
  const framer = new DoipFramer({ accepts, maxPayloadLength: 64 });
  framer.stop();
  assert.deepEqual(cut([stream], 64, framer), []);
});
