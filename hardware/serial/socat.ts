// `socat` as a child process whose standard input and output are one end of what it connects: the way to a device for a
// process that may not open one itself, and the maker of pseudo terminals.
//
// socat does not read while it waits to write. Two of them, one at each end of a pseudo terminal, would wait for each other
// forever once both directions are full: to a device there are two, one for each direction.
import { type Carrier, within } from "./carrier.ts";
import { errorOfSystem, MissingToolError, PortClosedError, SerialError, UnpluggedError } from "./errors.ts";

/** What socat says when both ends are open. */
const started = "starting data transfer loop";

/** Longest wait for socat to open its ends, ms. */
const startLimit = 10_000;

/** How long socat may take to pass on what it holds when its input ends, ms. */
const drainLimit = 500;

/** Lines of what socat said that are kept for messages. */
const keptLines = 20;

/** Writes a path so that socat's address syntax leaves it as it is. */
export function socatPath(path: string): string {
  return path.replaceAll(/[^A-Za-z0-9_./-]/g, (character) => `\\${character}`);
}

/** A running socat between this process and what it was told to open. */
export class SocatProcess implements Carrier {
  readonly kind = "socat";
  /** Resolves when socat has ended, for whatever reason. */
  readonly ended: Promise<void>;
  readonly #port: string;
  readonly #child: Deno.ChildProcess;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #said: string[] = [];
  readonly #starting = Promise.withResolvers<void>();
  readonly #listening: Promise<void>;
  #rest: Uint8Array | undefined;
  #closed = false;
  #closing: Promise<void> | undefined;

  private constructor(port: string, child: Deno.ChildProcess) {
    this.#port = port;
    this.#child = child;
    this.#reader = child.stdout.getReader();
    this.#writer = child.stdin.getWriter();
    // Whoever writes next is told; without anybody writing it is no error of its own.
    this.#writer.closed.catch(() => {});
    this.#listening = this.#listen();
    this.ended = this.#end();
  }

  /**
   * Starts socat and waits until both its ends are open.
   *
   * @param port what messages call it
   * @param args what it connects, after its common options
   * @throws {MissingToolError} where socat is not installed
   * @throws {SerialError} for what socat refuses
   */
  static async start(port: string, args: readonly string[]): Promise<SocatProcess> {
    const command = new Deno.Command("socat", {
      // -t 0: when one end is gone there is nothing to wait for.
      args: ["-d", "-d", "-b", "65536", "-t", "0", ...args],
      env: { LC_ALL: "C" },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    });
    let child: Deno.ChildProcess;
    try {
      child = command.spawn();
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new MissingToolError(port, "socat is not installed (Debian: apt-get install socat)", {
        cause: error,
      });
    }
    const carrier = new SocatProcess(port, child);
    const opened = await within(carrier.#starting.promise, startLimit);
    try {
      if (!opened) throw new SerialError(port, `socat did not open it within ${startLimit} ms`);
      await carrier.#starting.promise;
    } catch (error) {
      await carrier.close();
      throw error;
    }
    return carrier;
  }

  /** What socat said last. */
  get said(): string {
    return this.#said.join("\n");
  }

  async read(into: Uint8Array): Promise<number> {
    let chunk = this.#rest;
    if (chunk === undefined) {
      const { value, done } = await this.#reader.read();
      if (this.#closed) throw new PortClosedError(this.#port, "closed");
      if (done) throw await this.#gone();
      chunk = value;
    }
    const count = Math.min(chunk.length, into.length);
    into.set(count === chunk.length ? chunk : chunk.subarray(0, count));
    this.#rest = count === chunk.length ? undefined : chunk.subarray(count);
    return count;
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#closed) throw new PortClosedError(this.#port, "closed");
    try {
      await this.#writer.write(bytes);
    } catch (error) {
      if (this.#closed) throw new PortClosedError(this.#port, "closed", { cause: error });
      throw await this.#gone(error);
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#closed = true;
    // The end of its input lets socat pass on what it holds, and end.
    this.#writer.close().catch(() => {});
    if (!await within(this.ended, drainLimit)) this.#kill("SIGTERM");
    if (!await within(this.ended, drainLimit)) this.#kill("SIGKILL");
    await this.ended;
    await this.#listening;
    // What nobody read is of no use to anybody now.
    await this.#reader.cancel().catch(() => {});
    await this.#writer.abort().catch(() => {});
  }

  #kill(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch (error) {
      // It ended by itself meanwhile.
      if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  async #end(): Promise<void> {
    await this.#child.status;
  }

  async #listen(): Promise<void> {
    let line = "";
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stderr) {
      const lines = (line + decoder.decode(chunk, { stream: true })).split("\n");
      line = (lines.pop() ?? "").slice(0, 1000);
      for (const complete of lines) {
        // `2026/11/21 12:00:00 socat[1234] E open("/dev/x"): No such file or directory`
        const text = complete.replace(/^.*?socat\[\d+\] /, "");
        this.#said.push(text);
        if (this.#said.length > keptLines) this.#said.shift();
        if (text.includes(started)) this.#starting.resolve();
      }
    }
    this.#starting.promise.catch(() => {});
    this.#starting.reject(this.#refusal());
  }

  #lastError(): string | undefined {
    return this.#said.findLast((line) => /^[EF] /.test(line))?.slice(2);
  }

  #refusal(): SerialError {
    return errorOfSystem(
      this.#port,
      this.#lastError() ?? `socat ended: ${this.#said.at(-1) ?? "it said nothing"}`,
    );
  }

  async #gone(cause?: unknown): Promise<UnpluggedError> {
    await within(this.#listening, drainLimit);
    const said = this.#lastError();
    return new UnpluggedError(
      this.#port,
      `the adapter is gone; unplugged?${said === undefined ? "" : ` (${said})`}`,
      { cause },
    );
  }
}

/**
 * Opens a serial device through socat.
 *
 * @param lock locks it against other programs that lock it
 * @throws {SerialError}
 */
export async function openThroughSocat(path: string, lock: boolean): Promise<Carrier> {
  const device = `OPEN:${socatPath(path)},noctty`;
  const reader = await SocatProcess.start(path, [
    // Its unused input ends with this process, even when that is killed: the lock does not outlive it.
    `${device},rdonly${lock ? ",flock-ex-nb" : ""}!!OPEN:/dev/null,wronly`,
    "STDIN!!STDOUT",
  ]);
  let writer: SocatProcess;
  try {
    writer = await SocatProcess.start(path, ["-u", "STDIN", `${device},wronly`]);
  } catch (error) {
    await reader.close();
    throw error;
  }
  return {
    kind: "socat",
    read: (into) => reader.read(into),
    write: (bytes) => writer.write(bytes),
    async close() {
      // What was written last goes out before the line may be hung up.
      await writer.close();
      await reader.close();
    },
  };
}
