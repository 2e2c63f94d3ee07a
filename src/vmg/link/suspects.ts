// Messages over which connections end: one that the other side answers by ending the connection would be sent first on every
// next one, and nothing behind it would ever go. Such a message is held back, the others go, and it is tried again by itself
// when nothing else waits. It is never given up for that: the fault may be the other side's, and may be mended.

/** Connections that end over a message until it is held back. */
const patience = 3;

/** Messages that are remembered at most. */
const remembered = 1_000;

/** Options of {@link Suspects}. Milliseconds. */
export interface SuspectsOptions {
  /** How long a message is held back at first; it doubles. */
  first: number;
  /** The longest that it is held back. */
  longest: number;
  /** Milliseconds that pass evenly, from anywhere. @default performance.now */
  now?: () => number;
}

interface Suspect {
  /** Connections that ended while it alone was under way. */
  ends: number;
  /** When it may be tried again; undefined: it is not held back. */
  until: number | undefined;
}

/** What is known of such messages, by their ids. */
export class Suspects {
  readonly #first: number;
  readonly #longest: number;
  readonly #now: () => number;
  readonly #found = new Map<string, Suspect>();

  constructor({ first, longest, now = () => performance.now() }: SuspectsOptions) {
    if (!(first > 0)) throw new RangeError(`first: expected more than 0 ms, got ${first}`);
    if (!(longest >= first)) throw new RangeError(`longest: expected at least ${first} ms, got ${longest}`);
    this.#first = first;
    this.#longest = longest;
    this.#now = now;
  }

  /** A connection ended while this message alone was under way. @returns for how long it is held back, ms; 0: it is not yet */
  blame(messageId: string): number {
    const ends = (this.#found.get(messageId)?.ends ?? 0) + 1;
    const times = ends - patience;
    const hold = times < 0 ? 0 : Math.min(this.#first * 2 ** times, this.#longest);
    // Behind the others: the oldest are forgotten first.
    this.#found.delete(messageId);
    this.#found.set(messageId, { ends, until: hold === 0 ? undefined : this.#now() + hold });
    const [oldest] = this.#found.keys();
    if (this.#found.size > remembered) this.#found.delete(oldest);
    return hold;
  }

  /** The message went through. */
  clear(messageId: string): void {
    this.#found.delete(messageId);
  }

  /** Whether a message is held back: it goes alone, or not at all. */
  has(messageId: string): boolean {
    return this.#found.get(messageId)?.until !== undefined;
  }

  /** Whether a message that is held back may be tried again. */
  isDue(messageId: string): boolean {
    const { until } = this.#found.get(messageId) ?? {};
    return until !== undefined && until <= this.#now();
  }

  /** Milliseconds until the next one may be tried that may not yet; undefined: there is none. */
  get wait(): number | undefined {
    const now = this.#now();
    let next: number | undefined;
    for (const { until } of this.#found.values()) {
      if (until !== undefined && until > now) next = Math.min(next ?? Infinity, until - now);
    }
    return next;
  }
}
