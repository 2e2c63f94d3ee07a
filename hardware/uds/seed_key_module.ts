// Keys for SecurityAccess from a file of the operator's: a TypeScript or JavaScript module, or a WebAssembly file.
//
// Each key is computed in a worker of its own that is ended afterwards, or when its time is up: whatever the file does, the
// program goes on. The worker may read the module's own folder, for what the module imports, and nothing else: no network,
// no environment, no writing, no programs. A WebAssembly file gets no imports and reads nothing.
//
// A module exports by default `(seed: Uint8Array, level: number, ecu: string) => Uint8Array | Promise<Uint8Array>`.
//
// A WebAssembly file exports `memory` and `key(seed_ptr, seed_len, level, out_ptr, out_cap) -> i32`: it writes the key at
// out_ptr and returns its length, or a negative number. Where it exports `alloc(n) -> ptr`, seed and key lie where that says;
// otherwise in a page by which the memory is grown.
import { dirname, extname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { SeedKey } from "./seed_key.ts";

/** Longest key: what a request of a byte's length could say of it, and more than any in use. */
export const maxKeyLength = 255;
/** Largest WebAssembly file. */
const maxWasmSize = 4 * 1024 * 1024;
const extensions = [".ts", ".js", ".mjs", ".wasm"];

/** Which file, and how long it may take. */
export interface SeedKeyModuleOptions {
  /** Path of the file. */
  path: string;
  /** Longest time for one key, ms, the worker's start included. @default 5000 */
  timeout?: number;
}

/** What the worker is asked. */
export interface SeedKeyJob {
  /** URL of a module, or the bytes of a WebAssembly file. */
  source: string | Uint8Array;
  seed: Uint8Array;
  level: number;
  ecu: string;
  maxKeyLength: number;
}

/** What it answers. */
export type SeedKeyAnswer = { key: Uint8Array } | { error: string };

/** The file gave no key. The message names it and what it did; the seed is not in it. */
export class SeedKeyModuleError extends Error {
  override readonly name = "SeedKeyModuleError";
}

/** Options of a worker that Deno's own types leave out of the stable ones. */
interface RestrictedWorkerOptions extends WorkerOptions {
  deno: {
    permissions: "none" | {
      read: string[];
      write: false;
      net: false;
      env: false;
      run: false;
      sys: false;
      ffi: false;
      import: false;
    };
  };
}

/**
 * The algorithm of a file. It is read when a key is asked for.
 * @throws {RangeError} for a file that is no module by its name, or a time that cannot be
 */
export function createModuleSeedKey({ path, timeout = 5_000 }: SeedKeyModuleOptions): SeedKey {
  const extension = extname(path).toLowerCase();
  if (!extensions.includes(extension)) {
    throw new RangeError(
      `seed-key module: expected a file ${extensions.join(", ")}, got ${JSON.stringify(path)}`,
    );
  }
  if (!Number.isFinite(timeout) || timeout < 1) {
    throw new RangeError(`seed-key module timeout: expected 1 ms or more, got ${timeout}`);
  }
  const file = resolve(path);
  return async function moduleKey(seed, level, ecu = "") {
    const wasm = extension === ".wasm";
    const source = await orExplained<string | Uint8Array>(
      path,
      () => wasm ? readWasm(file) : checkedModule(file),
    );
    // A copy: the seed's buffer may be the transport's.
    return await compute(path, dirname(file), timeout, {
      source,
      seed: seed.slice(),
      level,
      ecu,
      maxKeyLength,
    });
  };
}

function compute(path: string, folder: string, timeout: number, job: SeedKeyJob): Promise<Uint8Array> {
  const options: RestrictedWorkerOptions = {
    type: "module",
    name: "seed_key",
    deno: {
      permissions: typeof job.source === "string"
        ? {
          read: [folder],
          write: false,
          net: false,
          env: false,
          run: false,
          sys: false,
          ffi: false,
          import: false,
        }
        : "none",
    },
  };
  const worker = new Worker(new URL("./seed_key_worker.ts", import.meta.url), options);
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  const fail = (what: string) => reject(new SeedKeyModuleError(`seed-key module ${path}: ${what}`));
  const timer = setTimeout(() => fail(`expected a key within ${timeout} ms, got none`), timeout);
  worker.onmessage = ({ data }: MessageEvent<SeedKeyAnswer>) => {
    if ("key" in data) resolve(data.key);
    else fail(data.error);
  };
  worker.onerror = (event) => {
    // Handled here: otherwise the error would end the program.
    event.preventDefault();
    fail(event.message);
  };
  worker.postMessage(job);
  return promise.finally(() => {
    clearTimeout(timer);
    worker.terminate();
  });
}

async function checkedModule(file: string): Promise<string> {
  const { isFile } = await Deno.stat(file);
  if (!isFile) throw new Error("expected a file, got something else");
  return pathToFileURL(file).href;
}

async function readWasm(file: string): Promise<Uint8Array> {
  const { size } = await Deno.stat(file);
  if (size > maxWasmSize) throw new Error(`expected at most ${maxWasmSize} bytes, got ${size}`);
  return await Deno.readFile(file);
}

async function orExplained<T>(path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new SeedKeyModuleError(`seed-key module ${path}: cannot be read: ${why}`, { cause });
  }
}
