// The host's side of one connection to an SLCAN adapter: what is sent and what the adapter answers to it, in order.
import { type ByteStream, closeQuietly } from "../byte_stream.ts";
import type { Clock } from "../clock.ts";
import { CanBusError } from "./bus.ts";
import { type CanFrame, showFrame } from "./frame.ts";
import { LineWriter } from "./line_writer.ts";
import { decodeAnswer, type SlcanAnswer } from "./slcan_command.ts";
import type { Acknowledgement } from "./slcan_device.ts";
import { maxFrameLine, SlcanFrameReader, writeFrame } from "./slcan_frame.ts";
import { SlcanLineReader } from "./slcan_lines.ts";

/** What happened on the line, counted since the bus was opened. */
export interface SlcanStatistics {
  framesSent: number;
  framesReceived: number;
  /** Frames and commands that the adapter answered with `\a`. */
  refusals: number;
  /** Frames whose acknowledgement did not come in time. */
  unacknowledged: number;
  /** Bytes that belonged to no line: over-long, or cut off by a `\a`. */
  droppedBytes: number;
  /** Lines that look like a frame and are none. */
  malformedLines: number;
  /** Acknowledgements and answers that nothing was waiting for. */
  strayAnswers: number;
  /** Status answers that told of a full buffer or an overrun. */
  overruns: number;
  busOffs: number;
  reconnects: number;
}

/** The adapter answered `\a`. */
export class SlcanRefusedError extends CanBusError {
  override readonly name = "SlcanRefusedError";
}

/** Frames that one call handed over. */
export interface Delivery {
  readonly frames: readonly CanFrame[];
  /** Frames not yet written. */
  next: number;
  /** Frames not yet taken by the adapter. */
  remaining: number;
  /** Nothing is done for it any more. */
  settled: boolean;
  /** Told once: no error when the last frame was taken. */
  settle(error?: unknown): void;
  /** Told after each frame: the time-out starts anew. */
  progress(): void;
}

/** What was written and is not yet acknowledged. */
interface Unanswered {
  delivery?: Delivery;
  frame?: number;
  command?: Command;
  /** Bytes written up to its end. */
  end: number;
}

