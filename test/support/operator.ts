// The test's end of an operator that runs elsewhere (operator_process.ts).

import type { Answer, CallOptions } from "../../src/contract/client.ts";
import { pathOf, type Route } from "../../src/contract/routes.ts";

/** Calls the contract's routes from within a network namespace. */
export class RemoteOperator implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  #text = "";
  #before: Promise<unknown> = Promise.resolve();

  /** @param within what the process is begun with, e.g. `["ip", "netns", "exec", "server"]` */
  constructor(within: string[], origin: string, pki: string) {
    const script = new URL("./operator_process.ts", import.meta.url).pathname;
    const [command, ...args] = [...within, Deno.execPath(), "run", "--no-check", "-A", script, origin, pki];
    this.#process = new Deno.Command(command, { args, stdin: "piped", stdout: "piped", stderr: "inherit" })
      .spawn();
    this.#lines = this.#process.stdout.pipeThrough(new TextDecoderStream()).getReader();
    this.#input = this.#process.stdin.getWriter();
  }

  /** One call at a time, in the order in which they are made. */
  call<R extends Route>(route: R, options: CallOptions<R> = {}): Promise<Answer<R>> {
    const answer = this.#before.then(() => this.#call(route, options));
    this.#before = answer.catch(() => {}); // Whoever made the call hears of it.
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close();
    await this.#lines.cancel();
    await this.#process.status;
  }

  async #call<R extends Route>(route: R, { path, body }: CallOptions<R>): Promise<Answer<R>> {
    const line = JSON.stringify({ method: route.method, path: pathOf(route, path), body });
    await this.#input.write(new TextEncoder().encode(`${line}\n`));
    while (!this.#text.includes("\n")) {
      const { value, done } = await this.#lines.read();
      if (done) throw new Error("the operator's process has ended");
      this.#text += value;
    }
    const [first, ...rest] = this.#text.split("\n");
    this.#text = rest.join("\n");
    const answer: { status: number; body: unknown } = JSON.parse(first);
    if (answer.status !== route.status) throw new Error(`${line}: ${first}`);
    return route.answer?.parse(answer.body) as Answer<R>;
  }
}
