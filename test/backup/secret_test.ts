// The encryption of keys, opened by hand with other libraries, and everything that must not open.

import assert from "node:assert/strict";
import { BadBackup, WrongPassPhrase } from "../../src/backup/errors.ts";
import { decryptSecret, encryptSecret } from "../../src/backup/secret.ts";
import { sampleBytes } from "../support/firmware_files.ts";
import { interopTest, peers } from "../support/peers.ts";

/** 2 MiB and milliseconds: what is tested here is not the cost. */
const cost = { logN: 11, r: 8, p: 1 };
const phrase = "correct horse battery staple";
const chunk = 65_536;

Deno.test("what was encrypted is there again, whatever its length", async () => {
  for (const length of [0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk]) {
    const plain = sampleBytes(length, length);
    const sealed = await encryptSecret(plain, phrase, cost);
    assert.deepEqual(await decryptSecret(sealed, phrase), plain);
  }
});

interopTest(
  "openssl's scrypt and WebCrypto's AES-GCM open it as the format says",
  [peers.openssl],
  async () => {
    const plain = sampleBytes(chunk + 5, 9);
    const sealed = await encryptSecret(plain, phrase, cost);
    const header = sealed.slice(0, 44);
    assert.equal(new TextDecoder().decode(header.subarray(0, 16)), "ZONEBENCH-KEYS-1");
    assert.deepEqual([...header.subarray(16, 20)], [11, 8, 1, 0]);
    const { stdout } = await new Deno.Command(peers.openssl.command, {
      args: [
        ...[
          "kdf",
          "-keylen",
          "32",
          "-kdfopt",
          `pass:${phrase}`,
          "-kdfopt",
          `hexsalt:${header.slice(20, 36).toHex()}`,
        ],
        ...["-kdfopt", "n:2048", "-kdfopt", "r:8", "-kdfopt", "p:1", "SCRYPT"],
      ],
    }).output();
    const raw = Uint8Array.fromHex(new TextDecoder().decode(stdout).trim().replaceAll(":", ""));
    const key = await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["decrypt"]);
    const open = async (from: number, to: number, number: number, last: number) => {
      const iv = new Uint8Array([...header.subarray(36, 43), 0, 0, 0, number, last]);
      const algorithm = { name: "AES-GCM", iv, additionalData: header };
      return new Uint8Array(await crypto.subtle.decrypt(algorithm, key, sealed.slice(from, to)));
    };
    const second = 44 + chunk + 16;
    assert.deepEqual(await open(44, second, 0, 0), plain.slice(0, chunk));
    assert.deepEqual(await open(second, sealed.length, 1, 1), plain.slice(chunk));
  },
);

Deno.test("the same twice gives other bytes: salt and nonce are new each time", async () => {
  const [a, b] = [
    await encryptSecret(Uint8Array.of(1), phrase, cost),
    await encryptSecret(Uint8Array.of(1), phrase, cost),
  ];
  assert.notDeepEqual(a.slice(20, 43), b.slice(20, 43));
});

Deno.test("another pass phrase does not open it, the same one in another form of Unicode does", async () => {
  const sealed = await encryptSecret(Uint8Array.of(1, 2, 3), "schlüssel des prüfstands", cost);
  await assert.rejects(decryptSecret(sealed, "schluessel des prüfstands"), WrongPassPhrase);
  assert.deepEqual(
    await decryptSecret(sealed, "schlu\u0308ssel des pru\u0308fstands"),
    Uint8Array.of(1, 2, 3),
  );
});

Deno.test("no byte can be changed, and no chunk moved, left out or cut off", async () => {
  const sealed = await encryptSecret(sampleBytes(3 * chunk, 4), phrase, cost);
  const sealedChunk = chunk + 16;
  const flipped = (at: number) => sealed.with(at, sealed[at] ^ 1);
  // In the salt, the nonce, each chunk, and the tag at the end.
  for (const at of [20, 36, 44, 44 + sealedChunk, sealed.length - 1]) {
    await assert.rejects(decryptSecret(flipped(at), phrase), WrongPassPhrase);
  }
  const swapped = sealed.slice();
  swapped.copyWithin(44, 44 + sealedChunk, 44 + 2 * sealedChunk);
  await assert.rejects(decryptSecret(swapped, phrase), WrongPassPhrase);
  for (const length of [44 + sealedChunk, 44 + 2 * sealedChunk, sealed.length - 1]) {
    await assert.rejects(decryptSecret(sealed.slice(0, length), phrase), WrongPassPhrase);
  }
  // A tag of fewer bytes would be easier to guess.
  await assert.rejects(decryptSecret(sealed.slice(0, 44 + sealedChunk + 12), phrase), BadBackup);
});

Deno.test("what is none, or wants more memory than it should, is refused before anything is computed", async () => {
  await assert.rejects(decryptSecret(new Uint8Array(10), phrase), BadBackup);
  await assert.rejects(decryptSecret(new Uint8Array(100), phrase), BadBackup);
  const sealed = await encryptSecret(Uint8Array.of(1), phrase, cost);
  for (const [at, value] of [[16, 30], [16, 0], [17, 0], [18, 5], [18, 0]]) {
    await assert.rejects(decryptSecret(sealed.with(at, value), phrase), /expected a cost of scrypt/);
  }
});
