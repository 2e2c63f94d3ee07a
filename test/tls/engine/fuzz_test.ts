// Mutated records and handshakes against both ends: no trap, no hang, bounded memory, whatever comes.
//
// ENGINE_FUZZ_COUNT sets the number of inputs (default 20000), ENGINE_FUZZ_SEED the seed of the generator (default 1); a
// failure names the seed and the input that led to it.

import assert from "node:assert/strict";
import type { EngineConnection } from "../../../src/tls/engine/connection.ts";
import { EngineClient, EngineServer } from "../../../src/tls/engine/endpoint.ts";
import { Instance } from "../../../src/tls/engine/instance.ts";
import { handshake, offer, pki, profiles } from "./support.ts";

const count = Number(Deno.env.get("ENGINE_FUZZ_COUNT") ?? 20_000);
const seed = Number(Deno.env.get("ENGINE_FUZZ_SEED") ?? 1);

/** Memory that an instance may come to hold: far more than the few connections here need. */
const mostMemory = 64 * 1024 * 1024;

/** A generator that gives the same numbers for the same seed (mulberry32). */
function generator(state: number): (below: number) => number {
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

type Random = ReturnType<typeof generator>;
type Mutation = (bytes: number[], random: Random) => void;

const interesting = [0x00, 0x01, 0x7f, 0x80, 0xff];

const mutations: Mutation[] = [
  (bytes, random) => bytes[random(bytes.length)] ^= 1 << random(8),
  (bytes, random) => bytes[random(bytes.length)] = interesting[random(interesting.length)],
  (bytes, random) => bytes[random(bytes.length)] = random(256),
  // Lengths and types stand at the front.
  (bytes, random) => bytes[random(Math.min(bytes.length, 160))] = random(256),
  (bytes, random) => bytes.splice(random(bytes.length), 1 + random(32)),
  (bytes, random) =>
    bytes.splice(random(bytes.length), 0, ...Array.from({ length: 1 + random(32) }, () => random(256))),
  (bytes, random) => bytes.length = random(bytes.length + 1),
  (bytes, random) => {
    const from = random(bytes.length);
    bytes.splice(random(bytes.length), 0, ...bytes.slice(from, from + random(64)));
  },
  (bytes) => bytes.push(...bytes.slice(0, 2_000)),
];

function mutate(original: Uint8Array, random: Random): Uint8Array {
  const bytes = [...original];
  for (let rounds = 1 + random(4); rounds > 0 && bytes.length > 0; rounds--) {
    mutations[random(mutations.length)](bytes, random);
  }
  return Uint8Array.from(bytes);
}

/** Records of any type with any length, around anything. */
function madeUp(random: Random): Uint8Array {
  const records = Array.from({ length: 1 + random(4) }, () => {
    const length = [0, 1, 4, 64, 400][random(5)];
    const claimed = random(4) === 0 ? random(65_536) : length;
    const body = Array.from({ length }, () => random(256));
    // A handshake message's header, now and then.
    if (random(2) === 0) body.splice(0, 4, random(32), 0, length >> 8, length & 0xff);
    return [[20, 21, 22, 23, 24][random(5)], 3, random(5), claimed >> 8, claimed & 0xff, ...body];
  });
  return Uint8Array.from(records.flat());
}

/** Feeds in pieces, takes and reads what comes, as a caller does. */
function exercise(end: EngineConnection, input: Uint8Array, random: Random): void {
  for (let offset = 0; offset < input.length && end.failure === undefined;) {
    const piece = random(3) === 0 ? 1 + random(200) : input.length;
    offset += end.feed(input.subarray(offset, offset + piece));
    end.take();
    end.read();
  }
  if (random(4) === 0) end.closeNotify();
  if (random(4) === 0) end.updateKeys();
  if (random(4) === 0) end.endOfInput();
  end.take();
  end.negotiated();
  end.offered();
}

Deno.test(`${count} mutated inputs lead to no trap, and memory stays bounded`, async () => {
  const { trust, server, client } = await pki("ECDSA P-256");
  const instance = new Instance();
  const source = () => instance;
  const profile = offer({ ...profiles[1], groups: ["MLKEM512", "X25519"] }, server);
  const engineServer = new EngineServer({ offers: [profile], trust, sessions: 64 }, source);
  const settings = { offer: { ...profile, ...client }, trust };
  const engineClient = new EngineClient({ ...settings, resumption: false }, source);
  const retrying = new EngineClient(
    { offer: { ...settings.offer, groups: ["X25519", "MLKEM512"] }, trust },
    source,
  );
  const random = generator(seed);

  // What a good handshake sends, flight by flight.
  const near = engineClient.connect("localhost");
  const hello = near.take() ?? new Uint8Array();
  const retriedHello = retrying.connect("localhost").take() ?? new Uint8Array();
  const far = engineServer.accept();
  far.feed(hello);
  const serverFlight = far.take() ?? new Uint8Array();
  const retry = engineServer.accept();
  retry.feed(retriedHello);
  const helloRetryRequest = retry.take() ?? new Uint8Array();
  near.feed(serverFlight);
  const clientFlight = near.take() ?? new Uint8Array();
  for (const end of [near, far, retry]) end.free();

  const attempts: (() => { ends: EngineConnection[]; input: Uint8Array })[] = [
    () => ({ ends: [engineServer.accept()], input: mutate(hello, random) }),
    () => ({ ends: [engineServer.accept()], input: mutate(retriedHello, random) }),
    () => ({ ends: [engineServer.accept()], input: madeUp(random) }),
    () => ({ ends: [engineClient.connect("localhost")], input: mutate(serverFlight, random) }),
    () => ({ ends: [retrying.connect("localhost")], input: mutate(helloRetryRequest, random) }),
    () => ({ ends: [engineClient.connect("localhost")], input: madeUp(random) }),
    () => {
      const end = engineServer.accept();
      end.feed(hello);
      end.take();
      return { ends: [end], input: mutate(clientFlight, random) };
    },
    () => {
      const both = handshake(engineClient, engineServer);
      both.near.write(Uint8Array.of(1, 2, 3));
      both.near.updateKeys();
      both.near.write(new Uint8Array(20_000));
      const sent = both.near.take() ?? new Uint8Array();
      // Cut at a record now and then, so that good ones come before the bad one.
      const good = 5 + sent[3] * 256 + sent[4];
      both.far.feed(sent.subarray(0, good));
      return { ends: [both.far, both.near], input: mutate(sent.subarray(good), random) };
    },
  ];

  for (let index = 0; index < count; index++) {
    // Whole handshakes are dear: one in sixteen.
    const choice = random(16);
    const { ends, input } = attempts[choice === 0 ? 7 : choice === 1 ? 6 : random(6)]();
    try {
      exercise(ends[0], input, random);
    } catch (cause) {
      throw new Error(`seed ${seed}, input ${index}: ${input.toHex().slice(0, 4_000)}`, { cause });
    }
    for (const end of ends) end.free();
    assert.ok(instance.memorySize < mostMemory, `seed ${seed}, input ${index}: ${instance.memorySize} bytes`);
  }
});
