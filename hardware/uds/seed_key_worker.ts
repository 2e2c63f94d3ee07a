// Computes one key with an operator's file, apart from the program: see seed_key_module.ts.
/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
import type { SeedKeyAnswer, SeedKeyJob } from "./seed_key_module.ts";

declare const self: DedicatedWorkerGlobalScope;

const pageSize = 65_536;

self.onmessage = async ({ data }: MessageEvent<SeedKeyJob>) => {
  let answer: SeedKeyAnswer;
  try {
    const { source } = data;
    answer = {
      key: typeof source === "string" ? await keyOfModule(source, data) : await keyOfWasm(source, data),
    };
  } catch (error) {
    answer = { error: error instanceof Error ? error.message : String(error) };
  }
  self.postMessage(answer);
};

async function keyOfModule(url: string, { seed, level, ecu, maxKeyLength }: SeedKeyJob): Promise<Uint8Array> {
  let module: { default?: unknown };
  try {
    module = await import(url);
  } catch (error) {
    throw new Error(`cannot be loaded: ${messageOf(error)}`);
  }
  const compute = module.default;
  if (typeof compute !== "function") {
    throw new Error(
      `expected a default export (seed, level, ecu) => Uint8Array, got ${
        compute === undefined ? "none" : typeof compute
      }`,
    );
  }
  let key: unknown;
  try {
    key = await compute(seed, level, ecu);
  } catch (error) {
    throw new Error(`threw: ${messageOf(error)}`);
  }
  if (!(key instanceof Uint8Array)) {
    throw new Error(`expected a Uint8Array as the key, got ${key === null ? "null" : typeof key}`);
  }
  return checkedKey(key.slice(), maxKeyLength);
}

async function keyOfWasm(bytes: Uint8Array, { seed, level, maxKeyLength }: SeedKeyJob): Promise<Uint8Array> {
  let instance: WebAssembly.Instance;
  try {
    const module = await WebAssembly.compile(Uint8Array.from(bytes));
    instance = await WebAssembly.instantiate(module, {});
  } catch (error) {
    throw new Error(`cannot be loaded: ${messageOf(error)}`);
  }
  const { memory, key, alloc } = instance.exports;
  if (!(memory instanceof WebAssembly.Memory)) throw new Error("expected an export memory, got none");
  if (typeof key !== "function") {
    throw new Error("expected an export key(seed_ptr, seed_len, level, out_ptr, out_cap), got none");
  }
  let seedAt: number;
  let keyAt: number;
  let length: unknown;
  try {
    if (typeof alloc === "function") {
      seedAt = pointer(alloc(seed.length));
      keyAt = pointer(alloc(maxKeyLength));
    } else {
      seedAt = memory.grow(1) * pageSize;
      keyAt = seedAt + seed.length;
    }
    if (Math.max(seedAt + seed.length, keyAt + maxKeyLength) > memory.buffer.byteLength) {
      throw new Error("alloc gave room outside the memory");
    }
    new Uint8Array(memory.buffer).set(seed, seedAt);
    length = key(seedAt, seed.length, level, keyAt, maxKeyLength);
  } catch (error) {
    throw new Error(`threw: ${messageOf(error)}`);
  }
  if (typeof length !== "number" || length < 0) throw new Error(`expected the key's length, got ${length}`);
  if (length > maxKeyLength) {
    throw new Error(`expected a key of at most ${maxKeyLength} bytes, got ${length}`);
  }
  // The memory may have grown: its buffer is looked up again.
  return checkedKey(new Uint8Array(memory.buffer).slice(keyAt, keyAt + length), maxKeyLength);
}

/** WebAssembly numbers are signed, addresses are not. */
function pointer(value: unknown): number {
  if (typeof value !== "number") throw new Error(`expected alloc to give an address, got ${typeof value}`);
  return value >>> 0;
}

function checkedKey(key: Uint8Array, maxKeyLength: number): Uint8Array {
  if (key.length < 1 || key.length > maxKeyLength) {
    throw new Error(`expected a key of 1 to ${maxKeyLength} bytes, got ${key.length}`);
  }
  return key;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
