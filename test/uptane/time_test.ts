// Attested time: an answer to this vehicle's nonce, signed by the key in the Director's root, and nothing else.

import assert from "node:assert/strict";
import { readMetadata } from "../../src/uptane/envelope.ts";
import type { Signer } from "../../src/uptane/keys.ts";
import { timeRequest } from "../../src/contract/uptane.ts";
import { attest, attestTime, checkAttestation, makeNonce } from "../../src/uptane/time.ts";
import { Bench, inDays, now, refused, signers } from "./fake_repositories.ts";

const nonce = makeNonce();

async function rootOf(bench: Bench) {
  return await Promise.resolve(readMetadata("root", bench.director.file("1.root.json")).signed);
}

function timeKeys(bench: Bench): Signer[] {
  assert.ok(bench.director.holders.time);
  return bench.director.holders.time.signers;
}

Deno.test("a time with the vehicle's nonce is taken, to the second", async () => {
  const bench = await Bench.make("ml-dsa-65");
  const bytes = await attest(new Date("2026-03-01T12:00:00.987Z"), [makeNonce(), nonce], timeKeys(bench));
  const time = await checkAttestation({ bytes, nonce, root: await rootOf(bench), previous: inDays(-1) });
  assert.deepEqual(time, now);
});

Deno.test("a replayed, foreign, older or malformed time is refused", async () => {
  const bench = await Bench.make();
  const root = await rootOf(bench);
  const keys = timeKeys(bench);
  const good = await attest(now, [nonce], keys);
  await refused(checkAttestation({ bytes: good, nonce: makeNonce(), root }), "time_nonce", "replay");
  const foreign = await attest(now, [nonce], await signers(1));
  await refused(checkAttestation({ bytes: foreign, nonce, root }), "time_signed", "arbitrary software");
  await refused(
    checkAttestation({ bytes: good, nonce, root, previous: inDays(1) }),
    "time_rollback",
    "freeze",
  );
  const metadata = bench.director.file("timestamp.json");
  await refused(checkAttestation({ bytes: metadata, nonce, root }), "time_form", "malformed data");
  await refused(
    checkAttestation({ bytes: new Uint8Array(200_000), nonce, root }),
    "metadata_length",
    "endless data",
  );
  const without = readMetadata("root", bench.image.file("1.root.json")).signed;
  await refused(checkAttestation({ bytes: good, nonce, root: without }), "time_key", "arbitrary software");
});

Deno.test("a rotated time key is found through the roots, a stolen old one is refused", async () => {
  const bench = await Bench.make();
  const stolen = timeKeys(bench);
  const ask = (keys: Signer[]) => (nonces: readonly string[]) => attest(now, nonces, keys);
  const attestWith = (keys: Signer[]) =>
    attestTime({
      store: bench.store,
      fetcher: bench.fetcher,
      ask: ask(keys),
      signal: new AbortController().signal,
    });
  assert.deepEqual(await attestWith(stolen), now);
  bench.director.holders.time = { signers: await signers(1), threshold: 1 };
  await bench.director.writeRoot();
  assert.deepEqual(await attestWith(timeKeys(bench)), now);
  await refused(attestWith(stolen), "time_signed", "arbitrary software");
});

Deno.test("nonces of a request are checked", () => {
  assert.ok(timeRequest.safeParse({ nonces: [nonce] }).success);
  for (const nonces of [[], ["00"], ["zz".repeat(16)], Array(257).fill(nonce)]) {
    assert.ok(!timeRequest.safeParse({ nonces }).success);
  }
});
