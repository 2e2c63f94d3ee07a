import assert from "node:assert/strict";
import { createSeedKey, keysEqual } from "../../../hardware/uds/seed_key.ts";
import { bytes, text } from "./loopback.ts";

Deno.test("the hmac-sha256 key is the MAC over level and seed, cut to its length", async () => {
  // printf '\x01\x11\x22\x33\x44' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102030405060708090a0b0c0d0e0f
  const seedKey = createSeedKey({
    algorithm: "hmac-sha256",
    key: "000102030405060708090a0b0c0d0e0f",
    length: 8,
  });
  assert.equal(text(await seedKey(bytes("11 22 33 44"), 1)), "60 A6 48 ED 3B 50 4D 29");
});

Deno.test("the xor key is the seed under a repeated constant", async () => {
  const seedKey = createSeedKey({ algorithm: "xor", constant: "F00F" });
  assert.equal(text(await seedKey(bytes("00 00 FF"), 1)), "F0 0F 0F");
});

Deno.test("the linear key is seed × multiplier + addend modulo 2^32", async () => {
  const seedKey = createSeedKey({ algorithm: "linear", multiplier: 3, addend: 5 });
  assert.equal(text(await seedKey(bytes("00 00 00 07"), 1)), "00 00 00 1A");
  assert.equal(text(await seedKey(bytes("FF FF FF FF"), 1)), "00 00 00 02");
  assert.throws(() => seedKey(bytes("00"), 1), /expected a seed of 4 bytes, got 1/);
});

Deno.test("parameters that cannot be are refused without quoting a secret", () => {
  assert.throws(() => createSeedKey({ algorithm: "hmac-sha256", key: "c0ffee" }), (error) => {
    assert.ok(error instanceof RangeError);
    assert.match(error.message, /expected at least 16 bytes, got 3/);
    return !error.message.includes("c0ffee");
  });
  assert.throws(() => createSeedKey({ algorithm: "xor", constant: "" }), /at least 1 byte/);
  assert.throws(() => createSeedKey({ algorithm: "xor", constant: "xyz" }), /pairs of hexadecimal digits/);
  assert.throws(
    () => createSeedKey({ algorithm: "linear", multiplier: -1, addend: 0 }),
    /multiplier.*got -1/,
  );
});

Deno.test("keys of different lengths are not equal", () => {
  assert.equal(keysEqual(bytes("01 02"), bytes("01 02")), true);
  assert.equal(keysEqual(bytes("01 02"), bytes("01")), false);
  assert.equal(keysEqual(bytes("01 02"), bytes("01 03")), false);
});
