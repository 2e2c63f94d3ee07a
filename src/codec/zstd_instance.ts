// One instance of wasm/zstd.wasm: its memory, its functions, and what becomes of it afterwards. An instance holds one stream.

import bytes from "../../wasm/zstd.wasm" with { type: "bytes" };
import { ZstdError, type ZstdErrorCode } from "./zstd_errors.ts";

/** Memory up to which an instance waits for the next stream. WebAssembly's memory never shrinks: larger ones are dropped. */
const mostKept = 64 * 2 ** 20;

type WasmFunction = (...numbers: number[]) => number;

function isFunction(value: unknown): value is WasmFunction {
  return typeof value === "function";
}

/** The module's functions, by their names there. */
function functionsOf(exports: WebAssembly.Exports) {
  const need = (name: string): WasmFunction => {
    const value = exports[name];
    if (!isFunction(value)) {
      throw new TypeError(`zstd.wasm: expected a function ${name}, got ${typeof value}`);
    }
    return value;
  };
  return {
    input_at: need("input_at"),
    input_size: need("input_size"),
    output_size: need("output_size"),
    progress_at: need("progress_at"),
    allocate: need("allocate"),
    release: need("release"),
    stream_end: need("stream_end"),
    compress_begin: need("compress_begin"),
    search_log: need("search_log"),
    decompress_begin: need("decompress_begin"),
    step: need("step"),
    error_text: need("error_text"),
  };
}

type Functions = Readonly<ReturnType<typeof functionsOf>>;
type FunctionName = keyof Functions;

/** zstd's error codes, from zstd_errors.h, that mean something else than bad data. */
const codes: Readonly<Record<number, ZstdErrorCode>> = {
  16: "window_limit", // ZSTD_error_frameParameter_windowTooLarge
  64: "no_memory", // ZSTD_error_memory_allocation
  70: "output_limit", // ZSTD_error_dstSize_tooSmall
};

/** The module's file, for who wants to tell which one it is. */
export const zstdWasm = bytes;

let compiled: WebAssembly.Module | undefined;
let kept: ZstdInstance | undefined;

/** An instance of the module. When it traps it is dead, and every later call throws the same error. */
export class ZstdInstance {
  readonly #memory: WebAssembly.Memory;
  readonly #functions: Functions;
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array();
  #trap: ZstdError | undefined;
  /** The prefix, where there is one. */
  #room = 0;
  readonly #inputAt: number;
  readonly #progressAt: number;
  /** Most bytes that {@linkcode put} takes. */
  readonly inputSize: number;
  /** Most bytes that a step makes, unless a delta is applied. */
  readonly outputSize: number;

  /** An instance that holds no stream. Give it back with {@linkcode release}. */
  static take(): ZstdInstance {
    const instance = kept ?? new ZstdInstance();
    kept = undefined;
    return instance;
  }

  private constructor() {
    compiled ??= new WebAssembly.Module(bytes);
    const { exports } = new WebAssembly.Instance(compiled);
    if (!(exports.memory instanceof WebAssembly.Memory)) throw new TypeError("zstd.wasm: expected a memory");
    this.#memory = exports.memory;
    this.#functions = functionsOf(exports);
    this.#inputAt = this.call("input_at");
    this.#progressAt = this.call("progress_at");
    this.inputSize = this.call("input_size");
    this.outputSize = this.call("output_size");
  }

  /** Bytes of memory that the instance holds. */
  get memorySize(): number {
    return this.#memory.buffer.byteLength;
  }

  /**
   * Calls a function of the module that cannot fail.
   *
   * @throws {ZstdError} `trap`, when the instance traps or has before.
   */
  call(name: FunctionName, ...numbers: number[]): number {
    if (this.#trap !== undefined) throw this.#trap;
    try {
      return this.#functions[name](...numbers);
    } catch (cause) {
      this.#trap = new ZstdError("trap", `zstd stopped in ${name}: ${cause}`, { cause });
      throw this.#trap;
    }
  }

  /**
   * Calls a function of the module that answers with an error below zero.
   *
   * @param where Ends the message: what was being read.
   * @throws {ZstdError}
   */
  try(where: () => string, name: FunctionName, ...numbers: number[]): number {
    const result = this.call(name, ...numbers);
    if (result >= 0) return result;
    const at = this.call("error_text", result);
    const memory = this.#view();
    const text = new TextDecoder().decode(memory.slice(at, memory.indexOf(0, at)));
    throw new ZstdError(codes[-result] ?? "bad_data", `${text} ${where()}`);
  }

  /** Puts bytes at the beginning of the input. */
  put(input: Uint8Array): void {
    this.#view().set(input, this.#inputAt);
  }

  /** How many bytes the last step took, and what it made, valid until the next call. */
  progress(): { taken: number; made: Uint8Array<ArrayBuffer> } {
    const [taken, length, at] = new Uint32Array(this.#memory.buffer, this.#progressAt, 3);
    return { taken, made: this.#view().subarray(at, at + length) };
  }

  /**
   * Makes room for a prefix and has it filled there, which spares a copy.
   *
   * @param behind Bytes of further room behind it.
   * @returns Where it lies.
   * @throws {ZstdError} `no_memory`, when there is not that much memory.
   */
  putPrefix(size: number, fill: (room: Uint8Array<ArrayBuffer>) => void, behind = 0): number {
    this.#room = this.call("allocate", size + behind);
    if (this.#room === 0) {
      const what = behind > 0 ? ` and a target of ${behind}` : "";
      throw new ZstdError("no_memory", `expected memory for a base of ${size} bytes${what}, there is none`);
    }
    fill(this.#view().subarray(this.#room, this.#room + size));
    return this.#room;
  }

  /** Ends the stream. The instance must not be used any more: another stream may have it. */
  release(): void {
    if (this.#trap !== undefined) return;
    this.call("stream_end");
    this.call("release", this.#room);
    this.#room = 0;
    if (this.memorySize <= mostKept) kept = this;
  }

  #view(): Uint8Array<ArrayBuffer> {
    const { buffer } = this.#memory;
    if (this.#bytes.buffer !== buffer) {
      if (!(buffer instanceof ArrayBuffer)) throw new TypeError("zstd.wasm: expected a memory of its own");
      this.#bytes = new Uint8Array(buffer);
    }
    return this.#bytes;
  }
}
