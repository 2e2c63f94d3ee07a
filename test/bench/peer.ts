// A program that a measurement runs beside itself: a question a line on its input, an answer a line on its output.

/** Answers hold figures only. */
export type Answer = Readonly<Record<string, number>>;

/** Longest wait for an answer, ms. */
const answerLimit = 120_000;

function toAnswer(line: string): Answer {
  const answer: unknown = JSON.parse(line);
  if (typeof answer !== "object" || answer === null) throw new TypeError(`expected figures, got ${line}`);
  const figures: Record<string, number> = {};
  for (const [name, value] of Object.entries(answer)) {
    if (typeof value !== "number") throw new TypeError(`expected a number ${name}, got ${line}`);
    figures[name] = value;
  }
  return figures;
}

/** One question at a time. */
export class Peer implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reader: ReadableStreamDefaultReader<string>;
  #text = "";

  private constructor(process: Deno.ChildProcess) {
    this.#process = process;
    this.#writer = process.stdin.getWriter();
    this.#reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  static start(command: string, args: string[]): Peer {
    const options = { args, stdin: "piped", stdout: "piped", stderr: "inherit" } as const;
    return new Peer(new Deno.Command(command, options).spawn());
  }

  /** @throws {Error} when the program ends instead, or takes too long. */
  async ask(question: Readonly<Record<string, unknown>>): Promise<Answer> {
    await this.#writer.write(new TextEncoder().encode(`${JSON.stringify(question)}\n`));
    const limit = setTimeout(() => this.#process.kill("SIGKILL"), answerLimit);
    try {
      while (!this.#text.includes("\n")) {
        const { value, done } = await this.#reader.read();
        if (done) {
          throw new Error(`the program beside ended, or was ended, before it answered ${question.do}`);
        }
        this.#text += value;
      }
    } finally {
      clearTimeout(limit);
    }
    const end = this.#text.indexOf("\n");
    const line = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 1);
    return toAnswer(line);
  }

  /** The end of its input is what such a program ends at. */
  async [Symbol.asyncDispose](): Promise<void> {
    // One that has ended already takes no end.
    await this.#writer.close().catch(() => {});
    await this.#reader.cancel();
    await this.#process.status;
  }
}
