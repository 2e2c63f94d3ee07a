// The host's side of one connection to an SLCAN adapter: what is sent and what the adapter answers to it, in order.
import { type ByteStream, closeQuietly } from "../byte_stream.ts";
import type { Clock } from "../clock.ts";
import { CanBusError } from "./bus.ts";
import { Fifo } from "./fifo.ts";
import type { CanFrame } from "./frame.ts";
import { LineWriter } from "./line_writer.ts";
import { decodeAnswer, type SlcanAnswer } from "./slcan_command.ts";
import type { Acknowledgement } from "./slcan_device.ts";
import { maxFrameLine, SlcanFrameReader, writeFrame } from "./slcan_frame.ts";
import { SlcanLineReader } from "./slcan_lines.ts";
import { type Command, type Delivery, shown, type SlcanStatistics, Unanswered } from "./slcan_unanswered.ts";

export interface SlcanLinkOptions {
  name: string;
  acknowledgement: Acknowledgement;
  /** Frames that may be unacknowledged. */
  window: number;
  clock: Clock;
  statistics: SlcanStatistics;
  log: (message: string) => void;
  /** A frame came; valid during the call. */
  received(frame: CanFrame, timestamp: number): void;
  /** The adapter told its controller's state unasked. */
  state(answer: SlcanAnswer): void;
  /** The line failed or ended. */
  lost(error: Error): void;
}

/** Bytes on their way to the operating system before more frames are held back. */
const writeAhead = 64 * 1024;

/** One connection to an adapter. */
export class SlcanLink {
  readonly #stream: ByteStream;
  readonly #options: SlcanLinkOptions;
  readonly #writer: LineWriter;
  readonly #lines: SlcanLineReader;
  readonly #frames = new SlcanFrameReader();
  readonly #unanswered: Unanswered;
  readonly #waiting = new Fifo<Delivery>();
  /** The window was full, and is not yet half empty. */
  #held = false;
  #ready = false;
  #closed = false;
  #discarding = false;
  /** An acknowledgement, or a refusal, was heard while discarding. */
  #acknowledged = false;
  #filling = false;
  readonly #reading: Promise<void>;