interface Command {
  text: string;
  /** Answer that it waits for besides, or instead of, the acknowledgement. */
  expects: "acknowledgement" | "status" | "version" | "serialNumber";
  resolve(answer: SlcanAnswer | undefined): void;
  reject(error: unknown): void;
}

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
  /** What was written and not acknowledged, in order; in mode "none" the frames that are not yet written. */
  readonly #unanswered = new Fifo<Unanswered>();
  /** Where commands wait for their answers: among the rest, except in mode "none", where frames wait for no answer. */
  readonly #commands: Fifo<Unanswered>;
  readonly #waiting = new Fifo<Delivery>();
  #inFlight = 0;
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
    this.#commands = options.acknowledgement === "none" ? new Fifo() : this.#unanswered;
    this.#writer = new LineWriter(
      stream,
      2 * writeAhead,
      (total) => this.#written(total),
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
    this.#abandon(error);
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
      this.#forget(command);
      reject(
        new CanBusError(`${this.#options.name}: no answer to ${shown(text)} within ${timeout} ms`),
      );
    });
    this.#commands.push({ command, end: this.#writer.total });
    return promise;
  }

  /** Gives up everything that was written and is not acknowledged: its answers are not coming. */
  abandonUnanswered(error: Error): void {
    this.#abandon(error);
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
    this.#abandon(error);
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      next.settle(error);
    }
    closeQuietly(this.#stream);
  }

  #abandon(error: Error): void {
    for (const queue of [this.#unanswered, this.#commands]) {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        next.command?.reject(error);
        next.delivery?.settle(error);
      }
    }
    this.#inFlight = 0;
  }

  #fill(): void {
    // What settles a delivery may hand over the next one at once.
    if (this.#filling || !this.#ready) return;
    // One frame for each acknowledgement would be one write, and one turn of all that carries the line, for each frame.
    if (this.#held && this.#inFlight > this.#options.window >> 1) return;
    this.#held = false;
    this.#filling = true;
    const writer = this.#writer;
    const acknowledged = this.#options.acknowledgement !== "none";
    for (let delivery = this.#waiting.first; delivery !== undefined; delivery = this.#waiting.first) {
      while (delivery.next < delivery.frames.length && !delivery.settled) {
        if (acknowledged && this.#inFlight >= this.#options.window) {
          this.#held = true;
          break;
        }
        if (writer.waiting >= writeAhead || !writer.reserve(maxFrameLine + 1)) break;
        const index = delivery.next++;
        writer.commit(writeFrame(delivery.frames[index], writer.bytes, writer.at));
        this.#unanswered.push({ delivery, frame: index, end: writer.total });
        this.#inFlight++;
      }
      if (delivery.next < delivery.frames.length && !delivery.settled) break;
      this.#waiting.shift();
    }
    this.#filling = false;
  }

  #written(total: number): void {
    if (this.#options.acknowledgement === "none") {
      for (let next = this.#unanswered.first; next !== undefined; next = this.#unanswered.first) {
        if (next.end > total) break;
        this.#unanswered.shift();
        if (next.delivery !== undefined) this.#taken(next.delivery);
      }
    }
    this.#fill();
  }

  #taken(delivery: Delivery): void {
    this.#inFlight--;
    this.#options.statistics.framesSent++;
    if (delivery.settled) return;
    if (--delivery.remaining === 0) delivery.settle();
    else delivery.progress();
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
      if (!this.#expectsText()) {
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
        // Firmware answers V with whatever text it likes.
        if (this.#expectsText()) {
          return this.#answered("version", { kind: "version", text: answer.text.trim() });
        }
        this.#options.statistics.strayAnswers++;
        return;
      default:
        return this.#answered(answer.kind, answer);
    }
  }

  #expectsText(): boolean {
    return this.#commands.first?.command?.expects === "version";
  }

  /** An acknowledgement belongs to the oldest thing that waits for one; that with `z` to a frame. */
  #acknowledge(ofFrame: boolean): void {
    const none = this.#options.acknowledgement === "none";
    let first = none ? undefined : this.#unanswered.first;
    if (ofFrame && first?.command !== undefined) {
      // Some firmware passes over a question that it does not know: frames behind it must not wait for its answer.
      first = this.#unanswered.take((it) => it.delivery !== undefined);
    } else if (first?.command === undefined || first.command.expects === "acknowledgement") {
      if (first !== undefined) this.#unanswered.shift();
    } else first = undefined;
    if (first === undefined) {
      this.#options.statistics.strayAnswers++;
      return;
    }
    first.command?.resolve(undefined);
    if (first.delivery !== undefined) this.#taken(first.delivery);
    this.#fill();
  }

  #bell(): void {
    if (this.#discarding) {
      this.#acknowledged = true;
      return;
    }
    this.#options.statistics.refusals++;
    const first = this.#commands.shift();
    if (first === undefined) {
      this.#options.log(`${this.#options.name}: the adapter refused something`);
      return;
    }
    const refused = (what: string) =>
      new SlcanRefusedError(`${this.#options.name}: the adapter refused ${what}`);
    first.command?.reject(refused(shown(first.command.text)));
    if (first.delivery !== undefined) {
      this.#inFlight--;
      const { delivery, frame = 0 } = first;
      if (!delivery.settled) delivery.settle(refused(showFrame(delivery.frames[frame])));
    }
    this.#fill();
  }

  /** An answer with content says which command it belongs to: whatever was sent before it has had its chance. */
  #answered(expects: Command["expects"], answer: SlcanAnswer): void {
    if (!this.#commands.some((it) => it.command?.expects === expects)) {
      this.#options.statistics.strayAnswers++;
      return;
    }
    for (let next = this.#commands.shift(); next !== undefined; next = this.#commands.shift()) {
      if (next.command?.expects === expects) {
        next.command.resolve(answer);
        break;
      }
      if (next.delivery !== undefined) {
        this.#inFlight--;
        this.#options.statistics.unacknowledged++;
      }
      const error = new CanBusError(
        `${this.#options.name}: the adapter went on without acknowledging ${
          next.command ? shown(next.command.text) : "a frame"
        }`,
      );
      next.command?.reject(error);
      next.delivery?.settle(error);
    }
    this.#fill();
  }

  #forget(command: Command): void {
    this.#commands.remove((it) => it.command === command);
    this.#fill();
  }
}

/** A queue whose ends are cheap. */
class Fifo<T> {
  #items: (T | undefined)[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  get first(): T | undefined {
    return this.#items[this.#head];
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#items.length) {
      this.#items.length = 0;
      this.#head = 0;
    } else if (this.#head >= 1024 && 2 * this.#head >= this.#items.length) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
    return item;
  }

  some(matches: (item: T) => boolean): boolean {
    return this.#items.some((item) => item !== undefined && matches(item));
  }

  /** Takes the first that matches out of the middle. */
  take(matches: (item: T) => boolean): T | undefined {
    for (let at = this.#head; at < this.#items.length; at++) {
      const item = this.#items[at];
      if (item !== undefined && matches(item)) return this.#items.splice(at, 1)[0];
    }
    return undefined;
  }

  remove(matches: (item: T) => boolean): void {
    this.#items = this.#items.filter((item) => item !== undefined && !matches(item));
    this.#head = 0;
  }
}

const encoder = new TextEncoder();

function ascii(text: string): Uint8Array {
  return encoder.encode(text);
}

function shown(text: string): string {
  return JSON.stringify(text.replace(/\r$/, ""));
}

function shownBytes(bytes: Uint8Array): string {
  const text = new TextDecoder("latin1").decode(bytes.subarray(0, 40));
  return JSON.stringify(bytes.length > 40 ? `${text}…` : text);
}
