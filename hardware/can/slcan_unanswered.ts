// What was written to an SLCAN adapter and waits for its answer: frames and commands in one order, in which the
// acknowledgements come. Which answer belongs to what, and what is given up when one does not come.
import { CanBusError } from "./bus.ts";
import { Fifo } from "./fifo.ts";
import { type CanFrame, showFrame } from "./frame.ts";
import type { SlcanAnswer } from "./slcan_command.ts";
import type { Acknowledgement } from "./slcan_device.ts";

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

/** Nothing has happened yet. */
export function newStatistics(): SlcanStatistics {
  return {
    framesSent: 0,
    framesReceived: 0,
    refusals: 0,
    unacknowledged: 0,
    droppedBytes: 0,
    malformedLines: 0,
    strayAnswers: 0,
    overruns: 0,
    busOffs: 0,
    reconnects: 0,
  };
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
interface Written {
  delivery?: Delivery;
  frame?: number;
  command?: Command;
  /** Bytes written up to its end. */
  end: number;
}

/** A command that waits for its answer. */
export interface Command {
  text: string;
  /** Answer that it waits for besides, or instead of, the acknowledgement. */
  expects: "acknowledgement" | "status" | "version" | "serialNumber";
  resolve(answer: SlcanAnswer | undefined): void;
  reject(error: unknown): void;
}

/** What {@link Unanswered} needs. */
export interface UnansweredOptions {
  name: string;
  acknowledgement: Acknowledgement;
  statistics: SlcanStatistics;
  log: (message: string) => void;
}

/** The frames and commands of one connection that wait. */
export class Unanswered {
  readonly #options: UnansweredOptions;
  /** In order; in mode "none" the frames that are not yet with the operating system. */
  readonly #all = new Fifo<Written>();
  /** Where commands wait: among the rest, except in mode "none", where frames wait for no answer. */
  readonly #commands: Fifo<Written>;
  #frames = 0;

  constructor(options: UnansweredOptions) {
    this.#options = options;
    this.#commands = options.acknowledgement === "none" ? new Fifo() : this.#all;
  }

  /** Frames that wait. */
  get frames(): number {
    return this.#frames;
  }

  /** Frames and commands that wait. */
  get length(): number {
    return this.#all.length;
  }

  /** Whether the next answer may be any text: firmware answers V with whatever it likes. */
  get expectsText(): boolean {
    return this.#commands.first?.command?.expects === "version";
  }

  /** A frame was written. @param end bytes written up to its end */
  frame(delivery: Delivery, frame: number, end: number): void {
    this.#all.push({ delivery, frame, end });
    this.#frames++;
  }

  /** A command was written. */
  command(command: Command, end: number): void {
    this.#commands.push({ command, end });
  }

  /** A command is waited for no more. */
  forget(command: Command): void {
    this.#commands.remove((it) => it.command === command);
  }

  /** The operating system has taken that many bytes: in mode "none" that is all that is known of a frame. */
  taken(total: number): void {
    if (this.#options.acknowledgement !== "none") return;
    for (let next = this.#all.first; next !== undefined; next = this.#all.first) {
      if (next.end > total) break;
      this.#all.shift();
      if (next.delivery !== undefined) this.#sent(next.delivery);
    }
  }

  /**
   * An acknowledgement belongs to the oldest thing that waits for one; that with `z` to a frame.
   * @returns whether something waited
   */
  acknowledge(ofFrame: boolean): boolean {
    let first = this.#options.acknowledgement === "none" ? undefined : this.#all.first;
    if (ofFrame && first?.command !== undefined) {
      // Some firmware passes over a question that it does not know: frames behind it must not wait for its answer.
      first = this.#all.take((it) => it.delivery !== undefined);
    } else if (first?.command === undefined || first.command.expects === "acknowledgement") {
      if (first !== undefined) this.#all.shift();
    } else first = undefined;
    if (first === undefined) {
      this.#options.statistics.strayAnswers++;
      return false;
    }
    first.command?.resolve(undefined);
    if (first.delivery !== undefined) this.#sent(first.delivery);
    return true;
  }

  /** The adapter answered `\a`: the oldest thing that waits was refused. @returns whether something waited */
  refuse(): boolean {
    const { name, statistics, log } = this.#options;
    statistics.refusals++;
    const first = this.#commands.shift();
    if (first === undefined) {
      log(`${name}: the adapter refused something`);
      return false;
    }
    const refused = (what: string) => new SlcanRefusedError(`${name}: the adapter refused ${what}`);
    first.command?.reject(refused(shown(first.command.text)));
    if (first.delivery !== undefined) {
      this.#frames--;
      const { delivery, frame = 0 } = first;
      if (!delivery.settled) delivery.settle(refused(showFrame(delivery.frames[frame])));
    }
    return true;
  }

  /**
   * An answer with content says which command it belongs to: whatever was sent before it has had its chance.
   * @returns whether a command waited for it
   */
  answer(expects: Command["expects"], answer: SlcanAnswer): boolean {
    const { name, statistics } = this.#options;
    if (!this.#commands.some((it) => it.command?.expects === expects)) {
      statistics.strayAnswers++;
      return false;
    }
    for (let next = this.#commands.shift(); next !== undefined; next = this.#commands.shift()) {
      if (next.command?.expects === expects) {
        next.command.resolve(answer);
        break;
      }
      if (next.delivery !== undefined) {
        this.#frames--;
        statistics.unacknowledged++;
      }
      const error = new CanBusError(
        `${name}: the adapter went on without acknowledging ${
          next.command ? shown(next.command.text) : "a frame"
        }`,
      );
      next.command?.reject(error);
      next.delivery?.settle(error);
    }
    return true;
  }

  /** Gives everything up. */
  abandon(error: Error): void {
    for (const queue of [this.#all, this.#commands]) {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        next.command?.reject(error);
        next.delivery?.settle(error);
      }
    }
    this.#frames = 0;
  }

  #sent(delivery: Delivery): void {
    this.#frames--;
    this.#options.statistics.framesSent++;
    if (delivery.settled) return;
    if (--delivery.remaining === 0) delivery.settle();
    else delivery.progress();
  }
}

/** A command for a message: without its end. */
export function shown(text: string): string {
  return JSON.stringify(text.replace(/\r$/, ""));
}
