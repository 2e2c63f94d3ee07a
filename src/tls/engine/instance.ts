// One instance of the engine's WebAssembly module: its memory, its functions, and what becomes of it when it traps.

import bytes from "../../../wasm/tls.wasm" with { type: "bytes" };
import { EngineTrap } from "./failures.ts";

/** What the engine asks of its host. Tests put their own in its place. */
export interface Host {
  /** Fills the bytes from a cryptographic generator. */
  random(bytes: Uint8Array<ArrayBuffer>): void;
  /** Milliseconds since 1970. */
  now(): number;
}

/** Most bytes that the runtime's generator gives at once. */
const mostRandom = 65_536;

const systemHost: Host = {
  random(bytes) {
    for (let offset = 0; offset < bytes.length; offset += mostRandom) {
      crypto.getRandomValues(bytes.subarray(offset, offset + mostRandom));
    }
  },
  now: Date.now,
};

type WasmFunction = (...numbers: number[]) => number;

function isFunction(value: unknown): value is WasmFunction {
  return typeof value === "function";
}

/** The module's functions, by their names there. All take and give numbers. */
function functionsOf(exports: WebAssembly.Exports) {
  const need = (name: string): WasmFunction => {
    const value = exports[name];
    if (!isFunction(value)) throw new TypeError(`tls.wasm: expected a function ${name}, got ${typeof value}`);
    return value;
  };
  return {
    start: need("start"),
    scratch: need("scratch"),
    reply: need("reply"),
    reply_length: need("reply_length"),
    server_new: need("server_new"),
    server_free: need("server_free"),
    client_new: need("client_new"),
    client_free: need("client_free"),
    connection_accept: need("connection_accept"),
    connection_connect: need("connection_connect"),
    connection_free: need("connection_free"),
    connection_input: need("connection_input"),
    connection_process: need("connection_process"),
    connection_status: need("connection_status"),
    connection_read: need("connection_read"),
    connection_taken: need("connection_taken"),
    connection_write: need("connection_write"),
    connection_close_notify: need("connection_close_notify"),
    connection_update_keys: need("connection_update_keys"),
    connection_end_of_input: need("connection_end_of_input"),
    connection_facts: need("connection_facts"),
    connection_offered: need("connection_offered"),
    connection_log_keys: need("connection_log_keys"),
    connection_logged_keys: need("connection_logged_keys"),
    connection_failure: need("connection_failure"),
    primitive: need("primitive"),
    panic_text: need("panic_text"),
    panic_length: need("panic_length"),
  };
}

type Functions = Readonly<ReturnType<typeof functionsOf>>;
type FunctionName = keyof Functions;

/** The module's file, for who wants to tell which one it is. */
export const tlsWasm = bytes;

let compiled: WebAssembly.Module | undefined;

/**
 * An instance. All of its connections share one memory and one thread. When the engine panics, or runs out of memory or
 * stack, the instance is dead: every later call throws the same {@link EngineTrap}, and {@link currentInstance} makes
 * another for those who come next.
 */
export class Instance {
  readonly #functions: Functions;
  readonly #memory: WebAssembly.Memory;
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array();
  #trap: EngineTrap | undefined;

  constructor(host: Host = systemHost) {
    compiled ??= new WebAssembly.Module(bytes);
    const { exports } = new WebAssembly.Instance(compiled, {
      host: {
        random: (pointer: number, length: number) => host.random(this.view(pointer, length)),
        now: () => host.now(),
      },
    });
    if (!(exports.memory instanceof WebAssembly.Memory)) {
      throw new TypeError("tls.wasm: expected a memory");
    }
    this.#memory = exports.memory;
    this.#functions = functionsOf(exports);
    this.call("start");
  }

  /** Why the instance can no longer be used, if so. */
  get trap(): EngineTrap | undefined {
    return this.#trap;
  }

  /** Bytes of memory that the instance holds. Memory grows and is used again; it does not shrink. */
  get memorySize(): number {
    return this.#memory.buffer.byteLength;
  }

  /**
   * Calls a function of the module.
   *
   * @throws {EngineTrap} when the instance traps, or has before.
   */
  call(name: FunctionName, ...numbers: number[]): number {
    if (this.#trap !== undefined) throw this.#trap;
    try {
      return this.#functions[name](...numbers) >>> 0;
    } catch (cause) {
      // Whatever was thrown, a failing host function's error as well, has left the module in the middle of something.
      this.#trap = new EngineTrap(
        `the TLS engine stopped in ${name}: ${this.#panicText() || String(cause)}`,
        {
          cause,
        },
      );
      throw this.#trap;
    }
  }

  /** The module's memory from `pointer`, until the next call. */
  view(pointer: number, length: number): Uint8Array<ArrayBuffer> {
    const { buffer } = this.#memory;
    if (this.#bytes.buffer !== buffer) {
      if (!(buffer instanceof ArrayBuffer)) throw new TypeError("tls.wasm: expected a memory of its own");
      this.#bytes = new Uint8Array(buffer);
    }
    return this.#bytes.subarray(pointer, pointer + length);
  }

  /** Numbers of 32 bits at `pointer`, until the next call. */
  numbers(pointer: number, count: number): Uint32Array {
    return new Uint32Array(this.#memory.buffer, pointer, count);
  }

  /** Puts bytes where the module's functions look for them. */
  give(data: Uint8Array): void {
    const pointer = this.call("scratch", data.length);
    this.view(pointer, data.length).set(data);
  }

  /** A copy of the module's last reply. */
  reply(length: number): Uint8Array<ArrayBuffer> {
    const pointer = this.call("reply");
    return this.view(pointer, length).slice();
  }

  /** The last reply as text. */
  replyText(length: number): string {
    return new TextDecoder().decode(this.reply(length));
  }

  #panicText(): string {
    try {
      const length = this.#functions.panic_length();
      return new TextDecoder().decode(this.view(this.#functions.panic_text() >>> 0, length >>> 0).slice());
    } catch {
      // An instance that does not even answer this has nothing to tell beyond what was caught already.
      return "";
    }
  }
}

const byClock = new WeakMap<() => number, Instance>();

/** The instance whose clock is not the system's: certificates are good or not by that one. One for each, until it traps. */
export function instanceByClock(now: () => number): Instance {
  let found = byClock.get(now);
  if (found === undefined || found.trap !== undefined) {
    found = new Instance({ ...systemHost, now });
    byClock.set(now, found);
  }
  return found;
}

let current: Instance | undefined;

/** The instance that new connections use: one for the whole program, until it traps. */
export function currentInstance(): Instance {
  if (current === undefined || current.trap !== undefined) current = new Instance();
  return current;
}
