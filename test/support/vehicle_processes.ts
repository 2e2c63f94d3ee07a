// Processes of vehicles that are nothing but their link, which a test kills and starts again.

import type { LinkVehicles } from "./link_vehicles.ts";

type Options = Omit<LinkVehicles, "vehicles" | "interval">;

/** Two processes with half of the vehicles each. */
export class VehicleProcesses implements AsyncDisposable {
  readonly #options: Options;
  readonly #groups: LinkVehicles["vehicles"][];
  readonly #processes: { child: Deno.ChildProcess; written: Promise<string> }[] = [];
  /** What processes wrote that ended by themselves. */
  readonly failures: string[] = [];

  constructor(vehicles: LinkVehicles["vehicles"], options: Options) {
    this.#options = options;
    this.#groups = [0, 1].map((half) => vehicles.filter((_, at) => at % 2 === half));
  }

  async start(interval: number): Promise<void> {
    for (const index of this.#groups.keys()) await this.#start(index, interval);
  }

  /** Kills a group as a crash does and starts it again. */
  async restart(index: number, interval: number): Promise<void> {
    await this.#end(index);
    await this.#start(index, interval);
  }

  async restartAll(interval: number): Promise<void> {
    for (const index of this.#groups.keys()) await this.restart(index, interval);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const index of this.#processes.keys()) await this.#end(index);
  }

  async #start(index: number, interval: number): Promise<void> {
    const options: LinkVehicles = { ...this.#options, vehicles: this.#groups[index], interval };
    const script = new URL("./link_vehicles.ts", import.meta.url).pathname;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-check", "-A", script, JSON.stringify(options)],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const written = new Response(child.stderr).text();
    this.#processes[index] = { child, written };
    const reader = child.stdout.getReader();
    const { done } = await reader.read();
    reader.releaseLock();
    if (done) throw new Error(`the vehicles ended at once: ${await written}`);
  }

  async #end(index: number): Promise<void> {
    const { child, written } = this.#processes[index];
    try {
      child.kill("SIGKILL");
    } catch (cause) {
      if (!(cause instanceof TypeError)) throw cause;
      // It ended by itself, which it must not.
      this.failures.push(await written);
    }
    await child.stdout.cancel();
    await child.status;
    await written;
  }
}
