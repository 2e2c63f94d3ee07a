// Runs the program as a user would: `serve` in one process, commands in others.

import assert from "node:assert/strict";
import { join } from "node:path";
import { prepareEmbedded } from "./embedded.ts";
import { freePort } from "./ports.ts";

const repository = new URL("../../", import.meta.url);
const decoder = new TextDecoder();

/** What a command left. */
export interface CommandResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** Settings that a program of its own needs so that several run side by side. */
export interface ProgramOptions {
  data: string;
  /** e.g. `127.0.41.0/24` */
  network: string;
  settings?: string[];
  /** @default "none" */
  timing?: "none" | "realistic";
  /** Lets the program make its database itself, which takes seconds. @default false: it finds one made before */
  freshDatabase?: boolean;
  /** Further arguments of every command, e.g. `["--bench", "config/bench-100.yaml"]`. */
  more?: string[];
  /** What commands are begun with, e.g. `["ip", "netns", "exec", "server"]`. */
  within?: string[];
  /** The program itself. @default what runs the sources */
  program?: string[];
  /** The folder that it runs in. @default the project's */
  folder?: string;
}

/** One bench: a data folder, free ports and a network, for `serve` and the commands that go with it. */
export class Program {
  readonly httpsPort = freePort();
  readonly mqttPort = freePort();
  readonly localPort = freePort();
  readonly #common: string[];

  constructor(readonly options: ProgramOptions) {
    const settings = [
      `server.https.port=${this.httpsPort}`,
      `server.https.hostname=127.0.0.1`,
      `server.mqtt.port=${this.mqttPort}`,
      `server.mqtt.hostname=127.0.0.1`,
      `server.local.port=${this.localPort}`,
      `bench.network=${options.network}`,
      `bench.timing=${options.timing ?? "none"}`,
      ...options.settings ?? [],
    ];
    this.#common = [
      "--data",
      options.data,
      ...settings.flatMap((it) => ["--set", it]),
      ...options.more ?? [],
    ];
  }

  /**
   * Starts `serve` and waits until its log says that it is ready.
   * @param within what it is begun with instead of what commands are
   */
  async serve(
    args: string[] = [],
    ready = "OTA Server Running",
    within = this.options.within,
  ): Promise<Serving> {
    if (!this.options.freshDatabase) await prepareEmbedded(join(this.options.data, "db"), "newest");
    const serving = new Serving(this.#command(["serve", ...args], within).spawn());
    try {
      await serving.logged(ready);
    } catch (error) {
      serving.kill("SIGKILL");
      await serving.ended;
      throw error;
    }
    return serving;
  }

  /** Starts one command, whose end or log is waited for by the caller. */
  start(args: string[]): Serving {
    return new Serving(this.#command(args, this.options.within).spawn());
  }

  /** Runs one command to its end. */
  async run(args: string[]): Promise<CommandResult> {
    const { code, stdout, stderr } = await this.#command(args, this.options.within).output();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  }

  /** Runs one command that must succeed and gives what it printed as JSON. */
  async json(args: string[]): Promise<unknown> {
    const { code, stdout, stderr } = await this.run([...args, "--json"]);
    assert.equal(code, 0, `zonebench ${args.join(" ")}: exit code ${code}\n${stdout}${stderr}`);
    return JSON.parse(stdout.trim().split("\n").at(-1)!);
  }

  #command(args: string[], within: string[] = []): Deno.Command {
    const [command, ...rest] = [
      ...within,
      ...this.options.program ?? [Deno.execPath(), "run", "--no-check", "-P=program", "src/main.ts"],
      ...args,
      ...this.#common,
    ];
    return new Deno.Command(command, {
      args: rest,
      cwd: this.options.folder ?? repository,
      env: { NO_COLOR: "1" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    });
  }
}

/** A `serve` that runs. */
export class Serving implements AsyncDisposable {
  /** Everything that it wrote so far. */
  log = "";
  readonly ended: Promise<Deno.CommandStatus>;
  #waiting: { text: string; from: number; found: () => void; failed: (error: Error) => void }[] = [];
  #over = false;

  constructor(readonly process: Deno.ChildProcess) {
    const read = Promise.all([this.#read(process.stdout), this.#read(process.stderr)]);
    this.ended = read.then(() => process.status).then((status) => {
      this.#over = true;
      for (const { text, failed } of this.#waiting) {
        failed(new Error(`the program ended (code ${status.code}) before it logged "${text}":\n${this.log}`));
      }
      this.#waiting = [];
      return status;
    });
  }

  /** Waits until the log holds a text, at most two minutes. */
  async logged(text: string, from = 0): Promise<void> {
    if (this.log.indexOf(text, from) >= 0) return;
    if (this.#over) throw new Error(`the program ended and never logged "${text}":\n${this.log}`);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(
      () => reject(new Error(`"${text}" was not logged within 120 s:\n${this.log}`)),
      120_000,
    );
    this.#waiting.push({ text, from, found: resolve, failed: reject });
    try {
      await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  kill(signal: Deno.Signal): void {
    try {
      this.process.kill(signal);
    } catch (error) {
      // It may have ended by itself.
      if (!(error instanceof TypeError) && !(error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  /** Stops it as Ctrl+C does and gives its exit code. */
  async stop(signal: Deno.Signal = "SIGINT"): Promise<number> {
    this.kill(signal);
    return (await this.ended).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#over) return;
    this.kill("SIGKILL");
    await this.ended;
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      this.log += text;
      this.#waiting = this.#waiting.filter((wait) => {
        if (this.log.indexOf(wait.text, wait.from) < 0) return true;
        wait.found();
        return false;
      });
    }
  }
}

/** Tries until a condition holds, at most for a time. */
export async function eventually<T>(
  what: string,
  probe: () => Promise<T | undefined> | T | undefined,
  limit = 90_000,
): Promise<T> {
  const end = performance.now() + limit;
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    if (performance.now() > end) throw new Error(`within ${limit} ms: ${what} did not come true`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Waits for a report that directs updates. One that came before the server knew the ECUs' keys directs none any more. */
export async function verifiedReport(program: Program, vin: string): Promise<void> {
  await eventually(`a verified report of ${vin}`, async () => {
    const { code, stdout } = await program.run(["vci", vin, "--json"]);
    if (code !== 0) return undefined;
    return (JSON.parse(stdout) as { verified: boolean }).verified ? true : undefined;
  });
}

/** A folder that is gone afterwards. */
export async function temporaryFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "zonebench-test-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}
