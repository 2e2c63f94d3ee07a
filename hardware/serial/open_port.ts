// One way to whatever an adapter hangs on: a serial device, a pseudo terminal, or a serial line over TCP.
import { SerialPortStream } from "@serialport/stream";
import type { ByteStream } from "../byte_stream.ts";
import { type Access, denoBinding } from "./binding.ts";
import { errorOfSystem, PortClosedError, PortMissingError, SerialError, UnpluggedError } from "./errors.ts";

export interface OpenPortOptions {
  /** bit/s of a serial device; USB adapters take any. @default 115_200 */
  baudRate?: number;
  /** Hardware handshake. @default false */
  rtscts?: boolean;
  /** Keeps other programs that lock ports from opening it. @default true */
  lock?: boolean;
  /** @default "auto" */
  access?: Access;
  /** Longest wait for a TCP connection, ms. @default 5000 */
  connectTimeout?: number;
  /** Ends the opening. */
  signal?: AbortSignal;
}

/** How much the stream reads ahead. A tty gives 4 KiB at once at most. */
const readAhead = 64 * 1024;

/**
 * Opens a port.
 *
 * @param target a device path, or `tcp://host:port` as ser2net gives lines
 * @throws {SerialError} which says what is wrong and what to do
 */
export async function openPort(target: string, options: OpenPortOptions = {}): Promise<ByteStream> {
  options.signal?.throwIfAborted();
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(target)) return await openTcp(target, options);
  const stream = new SerialPortStream({
    binding: denoBinding,
    path: target,
    baudRate: options.baudRate ?? 115_200,
    rtscts: options.rtscts ?? false,
    lock: options.lock ?? true,
    access: options.access,
    autoOpen: false,
    highWaterMark: readAhead,
  });
  await new Promise<void>((resolve, reject) => stream.open((error) => error ? reject(error) : resolve()));
  const port = new PortStream(target, stream);
  if (options.signal?.aborted) {
    port.close();
    await port.closed;
    options.signal.throwIfAborted();
  }
  return port;
}

/** Parses `tcp://host:port`. @throws {SerialError} for another address */
export function parseTcpTarget(target: string): { hostname: string; port: number } {
  const match = /^tcp:\/\/(?:\[([0-9a-f:.%]+)\]|([^/:@?#[\]]+)):(\d{1,5})\/?$/i.exec(target);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65_535) {
    throw new SerialError(target, "expected a device path or tcp://host:port");
  }
  return { hostname: match[1] ?? match[2], port };
}

async function openTcp(target: string, options: OpenPortOptions): Promise<ByteStream> {
  const { connectTimeout = 5000, signal } = options;
  const address = parseTcpTarget(target);
  const late = AbortSignal.timeout(connectTimeout);
  try {
    const connection = await Deno.connect({
      ...address,
      signal: signal === undefined ? late : AbortSignal.any([late, signal]),
    });
    // Commands are a few bytes each and wait for their answer.
    connection.setNoDelay(true);
    return connection;
  } catch (error) {
    signal?.throwIfAborted();
    if (late.aborted) {
      throw new PortMissingError(target, `nobody answered within ${connectTimeout} ms`, { cause: error });
    }
    if (error instanceof Deno.errors.ConnectionRefused) {
      throw new PortMissingError(target, "connection refused; is the program that gives the line running?", {
        cause: error,
      });
    }
    if (error instanceof Deno.errors.NotCapable || !(error instanceof Error)) throw error;
    throw errorOfSystem(target, error.message, error);
  }
}

/** The serialport stream as a byte stream. */
class PortStream implements ByteStream {
  /** Resolves when the device is let go of. */
  readonly closed: Promise<void>;
  readonly #target: string;
  readonly #stream: SerialPortStream<typeof denoBinding>;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;
  #rest: Uint8Array | undefined;
  #ending = false;

  constructor(target: string, stream: SerialPortStream<typeof denoBinding>) {
    this.#target = target;
    this.#stream = stream;
    this.closed = new Promise((resolve) => {
      stream.on("close", (error: Error | null) => {
        this.#failed(
          error
            ? new UnpluggedError(target, error.message.replace(`${target}: `, ""), { cause: error })
            : new PortClosedError(target, "the port was closed"),
        );
        resolve();
      });
    });
    stream.on("readable", () => this.#wake?.());
    stream.on("error", (error: Error) => this.#failed(error));
  }

  async read(into: Uint8Array): Promise<number | null> {
    for (;;) {
      const chunk = this.#rest ?? this.#next();
      if (chunk !== undefined) {
        const count = Math.min(chunk.length, into.length);
        into.set(count === chunk.length ? chunk : chunk.subarray(0, count));
        this.#rest = count === chunk.length ? undefined : chunk.subarray(count);
        return count;
      }
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => this.#wake = resolve);
      this.#wake = undefined;
    }
  }

  write(bytes: Uint8Array): Promise<number> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#stream.write(bytes, undefined, (error) => {
        if (error) reject(this.#failure ?? error);
        else resolve(bytes.length);
      });
    });
  }

  close(): void {
    if (this.#ending) return;
    this.#ending = true;
    this.#failed(new PortClosedError(this.#target, "the port was closed"));
    if (this.#stream.isOpen) this.#stream.close();
  }

  #next(): Uint8Array | undefined {
    const chunk: unknown = this.#stream.read();
    return chunk instanceof Uint8Array ? chunk : undefined;
  }

  #failed(error: Error): void {
    this.#failure ??= error;
    this.#wake?.();
  }
}