  constructor(stream: ByteStream, options: SlcanLinkOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#unanswered = new Unanswered(options);
    this.#writer = new LineWriter(
      stream,
      2 * writeAhead,
      (total) => {
        this.#unanswered.taken(total);
        this.#fill();
      },
      (error) => this.#fail(error),
    );
    this.#lines = new SlcanLineReader({
      line: (bytes, start, end) => this.#line(bytes, start, end),
      bell: () => this.#bell(),
      dropped: (count) => {
        if (this.#discarding) return;
        options.statistics.droppedBytes += count;
        options.log(`${options.name}: ${count} bytes of no line dropped`);
      },
    });
    this.#reading = this.#read();
  }

  /** Frames are taken from now on: the channel is open. */
  start(): void {
    this.#ready = true;
    this.#fill();
  }

  /** Frames wait from now on: the channel is being opened anew. What is in flight is given up with the error. */
  pause(error: Error): void {
    this.#ready = false;
    this.#unanswered.abandon(error);
  }

  /** Queues frames behind those that wait. */
  deliver(delivery: Delivery): void {
    this.#waiting.push(delivery);
    // Frames of the same turn go out in one write: the writer waits for the turn's end.
    this.#fill();
  }

  /**
   * Ends what a former user left on the line, closes the channel, and forgets all that comes within `quiet` ms.
   *
   * @returns whether something that may be an acknowledgement was among it
   */
  async purge(quiet: number): Promise<boolean> {
    this.#discarding = true;
    this.#acknowledged = false;
    this.#writer.push(ascii("\r\r\rC\r"));
    await this.#pause(quiet);
    this.#lines.reset();
    this.#discarding = false;
    return this.#acknowledged;
  }

  /**
   * Sends a command, with its `\r`, and waits for what it expects; in mode "none" a mere acknowledgement is not waited for.
   *
   * @throws {SlcanRefusedError} when the adapter answers `\a`
   * @throws {CanBusError} when no answer comes within `timeout` ms
   */
  command(
    text: string,
    expects: Command["expects"],
    timeout: number,
  ): Promise<SlcanAnswer | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<SlcanAnswer | undefined>();
    if (this.#closed || !this.#writer.push(ascii(text))) {
      reject(new CanBusError(`${this.#options.name}: ${shown(text)} was not sent: the line takes nothing`));
      return promise;
    }
    if (expects === "acknowledgement" && this.#options.acknowledgement === "none") {
      resolve(undefined);
      return promise;
    }
    const command: Command = {
      text,
      expects,
      resolve: (answer) => {
        cancel();
        resolve(answer);
      },
      reject: (error) => {
        cancel();
        reject(error);
      },
    };
    const cancel = this.#options.clock.after(timeout, () => {
      this.#unanswered.forget(command);
      this.#fill();
      reject(
        new CanBusError(`${this.#options.name}: no answer to ${shown(text)} within ${timeout} ms`),
      );
    });
    this.#unanswered.command(command, this.#writer.total);
    return promise;
  }

  /** Gives up everything that was written and is not acknowledged: its answers are not coming. */
  abandonUnanswered(error: Error): void {
    this.#unanswered.abandon(error);
    this.#fill();
  }

  /** Frames and commands that were written and are not acknowledged. */
  get unanswered(): number {
    return this.#unanswered.length;
  }

  /** Whether the line failed, ended or was closed. */
  get gone(): boolean {
    return this.#closed;
  }

  /** Writes what waits, closes the channel if it was open, and the stream. */
  async close(error: Error, graceful: number): Promise<void> {
    if (!this.#closed && this.#ready) {
      this.#ready = false;
      this.#writer.push(ascii("C\r"));
      await Promise.race([this.#writer.flushed(), this.#pause(graceful)]);
    }
    this.#end(error);
    await this.#reading;
  }

  #pause(delay: number): Promise<void> {
    return new Promise((resolve) => this.#options.clock.after(delay, resolve));
  }

  async #read(): Promise<void> {
    const buffer = new Uint8Array(64 * 1024);
    try {
      while (!this.#closed) {
        const count = await this.#stream.read(buffer);
        if (count === null) throw new CanBusError(`${this.#options.name}: the line ended`);
        if (!this.#closed) this.#lines.push(buffer.subarray(0, count));
      }
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #fail(cause: Error): void {
    if (this.#closed) return;
    const error = cause instanceof CanBusError
      ? cause
      : new CanBusError(`${this.#options.name}: the line failed: ${cause.message}`, { cause });
    this.#end(error);
    this.#options.lost(error);
  }

  #end(error: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#writer.stop();
    this.#unanswered.abandon(error);
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      next.settle(error);
    }
    closeQuietly(this.#stream);
  }

  #fill(): void {
    // What settles a delivery may hand over the next one at once.
    if (this.#filling || !this.#ready) return;
    // One frame for each acknowledgement would be one write, and one turn of all that carries the line, for each frame.
    if (this.#held && this.#unanswered.frames > this.#options.window >> 1) return;
    this.#held = false;
    this.#filling = true;
    const writer = this.#writer;
    const acknowledged = this.#options.acknowledgement !== "none";
    for (let delivery = this.#waiting.first; delivery !== undefined; delivery = this.#waiting.first) {
      while (delivery.next < delivery.frames.length && !delivery.settled) {
        if (acknowledged && this.#unanswered.frames >= this.#options.window) {
          this.#held = true;
          break;
        }
        if (writer.waiting >= writeAhead || !writer.reserve(maxFrameLine + 1)) break;
        const index = delivery.next++;
        writer.commit(writeFrame(delivery.frames[index], writer.bytes, writer.at));
        this.#unanswered.frame(delivery, index, writer.total);
      }
      if (delivery.next < delivery.frames.length && !delivery.settled) break;
      this.#waiting.shift();
    }
    this.#filling = false;
  }

  #line(bytes: Uint8Array, start: number, end: number): void {
    if (this.#discarding) {
      this.#acknowledged ||= start === end;
      return;
    }
    if (start === end) return this.#acknowledge(false);
    if (SlcanFrameReader.begins(bytes[start])) {
      const fault = this.#frames.read(bytes, start, end);
      if (fault === undefined) {
        this.#options.statistics.framesReceived++;
        this.#options.received(this.#frames.frame, this.#frames.timestamp);
        return;
      }
      if (!this.#unanswered.expectsText) {
        this.#options.statistics.malformedLines++;
        this.#options.log(
          `${this.#options.name}: no frame (${fault}): ${shownBytes(bytes.subarray(start, end))}`,
        );
        return;
      }
    }
    const answer = decodeAnswer(bytes, start, end);
    switch (answer.kind) {
      case "queued":
        return this.#acknowledge(true);
      case "state":
        return this.#options.state(answer);
      case "text":
        if (this.#unanswered.expectsText) {
          return this.#answered("version", { kind: "version", text: answer.text.trim() });
        }
        this.#options.statistics.strayAnswers++;
        return;
      default:
        return this.#answered(answer.kind, answer);
    }
  }

  #acknowledge(ofFrame: boolean): void {
    if (this.#unanswered.acknowledge(ofFrame)) this.#fill();
  }

  #bell(): void {
    if (this.#discarding) this.#acknowledged = true;
    else if (this.#unanswered.refuse()) this.#fill();
  }

  #answered(expects: Command["expects"], answer: SlcanAnswer): void {
    if (this.#unanswered.answer(expects, answer)) this.#fill();
  }
}

const encoder = new TextEncoder();

function ascii(text: string): Uint8Array {
  return encoder.encode(text);
}

function shownBytes(bytes: Uint8Array): string {
  const text = new TextDecoder("latin1").decode(bytes.subarray(0, 40));
  return JSON.stringify(bytes.length > 40 ? `${text}…` : text);
}
