// scapy's ISO-TP in a Python process, asked line by line.

import { createSocket } from "node:dgram";
import type { CanBus, ReceivedFrame } from "../../../hardware/can/bus.ts";
import { type CanFrame, showFrame } from "../../../hardware/can/frame.ts";
import { frame } from "../../hardware/isotp/support/memory_bus.ts";

/** What scapy_isotp.py answers. */
export interface Answer {
  frames?: string[];
  payload?: string | null;
  port?: number;
}

/** The process; ends with `await using`. */
export class Scapy implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: ReadableStreamDefaultReader<string>;
  #rest = "";

  constructor() {
    const script = new URL("./scapy_isotp.py", import.meta.url).pathname;
    this.#process = new Deno.Command("/usr/bin/python3", {
      args: [script],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#lines = this.#process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  async ask(request: Record<string, unknown>): Promise<Answer> {
    await this.#input.write(new TextEncoder().encode(`${JSON.stringify(request)}\n`));
    for (;;) {
      const end = this.#rest.indexOf("\n");
      if (end >= 0) {
        const line = this.#rest.slice(0, end);
        this.#rest = this.#rest.slice(end + 1);
        return JSON.parse(line);
      }
      const { value, done } = await this.#lines.read();
      if (done) throw new Error("scapy ended");
      this.#rest += value;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close();
    await this.#lines.cancel();
    await this.#process.status;
  }
}

/** A CAN bus of two nodes on loopback: each datagram is a frame. */
export class DatagramBus implements CanBus {
  readonly name = "datagrams";
  readonly fd = false;
  readonly closed: Promise<Error | undefined>;
  /** Frames of both nodes in their order, as candump writes them. */
  readonly seen: string[] = [];
  readonly #socket = createSocket("udp4");
  #listeners: ((received: ReceivedFrame) => void)[] = [];
  #peer = 0;
  #close: () => void = () => {};

  constructor() {
    this.closed = new Promise((resolve) => this.#close = () => resolve(undefined));
    this.#socket.on("message", (bytes) => {
      const text = new TextDecoder().decode(bytes);
      this.seen.push(text);
      for (const listener of this.#listeners) listener({ frame: frame(text), time: 0 });
    });
  }

  bind(): Promise<number> {
    return new Promise((resolve) =>
      this.#socket.bind(0, "127.0.0.1", () => resolve(this.#socket.address().port))
    );
  }

  connect(port: number): void {
    this.#peer = port;
  }

  send(sent: CanFrame): Promise<void> {
    const text = showFrame(sent);
    this.seen.push(text);
    return new Promise((resolve, reject) =>
      this.#socket.send(text, this.#peer, "127.0.0.1", (error) => error ? reject(error) : resolve())
    );
  }

  listen(receive: (received: ReceivedFrame) => void): () => void {
    this.#listeners.push(receive);
    return () => {
      this.#listeners = this.#listeners.filter((other) => other !== receive);
    };
  }

  close(): Promise<void> {
    this.#close();
    return new Promise((resolve) => this.#socket.close(() => resolve()));
  }
}
